"""Rounded numbers: the coarsest grid that has all values of a column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backwalk.table.dtypes import numpy_dtype
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

    @property
    def cell(self) -> float:
        """The distance of neighbours."""
        return self.step / self.per

    def values(self, k: FloatArray) -> FloatArray:
        """Return the numbers of given k."""
        return np.asarray((self.offset + self.step * k) / self.per)

    def places(self, x: FloatArray) -> FloatArray:
        """Return k, not rounded, of numbers."""
        return np.asarray((x * self.per - self.offset) / self.step)


def grid_of(x: FloatArray, dtype: str) -> Grid | None:
    """Return the coarsest grid that has all of x, (n,), finite numbers of a dtype, or None if there is none.

    The step is a power of ten, or a multiple of one where distinct numbers at random would have it once in a million.

    >>> grid_of(np.array([39.1, 46.7]), "float64")
    Grid(step=1.0, offset=0.0, per=10.0)
    """
    single = numpy_dtype(dtype) in ("float16", "float32")
    farthest = float(np.abs(x).max())
    for decimals in range(_MOST_DECIMALS + 1):
        per = 10.0**decimals
        spacing = float(np.spacing(np.float32(farthest))) if single else float(np.spacing(farthest))
        if farthest * per >= _DENSE or (decimals and _SPACINGS * spacing * per > 1.0):
            return None
        if _has(x[:_ROWS_TRIED], per, single=single) and _has(x, per, single=single):
            return _coarsest(np.rint(x * per).astype(np.int64), per)
    return None


def _has(x: FloatArray, per: float, *, single: bool) -> bool:
    """Return whether all of x, (n,), are integers over `per`, in float32 if `single`."""
    rounded = np.rint(x * per) / per
    return bool((rounded.astype(np.float32) == x.astype(np.float32)).all() if single else (rounded == x).all())


def _coarsest(numerators: np.ndarray, per: float) -> Grid:
    first = int(numerators[0])
    step = int(np.gcd.reduce(numerators - first))
    if step == 1 or (len(np.unique(numerators)) - 2) * math.log(step) < -math.log(_CHANCE):
        return Grid(per=per)  # the step of k integers is d or more by chance with a probability of about d^(2 - k)
    return Grid(float(step), float(first % step), per)
