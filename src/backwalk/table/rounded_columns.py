"""The kind of columns whose numbers lie on a grid: integers, decimals such as 39.1, steps of 25."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.table.columns import (
    Axis,
    Column,
    HeavyTailedColumn,
    NumberColumn,
    check_numbers,
    check_range,
    range_of,
    stack,
)
from backwalk.table.grids import Grid
from backwalk.table.quantile_columns import QuantileColumn
from backwalk.table.rounded_maps import IntegerMaps, RoundedMaps

Dequantisation = Literal["uniform", "cosine"]
"""The density by which an integer is dequantised: see `rounded_maps.py`."""


@dataclass(frozen=True)
class IntegerColumn(Column):
    """A column of integers, or of other rounded numbers: (offset + step k) / per for integers k.

    They are dequantised by a density, then encoded as `number` is, and rounded when they are decoded. With
    `dequantisation` None, where the steps are finer than the model resolves, they are only rounded. New values lie
    within `least` and `largest`, if given.
    """

    number: NumberColumn | HeavyTailedColumn | QuantileColumn
    least: float | None
    largest: float | None
    dequantisation: Dequantisation | None
    step: float = 1.0
    offset: float = 0.0
    per: float = 1.0
    kind: ClassVar[str] = "integer"

    def __post_init__(self) -> None:
        if not isinstance(self.number, (NumberColumn, HeavyTailedColumn, QuantileColumn)):
            raise InvalidInput(f"number should be a number, heavy-tailed or mapped, but got {self.number!r}.")
        if self.dequantisation not in (None, *get_args(Dequantisation)):
            raise InvalidInput(f'dequantisation should be "uniform" or "cosine", but got {self.dequantisation!r}.')
        check_numbers(self, positive=("step", "per"), but=("number", "dequantisation"))
        if not (self.step.is_integer() and self.offset.is_integer() and self.per.is_integer()):
            raise InvalidInput(
                f"step, offset and per should be integers, but got {self.step}, {self.offset}, {self.per}."
            )
        check_range(self.least, self.largest)

    @property
    def grid(self) -> Grid:
        """The numbers that are decoded."""
        return Grid(self.step, self.offset, self.per)

    @property
    def family(self) -> str:
        return (
            f"{self.kind} {self.number.family}" if self.dequantisation else f"{self.kind} rounded {self.number.family}"
        )

    @property
    def n_uniforms(self) -> int:
        return 1 if self.dequantisation else 0

    @property
    def cell(self) -> float:
        return self.grid.cell

    @property
    def is_scaled(self) -> bool:
        return self.number.is_scaled

    @property
    def axis(self) -> Axis:
        return Axis(self.number.axis.asinh, integers=self.grid == Grid())

    @property
    def description(self) -> str:
        kind = "integers" if self.grid == Grid() else "numbers"
        steps = "" if self.cell == 1.0 else f" in steps of {self.cell:.6g}"
        ends = ["any" if end is None else f"{end:.6g}" for end in (self.least, self.largest)]
        drawn = f", dequantised by a {self.dequantisation} density" if self.dequantisation else ", rounded"
        return f"{kind} {ends[0]} to {ends[1]}{steps}{drawn}; {self.number.description}"

    @classmethod
    def stacked(cls, columns: Sequence[Self]) -> RoundedMaps:
        numbers = [column.number for column in columns]
        number = type(numbers[0]).stacked(numbers)  # type: ignore[arg-type]  # a family has numbers of one kind
        grid = (stack(columns, "step"), stack(columns, "offset"), stack(columns, "per"))
        if columns[0].dequantisation is None:
            return RoundedMaps(*range_of(columns), number, *grid)
        cosine = np.array([float(column.dequantisation == "cosine") for column in columns])
        return IntegerMaps(*range_of(columns), number, *grid, cosine)
