"""The kind of columns that hold numbers with a density: a chain of maps, on a continuous scale or on a grid.

`Column` (`columns.py`) says what each method returns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.columns import Column
from backwalk.table.dequantisation import Cells, Interval
from backwalk.table.grids import Grid
from backwalk.table.maps import Affine, Asinh, BoolArray, Boundary, Chain, NumberMap, Spline, check_floats
from backwalk.table.schema import FloatArray

_PARTS = {"asinh": Asinh, "bounds": Boundary, "spline": Spline, "grid": Grid}
_HARMONICS = 2  # of a period


@dataclass(frozen=True)
class NumberColumn(Column):
    """A number, which is encoded by the maps `asinh`, `centre` and `scale`, `bounds`, `spline`, in this order.

    - `asinh`: the map for heavy tails, or None.
    - `centre`, `scale`: the mean and the standard deviation of the number, or of what `asinh` makes of it.
    - `bounds`: the map that ends at known bounds, or None.
    - `spline`: the map to about a standard normal, or None.
    - `least`, `largest`: the range of new values, if given.
    - `grid`: the rounded numbers that are decoded, or None on a continuous scale.
    - `dequantisation`: c of the density by which numbers of the grid are dequantised (`dequantisation.py`), or None if
      they are rounded only.
    - `tails`: the mean lengths, in steps, by which the first and the last cell reach beyond the range; 0 for none.
    - `left_out`: numbers of the grid that the column never equals: the atoms beside it (`AtomsColumn`).
    - `periods`: lengths, such as that of a year, after which the other columns may repeat.
    - `always_given`: whether the column is never asked for, so that it may have any value, also beside its grid.
    """

    centre: float
    scale: float
    least: float | None = None
    largest: float | None = None
    asinh: Asinh | None = None
    bounds: Boundary | None = None
    spline: Spline | None = None
    grid: Grid | None = None
    dequantisation: float | None = None
    left_out: tuple[float, ...] = ()
    tails: tuple[float, float] = (0.0, 0.0)
    periods: tuple[float, ...] = ()
    always_given: bool = False

    def __post_init__(self) -> None:
        for name, part_class in _PARTS.items():
            part = getattr(self, name)
            if not isinstance(part, part_class) and part is not None:
                raise InvalidInput(f"{name} of a column should be a {part_class.__name__}, but got {part!r:.60}.")
        ends = {"least": self.least, "largest": self.largest}
        check_floats(ends, optional=tuple(ends))
        if self.least is not None and self.largest is not None and self.least > self.largest:
            raise InvalidInput(f"least should be at most largest, but got {self.least} and {self.largest}.")
        check_floats({"dequantisation": self.dequantisation}, optional=("dequantisation",))
        if self.dequantisation is not None and not 0.0 <= self.dequantisation < 1.0:
            raise InvalidInput(f"dequantisation should be in [0, 1), but got {self.dequantisation}: fit again.")
        if self.grid is None and self.dequantisation is not None:
            raise InvalidInput("Numbers that are dequantised should lie on a grid: fit the codec again.")
        for period in self.periods:
            check_floats({"a period": period}, positive=("a period",))
        if not isinstance(self.always_given, bool):
            raise InvalidInput(f"always_given should be True or False, but got {self.always_given!r:.60}.")
        if self.periods and not self.is_linear:  # `chain` checks centre and scale
            raise InvalidInput("Numbers with periods should be centred and scaled only: fit the codec again.")
        _ = self.chain

    @property
    def number_column(self) -> NumberColumn:
        return self

    @cached_property
    def chain(self) -> Chain:
        maps: list[NumberMap | None] = [self.asinh, Affine(self.centre, self.scale), self.bounds, self.spline]
        return Chain(tuple(each for each in maps if each is not None))

    @property
    def before_bounds(self) -> Chain:
        """The maps of which `bounds` takes the numbers."""
        return replace(self, bounds=None, spline=None).chain

    @cached_property
    def support(self) -> Interval:
        """The values that the number may take."""
        if self.grid is None:
            return Interval(*self.value_range)
        return Cells(*self.value_range, self.grid, self.dequantisation, self.left_out, self.tails)

    @property
    def comes_first(self) -> bool:
        return bool(self.periods)

    @property
    def frequencies(self) -> tuple[float, ...]:
        """The frequencies of the first harmonics of each period, radians per encoded unit."""
        return tuple(
            2.0 * math.pi * k * self.scale / period for period in self.periods for k in range(1, _HARMONICS + 1)
        )

    @property
    def width(self) -> int:
        return 1

    @property
    def value_range(self) -> tuple[float, float]:
        least = -math.inf if self.least is None else self.least
        return least, math.inf if self.largest is None else self.largest

    @property
    def kind_name(self) -> str:
        if self.grid is not None:
            return "integer" if self.cell_width == 1.0 else "rounded"
        has_tails_only = self.asinh is not None and self.bounds is None and self.spline is None
        return "heavy-tailed" if has_tails_only else "number"

    @property
    def description(self) -> str:
        if self.asinh is not None:
            words = (
                "number with heavy tails, transformed by asinh "
                f"(linear within {self.asinh.scale:.4g} of {self.asinh.centre:.4g})"
            )
        elif self.centre == 0.0 and self.scale == 1.0:
            words = "number, as it is"
        else:
            words = f"number of mean {self.centre:.4g} and standard deviation {self.scale:.4g}"
        if self.bounds is not None:
            ends = [f"{end:.6g}" for end in (self.least, self.largest) if end is not None]
            mapped = "mapped to a normal within" if self.bounds.share is None else "within"
            words += f", {mapped} {'bounds' if len(ends) == 2 else 'the bound'} {' and '.join(ends)}"
        if self.spline is not None:
            words += f", mapped to a normal through {len(self.spline.knots)} quantiles"
        if self.grid is not None:
            numbers = "integers" if self.is_integer else "numbers"
            steps = "" if self.cell_width == 1.0 else f" in steps of {self.cell_width:.6g}"
            least, largest = ("any" if end is None else f"{end:.6g}" for end in (self.least, self.largest))
            drawn = "rounded" if self.dequantisation is None else "dequantised"
            words = f"{numbers} {least} to {largest}{steps}, {drawn}; {words}"
        return words

    @property
    def requirement(self) -> str:
        return "lie within 1e308 scales of the fitted ones" if self.bounds is None else "lie within their bounds"

    @property
    def is_integer(self) -> bool:
        return self.grid == Grid()

    @property
    def is_linear(self) -> bool:
        return len(self.chain.maps) == 1

    @property
    def cell_width(self) -> float:
        return 0.0 if self.grid is None else self.grid.cell

    def encode(self, x: FloatArray, place: FloatArray | None = None) -> FloatArray:
        return self.chain.encode(x if place is None else self.support.dequantise(x, place))[:, None]

    def decode(self, z: FloatArray) -> FloatArray:
        return self.support.round(self.chain.decode(z[:, 0]))

    def log_slope(self, x: FloatArray) -> FloatArray:
        return self.chain.log_slope(x)

    def deviation_in_user_units(self, deviation: FloatArray, z: FloatArray) -> FloatArray:
        return self.chain.deviation_in_user_units(deviation[:, 0], z[:, 0])

    def supports(self, x: FloatArray, dtype: str | None) -> BoolArray:
        is_supported = np.ones(x.shape, dtype=bool) if self.always_given else self.support.supports(x, dtype)
        return is_supported if self.bounds is None else is_supported & np.isfinite(self.chain.encode(x))

    def nearest(self, x: FloatArray) -> FloatArray:
        return self.support.round(x)

    def on_grid(self, x: FloatArray) -> FloatArray:
        return x if self.grid is None else self.grid.values(np.rint(self.grid.places(x)))

    def within_range(self, x: FloatArray) -> FloatArray:
        return self.support.reflect(x)

    def dequantise(self, x: FloatArray, place: FloatArray) -> FloatArray:
        return self.support.dequantise(x, place)

    def log_dequantisation(self, x: FloatArray, values: FloatArray) -> FloatArray:
        return self.support.log_density(x, values)
