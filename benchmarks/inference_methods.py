"""The methods of the benchmark of posteriors, each fitted to simulations of a task: ours, and sbi's NPE."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from unittest.mock import Mock

import numpy as np
import pandas as pd
import torch

from backwalk import Diffusion, Number, posterior
from backwalk.assess.statistics import coverage_curve, density_ranks
from backwalk.assess.topics.posteriors import score_posteriors
from backwalk.streams import Stream
from benchmarks.notebook import seeded
from benchmarks.record import Figures
from benchmarks.simulators import Rows, Task

N_DRAWS = 19
"""Draws for each unseen simulation, of which the density of the truth takes one of 20 places."""


@dataclass(frozen=True, eq=False)
class FittedPosterior:
    """What a method learnt, as functions.

    `sample` draws n parameters given data, (m,); `calibration` returns figures on unseen simulations; `conditional`
    draws n rows of parameters and data, (n, d + m), given those of a row that are not NaN, and is None where a method
    has the posterior alone. The last argument of each is a seed.
    """

    sample: Callable[[int, Rows, int], Rows]
    calibration: Callable[[Rows, int], Figures]
    conditional: Callable[[int, Rows, int], Rows] | None = None
    figures: Figures = field(default_factory=dict)


class PosteriorMethod(Protocol):
    """A way to learn a posterior."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def has_budget(self) -> bool:
        """Whether it ends when its budget does; else it takes its own time."""
        ...

    def fit(self, task: Task, rows: Rows, budget: float, seed: int) -> FittedPosterior:
        """Fit simulations, (n, d + m)."""
        ...


@dataclass(frozen=True)
class OursOnSimulations:
    """`Diffusion(max_time=budget)` with the bounds of a uniform prior, fitted to be given the data or any columns."""

    name: str
    any_condition: bool
    has_budget: bool = True

    def fit(self, task: Task, rows: Rows, budget: float, seed: int) -> FittedPosterior:
        """Fit simulations, (n, d + m)."""
        columns = [*task.parameters, *task.data]
        bounds = {
            name: Number(bounds=of_one)
            for name, of_one in zip(task.parameters, task.bounds or [(None, None)] * task.d, strict=True)
        }
        conditions: Any = "any" if self.any_condition else [task.data]
        model = Diffusion(max_time=budget, conditions=conditions, columns=bounds, random_state=seed, verbose=False)
        model.fit(pd.DataFrame(rows, columns=columns))
        of_task = posterior(model, given=task.data)

        def calibration(unseen: Rows, seed: int) -> Figures:
            given = list(range(task.d, task.d + task.m))
            stream = Stream(seed).child("benchmark calibration")
            scores = score_posteriors(model.model_, unseen, given, stream=stream, n_pairs=len(unseen), n_draws=N_DRAWS)
            return (
                {}
                if scores is None
                else {
                    "coverage": [scores.expected_coverage.deviation],
                    "coverage_by_chance": [scores.expected_coverage.limit],
                    "tarp": [scores.tarp.deviation],
                    "ranks": [max(ranks.distance for ranks in scores.ranks)],
                }
            )

        def conditional(n: int, row: Rows, seed: int) -> Rows:
            given = {name: value for name, value in zip(columns, row.tolist(), strict=True) if not np.isnan(value)}
            return model.sample(n, given=given, random_state=seed).to_numpy(float)

        return FittedPosterior(
            lambda n, x, seed: of_task.sample(n, x, random_state=seed).numpy(),
            calibration,
            conditional if self.any_condition else None,
            {"steps": model.history_.n_steps, "members": getattr(model.model_.denoiser, "n_members", 0)},
        )


@dataclass(frozen=True)
class NeuralPosterior:
    """sbi's `NPE` with its neural spline flow, all else at its defaults: it ends after 20 epochs without a gain."""

    name: str = "sbi NPE"
    has_budget: bool = False

    def fit(self, task: Task, rows: Rows, budget: float, seed: int) -> FittedPosterior:  # noqa: ARG002
        """Fit simulations, (n, d + m)."""
        prior = None  # the support of normal priors has no end
        if task.bounds is not None:
            low, high = torch.tensor(task.bounds).T
            prior = importlib.import_module("sbi.utils").BoxUniform(low, high)
        theta, x = torch.from_numpy(rows).float().split([task.d, task.m], dim=1)

        def trained() -> Any:
            nothing_is_logged = Mock()  # the default writes a folder where the command runs
            npe = importlib.import_module("sbi.inference").NPE(
                prior, "nsf", tracker=nothing_is_logged, show_progress_bars=False
            )
            npe.append_simulations(theta, x).train()
            return npe

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            npe = seeded(trained, seed)
        learnt = npe.build_posterior()

        def sample(n: int, x: Rows, seed: int) -> Rows:
            given = torch.from_numpy(x).float()[None]
            return np.asarray(
                seeded(lambda: learnt.sample((n,), x=given, show_progress_bars=False), seed).double().numpy()
            )

        def calibration(unseen: Rows, seed: int) -> Figures:
            theta, x = torch.from_numpy(unseen).float().split([task.d, task.m], dim=1)
            drawn = seeded(lambda: learnt.sample_batched((N_DRAWS,), x=x, show_progress_bars=False), seed)
            of_all = learnt.log_prob_batched(torch.cat([drawn, theta[None]]), x, norm_posterior=False).double()
            stream = Stream(seed).child("benchmark calibration of a peer")
            curve = coverage_curve(density_ranks(of_all[:-1].T.numpy(), of_all[-1].numpy(), stream=stream))
            return {"coverage": [curve.deviation], "coverage_by_chance": [curve.limit]}

        return FittedPosterior(sample, calibration, figures={"epochs": len(npe.summary["validation_loss"])})


def set_up() -> None:
    """Import sbi where it is installed, so that no fit's seconds have that in them."""
    with suppress(ImportError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("sbi.inference", "sbi.utils"):
            importlib.import_module(name)


METHODS: tuple[PosteriorMethod, ...] = (
    OursOnSimulations("Diffusion", any_condition=False),
    OursOnSimulations("Diffusion any", any_condition=True),
    NeuralPosterior(),
)
