"""The notebook's training beside ours, in turns: A B C D A B C D in one process, so that a machine's drift cancels.

A is an epoch of the notebook's loop as written, B of the same loop with rows gathered by an index, C of
`Diffusion.ddpm()`, which is the same model, and D the whole of `Diffusion().fit`.
"""

from __future__ import annotations

import statistics
import warnings
from dataclasses import dataclass
from functools import partial

from backwalk import Diffusion, PriorMismatchWarning
from benchmarks.methods import timed
from benchmarks.notebook import N_EPOCHS, Notebook, Rows, notebook_points
from benchmarks.record import Figures, Store

WARM_UP_EPOCHS = 3
SERIES = ("notebook_epoch", "indexed_epoch", "ddpm_epoch", "default_fit")


@dataclass(frozen=True)
class Sizes:
    """Epochs a round, rounds, the points, and training steps of the default fit in place of its own choice."""

    n_epochs: int
    n_rounds: int
    n_points: int = 10_000
    max_steps: int | None = None


SIZES = {"quick": Sizes(2, 2, 1_000, 2), "short": Sizes(40, 3), "full": Sizes(100, 5)}


def run(store: Store, sizes: Sizes) -> None:
    """Time all rounds: one result."""
    points = notebook_points(sizes.n_points)
    key = {"n_epochs": sizes.n_epochs, "n_rounds": sizes.n_rounds, "n_points": sizes.n_points}
    store.once(key, lambda: dict(time_in_turns(points, sizes)))


def time_in_turns(points: Rows, sizes: Sizes) -> dict[str, list[float]]:
    """Return each round's seconds: of an epoch of the three loops, and of a whole default fit."""
    notebook, by_index = Notebook(points, seed=0), Notebook(points, seed=0, by_index=True)
    notebook.train(WARM_UP_EPOCHS)
    by_index.train(WARM_UP_EPOCHS)
    _fit_ddpm(points, n_epochs=WARM_UP_EPOCHS, seed=0)
    _fit_default(points, max_steps=WARM_UP_EPOCHS, seed=0)
    seconds: dict[str, list[float]] = {name: [] for name in SERIES}
    for round_ in range(sizes.n_rounds):
        for name, model in (("notebook_epoch", notebook), ("indexed_epoch", by_index)):
            _, taken = timed(partial(model.train, sizes.n_epochs))
            seconds[name].append(taken / sizes.n_epochs)
        ddpm = _fit_ddpm(points, n_epochs=sizes.n_epochs, seed=round_)
        seconds["ddpm_epoch"].append(ddpm.history_.seconds / sizes.n_epochs)
        _, taken = timed(partial(_fit_default, points, max_steps=sizes.max_steps, seed=round_))
        seconds["default_fit"].append(taken)
    return seconds


def summary(seconds: Figures) -> dict[str, float]:
    """Return the medians, and the notebook's seconds over ours: the median over the rounds of the round's ratio."""
    whole = [N_EPOCHS * epoch for epoch in seconds["notebook_epoch"]]
    indexed = [N_EPOCHS * epoch for epoch in seconds["indexed_epoch"]]
    return {
        **{name: statistics.median(seconds[name]) for name in SERIES},
        "notebook_epoch_over_ddpm_epoch": median_ratio(seconds["notebook_epoch"], seconds["ddpm_epoch"]),
        "indexed_epoch_over_ddpm_epoch": median_ratio(seconds["indexed_epoch"], seconds["ddpm_epoch"]),
        "notebook_training_over_default_fit": median_ratio(whole, seconds["default_fit"]),
        "indexed_training_over_default_fit": median_ratio(indexed, seconds["default_fit"]),
    }


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def _fit_ddpm(points: Rows, *, n_epochs: int, seed: int) -> Diffusion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PriorMismatchWarning)
        return Diffusion.ddpm(n_epochs=n_epochs, random_state=seed, verbose=False).fit(points)


def _fit_default(points: Rows, *, max_steps: int | None, seed: int) -> Diffusion:
    return Diffusion(max_steps=max_steps, random_state=seed, verbose=False).fit(points)
