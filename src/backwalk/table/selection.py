"""Which columns of a file are taken, by name, and whether rows with missing values are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.schema import shown, unescaped


@dataclass(frozen=True)
class Selection:
    """The columns that are left out, `drop`, or the ones that alone are taken, `only`; and whether rows with missing
    values are left out, `complete`.

    Of `only` those that are there are taken; what is missing is told where they are matched with a model's.
    """

    drop: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    complete: bool = False

    def names(self, columns: Sequence[str]) -> list[str]:
        """Return which of a file's columns are taken, in its order.

        Raises TableFileError where one to drop is not there, and where none is left.

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
                f"Columns to leave out should be there, but {listed(map(shown, strange))} is not: name others; there "
                f"are {listed(map(shown, columns))}."
            )
        taken = [name for name in columns if name not in dropped]
        if self.only is not None:
            wanted, absent = set(self.only), set(self.only) - there
            # Another program may have kept the apostrophe that CSV headers like `=1+1` are given.
            taken = [name for name in taken if name in wanted or unescaped(name) in absent]
        if taken or not columns:
            return taken
        if self.only is None:
            raise TableFileError("A column should be left to take, but none is: leave out fewer.")
        raise TableFileError(
            f"The model's columns should be there, but none of {listed(map(shown, self.only))} is: give a table that "
            f"has them; this one has {listed(map(shown, columns))}."
        )

    def refuse_unnamed(self) -> None:
        """Raise TableFileError where columns without names are to be left out by name."""
        if self.drop:
            raise TableFileError(
                f"Columns to leave out should have names, but got {listed(map(shown, self.drop))} for an array, whose "
                "columns have none: save it as CSV or Parquet."
            )
