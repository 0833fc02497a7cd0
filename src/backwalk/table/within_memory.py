"""Read a table of any size in bounded memory: a file, the files of a folder, or those that match a pattern."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet

from backwalk import limits
from backwalk.errors import InvalidInput
from backwalk.formatting import byte_words
from backwalk.table.chosen_rows import priorities_of
from backwalk.table.delimited import DelimitedText
from backwalk.table.file_blocks import ParquetFiles, Seen, Source, TextFiles
from backwalk.table.formats import format_of
from backwalk.table.one_pass import RowsThatFit, TablePass
from backwalk.table.parquet_pages import unpacked_bytes
from backwalk.table.reading import opened, read_part
from backwalk.table.selection import Selection
from backwalk.table.sources import SourceFile, table_files

Watch = Callable[[str, float, str], object]
"""Is told an activity, the share of it that is done, and a few words."""

# At the peak of a fit, in which rows are held as float64 and their encodings as float64 and twice as float32.
_BYTES_A_CELL, _BYTES_A_COORDINATE, _BYTES_A_ROW = 8.0, 20.0, 24.0
_FEWEST_ROWS = 100
_STANDARD_DEVIATIONS = 8.0  # of the number of rows below a priority
_SHARE_OF_ROWS = 0.75  # of the memory: the rest is for blocks of files and for training
_BEST_OF_GZIP = 1032  # bytes for one


def _ignore(*_: object) -> None:
    pass


def read_within(
    source: str | Path,
    selection: Selection = Selection(),  # noqa: B008
    *,
    memory: int = limits.MEMORY,
    most: int | None = None,
    watch: Watch = _ignore,
) -> RowsThatFit:
    """Read the selected columns of a table in `memory` bytes: a file, the files of a folder, or those of a pattern.

    A table that does not fit is read once, text twice. Of all rows are then known: names, types, ranges, gaps, the
    levels of texts and of numbers with few values, with their frequencies, and the grids of rounded numbers. Of the
    rows themselves those stay that fit, chosen by their number: the same in each reading, whatever the seed. Columns
    of more than `limits.LEVELS_OF_A_PASS` texts keep no levels. `most` asks for this number of rows instead: those
    that a fit which took as many has chosen. Raises TableFileError, also if a file changes meanwhile.
    """
    if not isinstance(memory, int) or memory < limits.LEAST_MEMORY:
        raise InvalidInput(
            f"memory should be at least {byte_words(limits.LEAST_MEMORY)}, but got {memory!r}: give more."
        )
    alone = _read_at_once(source, memory)
    if alone is not None:
        return _in_memory(alone, selection, most)
    files = table_files(source)
    total = sum(file.n_bytes for file in files)

    def seen(activity: str) -> Seen:
        def told(n_rows: int, n_bytes: int) -> None:
            share = min(n_bytes / max(total, 1), 1.0)
            watch(activity, share, f"{n_rows:,} rows, {byte_words(n_bytes)} of {byte_words(total)}")

        return told

    found: Source
    if format_of(files[0].path).kind == "parquet":
        found = ParquetFiles(files, selection, memory)
    else:
        found = TextFiles(files, selection, memory, seen("finding types"))
    # The rows of the least priority are among some more that lie below a priority.
    wanted = most_rows(memory, len(found.names)) if most is None else most + int(_STANDARD_DEVIATIONS * most**0.5) + 1
    rows = TablePass(found, files, selection, wanted, memory, seen).run()
    for file in files:
        file.refuse_changed()
    return rows if most is None else rows.least(most)


def is_read_at_once(source: str | Path, memory: int = limits.MEMORY) -> bool:
    """Return whether a source is one file whose rows fit into memory. Raises TableFileError."""
    return _read_at_once(source, memory) is not None


def most_rows(memory: int, n_columns: int, n_encoded: int | None = None) -> int:
    """Return how many rows can be fitted in some memory, with as many coordinates as columns or `n_encoded`."""
    n_encoded = n_columns if n_encoded is None else n_encoded
    bytes_a_row = _BYTES_A_ROW + _BYTES_A_CELL * n_columns + _BYTES_A_COORDINATE * n_encoded
    return max(int(_SHARE_OF_ROWS * memory / bytes_a_row), _FEWEST_ROWS)


def _read_at_once(source: str | Path, memory: int) -> str | Path | None:
    """Return the one file of a source if its rows fit into memory, "-" for standard input, and otherwise None."""
    if str(source) == "-":
        return source
    files = table_files(source)
    return files[0].path if len(files) == 1 and _is_small(files[0], memory) else None


def _in_memory(source: str | Path, selection: Selection, most: int | None) -> RowsThatFit:
    reading = read_part(source, selection)
    priorities = priorities_of(0, len(reading.is_taken))[reading.is_taken]
    rows = RowsThatFit(
        table=reading.table,
        whole=None,
        n_rows=len(reading.table.values),
        n_read=len(reading.is_taken),
        priorities=priorities,
        n_files=1,
        columns_left_out=reading.columns_left_out,
    )
    return rows if most is None else rows.least(most)


def _is_small(file: SourceFile, memory: int) -> bool:
    """Return whether a file fits into memory, so that it can be read at once."""
    form = format_of(file.path)
    if form.kind == "npy":
        return True
    most_bytes = min(limits.TABLE_FILE_BYTES, memory / 4)
    with opened(file.path) as (data, _):
        if form.kind == "text":
            if file.n_bytes > most_bytes / (_BEST_OF_GZIP if form.compressed else 1):
                return False
            text = DelimitedText(data, form.delimiter)
            block, d = next(text.blocks(), b""), len(text.names)
            n = (
                max(block.count(b"\n"), block.count(b"\r"))
                * (most_bytes if form.compressed else file.n_bytes)
                / max(len(block), 1)
            )
        else:
            if unpacked_bytes(data) > most_bytes:
                return False
            data.seek(0)
            metadata = pyarrow.parquet.ParquetFile(data).metadata
            n, d = metadata.num_rows, max(metadata.num_columns, 1)
    return n * d <= limits.TABLE_FILE_CELLS and n <= most_rows(memory, d)
