"""What reading and writing table files have in common: the formats that there are, and faults in one line."""

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


def one_line(error: Exception) -> str:
    """Return what an error says, on one line and not endless."""
    known = error.strerror if isinstance(error, OSError) else None
    text = " ".join((known or str(error) or type(error).__name__).split())
    return text.rstrip(".") if len(text) <= 300 else f"{text[:297]}..."
