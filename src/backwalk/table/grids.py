"""Rounded numbers: the coarsest grid that has all values of a column."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.table.dtypes import numpy_dtype
from backwalk.table.maps import LARGEST, check_floats
from backwalk.table.schema import FloatArray

_MOST_DECIMALS = 9
_DENSE = 2.0**53  # from here on all numbers in float64 are integers
_ROWS_TRIED = 1_000  # before all rows
_CHANCE = 1e-6  # that distinct integers at random have a common step
_SPACINGS = 8.0  # of the dtype, which a decimal has to be wider than


@dataclass(frozen=True)
class Grid:
    """The numbers (offset + step k) / per, k an integer. The fields are integers, so that the numbers are exact.

    >>> Grid(step=1.0, offset=0.0, per=10.0).values(np.array([391.0]))
    array([39.1])
    """

    step: float = 1.0
    offset: float = 0.0
    per: float = 1.0

    def __post_init__(self) -> None:
        check_floats(self, positive=("step", "per"))
        if not (self.step.is_integer() and self.offset.is_integer() and self.per.is_integer()):
            raise InvalidInput(
                f"step, offset and per should be integers, but got {self.step}, {self.offset}, {self.per}."
            )

    @property
    def cell(self) -> float:
        """The distance of neighbours."""
        return self.step / self.per

    def values(self, k: FloatArray) -> FloatArray:
        """Return the numbers of given k; what float64 cannot hold is clipped to its largest number."""
        with np.errstate(over="ignore"):
            return np.clip((self.offset + self.step * k) / self.per, -LARGEST, LARGEST)

    def places(self, x: FloatArray) -> FloatArray:
        """Return k, not rounded, of numbers."""
        with np.errstate(over="ignore"):
            return np.asarray((x * self.per - self.offset) / self.step)


def grid_of(x: FloatArray, dtype: str) -> Grid | None:
    """Return the coarsest grid that has all of x, (n,), finite numbers of a dtype, or None if there is none.

    The step is a power of ten, or a multiple of one where distinct numbers at random would have it once in a million.

    >>> grid_of(np.array([39.1, 46.7]), "float64")
    Grid(step=1.0, offset=0.0, per=10.0)
    """
    single = _is_single(dtype)
    farthest = float(np.abs(x).max())
    for decimals in range(_MOST_DECIMALS + 1):
        per = 10.0**decimals
        if _is_too_fine(farthest, decimals, single=single):
            return None
        if _has(x[:_ROWS_TRIED], per, single=single) and _has(x, per, single=single):
            numerators = np.rint(x * per).astype(np.int64)
            first = int(numerators[0])
            return _coarsest(first, int(np.gcd.reduce(numerators - first)), partial(_n_distinct, numerators), per)
    return None


class RunningGrid:
    """The grid that `grid_of` finds, of numbers that come block by block.

    Numbers of few decimals are numbers of more decimals too, so that the decimals of all blocks are the most of any.
    """

    def __init__(self, dtype: str) -> None:
        self._single, self._decimals, self._farthest = _is_single(dtype), 0, 0.0
        self._first: int | None = None  # numerator
        self._step, self._has_none = 0, False
        self.fraction: float | None = None  # the first number that is no integer

    def add(self, x: FloatArray) -> None:
        """Take the next finite numbers, (n,)."""
        if not len(x) or self._has_none:
            return
        self._farthest = max(self._farthest, float(x.max()), -float(x.min()))
        while not self._has_none and not self._has(x):
            if self.fraction is None:
                self.fraction = float(next((number for number in x if number != np.rint(number)), x[0]))
            self._decimals += 1
            self._first, self._step = None if self._first is None else 10 * self._first, 10 * self._step
            self._has_none = self._decimals > _MOST_DECIMALS
        if self._has_none or self._step == 1:
            return
        numerators = np.rint(x * 10.0**self._decimals).astype(np.int64)
        self._first = int(numerators[0]) if self._first is None else self._first
        self._step = math.gcd(self._step, int(np.gcd.reduce(numerators - self._first)))

    def scale(self, factor: float) -> None:
        """Multiply all numbers so far, which are integers, by another integer."""
        self._farthest *= factor
        self._first = None if self._first is None else round(self._first * factor)
        self._step = round(self._step * factor)

    def grid(self, n_distinct: int) -> Grid | None:
        """Return the grid, where there were at least `n_distinct` distinct numbers."""
        if self._has_none or self._first is None or self._is_too_fine:
            return None
        return _coarsest(self._first, self._step, lambda: n_distinct, 10.0**self._decimals)

    @property
    def _is_too_fine(self) -> bool:
        return _is_too_fine(self._farthest, self._decimals, single=self._single)

    def _has(self, x: FloatArray) -> bool:
        if self._is_too_fine:
            self._has_none = True
            return False
        per = 10.0**self._decimals
        return _has(x[:_ROWS_TRIED], per, single=self._single) and _has(x, per, single=self._single)


def _is_single(dtype: str) -> bool:
    return numpy_dtype(dtype) in ("float16", "float32")


def _is_too_fine(farthest: float, decimals: int, *, single: bool) -> bool:
    """Return whether a float of some size has no room for decimals."""
    spacing = float(np.spacing(np.float32(farthest))) if single else float(np.spacing(farthest))
    per = 10.0**decimals
    return farthest * per >= _DENSE or (decimals > 0 and _SPACINGS * spacing * per > 1.0)


def _has(x: FloatArray, per: float, *, single: bool) -> bool:
    """Return whether all of x, (n,), are integers over `per`, in float32 if `single`."""
    rounded = np.rint(x * per) / per
    return bool((rounded.astype(np.float32) == x.astype(np.float32)).all() if single else (rounded == x).all())


def _n_distinct(numerators: npt.NDArray[np.int64]) -> int:
    return len(np.unique(numerators))


def _coarsest(first: int, step: int, n_distinct: Callable[[], int], per: float) -> Grid:
    """Return the grid of numerators that are `first` and multiples of `step` from it."""
    if step <= 1 or (n_distinct() - 2) * math.log(step) < -math.log(_CHANCE):
        return Grid(per=per)  # the step of k integers is d or more by chance with a probability of about d^(2 - k)
    return Grid(float(step), float(first % step), per)
