"""What reading and writing table files have in common: the formats that there are."""

from __future__ import annotations

from pathlib import Path

from backwalk.errors import TableFileError
from backwalk.table.schema import shown

SUFFIXES = (".csv", ".parquet", ".npy")


def suffix_of(path: str | Path) -> str:
    """Return the suffix that says a table file's format. Raises TableFileError for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise TableFileError(
            f"A table file should end in {', '.join(SUFFIXES)}, but got {shown(str(path))}: save it as one of these."
        )
    return suffix
