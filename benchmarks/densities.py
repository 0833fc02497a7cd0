"""The densities of the suite: eleven with a known logarithm, from the plane to 32 dimensions.

Curves and sharp edges in the plane, a Gaussian mixture (the home of one of the peers), a funnel whose scales span
decades, chains along which every column bends after the one before, and a mixture bent in 32 dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backwalk.datasets import (
    Density,
    checkerboard,
    curved_chain,
    funnel,
    gaussian_mixture,
    pinwheel,
    rings,
    rotated_chain,
    spirals,
    two_moons,
    warped_mixture,
)
from benchmarks.notebook import N_POINTS, Rows, notebook_points


@dataclass(frozen=True)
class Case:
    """A density: what the tables call it, how it is made, and the rows that every method is given.

    These are independent draws unless `draw`, from (n, seed), gives others.
    """

    name: str
    make: Callable[[], Density]
    n_train: int
    draw: Callable[[int, int], Rows] | None = None

    def training_rows(self, n: int | None, seed: int) -> Rows:
        """Return n rows, or as many as the case has, with a seed."""
        n = n or self.n_train
        return self.make().sample(n, random_state=seed) if self.draw is None else self.draw(n, seed)


CASES = (
    Case("two_moons", two_moons, 10_000),
    Case("rings", rings, 10_000),
    Case("spirals", spirals, 10_000),
    Case("checkerboard", checkerboard, 10_000),
    Case("pinwheel", pinwheel, 10_000),
    Case("curved_chain", curved_chain, 20_000),
    Case("rotated_chain", rotated_chain, 20_000),
    Case("funnel", funnel, 20_000),
    Case("gaussian_mixture_16", lambda: gaussian_mixture(16), 20_000),
    Case("warped_mixture_12", lambda: warped_mixture(12), 20_000),
    Case("warped_mixture", warped_mixture, 20_000),
)


MOONS_ON_A_GRID = Case("make_moons", two_moons, N_POINTS, notebook_points)
"""The same density by scikit-learn, whose angles lie on a grid: along the moons the rows have no sampling noise."""


def cases(names: Sequence[str]) -> list[Case]:
    """Return the cases of these names, in the suite's order. Ends the command where a name is none of them."""
    refuse_unknown("densities", names, [case.name for case in CASES])
    return [case for case in CASES if case.name in names]


def refuse_unknown(what: str, names: Sequence[str], known: Sequence[str]) -> None:
    """End the command, with what is known, where a name is not."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"{what} should be among {', '.join(known)}, but got {', '.join(unknown)}.")
