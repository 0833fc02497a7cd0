"""The kind of columns whose bounds are known: a map makes all numbers of them, so that no new value lies beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.bounded_maps import BoundaryMaps
from backwalk.table.columns import Column, check_numbers, check_range, range_of, stack


@dataclass(frozen=True)
class BoundedColumn(Column):
    """A number between `low` and `high`, of which one may be None.

    It is mapped to all numbers: through the normal quantiles of its place between two bounds, or the logarithm of its
    distance from one. `centre` and `scale` are the mean and the standard deviation of the mapped numbers. New values
    lie within `least` and `largest`, which differ from `low` and `high` where rows lie at a bound.
    """

    low: float | None
    high: float | None
    centre: float
    scale: float
    least: float | None
    largest: float | None
    kind: ClassVar[str] = "bounded"

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise InvalidInput("A bounded column should have low or high: give one, or a number without bounds.")
        numbers = tuple(name for name in ("low", "high") if getattr(self, name) is None)
        check_numbers(self, positive=("scale",), but=numbers)
        check_range(self.low, self.high)
        check_range(self.least, self.largest)

    @property
    def description(self) -> str:
        if self.low is None or self.high is None:
            bound = f"above {self.low:.4g}" if self.low is not None else f"below {self.high:.4g}"
            return f"number {bound}, mapped by the logarithm of its distance"
        return f"number between {self.low:.4g} and {self.high:.4g}, mapped to a normal as if it were uniform"

    @property
    def accepted(self) -> str:
        return "lie within their bounds"

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> BoundaryMaps:
        return BoundaryMaps(
            *range_of(columns),
            np.array([-math.inf if column.low is None else column.low for column in columns]),
            np.array([math.inf if column.high is None else column.high for column in columns]),
            stack(columns, "centre"),
            stack(columns, "scale"),
        )
