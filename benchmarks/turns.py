"""The notebook's training beside ours, in turns: A B C D A B C D in one process, so that a machine's drift cancels.

A is an epoch of the notebook's loop as written, B of the same loop with rows gathered by an index, C of
`Diffusion.ddpm()`, which is the same model, and D the whole of `Diffusion().fit`; then fits in a given time.
"""

from __future__ import annotations

import statistics
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backwalk import Diffusion, PriorMismatchWarning
from benchmarks.draws import Results
from benchmarks.methods import timed
from benchmarks.notebook import N_EPOCHS, Notebook, Rows, notebook_points
from benchmarks.record import Figures, Store
from benchmarks.tables import table

WARM_UP_EPOCHS = 3
SERIES = ("notebook_epoch", "indexed_epoch", "ddpm_epoch", "default_fit")
BUDGETS = (0.8, 2.5)  # seconds, of fits that are held against a share of the notebook's time

TITLE = "The notebook's training, in turns"


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
    """Return each round's seconds: of an epoch of the three loops, of a default fit, and of fits in a given time."""
    notebook, by_index = Notebook(points, seed=0), Notebook(points, seed=0, by_index=True)
    notebook.train(WARM_UP_EPOCHS)
    by_index.train(WARM_UP_EPOCHS)
    _fit_ddpm(points, n_epochs=WARM_UP_EPOCHS, seed=0)
    _fit_default(points, max_steps=WARM_UP_EPOCHS, seed=0)
    seconds: dict[str, list[float]] = {name: [] for name in (*SERIES, *map(of_budget, BUDGETS))}
    for round_ in range(sizes.n_rounds):
        for name, model in (("notebook_epoch", notebook), ("indexed_epoch", by_index)):
            _, taken = timed(partial(model.train, sizes.n_epochs))
            seconds[name].append(taken / sizes.n_epochs)
        ddpm = _fit_ddpm(points, n_epochs=sizes.n_epochs, seed=round_)
        seconds["ddpm_epoch"].append(ddpm.history_.seconds / sizes.n_epochs)
        _, taken = timed(partial(_fit_default, points, max_steps=sizes.max_steps, seed=round_))
        seconds["default_fit"].append(taken)
        for budget in BUDGETS:
            _, taken = timed(partial(_fit_default, points, max_steps=sizes.max_steps, seed=round_, max_time=budget))
            seconds[of_budget(budget)].append(taken)
    return seconds


def of_budget(budget: float) -> str:
    """Return the name of the series of fits in `budget` seconds."""
    return f"fit_in_{1000 * budget:.0f}_ms"


def summary(seconds: Figures) -> dict[str, float]:
    """Return the medians, and the notebook's seconds over ours: the median over the rounds of the round's ratio."""
    fits = ("default_fit", *map(of_budget, BUDGETS))
    ratios = {
        f"{loop}_over_{name}": times * median_ratio(seconds[f"{loop}_epoch"], seconds[name])
        for loop in ("notebook", "indexed")
        for name, times in (("ddpm_epoch", 1), *((fit, N_EPOCHS) for fit in fits))
    }
    return {name: statistics.median(seconds[name]) for name in (*SERIES, *fits[1:])} | ratios


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """Return the median of the rounds' own ratios."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def _fit_ddpm(points: Rows, *, n_epochs: int, seed: int) -> Diffusion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PriorMismatchWarning)
        return Diffusion.ddpm(n_epochs=n_epochs, random_state=seed, verbose=False).fit(points)


def _fit_default(points: Rows, *, max_steps: int | None, seed: int, max_time: float | None = None) -> Diffusion:
    return Diffusion(max_steps=max_steps, max_time=max_time, random_state=seed, verbose=False).fit(points)


def told(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the notebook's times beside ours."""
    texts = []
    for result in results:
        figures = summary(result)
        rows = [
            ("the notebook's loop as written", f"{1e3 * figures['notebook_epoch']:.1f}", "", ""),
            ("the same, rows by index", f"{1e3 * figures['indexed_epoch']:.1f}", "", ""),
            (
                "`Diffusion.ddpm()`",
                f"{1e3 * figures['ddpm_epoch']:.1f}",
                "",
                f"{figures['notebook_over_ddpm_epoch']:.2f} (by index {figures['indexed_over_ddpm_epoch']:.2f})",
            ),
            *(
                (
                    f"`Diffusion({argument})`, the whole fit",
                    "",
                    f"{figures[fit]:.2f}",
                    f"{figures[f'notebook_over_{fit}']:.0f} (by index {figures[f'indexed_over_{fit}']:.0f}), of "
                    f"{N_EPOCHS:,} epochs, extrapolated",
                )
                for fit, argument in (
                    ("default_fit", ""),
                    *((of_budget(budget), f"max_time={budget:g}") for budget in BUDGETS),
                )
            ),
        ]
        texts.append(
            table(
                (
                    f"two moons, {result['key']['n_points']:,} rows",
                    "an epoch, ms",
                    "whole fit, s",
                    "the notebook's time over this",
                ),
                rows,
            )
        )
    return "\n".join(texts)
