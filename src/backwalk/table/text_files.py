"""Read CSV and TSV files by DuckDB, as texts, and give each column the first type that fits all of its cells.

`text_headers` finds the names and what separates cells; DuckDB refuses rows of another number of cells. A file that is
not UTF-8 is copied as UTF-8 first. A first pass over all rows finds the types (see `text_types`); it tries only those
that fit the first 1,000 rows. A second pass converts the cells.
"""

from __future__ import annotations

import codecs
import math
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backwalk.errors import TableFileError
from backwalk.table.database import LINE_ENDS, connect, explained, place_of, quoted
from backwalk.table.files import SourceFile, faults_of, opened
from backwalk.table.schema import MISSING_WORDS, shown
from backwalk.table.selection import Selection
from backwalk.table.text_headers import FIRST_ROWS, is_number, read_header
from backwalk.table.text_types import TypeOfColumn, settle
from backwalk.text_options import DATE_ORDERS, TextOptions, named

if TYPE_CHECKING:
    import duckdb

_EXACT = 2.0**53
_BUFFER_BYTES = 2**22  # of text that is parsed at a time
_READ_AT_ONCE = 2**20  # bytes of a compressed file
_OF_UTF8 = ("utf-8", "utf-8-sig", "ascii")


class TextFile:
    """One text file, whose header was read. Raises TableFileError for text that is not a table."""

    def __init__(self, file: SourceFile, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        self.file, read, self._connection = file, file, connection or connect()
        encoding = file.text.encoding or _marked_encoding(file)
        if encoding is not None and codecs.lookup(encoding).name not in _OF_UTF8:
            read = _copied(file, encoding)
            weakref.finalize(self, read.path.unlink)
        with faults_of(file.label), opened(read) as data:
            self._header = read_header(data, file.form.delimiter, file.text)
        self.names, self.options = self._header.names, replace(file.text.options, sep=self._header.sep)
        self._place = {name: f"c{j}" for j, name in enumerate(self.names)}
        n_columns = len(self.names) + self._header.n_unnamed
        columns = ", ".join(f"'c{j}': 'VARCHAR'" for j in range(n_columns))
        line_ends = {"\n": "new_line = '\\n'", "\r": "new_line = '\\r'"}  # DuckDB reads no file whose option is \r\n
        options = [
            "auto_detect = false",
            "header = true",
            f"skip = {self._header.n_lines_before}",
            f"delim = {quoted(self._header.sep)}",
            "quote = '\"'",
            "escape = '\"'",
            "strict_mode = true",
            "allow_quoted_nulls = false",
            f"buffer_size = {_BUFFER_BYTES}",
            f"compression = '{'gzip' if read.form.compressed else 'none'}'",
            f"columns = {{{columns}}}",
            *([line_ends[self._header.line_end]] if self._header.line_end in line_ends else []),
        ]
        self._scan = f"read_csv({place_of(read.path)}, {', '.join(options)})"
        self._refuse_unnamed()

    def _refuse_unnamed(self) -> None:
        """Raise TableFileError if columns without a name at the end of the header hold something."""
        begin = len(self.names)
        for place in (f"c{j}" for j in range(begin, begin + self._header.n_unnamed)):
            if found := self._query(f"SELECT {place} FROM {self._scan} WHERE {place} != '' LIMIT 1"):
                raise TableFileError(
                    f"{self.file.label}: Columns should have names, but the one that holds {shown(found[0][0])} has "
                    "none: name it in the header, or remove it."
                )

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        with faults_of(self.file.label), explained():
            return self._connection.execute(query).fetchall()

    @property
    def sep(self) -> str:
        """What separates its cells."""
        return self._header.sep

    @property
    def line_end(self) -> str:
        """What ends a line."""
        return self._header.line_end or "\n"

    def look(self, types: Mapping[str, TypeOfColumn], *, while_any_fits: bool = False) -> int:
        """Keep of the types of some columns those that fit the cells of the file, and return the number of rows.

        With `while_any_fits`, it looks no further where no type fits the first rows.
        """
        cells, n_rows = self._rows_of(list(types)), FIRST_ROWS
        for query in (f"(SELECT * FROM {cells} LIMIT {FIRST_ROWS})", cells):
            if n_rows == FIRST_ROWS and not (while_any_fits and all(not each.fitting for each in types.values())):
                each = (part for name, column in types.items() for part in column.expressions(self._place[name]))
                ((n_rows, *found),) = self._query(f"SELECT {', '.join(['count(*)', *each])} FROM {query}")
                values: Iterator[Any] = iter(found)
                for column in types.values():
                    column.narrow(values)
        if not n_rows and not self._header.is_last:
            with faults_of(self.file.label):
                raise TableFileError(LINE_ENDS)
        return n_rows

    def _rows_of(self, names: Sequence[str], *, with_gaps: Collection[str] | None = None) -> str:
        """Return what the cells of some columns are read from as c0, c1, ..., by their places in the file.

        Cells of missing values are null, or if columns `with_gaps` are given, in these. Blank lines are missing values
        of a single column, but not at its end.
        """
        nulls = set(names if with_gaps is None else with_gaps)
        cells = (
            f"{self._cell(place) if name in nulls else f'coalesce({place}, {chr(39) * 2})'} AS {place}"
            for name, place in ((name, self._place[name]) for name in names)
        )
        last = ""
        if len(self.names) == 1:
            numbered = f"(SELECT row_number() OVER () AS row, c0 FROM {self._scan})"
            last = f"LIMIT {self._query(f'SELECT max(row) FROM {numbered} WHERE c0 IS NOT NULL')[0][0] or 0}"
        return f"(SELECT {', '.join(cells)} FROM {self._scan} {last})"

    def typed(self, types: Mapping[str, TypeOfColumn]) -> str:
        """Return the query of the rows of some columns, in the types that were found, as n0, n1, ..."""
        selected = (each.converted(self._place[name]) for name, each in types.items())
        cells = ", ".join(f"{cell} AS n{i}" for i, cell in enumerate(selected))
        return f"SELECT {cells} FROM {self._rows_of(list(types))}"

    def rows(self, names: Sequence[str], at_once: int, with_gaps: Collection[str] = ()) -> Iterator[pa.Table]:
        """Yield the rows of some columns as texts, of which none is missing but in the columns `with_gaps`."""
        places = ", ".join(self._place[name] for name in names)
        with faults_of(self.file.label), explained():
            found = self._connection.sql(f"SELECT {places} FROM {self._rows_of(names, with_gaps=with_gaps)}")
            for batch in found.to_arrow_reader(at_once):
                yield pa.table(dict(zip(names, batch.columns, strict=True)))

    def count_rows(self) -> int:
        """Return the number of rows."""
        return self.look({self.names[0]: TypeOfColumn(is_text=True)})

    def complete_rows(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which rows have a value in each of some columns, (n,)."""
        has_all = " AND ".join(f"{self._place[name]} IS NOT NULL" for name in names)
        return np.array([each for (each,) in self._query(f"SELECT {has_all} FROM {self._rows_of(names)}")], dtype=bool)

    def refuse_cells(self, types: Mapping[str, TypeOfColumn], first_row: int) -> None:
        """Raise TableFileError for the first cell that its column's type cannot hold: an impossible date, or a whole
        number that float64 rounds.
        """
        numbered = f"(SELECT row_number() OVER () - 1 AS row, * FROM {self._rows_of(list(types))})"
        for name, of_column in types.items():
            cell = self._place[name]
            if of_column.is_time:
                tried = of_column.converted(cell).replace("CAST(", "TRY_CAST(", 1)
                wrong = f"{cell} IS NOT NULL AND {tried} IS NULL"
                if found := self._query(f"SELECT row, {cell} FROM {numbered} WHERE {wrong} LIMIT 1"):
                    raise TableFileError(
                        f"Column {shown(name)} should hold dates, as its other cells do, but {shown(found[0][1])} at "
                        f"row {first_row + found[0][0]} (rows count from 0) is none: correct or empty it, or take the "
                        f"column as one of texts (--column {shown(name)}=levels on the command line)"
                    )
            elif of_column.name == "float":
                whole = (
                    f"regexp_full_match(trim({cell}), '[-+]?\\d+') AND abs(TRY_CAST({cell} AS DOUBLE)) >= {_EXACT:.0f}"
                )
                for row, text in self._query(f"SELECT row, {cell} FROM {numbered} WHERE {whole}"):
                    if int(text) != int(float(text)):
                        raise TableFileError(
                            "Whole numbers should be at most 2^53 in size or exact as floats, but column "
                            f"{shown(name)} has {text.strip()} in row {first_row + row} (rows count from 0): scale it, "
                            "or drop it if it is an identifier."
                        )

    def _cell(self, place: str) -> str:
        words = {*MISSING_WORDS, *self.options.na}
        numbers = [f"{float(word)!r}" for word in self.options.na if is_number(word) and math.isfinite(float(word))]
        longest = max(len(word.encode()) for word in words)  # `strlen` counts bytes
        is_missing = f"strlen({place}) <= {longest} AND {place} IN ({', '.join(map(quoted, sorted(words)))})"
        if numbers:
            is_missing = f"({is_missing}) OR TRY_CAST({place} AS DOUBLE) IN ({', '.join(numbers)})"
        return f"CASE WHEN {is_missing} THEN NULL ELSE {place} END"

    def question(self, name: str, column: TypeOfColumn) -> str:
        """Return what is to be asked about a column whose cells are open, as the text of an error."""
        cells = f"(SELECT {self._cell(self._place[name])} AS cell FROM {self._scan})"
        found = self._query(f"SELECT cell FROM {cells} WHERE cell IS NOT NULL LIMIT 1")
        cell = shown(found[0][0] if found else "")
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


def look_again(texts: Sequence[TextFile], types: Mapping[str, TypeOfColumn]) -> None:
    """Look at the columns of a table once more that no type fits, and decide what their cells leave open.

    Raises TableFileError for the first column whose cells leave open what they mean, with the option that says it.
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
    for name, column in types.items():
        if column.is_open:
            raise TableFileError(texts[0].question(name, column))


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


def find_types(
    texts: Sequence[TextFile], names: Sequence[str], selection: Selection, seen: Callable[[int, int], object]
) -> tuple[dict[str, TypeOfColumn], list[int]]:
    """Return the types of the columns of files, and the number of rows of each.

    `seen` is called with the rows and the bytes that were looked at.
    """
    types, n_rows, n_bytes = types_of(names, selection, texts[0].file.text), list[int](), 0
    for text in texts:
        n_rows.append(text.look(types))
        n_bytes += text.file.n_bytes
        seen(sum(n_rows), n_bytes)
    look_again(texts, types)
    return types, n_rows
