"""The kind of columns whose bounds are known: a map makes all numbers of them, so that no new value lies beyond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.bounded_maps import BoundaryMaps
from backwalk.table.columns import HeavyTailedColumn, MappedColumn, NumberColumn, check_numbers, stack


@dataclass(frozen=True)
class BoundedColumn(MappedColumn):
    """A number that is encoded as `number` is, and then mapped such that its bounds are at infinity.

    `low` and `high` are the ends of the map, as coordinates of `number`; one of them may be None. Within the `margin`
    of an end the map goes to infinity. The bounds themselves are the range of `number`, from which the ends differ
    where rows lie at a bound.
    """

    number: NumberColumn | HeavyTailedColumn
    low: float | None
    high: float | None
    margin: float
    kind: ClassVar[str] = "bounded"

    def __post_init__(self) -> None:
        if not isinstance(self.number, (NumberColumn, HeavyTailedColumn)):
            raise InvalidInput(f"number should be a number or heavy-tailed, but got {self.number!r}.")
        free = tuple(name for name in ("low", "high") if getattr(self, name) is None)
        check_numbers(self, positive=("margin",), but=("number", *free))
        low, high = (-math.inf if self.low is None else self.low), (math.inf if self.high is None else self.high)
        if len(free) == 2 or not low + 2.0 * self.margin <= high:
            raise InvalidInput(
                f"low and high should differ by two margins of {self.margin} at least, but got {self.low} and "
                f"{self.high}: fit the codec again."
            )

    @property
    def family(self) -> str:
        return f"{self.kind} {self.number.family}"

    @property
    def description(self) -> str:
        ends = (self.least, self.largest)
        words = " and ".join(f"{end:.6g}" for end in ends if end is not None)
        return f"{self.number.description}, with {'bounds' if None not in ends else 'the bound'} {words} at infinity"

    @property
    def accepted(self) -> str:
        return "lie within their bounds"

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> BoundaryMaps:
        numbers = [column.number for column in columns]
        return BoundaryMaps(
            type(numbers[0]).stacked(numbers),  # type: ignore[arg-type]  # a family has numbers of one kind
            np.array([-math.inf if column.low is None else column.low for column in columns]),
            np.array([math.inf if column.high is None else column.high for column in columns]),
            stack(columns, "margin"),
        )
