"""Read CSV and TSV files by DuckDB, as texts, and give each column the first type that fits all of its cells.

A first pass over all rows finds the types (see `text_types`); it tries only those that fit the first 1,000 rows. A
second pass reads the rows.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.files import SourceFile, faults_of, opened, refuse_large, refuse_many_bytes
from backwalk.table.schema import MISSING_WORDS, refuse_duplicates, shown, unescaped
from backwalk.table.selection import Selection
from backwalk.table.text_types import TypeOfColumn

if TYPE_CHECKING:
    import duckdb

_LONGEST_HEADER = 2**20  # bytes
_FIRST_ROWS = 1_000
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons"}
_EXACT = 2.0**53
_LEAST_MEMORY = 2**27  # bytes, of DuckDB
_BUFFER_BYTES = 2**22  # of text that is parsed at a time
_READ_AT_ONCE = 2**20  # bytes of a compressed file

_LINE_ENDS = "All lines should end alike, in \\n or in \\r\\n, but some end otherwise: save the file anew"
_MISSING = ", ".join(f"'{word}'" for word in sorted(MISSING_WORDS))
_LONGEST_MISSING = max(map(len, MISSING_WORDS))


@dataclass(frozen=True)
class Header:
    """The first row of a text file: its names, how many lines are before it, all blank, and how its line ends.

    `is_last` says whether only blank lines follow.
    """

    names: tuple[str, ...]
    n_lines_before: int
    line_end: str
    is_last: bool


def read_header(data: BinaryIO, delimiter: str) -> Header:
    """Return the header of an open text file. Raises TableFileError for text that is not a table."""
    head = data.read(_LONGEST_HEADER)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        raise TableFileError("The file is not UTF-8 text but looks like UTF-16 or binary data: save it as UTF-8.")
    lines = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")  # the end may cut a character
    blank = " \t\v\f\r\n".replace(delimiter, "")
    line, n_before = lines.readline(), 0
    while line and not line.strip(blank):
        line, n_before = lines.readline(), n_before + 1
    if not line:
        raise TableFileError("The file is empty: it should hold a header line and rows.")
    if "\ufffd" in line:
        raise TableFileError("The header is not UTF-8 text (Latin-1?): save the file as UTF-8.")
    begin, names = lines.tell(), list[str]()
    for sign in (*(set(_DELIMITERS) - {delimiter}), delimiter):
        lines.seek(begin)
        others, names = names, _fields(line, lines, sign)
        if sign != delimiter:
            names = max(names, others, key=len)
    if len(names) < 2 <= len(others):
        raise TableFileError(
            f"Cells should be separated by {_DELIMITERS[delimiter]}, but the header is {shown(line.strip())}: "
            "save it with that delimiter."
        )
    if not names:
        raise TableFileError(
            f"The header should end within {_LONGEST_HEADER:,} bytes, but does not: close its quotation marks."
        )
    text = lines.getvalue()[begin - len(line) : lines.tell()]
    refuse_large(0, len(names))
    rest = lines.getvalue()[begin - len(line) + len(text) :]
    quoted_alone = line.startswith('"') and not rest[:_FIRST_ROWS].lstrip().startswith('"')  # as our headers are
    if all(map(is_number, names)) and not quoted_alone:
        raise TableFileError(
            f"The first line should name the columns, but holds only numbers, {listed(map(shown, names))}: put a "
            "header line of names above it, or, if these are names, put them in quotation marks."
        )
    end = text[len(text.rstrip("\r\n")) :]
    if end == "\r\n" and re.search(r"[\r\n]", text[:-2]):  # DuckDB would take the first for the end of all lines
        raise TableFileError(
            "Names should be on one line where lines end in \\r\\n, but one is not: rename the column."
        )
    header = Header(tuple(map(unescaped, names)), n_before, end, not rest.strip())
    refuse_duplicates(header.names)
    return header


def _fields(line: str, more: Iterator[str], delimiter: str) -> list[str]:
    """Return the fields of a row that begins with a line, or none if a quotation mark is not closed."""
    try:
        return next(csv.reader(itertools.chain([line], more), delimiter=delimiter, strict=True))
    except csv.Error:
        return []


def is_number(text: str) -> bool:
    """Return whether a name is a number: a header of such names needs quotation marks."""
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Texts(ABC):
    """Columns of texts that DuckDB reads from `_scan`, which names them c0, c1, ...; messages call them `label`."""

    def __init__(self, names: Sequence[str], label: str, memory: int = limits.MEMORY) -> None:
        self.names, self.label, self._memory = tuple(names), label, max(memory // 4, _LEAST_MEMORY)
        self._place = {name: f"c{j}" for j, name in enumerate(names)}
        self._settings: list[str] = []

    @property
    @abstractmethod
    def _scan(self) -> str:
        """What DuckDB reads the rows from, in SQL."""

    @contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect to a database in memory that can read this file alone, with no extensions but those built in."""
        import duckdb

        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "threads": 1,
        }
        settings = [
            f"memory_limit = '{self._memory // 2**20} MiB'",
            "temp_directory = ''",
            "python_enable_replacements = false",
            "enable_progress_bar = false",  # which goes to stdout, where it would spoil --json
            *self._settings,
            "enable_external_access = false",
            "lock_configuration = true",
        ]
        with faults_of(self.label), duckdb.connect(":memory:", config=config) as connection:
            for setting in settings:
                connection.execute(f"SET {setting}")
            try:
                yield connection
            except duckdb.Error as error:
                raise _explained(error) from error

    def look(self, types: Mapping[str, TypeOfColumn], most_rows: int | None = None) -> tuple[int, int]:
        """Keep of the types of some columns those that fit the cells of a file.

        Return the number of rows, of which it looks at `most_rows` and one more, and the bytes of texts in these.
        """
        cells = f"SELECT {self._cells(list(types))} FROM {self._scan}"
        with self._connected() as connection:
            last = self._last_row(connection)
            if last is not None:
                cells += f" LIMIT {last}"
            elif most_rows is not None:
                cells += f" LIMIT {most_rows + 1}"
            n_rows = _FIRST_ROWS
            for query in (f"SELECT * FROM ({cells}) LIMIT {_FIRST_ROWS}", cells):
                if n_rows == _FIRST_ROWS:  # there may be more
                    each = (part for name, column in types.items() for part in column.expressions(self._place[name]))
                    counted = connection.execute(f"SELECT count(*), {', '.join(each)} FROM ({query})").fetchone()
                    n_rows, *found = counted or (0,)
                    values: Iterator[Any] = iter(found)
                    n_bytes = sum(column.narrow(values) for column in types.values())
        self._check(n_rows)
        return n_rows, n_bytes

    def _check(self, n_rows: int) -> None:  # noqa: B027 - of a table in memory any number is possible
        """Raise TableFileError if there cannot be so few rows."""

    def _last_row(self, connection: duckdb.DuckDBPyConnection) -> int | None:  # noqa: ARG002 - as in TextFile
        """Return the number of rows, where those at the end do not count."""
        return None

    def rows(
        self,
        names: Sequence[str],
        n_rows: int,
        at_once: int,
        types: Mapping[str, TypeOfColumn] | None = None,
        *,
        first: int = 0,
    ) -> Iterator[pa.Table]:
        """Yield rows of some columns from number `first` on, in their types; without `types` as texts, of which none is
        missing.
        """
        selected = ", ".join(types[name].converted(self._place[name]) if types else self._place[name] for name in names)
        cells = self._cells(names, nulls=types is not None)
        query = f"SELECT {selected} FROM (SELECT {cells} FROM {self._scan} LIMIT {n_rows} OFFSET {first})"
        with self._connected() as connection:
            for batch in connection.sql(query).to_arrow_reader(at_once):
                columns = dict(zip(names, batch.columns, strict=True))
                if types:
                    columns = {name: self._typed(columns[name], types[name], name, first) for name in names}
                yield pa.table(columns)
                first += batch.num_rows

    def _typed(self, column: pa.Array, of_column: TypeOfColumn, name: str, first_row: int) -> pa.Array:
        """Return a column of a batch in its own type. Raises TableFileError for impossible dates and rounding."""
        if of_column.name == "float" and (np.abs(column.to_numpy(zero_copy_only=False)) >= _EXACT).any():
            self._refuse_rounded(name)
        try:
            return of_column.typed(column)
        except pa.ArrowInvalid as error:
            for row, cell in enumerate(column):
                try:
                    of_column.typed(pa.array([cell.as_py()], pa.string()))
                except pa.ArrowInvalid:
                    raise TableFileError(
                        f"Column {shown(name)} should hold dates, as its other cells do, but {shown(cell.as_py())} at "
                        f"row {first_row + row} (rows count from 0) is none: correct or empty it, or take the column "
                        f"as one of texts (--column {shown(name)}=levels on the command line)"
                    ) from error
            raise

    def _refuse_rounded(self, name: str) -> None:
        """Raise TableFileError if a column has a whole number that float64 rounds."""
        cell = self._place[name]
        numbered = (
            f"SELECT row_number() OVER () - 1 AS row, {cell} FROM (SELECT {self._cells([name])} FROM {self._scan})"
        )
        is_large = f"regexp_full_match(trim({cell}), '[-+]?\\d+') AND abs(TRY_CAST({cell} AS DOUBLE)) >= {_EXACT:.0f}"
        with self._connected() as connection:
            large = connection.execute(f"SELECT * FROM ({numbered}) WHERE {is_large}")
            while some := large.fetchmany(_FIRST_ROWS):
                for row, text in some:
                    if int(text) != int(float(text)):
                        raise TableFileError(
                            "Whole numbers should be at most 2^53 in size or exact as floats, but column "
                            f"{shown(name)} has {text.strip()} in row {row} (rows count from 0): scale it, or drop it "
                            "if it is an identifier."
                        )

    def _cells(self, names: Sequence[str], *, nulls: bool = True) -> str:
        """Return what selects the cells of some columns as c0, c1, ..., by their places in the file."""
        cell = f"CASE WHEN strlen({{0}}) <= {_LONGEST_MISSING} AND {{0}} IN ({_MISSING}) THEN NULL ELSE {{0}} END"
        cell = cell if nulls else "coalesce({0}, '')"
        return ", ".join(f"{cell.format(place)} AS {place}" for place in map(self._place.__getitem__, names))


