"""Read CSV and TSV files by DuckDB, as texts, and give each column the first type that fits all of its cells.

`text_headers` finds the names and what separates cells; DuckDB refuses rows of another number of cells. A file that is
not UTF-8 is copied as UTF-8 first. A first pass over all rows finds the types (see `text_types`); it tries only those
that fit the first 1,000 rows. A second pass reads the rows.
"""

from __future__ import annotations

import codecs
import math
import re
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table.files import SourceFile, faults_of, opened, refuse_many_bytes
from backwalk.table.schema import MISSING_WORDS, shown
from backwalk.table.selection import Selection
from backwalk.table.text_headers import FIRST_ROWS, NOT_UTF8, is_number, read_header
from backwalk.table.text_types import TypeOfColumn, settle
from backwalk.text_options import DATE_ORDERS, TextOptions, named

if TYPE_CHECKING:
    import duckdb

_EXACT = 2.0**53
_LEAST_MEMORY = 2**27  # bytes, of DuckDB
_BUFFER_BYTES = 2**22  # of text that is parsed at a time
_READ_AT_ONCE = 2**20  # bytes of a compressed file
_OF_UTF8 = ("utf-8", "utf-8-sig", "ascii")

_LINE_ENDS = "All lines should end alike, in \\n or in \\r\\n, but some end otherwise: save the file anew"


class _Texts(ABC):
    """Columns of texts that DuckDB reads from `_scan`, which names them c0, c1, ...; messages call them `label`."""

    def __init__(self, names: Sequence[str], label: str, options: TextOptions, memory: int = limits.MEMORY) -> None:
        self.names, self.label, self.options = tuple(names), label, options
        self._memory = max(memory // 4, _LEAST_MEMORY)
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
            *self._settings,
            "enable_external_access = false",
            "lock_configuration = true",
        ]
        with faults_of(self.label), duckdb.connect(":memory:", config=config) as connection:
            # The bar goes to stdout, where it would spoil --json. A notebook without ipywidgets has none, and there
            # even "false" is an error.
            if connection.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (True,):
                settings.insert(0, "enable_progress_bar = false")
            for setting in settings:
                connection.execute(f"SET {setting}")
            try:
                yield connection
            except duckdb.Error as error:
                raise _explained(error) from error

    def look(
        self, types: Mapping[str, TypeOfColumn], most_rows: int | None = None, *, while_any_fits: bool = False
    ) -> tuple[int, int]:
        """Keep of the types of some columns those that fit the cells of a file.

        Return the number of rows, of which it looks at `most_rows` and one more, and the bytes of texts in these. With
        `while_any_fits`, it looks no further where no type fits the first rows.
        """
        cells = f"SELECT {self._cells(list(types))} FROM {self._scan}"
        with self._connected() as connection:
            last = self._last_row(connection)
            if last is not None:
                cells += f" LIMIT {last}"
            elif most_rows is not None:
                cells += f" LIMIT {most_rows + 1}"
            n_rows = FIRST_ROWS
            for query in (f"SELECT * FROM ({cells}) LIMIT {FIRST_ROWS}", cells):
                if n_rows == FIRST_ROWS and not (while_any_fits and all(not each.fitting for each in types.values())):
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
        with_gaps: Collection[str] = (),
    ) -> Iterator[pa.Table]:
        """Yield rows of some columns from number `first` on, in their types; without `types` as texts, of which none is
        missing but in the columns `with_gaps`.
        """
        selected = ", ".join(types[name].converted(self._place[name]) if types else self._place[name] for name in names)
        cells = self._cells(names, with_gaps=with_gaps if types is None else names)
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
            while some := large.fetchmany(FIRST_ROWS):
                for row, text in some:
                    if int(text) != int(float(text)):
                        raise TableFileError(
                            "Whole numbers should be at most 2^53 in size or exact as floats, but column "
                            f"{shown(name)} has {text.strip()} in row {row} (rows count from 0): scale it, or drop it "
                            "if it is an identifier."
                        )

    def _cells(self, names: Sequence[str], *, with_gaps: Collection[str] | None = None) -> str:
        """Return what selects the cells of some columns as c0, c1, ..., by their places in the file.

        Cells of missing values are null, or if columns `with_gaps` are given, in these.
        """
        nulls = set(names if with_gaps is None else with_gaps)
        cells = (
            (place, self._cell(place) if name in nulls else f"coalesce({place}, '')")
            for name, place in ((name, self._place[name]) for name in names)
        )
        return ", ".join(f"{cell} AS {place}" for place, cell in cells)

    def _cell(self, place: str) -> str:
        words = {*MISSING_WORDS, *self.options.na}
        numbers = [f"{float(word)!r}" for word in self.options.na if is_number(word) and math.isfinite(float(word))]
        longest = max(len(word.encode()) for word in words)  # `strlen` counts bytes
        is_missing = f"strlen({place}) <= {longest} AND {place} IN ({', '.join(map(_quoted, sorted(words)))})"
        if numbers:
            is_missing = f"({is_missing}) OR TRY_CAST({place} AS DOUBLE) IN ({', '.join(numbers)})"
        return f"CASE WHEN {is_missing} THEN NULL ELSE {place} END"

    def question(self, name: str, column: TypeOfColumn) -> str:
        """Return what is to be asked about a column whose cells are open, as the text of an error."""
        with self._connected() as connection:
            cells = f"SELECT {self._cell(self._place[name])} AS cell FROM {self._scan}"
            found = connection.execute(f"SELECT cell FROM ({cells}) WHERE cell IS NOT NULL LIMIT 1").fetchone()
        cell = shown((found or [""])[0])
        as_texts = f"take the column as one of texts (--column {shown(name)}=levels on the command line)"
        if column.is_open == "dates":
            return (
                f"The dates of column {shown(name)} should show whether day or month comes first, but all are such as "
                f"{cell}: give {named('dates', *DATE_ORDERS)}, or {as_texts}"
            )
        return (
            f"The numbers of column {shown(name)} should show whether a comma or a point is decimal, but all are such "
            f"as {cell}: give {named('decimal', '.', ',')}, or {as_texts}"
        )


