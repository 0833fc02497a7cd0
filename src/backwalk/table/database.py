"""DuckDB: connections in memory that spill into a temporary folder, and its errors as ours."""

from __future__ import annotations

import re
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table.text_headers import NOT_UTF8

if TYPE_CHECKING:
    import duckdb

_LEAST_MEMORY = 2**27  # bytes, of DuckDB
LINE_ENDS = "All lines should end alike, in \\n or in \\r\\n, but some end otherwise: save the file anew"

_MACROS = (
    # The nearest microsecond of a number of nanoseconds.
    "microseconds(n) AS (n + 500 - (((n + 500) % 1000) + 1000) % 1000) // 1000",
    # A date with the parts of a clock that a text has, in full.
    "in_full(x) AS left(x, 10) || ' ' || regexp_replace(rpad(replace(regexp_extract(x, '^.{10}[ T]([0-9:]*)', 1), "
    "':', ''), 6, '0'), '(..)(..)(..)', '\\1:\\2:\\3') || regexp_extract(x, '\\.[0-9]+') || "
    "regexp_extract(x, '^.{10}.*(Z|[-+][0-9]{2}(?::?[0-9]{2})?)$', 1)",
)


def connect(memory: int = limits.MEMORY) -> duckdb.DuckDBPyConnection:
    """Return a new database in memory, with no extensions but those built in, which takes a quarter of `memory`."""
    import duckdb

    folder = tempfile.TemporaryDirectory(prefix="backwalk")
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "threads": 1,
            "memory_limit": f"{max(memory // 4, _LEAST_MEMORY) // 2**20} MiB",
            "temp_directory": folder.name,
            "python_enable_replacements": False,
        },
    )
    weakref.finalize(connection, folder.cleanup)
    # The bar goes to stdout, where it would spoil --json. A notebook without ipywidgets has none, and there even
    # "false" is an error.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
        connection.execute("SET enable_progress_bar = false")
    # Ranges in the footers of Parquet leave out NaN, so that by these no number is NaN.
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    for macro in _MACROS:
        connection.execute(f"CREATE MACRO {macro}")
    return connection


def quoted(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def place_of(path: Path) -> str:
    """Return a path as a literal that names this file alone, whatever signs are in it."""
    return quoted("".join(f"[{sign}]" if sign in "*?[" else sign for sign in str(path.absolute())))


@contextmanager
def explained() -> Iterator[None]:
    """Turn DuckDB's errors about files into TableFileError, in our words."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise _in_our_words(str(error)) from error


def _in_our_words(text: str) -> TableFileError:
    line = re.search(r"CSV Error on Line: (\d+)", text)
    where = f"line {line[1]}" if line else "a line"
    if n := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
        return TableFileError(
            f"Each row should have {n[1]} cells, as the header has, but {where} has {n[2]}: mend it, remove lines that "
            "are not of the table, or name what separates cells (--sep)"
        )
    for known, words in (
        ("unterminated quote", f"A quotation mark should be closed, but that in {where} is not: close it"),
        ("Invalid unicode", f"The text in {where} {NOT_UTF8}"),
        ("Maximum line size", f"A row should have at most 2 MiB, but {where} has more: close its quotation mark"),
        ("invalid state", LINE_ENDS),
        ("GZIP", "Not a gzipped file, or a part of one: copy it anew"),
        ("Out of Memory", "The table takes more memory than there is: leave out columns, or give more (--memory)"),
    ):
        if known.lower() in text.lower():
            return TableFileError(words)
    return TableFileError(f"DuckDB cannot read it: {text.partition(chr(10))[0]}")
