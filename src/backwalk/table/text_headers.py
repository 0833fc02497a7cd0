"""The header of a text file: the names of its columns, what separates cells, and what stands before it.

The character between cells is the one that gives all of the first rows as many cells as the header.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.files import refuse_large
from backwalk.table.schema import refuse_duplicates, shown, unescaped
from backwalk.text_options import TextOptions, named

_LONGEST_HEADER = 2**20  # bytes
_SEPARATORS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # which some spreadsheets take for a first line
FIRST_ROWS = 1_000
"""Rows that are looked at before all."""
NOT_UTF8 = f"is not UTF-8: name its encoding, such as {named('encoding', 'cp1252')} for Western Windows"
"""The end of a message about text in another encoding."""


@dataclass(frozen=True)
class Header:
    """The first row of a text file: its names, how many lines are before it, the separator, and how its line ends.

    The lines before it are blank, comments that begin with "# " or "##", or name the separator (sep=;). A line that
    begins with "# " right above a row with numbers, and has as many cells, is no comment but the header. `n_unnamed` is
    the number of columns at its end without a name. `is_last` says whether only blank lines follow.
    """

    names: tuple[str, ...]
    n_unnamed: int
    n_lines_before: int
    sep: str
    line_end: str
    is_last: bool


def read_header(data: BinaryIO, usual: str, options: TextOptions = TextOptions()) -> Header:  # noqa: B008
    """Return the header of an open text file in UTF-8, whose cells are usually separated by `usual`.

    Raises TableFileError for text that is not a table.
    """
    head = data.read(_LONGEST_HEADER)
    if b"\0" in head:
        raise TableFileError(
            f"The file looks like binary data, or like UTF-16 without a mark: save it as UTF-8, or give "
            f"{named('encoding', 'utf-16-le')}."
        )
    lines = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")  # the end may cut a character
    blank, sep = " \t\v\f\r\n".replace(options.sep or usual, ""), options.sep
    line, n_before, above = lines.readline(), 0, ""
    while line and (not line.strip(blank) or line.startswith(("# ", "##")) or _SEP_LINE.fullmatch(line)):
        match = _SEP_LINE.fullmatch(line)
        sep = sep or (match[1] if match else None)
        line, n_before, above = lines.readline(), n_before + 1, line
    if not line:
        raise TableFileError("The file is empty: it should hold a header line and rows.")
    if "\ufffd" in line:
        raise TableFileError(f"The header {NOT_UTF8}.")
    begin = lines.tell() - len(line)
    sep = sep or _separator(lines.getvalue()[begin:], usual, is_cut=len(head) == _LONGEST_HEADER)
    names, after = _fields(line, lines, sep), lines.tell()
    of_comment = _fields(above.removeprefix("# "), iter(()), sep) if above.startswith("# ") else []
    if len(of_comment) == len(names) > 1 and any(map(is_number, names)) and not any(map(is_number, of_comment)):
        names, line, n_before, begin, after = of_comment, above, n_before - 1, begin - len(above), begin
    if not names:
        raise TableFileError(
            f"The header should end within {_LONGEST_HEADER:,} bytes, but does not: close its quotation marks."
        )
    text, rest = lines.getvalue()[begin:after], lines.getvalue()[after:]
    refuse_large(0, len(names))
    quoted_alone = line.startswith('"') and not rest[:FIRST_ROWS].lstrip().startswith('"')  # as our headers are
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
    n_named = max((j for j, name in enumerate(names, 1) if name), default=len(names))
    header = Header(tuple(map(unescaped, names[:n_named])), len(names) - n_named, n_before, sep, end, not rest.strip())
    refuse_duplicates(header.names)
    return header


def _separator(text: str, usual: str, *, is_cut: bool) -> str:
    """Return what separates the cells of a text: what gives its first rows as many cells as the header, at least two.

    Where nothing does, that is `usual`, or what gives the header most names. Raises TableFileError if several do.
    """
    n_cells = dict[str, list[int]]()
    for sep in _SEPARATORS:
        rows, n_cells[sep] = csv.reader(io.StringIO(text, newline=""), delimiter=sep), []
        with suppress(csv.Error):  # a cell that is too long
            n_cells[sep] += (len(row) for row in itertools.islice(rows, FIRST_ROWS) if row)
        if is_cut and len(n_cells[sep]) < FIRST_ROWS:
            n_cells[sep] = n_cells[sep][:1] + n_cells[sep][1:-1]  # the last row may be cut
    fitting = [sep for sep, n in n_cells.items() if n and n[0] > 1 and set(n) == {n[0]}]
    if "\t" in fitting or len(fitting) == 1:
        return "\t" if "\t" in fitting else fitting[0]
    if len(fitting) > 1:
        raise TableFileError(
            f"One character should separate the cells, but each of {listed(map(repr, fitting))} gives the first rows "
            f"as many cells as the header, {shown(text.splitlines()[0])}: give {named('sep', *fitting)}."
        )
    n_names = {sep: n[0] if n else 0 for sep, n in n_cells.items()}
    return usual if n_names[usual] > 1 else max(n_names, key=lambda sep: (n_names[sep], sep == usual))


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
