"""Densities with a known logarithm: how near each method comes in its budget.

- gap: the mean of ln p_true - ln p_model over unseen rows, nats; 0 is best.
- C2ST minus real: the accuracy of boosted trees that tell new rows from real ones, less what they reach between two
  real sets, in pairs of sets; 0 is best.
- W1 over real: the sliced Wasserstein distance of such a pair, over that of two real sets; 1 is best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score

from backwalk.datasets import DENSITIES, Density
from benchmarks.data import Rows
from benchmarks.methods import Method, MixtureHeldOut, NotebookAsWritten, Ours
from benchmarks.peers import SchedulerDdpm, SplineFlow
from benchmarks.record import Figures, Store, timed

MOONS: tuple[tuple[Method, tuple[float, ...]], ...] = (
    (Ours(), (0.8, 2.5, 7.0, 30.0)),
    (NotebookAsWritten(), (50.0, 1_000.0)),
    (SchedulerDdpm(), (10.0, 40.0)),
    (SplineFlow(), (13.0, 40.0)),
    (MixtureHeldOut(), (2.5, 20.0)),
)
"""On two moons, how good each is after how many seconds. The notebook ends after its 5,000 epochs."""
OTHERS: tuple[Method, ...] = (Ours(), SplineFlow(), MixtureHeldOut(), SchedulerDdpm())
N_PROJECTIONS = 200


@dataclass(frozen=True)
class Sizes:
    """Rows to fit, unseen rows, pairs of sets with the rows of each, seeds, and seconds of the other densities."""

    n: int = 10_000
    n_unseen: int = 4_000
    n_pairs: int = 4
    n_rows: int = 3_000
    n_seeds: int = 1
    budget: float = 60.0
    moons: tuple[tuple[Method, tuple[float, ...]], ...] = MOONS
    densities: tuple[str, ...] = tuple(name for name in DENSITIES if name != "two_moons")


SIZES = {
    "quick": Sizes(300, 50, 1, 60, 1, 0.5, ((Ours(), (0.5,)), (MixtureHeldOut(), (0.5,))), ()),
    "short": Sizes(moons=((Ours(), (0.8, 7.0)), (MixtureHeldOut(), (20.0,)), (SplineFlow(), (13.0,))), densities=()),
    "full": Sizes(n_seeds=3),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit and judge each method, one seed after the other."""
    for seed in range(sizes.n_seeds):
        for method, budgets in sizes.moons:
            for budget in budgets:
                job = _job("two_moons", method, budget, seed, sizes)
                store.once("densities", "two_moons", method.name, f"{budget:g} s", seed, job)
        for name in sizes.densities:
            for method in OTHERS:
                job = _job(name, method, sizes.budget, seed, sizes)
                store.once("densities", name, method.name, f"{sizes.budget:g} s", seed, job)


def _job(name: str, method: Method, budget: float, seed: int, sizes: Sizes) -> Callable[[], Figures]:
    return lambda: fitted_and_judged(DENSITIES[name](), method, budget, seed, sizes)


def fitted_and_judged(density: Density, method: Method, budget: float, seed: int, sizes: Sizes) -> Figures:
    """Return the figures of one fit; all real rows are independent of those that are fitted."""
    X = density.sample(sizes.n, random_state=seed)
    fitted, seconds = timed(lambda: method.fit(X, budget, seed))
    figures: Figures = {"fit, s": seconds}
    if fitted.log_prob is not None:
        unseen = density.sample(sizes.n_unseen, random_state=10_000 + seed)
        figures["gap, nats"] = float(np.mean(density.log_prob(unseen) - fitted.log_prob(unseen)))
    n = sizes.n_pairs * sizes.n_rows
    real, other = (np.split(density.sample(n, random_state=start + seed), sizes.n_pairs) for start in (20_000, 30_000))
    drawn, drawing = timed(lambda: fitted.sample(n, seed))
    new = np.split(drawn, sizes.n_pairs)
    scale, generator = X.std(axis=0), np.random.default_rng(seed)
    accuracies = [c2st(x, made) - c2st(x, y) for x, y, made in zip(real, other, new, strict=True)]
    distances = [
        (sliced_w1(x / scale, made / scale, generator), sliced_w1(x / scale, y / scale, generator))
        for x, y, made in zip(real, other, new, strict=True)
    ]
    of_new, of_real = np.mean(distances, axis=0)
    return figures | {
        "C2ST minus real": float(np.mean(accuracies)),
        "W1 over real": float(of_new / of_real),
        "rows a second": n / drawing,
        "chosen": fitted.choice,
    }


def c2st(x: Rows, y: Rows) -> float:
    """Return the accuracy of boosted trees that tell equally many rows of x and y apart, in three folds."""
    label = np.repeat([0, 1], [len(x), len(y)])
    order = np.random.default_rng(0).permutation(len(label))
    rows = np.concatenate([x, y])[order]
    return float(cross_val_score(HistGradientBoostingClassifier(random_state=0), rows, label[order], cv=3).mean())


def sliced_w1(x: Rows, y: Rows, generator: np.random.Generator) -> float:
    """Return the mean Wasserstein distance of equally many rows along random directions."""
    directions = generator.normal(size=(x.shape[1], N_PROJECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    return float(np.abs(np.sort(x @ directions, axis=0) - np.sort(y @ directions, axis=0)).mean())
