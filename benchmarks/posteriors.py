"""Posteriors of simulators: draws against reference draws, and the log-density of unseen parameters.

- C2ST: the accuracy of a classifier that tells draws from reference draws, .5 is best, in the mean over the first
  observations: by sbibm's own classifier (a perceptron) and by a random forest. Neither sees all. Exact draws are the
  floor of the tasks that have them.
- nats: the mean log-density of unseen parameters given their data.

Published C2ST at 10^3, 10^4 and 10^5 simulations, copied from the authors' repositories: two_moons, by a forest NPSE
.570, .513, .502 and Simformer .611, .525, .506, by a perceptron NPE .725, .606, .542; gaussian_mixture, by a forest
Simformer .547, .529, .502 and NPE .673, .541, .515; gaussian_linear, by a forest NPSE .585, .522, .503.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

from backwalk import Diffusion, Number, posterior
from benchmarks.data import Rows
from benchmarks.hard_simulators import HARD_TASKS
from benchmarks.notebook import seeded
from benchmarks.record import Figures, Store, timed
from benchmarks.simulators import TASKS, Task

ALL_TASKS: dict[str, Callable[[], Task]] = {**TASKS, **HARD_TASKS}
Draw = Callable[[int, Rows, int], Rows]  # of n parameters given data, with a seed


@dataclass(frozen=True)
class Sizes:
    """Tasks, simulations with the seconds of a fit, observations, draws for each, and seeds."""

    tasks: tuple[str, ...] = tuple(ALL_TASKS)
    budgets: tuple[tuple[int, float], ...] = ((10_000, 60.0),)
    n_observations: int = 5
    n_draws: int = 2_000
    n_seeds: int = 1
    methods: tuple[str, ...] = ("exact posterior", "Diffusion", "sbi NPE")


SIZES = {
    "quick": Sizes(("gaussian_linear",), ((300, 1.0),), 1, 100, methods=("Diffusion",)),
    "short": Sizes(("two_moons", "gaussian_mixture"), n_observations=3, methods=("Diffusion",)),
    "full": Sizes(budgets=((1_000, 30.0), (10_000, 120.0)), n_seeds=3),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge all, one draw of the simulations after the other."""
    for seed in range(sizes.n_seeds):
        for name in sizes.tasks:
            for n, seconds in sizes.budgets:
                for method in sizes.methods:
                    budget = f"{n} simulations" + f", {seconds:g} s" * (method == "Diffusion")
                    job = partial(fitted_and_judged, ALL_TASKS[name](), method, n, seconds, sizes, seed)
                    store.once("posteriors", name, method, budget, seed, job)


def fitted_and_judged(task: Task, method: str, n: int, seconds: float, sizes: Sizes, seed: int) -> Figures:
    """Return the figures of one fit to n simulations."""
    figures = Figures()
    if method == "exact posterior":
        exact = task.posterior
        if exact is None:
            raise ValueError("only reference draws of this task are known.")
        draw: Draw = lambda n, x, seed: exact(n, x, np.random.default_rng([seed, 7]))  # noqa: E731
    else:
        rows, fit = task.simulations(n, seed), {"Diffusion": ours, "sbi NPE": neural_posterior}[method]
        (draw, log_prob), figures["fit, s"] = timed(lambda: fit(task, rows, seconds, seed))
        figures["nats"] = float(np.mean(log_prob(task.simulations(500, seed + 1_000))))
    mlp, forest = [], []
    for number in range(1, sizes.n_observations + 1):
        x, reference = task.observation(number), task.reference(number)[: sizes.n_draws]
        drawn = draw(len(reference), x, number)
        mlp.append(c2st(reference, drawn, MLPClassifier((10 * task.d,) * 2, max_iter=10_000, random_state=1)))
        forest.append(c2st(reference, drawn, RandomForestClassifier(random_state=1)))
    return figures | {"C2ST, perceptron": float(np.mean(mlp)), "C2ST, forest": float(np.mean(forest))}


Fitted = tuple[Draw, Callable[[Rows], Rows]]


def ours(task: Task, rows: Rows, seconds: float, seed: int) -> Fitted:
    """Fit `Diffusion(max_time=seconds)` with the bounds of a uniform prior, to be given the data."""
    columns = [*task.parameters, *task.data]
    bounds = {name: Number(bounds=b) for name, b in zip(task.parameters, task.bounds or (), strict=False)}
    model = Diffusion(max_time=seconds, conditions=[task.data], columns=bounds, random_state=seed, verbose=False)
    model.fit(pd.DataFrame(rows, columns=columns))
    learnt = posterior(model, given=task.data)
    return (
        lambda n, x, seed: np.asarray(learnt.sample((n,), x, random_state=seed)),
        lambda unseen: np.asarray(model.score_samples(pd.DataFrame(unseen, columns=columns), given=task.data)),
    )


def neural_posterior(task: Task, rows: Rows, seconds: float, seed: int) -> Fitted:  # noqa: ARG001 - in its own time
    """Fit sbi's `NPE` with its neural spline flow, all else at its defaults: it ends after 20 epochs without a gain."""
    from sbi.inference import NPE
    from sbi.utils import BoxUniform

    prior = None if task.bounds is None else BoxUniform(*torch.tensor(task.bounds).T)
    theta, x = torch.from_numpy(rows).float().split([task.d, task.m], dim=1)

    def trained() -> Any:
        npe = NPE(prior, "nsf", tracker=Mock(), show_progress_bars=False)  # its own tracker writes a folder
        npe.append_simulations(theta, x).train()
        return npe.build_posterior()

    learnt = seeded(trained, seed)

    def draw(n: int, x: Rows, seed: int) -> Rows:
        given = torch.from_numpy(x).float()[None]
        drawn = seeded(lambda: learnt.sample((n,), x=given, show_progress_bars=False), seed)
        return np.asarray(drawn.double().numpy())

    def log_prob(unseen: Rows) -> Rows:
        theta, x = torch.from_numpy(unseen).float().split([task.d, task.m], dim=1)
        return np.asarray(learnt.log_prob_batched(theta[None], x, norm_posterior=False)[0].double().numpy())

    return draw, log_prob


def c2st(reference: Rows, drawn: Rows, classifier: Any) -> float:
    """Return the accuracy of a classifier, by 5 shuffled folds, on coordinates scaled by the reference: as sbibm's."""
    mean, deviation = reference.mean(axis=0), reference.std(axis=0, ddof=1)
    points = (np.concatenate([reference, drawn]) - mean) / deviation
    label = np.repeat([0, 1], [len(reference), len(drawn)])
    folds = KFold(5, shuffle=True, random_state=1)
    return float(cross_val_score(classifier, points, label, cv=folds, scoring="accuracy").mean())
