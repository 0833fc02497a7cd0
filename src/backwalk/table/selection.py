"""Which columns of a file are taken, by name, and whether rows with missing values are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.schema import Schema, shown, unescaped


@dataclass(frozen=True)
class Selection:
    """Which columns and rows of a file are read.

    The columns named by `drop` are left out. With `only`, no other columns are read; names that the file lacks are
    ignored here, and reported by `match_columns`. With `complete`, rows with missing values are left out. The columns
    named by `texts` are read from text files as texts, even if all of their cells are numbers or dates; those named by
    `numbers` may hold numbers with leading zeros, which are texts otherwise. Names that the file lacks are ignored.
    """

    drop: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    complete: bool = False
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()

    @classmethod
    def of_schema(cls, schema: Schema, *, only: bool = False, **others: Any) -> Selection:
        """Return the selection of rows that are read as a schema has its columns; `only` these, or all of a file."""
        columns = schema.columns if only else None
        return cls(only=columns, texts=schema.labelled, numbers=schema.numeric, **others)

    def names(self, columns: Sequence[str]) -> list[str]:
        """Return the names of the columns to read, in the file's order.

        Raises TableFileError if a column to drop is not in the file, or if no column is left.

        >>> Selection(drop=("b",)).names(["a", "b", "c"]), Selection(only=("c", "d")).names(["a", "b", "c"])
        (['a', 'c'], ['c'])
        """
        there, dropped = set(columns), set(self.drop)
        strange = [name for name in self.drop if name not in there]
        if strange:
            parts = [part.strip() for name in strange for part in name.split(",")]
            if len(parts) > len(strange) and there.issuperset(parts):
                raise TableFileError(
                    f"A column to leave out should be one name, but got {shown(strange[0])}: repeat the option, "
                    f"{' '.join(f'--drop {shown(part)}' for part in parts)}."
                )
            raise TableFileError(
                f"Columns to leave out should be in the file, but {listed(map(shown, strange))} is not: choose among "
                f"{listed(map(shown, columns))}."
            )
        taken = [name for name in columns if name not in dropped]
        if self.only is not None:
            wanted, absent = set(self.only), set(self.only) - there
            # Another program may have kept the apostrophe that `escaped` puts before headers like `=1+1`.
            taken = [name for name in taken if name in wanted or unescaped(name) in absent]
        if taken or not columns:
            return taken
        if self.only is None:
            raise TableFileError("At least one column should be left to read, but none is: leave out fewer.")
        raise TableFileError(
            f"The file should have the model's columns, {listed(map(shown, self.only))}, but has only "
            f"{listed(map(shown, columns))}: give another table."
        )

    def refuse_unnamed(self) -> None:
        """Raise TableFileError if columns are to be left out by name, for files whose columns have no names."""
        if self.drop:
            raise TableFileError(
                f"Columns to leave out should have names, but got {listed(map(shown, self.drop))} for an array, whose "
                "columns have none: save it as CSV or Parquet."
            )
