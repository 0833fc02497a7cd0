"""Posteriors of tasks of sbibm and of hard ones of this project: draws against exact ones, and their calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neural_network import MLPClassifier

from backwalk.streams import Stream
from benchmarks.densities import refuse_unknown
from benchmarks.draws import ERRORS_BY_DRAWS, Draws, Results, grouped, mean_over
from benchmarks.hard_simulators import HARD_TASKS
from benchmarks.inference_methods import METHODS, PosteriorMethod, set_up
from benchmarks.methods import timed
from benchmarks.record import Figures, Store
from benchmarks.simulators import N_OBSERVATIONS, ExactDraws, Rows, Task
from benchmarks.simulators import TASKS as EASY_TASKS
from benchmarks.tables import shown, table

TASKS = EASY_TASKS | HARD_TASKS
TITLE = "Posteriors of simulators"
EXACT = "exact posterior"
Draw = Callable[[int, Rows, int], Rows]  # of n rows, given values, with a seed
_COLUMNS = {
    "c2st_mlp": "C2ST, perceptron",
    "c2st_forest": "C2ST, forest",
    "c2st_any": "C2ST, any values given",
    "fit_seconds": "fit, s",
    "sample_seconds": "10,000 draws, s",
    "coverage": "coverage",
    "coverage_by_chance": "by chance",
}
_PUBLISHED = {  # 10^3 / 10^4 / 10^5 simulations, copied from the authors' repositories
    "two_moons": "by a forest NPSE .570 / .513 / .502; Simformer .611 / .525 / .506; by a perceptron NPE .725 / .606 / "
    ".542",
    "gaussian_mixture": "by a forest Simformer .547 / .529 / .502, NPE .673 / .541 / .515; GenSBI - / .511 / .501",
    "gaussian_linear": "by a forest NPSE .585 / .522 / .503, NPE-PFN .546 / .523 / .519; GenSBI - / .509 / .499",
}
_EVALUATIONS = (
    "Posteriors of 1,000 and of 100,000 simulations were drawn with 20 evaluations of the network, those of 10,000 "
    "with 60, as is usual now (research/defaults.md, *Drawing posteriors*)."
)
_NOTES = {
    "two_moons": _EVALUATIONS,
    "gaussian_mixture": f"{_EVALUATIONS} *Diffusion any* is older than the ridge on input weights and the narrow "
    "margin at the prior's bounds (research/defaults.md, *Few rows* and *Known bounds*).",
    "gaussian_linear": "Parameters and data are jointly Gaussian here, and the untrained network already is a joint "
    "Gaussian fitted to the simulations. With 10,000 of them these first weights were kept: nothing was learnt.",
}


@dataclass(frozen=True)
class Sizes:
    """Simulations with the seconds of a fit, draws of the simulations, tasks, and how much is judged.

    `n_rows` draws are compared with as many reference draws of each of the first `n_observations` observations, and of
    as many rows of which any values are given. Calibration is that of `n_pairs` unseen simulations.
    """

    budgets: tuple[tuple[int, float], ...]
    n_seeds: int
    n_observations: int
    n_rows: int
    n_pairs: int
    tasks: tuple[str, ...] = tuple(EASY_TASKS)
    methods: tuple[str, ...] = tuple(method.name for method in METHODS)

    def __post_init__(self) -> None:
        refuse_unknown("tasks", self.tasks, list(TASKS))
        refuse_unknown("methods", self.methods, [method.name for method in METHODS])


SIZES = {
    "quick": Sizes(((300, 1.0),), 1, 1, 300, 20, ("two_moons",), ("Diffusion",)),
    "short": Sizes(((10_000, 60.0),), 1, 3, 10_000, 200, ("two_moons",), ("Diffusion", "sbi NPE")),
    "full": Sizes(((1_000, 30.0), (10_000, 60.0), (100_000, 300.0)), 3, N_OBSERVATIONS, 10_000, 2_000),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge all, one draw of the simulations after the other; the exact posterior first."""
    set_up()
    for seed in range(sizes.n_seeds):
        for name in sizes.tasks:
            task = TASKS[name]()
            judged = {"seed": seed, "observations": sizes.n_observations, "pairs": sizes.n_pairs}
            key = {"task": name, "method": EXACT, "simulations": 0, "budget": 0.0, **judged, "pairs": 0}
            if task.posterior is not None:
                store.once(key, partial(exact_figures, task, sizes, seed))
            for n, budget in sizes.budgets:
                for method in METHODS:
                    if method.name in sizes.methods:
                        seconds = budget if method.has_budget else 0.0
                        key = {"task": name, "method": method.name, "simulations": n, "budget": seconds, **judged}
                        store.once(key, partial(fitted_figures, task, method, n, budget, sizes, seed))


def exact_figures(task: Task, sizes: Sizes, seed: int) -> Figures:
    """Return the figures of exact draws."""

    def seeded(draw: ExactDraws) -> Draw:
        return lambda n, given, number: draw(
            n, given, Stream(seed).child("benchmark exact", task.name, number).generator()
        )

    assert task.posterior is not None
    figures = against_references(task, seeded(task.posterior), sizes)
    if task.conditional is not None:
        figures |= against_exact_conditionals(task, seeded(task.conditional), sizes)
    return figures


