"""Rounded numbers: the coarsest grid that has all values of a column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.dtypes import numpy_dtype
from backwalk.table.maps import LARGEST, check_floats
from backwalk.table.schema import FloatArray

_MOST_DECIMALS = 6  # numbers with more were computed, and have no steps
_DENSE = 2.0**53  # from here on all numbers in float64 are integers
_ROWS_TRIED = 1_000  # before all rows
_CHANCE = 1e-6  # that distinct integers at random have a common step
_SPACINGS = 8.0  # of the dtype, which a decimal has to be wider than


@dataclass(frozen=True)
class Grid:
    """The numbers (offset + step k) / per, k an integer. The fields are integers, so that the numbers are exact.

    >>> import numpy as np
    >>> from backwalk.table.grids import Grid
    >>> Grid(step=1.0, offset=0.0, per=10.0).values(np.array([391.0]))
    array([39.1])
    """

    step: float = 1.0
    offset: float = 0.0
    per: float = 1.0

    def __post_init__(self) -> None:
        check_floats(vars(self), positive=("step", "per"))
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


def find_grid(
    x: FloatArray, dtype: str, *, n_distinct: int | None = None, farthest: float | None = None
) -> Grid | None:
    """Return the coarsest grid that has all finite numbers x, (n,), of a dtype; None if there is none.

    The step is a power of ten, or a multiple of one where distinct numbers at random would have it once in a million.
    Where x are some of a column's numbers, `n_distinct` are distinct, and `farthest` is the size of the largest.

    >>> import numpy as np
    >>> from backwalk.table.grids import find_grid
    >>> find_grid(np.array([39.1, 46.7]), "float64")
    Grid(step=1.0, offset=0.0, per=10.0)
    """
    if not len(x):
        return None
    is_single = numpy_dtype(dtype) in ("float16", "float32")
    farthest = float(np.abs(x).max()) if farthest is None else farthest
    for decimals in range(_MOST_DECIMALS + 1):
        per = 10.0**decimals
        spacing = float(np.spacing(np.float32(farthest) if is_single else farthest))
        if farthest * per >= _DENSE or (decimals > 0 and _SPACINGS * spacing * per > 1.0):
            return None  # a float of this size has no room for the decimals
        if all(_has_decimals(some, per, is_single=is_single) for some in (x[:_ROWS_TRIED], x)):
            break
    else:
        return None
    numerators = np.rint(x * per).astype(np.int64)
    step = int(np.gcd.reduce(numerators - numerators[0]))
    n_distinct = len(np.unique(x)) if n_distinct is None else n_distinct
    # The step of k integers is d or more by chance with a probability of about d^(2 - k).
    if step <= 1 or (n_distinct - 2) * math.log(step) < -math.log(_CHANCE):
        return Grid(per=per)
    return Grid(float(step), float(numerators[0] % step), per)


def _has_decimals(x: FloatArray, per: float, *, is_single: bool) -> bool:
    dtype = np.float32 if is_single else np.float64
    return bool(((np.rint(x * per) / per).astype(dtype) == x.astype(dtype)).all())


def off_grid(cell: str, grid: Grid, dtype: str) -> str:
    """Return the condition in SQL that a number is not on a grid."""
    as_type = "FLOAT" if numpy_dtype(dtype) in ("float16", "float32") else "DOUBLE"
    numerator = f"round({cell} * {grid.per!r})"
    is_off = f"CAST({numerator} / {grid.per!r} AS {as_type}) <> CAST({cell} AS {as_type})"
    if grid.step == 1.0:
        return is_off
    return f"{is_off} OR (CAST({numerator} AS BIGINT) - {grid.offset:.0f}) % {grid.step:.0f} <> 0"
