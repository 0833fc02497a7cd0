"""The kind of columns that are mapped to about a standard normal through knots at their quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.bounded_columns import BoundedColumn
from backwalk.table.columns import HeavyTailedColumn, MappedColumn, NumberColumn
from backwalk.table.quantile_maps import QuantileMaps


@dataclass(frozen=True)
class QuantileColumn(MappedColumn):
    """A number that is encoded as `number` is, and then mapped from `knots` to `quantiles` of a standard normal.

    The knots are coordinates of `number`, and increase, as do the quantiles.
    """

    number: NumberColumn | HeavyTailedColumn | BoundedColumn
    knots: tuple[float, ...]
    quantiles: tuple[float, ...]
    kind: ClassVar[str] = "quantile"

    def __post_init__(self) -> None:
        if not isinstance(self.number, (NumberColumn, HeavyTailedColumn, BoundedColumn)):
            raise InvalidInput(f"number should be a number, heavy-tailed or bounded, but got {self.number!r}.")
        for name, values in (("knots", self.knots), ("quantiles", self.quantiles)):
            if not isinstance(values, tuple) or not all(isinstance(v, float) and math.isfinite(v) for v in values):
                raise InvalidInput(f"{name} should be a tuple of finite floats, but got {values!r:.60}.")
            if len(values) < 2 or any(a >= b for a, b in pairwise(values)):
                raise InvalidInput(f"{name} should be two or more that increase: fit the codec again.")
        if len(self.knots) != len(self.quantiles):
            raise InvalidInput(f"There should be a quantile for each of {len(self.knots)} knots: fit the codec again.")

    @property
    def family(self) -> str:
        return f"{self.kind} {len(self.knots)} {self.number.family}"

    @property
    def description(self) -> str:
        return f"{self.number.description}, mapped to a normal through {len(self.knots)} quantiles"

    @property
    def accepted(self) -> str:
        return self.number.accepted

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> QuantileMaps:
        numbers = [column.number for column in columns]
        return QuantileMaps(
            type(numbers[0]).stacked(numbers),  # type: ignore[arg-type]  # a family has numbers of one kind
            np.array([column.knots for column in columns]),
            np.array([column.quantiles for column in columns]),
        )
