"""The columns of a fit: those that are set aside, and the codec of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from backwalk.errors import InvalidInput
from backwalk.fitting.settings import Settings
from backwalk.formatting import listed
from backwalk.model import DiffusionModel, user_terms
from backwalk.table import Codec, Schema, Table, set_aside
from backwalk.table.schema import FloatArray, shown

_OTHER = (
    "warm_start needs the columns and levels of the previous fit, {}, but got {}: give the same, or set "
    "warm_start=False."
)


@dataclass(frozen=True, eq=False)
class ChosenColumns:
    """The table without the columns that are set aside, its codec, and the reasons by name."""

    table: Table
    codec: Codec
    set_aside: Mapping[str, str]

    @property
    def gaps(self) -> list[int]:
        """The number of missing values in each column of the table."""
        found: list[int] = (~self.table.observed).sum(axis=0).tolist()
        return found


def chosen_columns(table: Table, settings: Settings, weights: FloatArray | None = None) -> ChosenColumns:
    """Choose the columns that a fit takes, and their kinds: see `set_aside` and `Codec.fit`.

    `weights`, (n,), are those of the rows.
    """
    left, reasons = set_aside(table, kept=settings.columns or ())
    codec = Codec.fit(
        left,
        scale=settings.scale,
        levels=True,
        columns=settings.columns,
        missing=settings.missing,
        weights=weights,
    )
    return ChosenColumns(left, codec, reasons)


def refuse_other_columns(before: DiffusionModel, schema: Schema, codec: Codec) -> None:
    """Raise InvalidInput unless a fit has the columns and levels of the fit before, from whose weights it starts."""
    if schema.columns != before.schema.columns:
        names = (f"the columns {listed(map(shown, each.names))}" for each in (before.schema, schema))
        raise InvalidInput(_OTHER.format(*names))
    for j in range(min(codec.n_columns, before.codec.n_columns)):
        old, new = _levels(before.schema, before.codec, j), _levels(schema, codec, j)
        if old != new:
            both = set(old) & set(new)
            own = [[level for level in each if level not in both] for each in (old, new)]
            words = (
                f"{listed(differ or each) if each else 'no levels'} in {schema.label(j)}"
                for differ, each in zip(own, (old, new), strict=True)
            )
            raise InvalidInput(_OTHER.format(*words))


def _levels(schema: Schema, codec: Codec, j: int) -> list[str]:
    """Return the levels of a column in their order, in the user's terms; those of a column without levels are none."""
    values = next((block.values for block in codec.blocks if block.column == j), ())
    return ["missing or continuous" if math.isnan(value) else user_terms(schema, j, value) for value in values]