class TextFile(_Texts):
    """One text file, whose header was read. Raises TableFileError for text that is not a table."""

    def __init__(self, file: SourceFile, memory: int = limits.MEMORY) -> None:
        self.file, read = file, file
        encoding = file.text.encoding or _marked_encoding(file)
        if encoding is not None and codecs.lookup(encoding).name not in _OF_UTF8:
            read = _copied(file, encoding)
            weakref.finalize(self, read.path.unlink)
        with faults_of(file.label), opened(read) as data:
            self._header = read_header(data, file.form.delimiter, file.text)
        options = replace(file.text.options, sep=self._header.sep)
        super().__init__(self._header.names, file.label, options, memory)
        self._compressed = read.form.compressed
        path = str(read.path.absolute())
        self._pattern = _quoted("".join(f"[{sign}]" if sign in "*?[" else sign for sign in path))
        self._settings = [f"allowed_paths = [{_quoted(path)}, {self._pattern}]"]
        self._refuse_unnamed()

    def _refuse_unnamed(self) -> None:
        """Raise TableFileError if columns without a name at the end of the header hold something."""
        begin = len(self.names)
        for place in (f"c{j}" for j in range(begin, begin + self._header.n_unnamed)):
            with self._connected() as connection:
                filled = f"SELECT {place} FROM {self._scan} WHERE {place} != '' LIMIT 1"
                if cell := connection.execute(filled).fetchone():
                    raise TableFileError(
                        f"{self.label}: Columns should have names, but the one that holds {shown(cell[0])} has none: "
                        "name it in the header, or remove it."
                    )

    def refuse_damaged(self, most_bytes: int | None) -> None:
        """Raise TableFileError for a compressed file whose checksum is wrong, or which unpacks to more bytes."""
        with opened(self.file) as data:
            n_bytes = 0
            while self.file.form.compressed and (block := data.read(_READ_AT_ONCE)):
                n_bytes += len(block)
                if most_bytes is not None:
                    refuse_many_bytes(n_bytes)

    @property
    def sep(self) -> str:
        """What separates its cells."""
        return self._header.sep

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
        n_columns = len(self.names) + self._header.n_unnamed
        columns = ", ".join(f"'c{j}': 'VARCHAR'" for j in range(n_columns))
        line_ends = {"\n": "new_line = '\\n'", "\r": "new_line = '\\r'"}  # DuckDB reads no file whose option is \r\n
        options = [
            "auto_detect = false",
            "header = true",
            f"skip = {self._header.n_lines_before}",
            f"delim = {_quoted(self._header.sep)}",
            "quote = '\"'",
            "escape = '\"'",
            "strict_mode = true",
            "allow_quoted_nulls = false",
            f"buffer_size = {_BUFFER_BYTES}",
            f"compression = '{'gzip' if self._compressed else 'none'}'",
            f"columns = {{{columns}}}",
            *([line_ends[self._header.line_end]] if self._header.line_end in line_ends else []),
        ]
        return f"read_csv({self._pattern}, {', '.join(options)})"


