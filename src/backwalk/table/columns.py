"""The kinds of columns: one frozen record for each column of the user's table.

A record has the number of encoded coordinates of its column (`width`), the maps between values and coordinates
(`maps`), and how reports describe, draw and compare it. A `Codec` uses the maps vectorised over the columns of one kind
(`maps.py`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, cast

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.blocks import Block
from backwalk.table.maps import AsinhMaps, ConstantMaps, Maps, NumberMaps

LEAST_SCALE = 4.0 * float(np.finfo(np.float64).tiny)  # below this, numbers lose digits


@dataclass(frozen=True)
class Axis:
    """How pictures draw a column's values.

    The axis is linear, or asinh((x - centre) / scale) if `asinh` is (centre, scale). With `integers`, the bins of
    histograms end half-way between integers. With `levels`, there is a bar for each of these values.
    """

    asinh: tuple[float, float] | None = None
    integers: bool = False
    levels: tuple[float, ...] | None = None


class Column(ABC):
    """A column of the user's table. Its kinds are frozen dataclasses of plain numbers."""

    kind: ClassVar[str]

    @property
    def width(self) -> int:
        """The number of encoded coordinates."""
        return 1

    @property
    def family(self) -> str:
        """Columns of the same family are mapped together."""
        return self.kind

    @property
    def n_uniforms(self) -> int:
        """The number of uniform draws that encoding a value takes."""
        return 0

    @property
    def cell(self) -> float:
        """The width of the interval of numbers that are decoded to the same value; 0 on a continuous scale."""
        return 0.0

    @property
    def is_scaled(self) -> bool:
        """Whether the coordinate differs from the value itself."""
        return True

    @property
    def axis(self) -> Axis:
        """How pictures draw the column."""
        return Axis()

    @property
    @abstractmethod
    def description(self) -> str:
        """The column's kind and encoding, in one line."""

    @property
    def accepted(self) -> str:
        """The values that can be encoded, as the end of the sentence "Values should ..."."""
        return "lie within 1e308 scales of the fitted ones"

    def block(self, column: int, coordinates: slice) -> Block | None:
        """Return the levels of the column, the `column`-th of its table, or None if it has none."""
        return None

    @property
    def maps(self) -> Maps:
        """The maps of this column alone."""
        return self.stacked((self,))

    @classmethod
    @abstractmethod
    def stacked(cls, columns: Sequence[Self]) -> Maps:
        """Return the maps of columns of one family side by side."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON values, exactly."""
        return {"kind": self.kind, **{field.name: _plain(getattr(self, field.name)) for field in fields(self)}}  # type: ignore[arg-type]  # kinds are dataclasses


@dataclass(frozen=True)
class ConstantColumn(Column):
    """A column with the same `value` in every row. It has no coordinates, and is decoded exactly."""

    value: float
    kind: ClassVar[str] = "constant"

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def width(self) -> int:
        return 0

    @property
    def is_scaled(self) -> bool:
        return False

    @property
    def description(self) -> str:
        return f"constant, {self.value:.6g}"

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> Maps:
        return ConstantMaps(stack(columns, "value"))


@dataclass(frozen=True)
class NumberColumn(Column):
    """A number: `centre` and `scale` in the user's units. New values lie within `least` and `largest`, if given."""

    centre: float
    scale: float
    least: float | None = None
    largest: float | None = None
    kind: ClassVar[str] = "number"

    def __post_init__(self) -> None:
        check_numbers(self, positive=("scale",))
        check_range(self.least, self.largest)

    @property
    def is_scaled(self) -> bool:
        return self.centre != 0.0 or self.scale != 1.0

    @property
    def description(self) -> str:
        if not self.is_scaled:
            return "number, as it is"
        return f"number of mean {self.centre:.4g} and standard deviation {self.scale:.4g}"

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> NumberMaps:
        return NumberMaps(*range_of(columns), stack(columns, "centre"), stack(columns, "scale"))


@dataclass(frozen=True)
class HeavyTailedColumn(Column):
    """A number with heavy tails: `asinh_centre` and `asinh_scale` in the user's units.

    `centre` and `scale` are the mean and the standard deviation of asinh((x - asinh_centre) / asinh_scale). New values
    lie within `least` and `largest`, if given.
    """

    asinh_centre: float
    asinh_scale: float
    centre: float
    scale: float
    least: float | None = None
    largest: float | None = None
    kind: ClassVar[str] = "heavy-tailed"

    def __post_init__(self) -> None:
        check_numbers(self, positive=("asinh_scale", "scale"))
        check_range(self.least, self.largest)

    @property
    def axis(self) -> Axis:
        return Axis(asinh=(self.asinh_centre, self.asinh_scale))

    @property
    def description(self) -> str:
        return (
            "number with heavy tails, transformed by asinh "
            f"(linear within {self.asinh_scale:.4g} of {self.asinh_centre:.4g})"
        )

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> AsinhMaps:
        linear = NumberMaps(*range_of(()), stack(columns, "centre"), stack(columns, "scale"))
        return AsinhMaps(*range_of(columns), stack(columns, "asinh_centre"), stack(columns, "asinh_scale"), linear)


class MappedColumn(Column):
    """A column that is encoded as `number` is, and then mapped: its axis and its range are those of `number`."""

    number: Any

    @property
    def axis(self) -> Axis:
        return cast("Axis", self.number.axis)

    @property
    def least(self) -> float | None:
        """The least new value, or None."""
        return cast("float | None", self.number.least)

    @property
    def largest(self) -> float | None:
        """The largest new value, or None."""
        return cast("float | None", self.number.largest)


def _plain(value: Any) -> Any:
    if isinstance(value, Column):
        return value.to_dict()
    # NaN is not JSON.
    return [None if math.isnan(number) else number for number in value] if isinstance(value, tuple) else value


def stack(columns: Sequence[Column], name: str) -> np.ndarray:
    """Return one field of each column: (m,)."""
    return np.array([getattr(column, name) for column in columns], dtype=np.float64)


def range_of(columns: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of each column, (m,) each; infinite where there is none."""
    least = [-math.inf if column.least is None else column.least for column in columns]
    return np.array(least), np.array([math.inf if column.largest is None else column.largest for column in columns])


def check_range(least: float | None, largest: float | None) -> None:
    """Raise InvalidInput if bounds do not increase."""
    if least is not None and largest is not None and least > largest:
        raise InvalidInput(f"least should be at most largest, but got {least} and {largest}.")


def check_numbers(column: Column, *, positive: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> None:
    """Raise InvalidInput if a field is not a finite float, or one of the `positive` ones too small."""
    for name, value in vars(column).items():
        if name in but or (value is None and name in ("least", "largest")):
            continue
        if not isinstance(value, float) or not math.isfinite(value):
            raise InvalidInput(f"{name} of a column should be a finite float, but got {value!r}: fit the codec again.")
        if name in positive and value < LEAST_SCALE:
            raise InvalidInput(f"{name} should be at least {LEAST_SCALE:.1e}, but got {value}: fit the codec again.")
