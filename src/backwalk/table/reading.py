"""Read table files of any size: as a relation, and of their rows all, or those that fit into memory.

`sources.py` opens files as a relation, from which rows are taken by their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from backwalk import limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import byte_words
from backwalk.table.aside import is_unnamed, numbers_rows
from backwalk.table.files import SourceFile, faults_of, files_of
from backwalk.table.frame import Table
from backwalk.table.relation import Relation, priorities_of
from backwalk.table.schema import FloatArray, shown
from backwalk.table.selection import Selection
from backwalk.table.sources import Watch, ignore, label_of, open_source, relation_of, watched
from backwalk.text_options import StrPath

# At the peak of a fit, in which rows are held as float64 and their encodings as float64 and twice as float32.
_BYTES_A_CELL, _BYTES_A_COORDINATE, _BYTES_A_ROW = 8.0, 20.0, 24.0
_SHARE_OF_ROWS = 0.75  # of the memory: the rest is for blocks of files and for training
_FEWEST_ROWS = 100
_STANDARD_DEVIATIONS = 8.0  # of the number of rows below a priority, among which are those of the least


@dataclass(frozen=True, eq=False)
class RowsThatFit:
    """The rows of a table that fit into memory, `table`; all of them, or some that were chosen by their number.

    - `relation`: all rows, without those left out for their gaps; `n_read` with these.
    - `rows`: the numbers of the rows in `table`, (m,).
    - `n_files`, `columns_left_out`.
    """

    table: Table
    relation: Relation
    n_read: int
    rows: npt.NDArray[np.int64]
    n_files: int
    columns_left_out: tuple[str, ...]

    @property
    def is_taken(self) -> npt.NDArray[np.bool_]:
        """Which of the rows that were read are in `table`, (n_read,)."""
        is_taken = np.zeros(self.n_read, dtype=bool)
        is_taken[self.rows] = True
        return is_taken

    @cached_property
    def priorities(self) -> FloatArray:
        """The priorities of the rows in `table`, (m,), by which fewer can be chosen."""
        return priorities_of(self.rows)

    @property
    def n_rows(self) -> int:
        """The number of all rows that were not left out."""
        return self.relation.n_rows

    @property
    def has_all(self) -> bool:
        """Whether `table` has all of these."""
        return len(self.table.values) == self.n_rows

    def chosen(self, most: int) -> npt.NDArray[np.bool_]:
        """Return which rows of `table`, (m,), are in a choice of about `most` rows of all."""
        return np.asarray(self.priorities < (1.0 if self.n_rows <= most else most / self.n_rows))

    def least(self, n: int) -> RowsThatFit:
        """Return the n rows of the least priority, or all: those that a choice has which comes to n."""
        if n >= len(self.priorities):
            return self
        kept = self.priorities <= np.partition(self.priorities, n - 1)[n - 1]
        return replace(self, table=Table(self.table.values[kept], self.table.schema), rows=self.rows[kept])


def read_table(path: StrPath) -> Table:
    """Read a table file, or a folder of such files, and check it.

    The suffix names the format: `.csv` or `.tsv` (text with a header line), either followed by `.gz`, or
    `.parquet`; "-" is text from standard input. What separates cells of text, and how numbers and dates are written,
    is what all cells agree on; where they do not show it, a `TextPath` says it. Text and Parquet give a table of kind
    "pyarrow", in which columns of whole numbers are integers. In text, a column has the first type that fits all of its
    cells: integers, truth values, floats, dates, times, texts; empty cells and those like NA are missing values. Codes
    of digits, with leading zeros such as 00501 or of 7 digits or more with a plus, are texts. Headers and texts that
    `write_rows` escaped are restored. The files of a folder are one table, in the order of their names; names that
    begin with _ or a dot are left out. Raises TableFileError.
    """
    return read_part(path, Selection()).table


def read_part(path: StrPath, selection: Selection) -> RowsThatFit:
    """Read the selected columns and rows of a table, all of them, and check them as `read_table` does."""
    with files_of(path) as files:
        return _read(files, selection, limited=True)


def read_within(
    source: StrPath,
    selection: Selection = Selection(),  # noqa: B008
    *,
    memory: int = limits.MEMORY,
    most: int | None = None,
    watch: Watch = ignore,
) -> RowsThatFit:
    """Read the selected columns of a table in `memory` bytes: a file, the files of a folder, or those of a pattern.

    The relation of a table has all of its rows. Of the rows themselves those are read that fit, chosen by their number:
    the same in each reading, whatever the seed. Columns of more than `limits.LEVELS_OF_A_PASS` texts keep no levels.
    `most` asks for this number of rows instead: those that a fit which took as many has chosen. Raises TableFileError,
    also if a file changes meanwhile.
    """
    if not isinstance(memory, int) or memory < limits.LEAST_MEMORY:
        raise InvalidInput(
            f"memory should be at least {byte_words(limits.LEAST_MEMORY)}, but got {memory!r}: give more."
        )
    with files_of(source) as files:
        rows = _read(files, selection, memory=memory, most=most, watch=watch)
    return rows if most is None else rows.least(most)


def most_rows(memory: int, n_columns: int, n_encoded: int | None = None) -> int:
    """Return how many rows can be fitted in some memory, with as many coordinates as columns or `n_encoded`."""
    n_encoded = n_columns if n_encoded is None else n_encoded
    bytes_a_row = _BYTES_A_ROW + _BYTES_A_CELL * n_columns + _BYTES_A_COORDINATE * n_encoded
    return max(int(_SHARE_OF_ROWS * memory / bytes_a_row), _FEWEST_ROWS)


def _read(
    files: Sequence[SourceFile],
    selection: Selection,
    *,
    limited: bool = False,
    memory: int = limits.MEMORY,
    most: int | None = None,
    watch: Watch = ignore,
) -> RowsThatFit:
    """Read the rows of files; `limited` to those of a table that is read at once."""
    source = open_source(files, selection, memory=memory, limited=limited, watch=watch)
    with faults_of(label_of(files)):
        # The rows of the least priority are among some more that lie below a priority.
        wanted = most_rows(memory, len(source.names)) if most is None else most
        wanted += 0 if most is None else int(_STANDARD_DEVIATIONS * most**0.5) + 1
        takes_all = limited or source.n_rows <= wanted
        relation = relation_of(source, selection, keeps_all_labels=takes_all)
        share = 1.0 if takes_all else wanted / relation.n_rows
        values, rows, n = np.empty((relation.count(share), len(source.names))), list[npt.NDArray[np.int64]](), 0
        seen = watched(watch, "reading", files, relation.n_rows)
        for numbers, block in relation.blocks(share=share):
            values[n : n + len(block)] = block
            rows.append(numbers)
            n += len(block)
            seen(n, 0)
        seen(relation.n_rows, 0)
        table = Table(values, relation.schema)
        _refuse_unnamed(table, relation)
    numbers = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    return RowsThatFit(table, relation, source.n_rows, numbers, len(files), tuple(source.left_out))


def _refuse_unnamed(table: Table, relation: Relation) -> None:
    """Raise TableFileError for columns without a name that hold something else than the numbers of the rows."""
    for j, name in enumerate(relation.schema.names):
        values = table.values[:, j]
        if (
            is_unnamed(name)
            and relation.facts[j].n_observed
            and not numbers_rows(relation, j, values[~np.isnan(values)])
        ):
            raise TableFileError(
                f"Columns should have names, but got {shown(name)}, which does not number the rows: name it, or "
                f"leave it out (on the command line by --drop {shown(name)})."
            )