class TextFile(_Texts):
    """One text file, whose header was read. Raises TableFileError for text that is not a table."""

    def __init__(self, file: SourceFile, memory: int = limits.MEMORY) -> None:
        with opened(file) as data:
            self._header = read_header(data, file.form.delimiter)
        super().__init__(self._header.names, file.label, memory)
        self.file = file
        path = str(file.path.absolute())
        self._pattern = _quoted("".join(f"[{sign}]" if sign in "*?[" else sign for sign in path))
        self._settings = [f"allowed_paths = [{_quoted(path)}, {self._pattern}]"]

    def refuse_damaged(self, most_bytes: int | None) -> None:
        """Raise TableFileError for a compressed file whose checksum is wrong, or which unpacks to more bytes."""
        with opened(self.file) as data:
            n_bytes = 0
            while self.file.form.compressed and (block := data.read(_READ_AT_ONCE)):
                n_bytes += len(block)
                if most_bytes is not None:
                    refuse_many_bytes(n_bytes)

    @property
    def line_end(self) -> str:
        """What ends a line."""
        return self._header.line_end or "\n"

    def count_rows(self) -> int:
        """Return the number of rows. Raises TableFileError for a damaged file."""
        self.refuse_damaged(None)
        return self.look({self.names[0]: TypeOfColumn(is_text=True)})[0]

    def complete_rows(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which rows have a value in each of some columns, (n,)."""
        n_rows = self.count_rows()
        has_all = " AND ".join(f"{self._place[name]} IS NOT NULL" for name in names)
        query = f"SELECT {has_all} AS has_all FROM (SELECT {self._cells(names)} FROM {self._scan} LIMIT {n_rows})"
        with self._connected() as connection:
            return np.asarray(connection.sql(query).fetchnumpy()["has_all"])

    def _last_row(self, connection: duckdb.DuckDBPyConnection) -> int | None:
        """Blank lines are missing values of a single column, but not at its end."""
        if len(self.names) > 1:
            return None
        numbered = f"SELECT row_number() OVER () AS row, c0 FROM {self._scan}"
        last = connection.execute(f"SELECT max(row) FROM ({numbered}) WHERE c0 IS NOT NULL").fetchone()
        return int((last and last[0]) or 0)

    def _check(self, n_rows: int) -> None:
        if not n_rows and not self._header.is_last:
            raise TableFileError(_LINE_ENDS)

    @property
    def _scan(self) -> str:
        columns = ", ".join(f"'{place}': 'VARCHAR'" for place in self._place.values())
        line_ends = {"\n": "new_line = '\\n'", "\r": "new_line = '\\r'"}  # DuckDB reads no file whose option is \r\n
        options = [
            "auto_detect = false",
            "header = true",
            f"skip = {self._header.n_lines_before}",
            f"delim = '{self.file.form.delimiter}'",
            "quote = '\"'",
            "escape = '\"'",
            "strict_mode = true",
            "allow_quoted_nulls = false",
            f"buffer_size = {_BUFFER_BYTES}",
            f"compression = '{'gzip' if self.file.form.compressed else 'none'}'",
            f"columns = {{{columns}}}",
            *([line_ends[self._header.line_end]] if self._header.line_end in line_ends else []),
        ]
        return f"read_csv({self._pattern}, {', '.join(options)})"


class TextTable(_Texts):
    """Columns of texts in memory."""

    def __init__(self, rows: pa.Table, label: str) -> None:
        super().__init__(rows.column_names, label)
        self._rows = rows.rename_columns(list(self._place.values()))

    @property
    def _scan(self) -> str:
        return "texts"

    @contextmanager
    def _connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with super()._connected() as connection:
            connection.register("texts", self._rows)
            yield connection

    def typed(self, selection: Selection) -> pa.Table:
        """Return the selected columns, each in the first type that fits all of its cells."""
        names = selection.names(self.names)
        types = {name: TypeOfColumn(name in selection.numbers, is_text=name in selection.texts) for name in names}
        n_rows, _ = self.look(types)
        return pa.concat_tables(self.rows(names, n_rows, max(n_rows, 1), types))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _explained(error: Exception) -> TableFileError:
    """Return DuckDB's error about a text file in our words."""
    text = str(error)
    line = re.search(r"CSV Error on Line: (\d+)", text)
    where = f"line {line[1]}" if line else "a line"
    if n := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", text):
        return TableFileError(f"Each row should have {n[1]} cells, as the header has, but {where} has {n[2]}: mend it")
    for known, words in (
        ("unterminated quote", f"A quotation mark should be closed, but that in {where} is not: close it"),
        ("Invalid unicode", f"The file should be UTF-8 text, but {where} is not (Latin-1?): save it as UTF-8"),
        ("Maximum line size", f"A row should have at most 2 MiB, but {where} has more: close its quotation mark"),
        ("invalid state", _LINE_ENDS),
        ("GZIP", "Not a gzipped file, or a part of one: copy it anew"),
    ):
        if known.lower() in text.lower():
            return TableFileError(words)
    return TableFileError(f"DuckDB cannot read it: {text.partition(chr(10))[0]}")
