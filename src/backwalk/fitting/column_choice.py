"""The columns of a fit: those that are set aside, and the codec of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backwalk.fitting.settings import Settings
from backwalk.table import Codec, Table, set_aside
from backwalk.table.schema import FloatArray


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