class TextTable(_Texts):
    """Columns of texts in memory, which were read from files with some options."""

    def __init__(self, rows: pa.Table, label: str, options: TextOptions) -> None:
        super().__init__(rows.column_names, label, options)
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
        types = types_of(names, selection, self.options)
        n_rows, _ = self.look(types)
        for question in look_again([self], types).values():
            raise TableFileError(question)
        return pa.concat_tables(self.rows(names, n_rows, max(n_rows, 1), types))


def types_of(names: Sequence[str], selection: Selection, options: TextOptions) -> dict[str, TypeOfColumn]:
    """Return the types of columns by name, before any cell was looked at."""
    return {
        name: TypeOfColumn(
            name in selection.numbers,
            is_text=name in selection.texts,
            decimal=options.decimal,
            dates=options.dates,
        )
        for name in names
    }


def look_again(texts: Sequence[_Texts], types: Mapping[str, TypeOfColumn]) -> dict[str, str]:
    """Look at the columns of a table once more that no type fits, and decide what their cells leave open.

    Return for each column whose cells leave open what they mean what is to be asked about it.
    """
    sep = texts[0].options.sep or ","
    for floats in (False, True):
        has_commas = any(column.sides("decimal") == {","} for column in types.values())
        if floats and sep != ";" and not has_commas:
            continue
        again = {name: column for name, column in types.items() if column.begin_again(floats=floats)}
        for each in texts:
            again = {name: column for name, column in again.items() if column.fitting}
            if again:
                each.look(again, while_any_fits=True)
    settle(list(types.values()), sep=sep)
    return {name: texts[0].question(name, column) for name, column in types.items() if column.is_open}


def _marked_encoding(file: SourceFile) -> str | None:
    """Return the encoding that the first bytes of a file name, if they do."""
    with opened(file) as data:
        return "utf-16" if data.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else None


def _copied(file: SourceFile, encoding: str) -> SourceFile:
    """Copy a file, decompressed and as UTF-8, to a temporary one. Raises TableFileError if it has another encoding."""
    with opened(file) as data, tempfile.NamedTemporaryFile(suffix=".csv", delete=False) as copy:
        path = Path(copy.name)
        try:
            for text in codecs.iterdecode(iter(lambda: data.read(_READ_AT_ONCE), b""), encoding):
                copy.write(text.encode())
        except UnicodeError as error:
            path.unlink()
            raise TableFileError(
                f"The file should be text in {encoding}, but is not ({error}): name another encoding."
            ) from error
    return SourceFile.of(path, file.label)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _explained(error: Exception) -> TableFileError:
    """Return DuckDB's error about a text file in our words."""
    text = str(error)
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
        ("invalid state", _LINE_ENDS),
        ("GZIP", "Not a gzipped file, or a part of one: copy it anew"),
    ):
        if known.lower() in text.lower():
            return TableFileError(words)
    return TableFileError(f"DuckDB cannot read it: {text.partition(chr(10))[0]}")
