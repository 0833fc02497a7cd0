"""A small program of a user: `make release-check` reads it with mypy and pyright, and runs it, against the wheel."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

from backwalk import Diffusion, InvalidInput, NoiseSchedule, Number, Sampler, TextPath, Training


def main() -> None:
    """Fit a small model, draw, score, save and load."""
    x = np.random.default_rng(0).normal(size=(200, 2))
    schedule = NoiseSchedule.linear(50, beta_min=1e-3, beta_max=0.2)
    model = Diffusion(schedule=schedule, max_steps=20, verbose=False, random_state=0).fit(x)
    score: float = model.score(x[:5])
    log_p = model.score_samples(x[:5])
    upper: float = model.bound(x[:5]).total
    drawn = assert_type(model.sample(3, sampler=Sampler("ddim", n_evaluations=5), random_state=1), NDArray[Any])
    print(drawn.shape, log_p.mean(), score, upper)
    model.save("model.backwalk", overwrite=True)
    again = Diffusion.load("model.backwalk")
    try:
        again.fit(x[:0])
    except InvalidInput as error:
        print(error)
    print(Training(max_steps=20, batch_size=64, learning_rate=1e-3), Number(bounds=(0.0, 1.0)), TextPath("rows.csv"))


if __name__ == "__main__":
    main()
