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


class RunningGrid:
    """The coarsest grid that has all numbers of a dtype, which come block by block.

    The step is a power of ten, or a multiple of one where distinct numbers at random would have it once in a million.
    Numbers of few decimals are numbers of more decimals too, so that the decimals of all blocks are the most of any.

    >>> import numpy as np
    >>> from backwalk.table.grids import RunningGrid
    >>> running = RunningGrid("float64")
    >>> running.add(np.array([39.1, 46.7]))
    >>> running.grid(n_distinct=2)
    Grid(step=1.0, offset=0.0, per=10.0)
    """

    def __init__(self, dtype: str) -> None:
        self._is_single = numpy_dtype(dtype) in ("float16", "float32")
        self._decimals, self._farthest = 0, 0.0
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
        """Return the grid, where there were at least `n_distinct` distinct numbers; None if there is none."""
        if self._has_none or self._first is None or self._is_too_fine:
            return None
        # The step of k integers is d or more by chance with a probability of about d^(2 - k).
        if self._step <= 1 or (n_distinct - 2) * math.log(self._step) < -math.log(_CHANCE):
            return Grid(per=10.0**self._decimals)
        return Grid(float(self._step), float(self._first % self._step), 10.0**self._decimals)

    @property
    def _is_too_fine(self) -> bool:
        """Whether a float as large as the farthest number has no room for the decimals."""
        far, per = self._farthest, 10.0**self._decimals
        spacing = float(np.spacing(np.float32(far))) if self._is_single else float(np.spacing(far))
        return far * per >= _DENSE or (self._decimals > 0 and _SPACINGS * spacing * per > 1.0)

    def _has(self, x: FloatArray) -> bool:
        """Return whether all of x, (n,), have no more decimals than those so far."""
        if self._is_too_fine:
            self._has_none = True
            return False
        per, dtype = 10.0**self._decimals, np.float32 if self._is_single else np.float64
        for some in (x[:_ROWS_TRIED], x):
            rounded = np.rint(some * per) / per
            if (rounded.astype(dtype) != some.astype(dtype)).any():
                return False
        return True
