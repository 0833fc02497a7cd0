"""Training that cannot go well: far outliers and rates that are too high end in finite samples or in a named error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backwalk import Diffusion, Residual, Training, TrainingDiverged
from backwalk.errors import InvalidInput
from soak.campaign import outcome_of
from soak.material import estimator, rows


def hard(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of data with outliers of a million sigma, and of rates far too high, with and without scaling."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        make = _HARD[i % len(_HARD)]
        yield outcome_of(partial(_finite_or_named, make(rng), folder / f"c{i}"))


def _outliers(rng: np.random.Generator, scale: bool, rate: float = 0.01) -> tuple[Diffusion, Any]:
    X = rows()[:, [0, 2]].copy()
    X[rng.integers(len(X), size=int(rng.integers(1, 4)))] *= 10.0 ** rng.uniform(5, 6.5)
    return estimator(scale=scale, max_steps=None, training=Training(64, rate, max_steps=200)), X


def _fast(rng: np.random.Generator, **plan: Any) -> tuple[Diffusion, Any]:
    settings = {"batch_size": 64, "learning_rate": 1.0, "max_steps": 200, **plan}
    return estimator(denoiser=Residual(16, 3), max_steps=None, training=Training(**settings)), rows()


_HARD: list[Callable[[np.random.Generator], tuple[Diffusion, Any]]] = [
    lambda rng: _outliers(rng, scale=True),
    lambda rng: _outliers(rng, scale=False),
    lambda rng: _outliers(rng, scale=False, rate=1.0),
    lambda rng: _fast(rng),
    lambda rng: _fast(rng, decay=False, ema_width=None),
    lambda rng: _fast(rng, hidden_rate=1.0),
    lambda rng: _fast(rng, levels="chain", decay=False),
]


def _finite_or_named(case: tuple[Diffusion, Any], checkpoint: Path) -> None:
    model, X = case
    try:
        model.fit(X, checkpoint=checkpoint)
    except InvalidInput as error:
        assert "scale=True" in str(error)
        return
    except TrainingDiverged as error:
        assert hasattr(model, "model_") == checkpoint.exists()
        if not checkpoint.exists():
            return
        assert str(checkpoint) in str(error)
        assert np.isfinite(model.sample(50, random_state=0)).all()
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, checkpoint=checkpoint, resume=True)
    assert np.isfinite(model.sample(200, random_state=0)).all()