def fitted_figures(task: Task, method: PosteriorMethod, n: int, budget: float, sizes: Sizes, seed: int) -> Figures:
    """Return the figures of a fit to n simulations."""
    rows = task.simulations(n, seed)
    fitted, seconds = timed(lambda: method.fit(task, rows, budget, seed))
    figures = {"fit_seconds": [seconds], **fitted.figures, **against_references(task, fitted.sample, sizes)}
    if task.conditional is not None and fitted.conditional is not None:
        figures |= against_exact_conditionals(task, fitted.conditional, sizes)
    return {**figures, **fitted.calibration(task.simulations(sizes.n_pairs, seed + 1_000), seed)}


def against_references(task: Task, draw: Draw, sizes: Sizes) -> Figures:
    """Return the accuracy of both classifiers for each observation, and the seconds of 10,000 draws."""
    figures: Figures = {"c2st_mlp": [], "c2st_forest": [], "sample_seconds": []}
    for number in range(1, sizes.n_observations + 1):
        x, reference = task.observation(number), task.reference(number)[: sizes.n_rows]
        drawn, seconds = timed(partial(draw, sizes.n_rows, x, number))
        figures["sample_seconds"].append(seconds * 10_000 / sizes.n_rows)
        figures["c2st_mlp"].append(c2st(reference, drawn, perceptron(task.d)))
        figures["c2st_forest"].append(c2st(reference, drawn, RandomForestClassifier(random_state=1)))
    return figures


def against_exact_conditionals(task: Task, draw: Draw, sizes: Sizes) -> Figures:
    """Return the accuracy of a forest for rows of which any values are given, on the others, against exact draws."""
    assert task.conditional is not None
    accuracies = []
    for number in range(1, sizes.n_observations + 1):
        row = task.row_with_gaps(number)
        generator = Stream(number).child("benchmark exact references", task.name).generator()
        exact, drawn = task.conditional(sizes.n_rows, row, generator), draw(sizes.n_rows, row, number)
        wanted = np.isnan(row)
        accuracies.append(c2st(exact[:, wanted], drawn[:, wanted], RandomForestClassifier(random_state=1)))
    return {"c2st_any": accuracies}


def perceptron(d: int) -> MLPClassifier:
    """Return sbibm's classifier: two hidden layers of 10 d units."""
    return MLPClassifier((10 * d, 10 * d), max_iter=10_000, random_state=1)


def c2st(reference: Rows, drawn: Rows, classifier: Any) -> float:
    """Return the accuracy of a classifier, by 5 shuffled folds, on coordinates scaled by the reference: as sbibm's."""
    mean, deviation = reference.mean(axis=0), reference.std(axis=0, ddof=1)
    points = (np.concatenate([reference, drawn]) - mean) / deviation
    label = np.repeat([0, 1], [len(reference), len(drawn)])
    folds = KFold(5, shuffle=True, random_state=1)
    return float(
        cross_val_score(classifier, points, label, cv=folds, scoring="accuracy", n_jobs=torch.get_num_threads()).mean()
    )


def told(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return a table for each task: a row per method and number of simulations."""
    texts = [
        "Draws given the first observations, of ten, against 10,000 reference draws each (those of sbibm, or exact "
        "ones of this project's own tasks, which benchmarks/hard_simulators.py describes), by sbibm's "
        "own classifier (a perceptron) and by a random forest: .5 is best. Neither sees all; draws of the *exact "
        "posterior* are the floor. *Any values given*: simulations of which each parameter and each of the data is "
        "given with probability 1/2, and the others are drawn; a forest tells them from exact draws. *sbi NPE* is that "
        "package's neural posterior estimation with a spline flow, in its own time. The simulators are written anew "
        "from the tasks' definitions. *Coverage* is the largest deviation of the coverage of highest-density regions "
        "on unseen pairs of parameters and data, 0 is best; exact posteriors have a larger one than *by chance* in 5 % "
        f"of cases. Seconds are left out where other work ran beside them. {ERRORS_BY_DRAWS}\n"
    ]
    for name in dict.fromkeys(result["key"]["task"] for result in results):
        own = [result for result in results if result["key"]["task"] == name]
        groups = grouped(own, "simulations", "method", "budget", "observations", "pairs")
        rows = [_row(key, draws) for key, draws in sorted(groups.items())]
        head = ("method", "simulations", "fits", "observations", *_COLUMNS.values(), "pairs")
        texts.append(f"### {name}\n\n{table(head, rows)}")
        if name in _PUBLISHED:
            texts.append(f"Published, at 10^3 / 10^4 / 10^5 simulations, copied: {_PUBLISHED[name]}.\n")
        texts += [f"{_NOTES[name]}\n"] if name in _NOTES else []
    return "\n".join(texts)


def _row(key: tuple[Any, ...], draws: Draws) -> tuple[str, ...]:
    simulations, method, budget, observations, pairs = key
    name = f"{method}, {budget:g} s" if budget else method
    means = (mean_over(draws, figure) for figure in _COLUMNS)
    size = (f"{simulations:,}", str(len(draws))) if simulations else ("", "")
    cells = ("" if mean is None else shown(mean) for mean in means)
    return name, *size, str(observations), *cells, f"{pairs:,}" if pairs else ""
