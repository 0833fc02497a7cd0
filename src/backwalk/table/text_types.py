"""The types of columns of text: the first type that fits all cells of a column.

The types are, in this order: whole numbers, truth values, numbers, dates, times with a date, the same in UTC, times of
day, dates that are not written as in ISO 8601, and texts. Each has a condition on one cell, so that a column's type
depends neither on the order of its rows nor on how they lie in blocks or files.

Columns that none of these fits are looked at once more: they may hold numbers such as 1.234,50, or dates with
times such as 31.12.2020 14:30. Where all cells of a column leave open which is the day (3/4/2021), or what a comma or a
point means (1.234), the other columns of the file decide if they agree, or an option does.

Whole numbers with leading zeros, and those of 7 digits or more with a plus, are codes such as 00501, and stay texts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from backwalk.table.schema import unescaped_in_sql

_UNITS = ("s", "ms", "us", "ns")
_TIMES_OF_DAY = dict(zip(_UNITS, (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")), strict=True))

_WHOLE = r"-?(?:0|[1-9]\d*)"  # without codes
_FLOAT = (
    rf"(?:{_WHOLE}|\+(?:0|[1-9]\d{{0,5}})|[-+]?(?:\d+\.\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+|"
    r"[-+]?(?i:inf|infinity))"
)
_DATE = r"\d{4}-\d{2}-\d{2}"
_CLOCK = r"[ T]\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,9})?)?)?"
_ZONE = r"(?:Z|[-+]\d{2}(?::?\d{2})?)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?"


def _fits(pattern: str) -> str:
    return f"regexp_full_match({{0}}, '{pattern}')"


def _fits_int64(pattern: str) -> str:
    return f"({{0}} IS NULL OR ({_fits(pattern)} AND TRY_CAST({{0}} AS BIGINT) IS NOT NULL))"


_DAY_FIRST, _MONTH_FIRST = "date, day first", "date, month first"
_DATE_FORMATS = {
    "date, year first": (r"\d{4}[./]\d{1,2}[./]\d{1,2}", "%Y/%m/%d"),
    _DAY_FIRST: (r"\d{1,2}[./-]\d{1,2}[./-]\d{4}", "%d/%m/%Y"),
    _MONTH_FIRST: (r"\d{1,2}[./-]\d{1,2}[./-]\d{4}", "%m/%d/%Y"),
    "date, short month": (r"[A-Z][a-z]{2} \d{1,2}, \d{4}", "%b %d, %Y"),
    "date, long month": (r"[A-Z][a-z]{2,8} \d{1,2}, \d{4}", "%B %d, %Y"),
    "date, day and short month": (r"\d{1,2} [A-Z][a-z]{2} \d{4}", "%d %b %Y"),
    "date, day and long month": (r"\d{1,2} [A-Z][a-z]{2,8} \d{4}", "%d %B %Y"),
}
"""The patterns of dates that are not written as in ISO 8601, and their formats once . and - are replaced by /."""


def _parsed_date(how: str) -> str:
    return f"try_strptime(regexp_replace({{0}}, '[.-]', '/', 'g'), '{_DATE_FORMATS[how][1]}')"


_CONDITIONS = {
    "null": "{0} IS NULL AND NULL",
    "whole": _fits_int64(rf"\s*{_WHOLE}\s*"),
    "truth": "lower(trim({0})) IN ('true', 'false', '0', '1')",
    "float": _fits(rf"\s*{_FLOAT}\s*"),
    "date": _fits(_DATE),
    "moment": _fits(rf"{_DATE}(?:{_CLOCK})?"),
    "moment in UTC": _fits(_DATE + _CLOCK + _ZONE),
    "time": _fits(_TIME),
    **{
        how: f"({{0}} IS NULL OR ({_fits(pattern)} AND {_parsed_date(how)} IS NOT NULL))"
        for how, (pattern, _) in _DATE_FORMATS.items()
    },
}
"""The types of columns in the order in which they are tried, each with its condition on a cell that is not missing."""

_WITH_CODES = {
    **_CONDITIONS,
    "whole": _fits_int64(r"\s*[-+]?\d+\s*"),
    "float": _fits(rf"\s*(?:{_FLOAT}|[-+]?\d+)\s*"),
}
"""The conditions of columns whose numbers may have leading zeros."""

_WITH_CLOCK = {"moment", "moment in UTC", "time"}

_BLANKS = " \u00a0\u202f"


def _digits(decimal: str) -> str:
    """Return what casts a written number to one of DuckDB: its digits and signs, with a decimal point."""
    return f"replace(regexp_replace({{0}}, '[^-+0-9eE{decimal}]', '', 'g'), '{decimal}', '.')"


def _number(decimal: str, fraction: str) -> str:
    """Return the condition of a number with separators, whose fraction has a pattern, on one cell."""
    group = f"[{',' if decimal == '.' else '.'}{_BLANKS}]"
    digits = rf"(?:0|[1-9]\d*|[1-9]\d{{0,2}}(?:{group}\d{{3}})+)"
    return rf"regexp_full_match({{0}}, '[{_BLANKS}]*-?{digits}{fraction}[{_BLANKS}]*')"


_CLOCKED = r"\d{1,2}[./-]\d{1,2}[./-]\d{4}(?:[ T]\d{1,2}:\d{2}(?::\d{2})?)?"


def _parsed_moment(order: str) -> str:
    formats = ", ".join(f"'{order}/%Y{clock}'" for clock in (" %H:%M:%S", " %H:%M", ""))
    return f"try_strptime(replace(regexp_replace({{0}}, '[.-]', '/', 'g'), 'T', ' '), [{formats}])"


_NAMES_OF_NUMBERS = {".": "decimal point", ",": "decimal comma"}
_MOMENTS = {"moment, day first": "%d/%m", "moment, month first": "%m/%d"}
_NO_MARK = "neither points nor commas"
_WRITTEN = {
    _NO_MARK: "NOT contains({0}, '.') AND NOT contains({0}, ',')",
    **{
        f"{kind}, {name}": _number(decimal, fraction.replace("D", decimal)) + cast
        for decimal, name in _NAMES_OF_NUMBERS.items()
        for kind, fraction, cast in (
            ("whole", "", f" AND TRY_CAST({_digits(decimal)} AS BIGINT) IS NOT NULL"),
            ("float", r"(?:[D]\d+)?(?:[eE][-+]?\d+)?", ""),
        )
    },
    **{how: f"{_fits(_CLOCKED)} AND {_parsed_moment(order)} IS NOT NULL" for how, order in _MOMENTS.items()},
}
"""The conditions on a cell of the types that are tried where none of the others fits."""

_AS_ASKED = "date in the format that was asked for"

_SIDES = {
    "float": ("decimal", "."),
    **{f"{kind}, {name}": ("decimal", mark) for mark, name in _NAMES_OF_NUMBERS.items() for kind in ("whole", "float")},
    _DAY_FIRST: ("dates", "day"),
    _MONTH_FIRST: ("dates", "month"),
    "moment, day first": ("dates", "day"),
    "moment, month first": ("dates", "month"),
}
"""The option that some types answer, and how."""

_CONVERTED = {
    "null": "NULL::DOUBLE",
    "whole": "CAST({0} AS BIGINT)",
    "truth": "lower(trim({0})) IN ('true', '1')",
    "float": "CAST({0} AS DOUBLE)",
    **{how: f"CAST({_parsed_date(how)} AS DATE)" for how in _DATE_FORMATS},
    **{
        f"{kind}, {name}": f"CAST({_digits(mark)} AS {'BIGINT' if kind == 'whole' else 'DOUBLE'})"
        for mark, name in _NAMES_OF_NUMBERS.items()
        for kind in ("whole", "float")
    },
    **{how: f"CAST({_parsed_moment(order)} AS TIMESTAMP_S)" for how, order in _MOMENTS.items()},
}
"""How DuckDB converts a cell of some types."""


@dataclass
class TypeOfColumn:
    """What is known of a column's cells: which types fit all of them, and how many digits of a second they have.

    `decimal` and `dates` decide what the cells leave open; `dates` may be a format, which is tried first.
    """

    takes_codes: bool = False
    fitting: list[str] = field(default_factory=lambda: list(_CONDITIONS))
    n_digits: int = 0

    is_text: bool = False
    decimal: str | None = None
    dates: str | None = None

    def __post_init__(self) -> None:
        if self.is_text:
            self.fitting = []
        elif "%" in (self.dates or ""):
            self.fitting.insert(1, _AS_ASKED)

    def begin_again(self, *, floats: bool) -> bool:
        """Return whether a column that no type fits may hold written numbers or dates, for which it is looked at again.

        With `floats` so may one of numbers such as 1.234: where commas are decimal, these are thousands.
        """
        if self.is_text or self.fitting[:1] not in ([], ["float"] if floats else []):
            return False
        self.fitting = [*self.fitting[:1], *_WRITTEN]
        return True

    def expressions(self, cell: str) -> list[str]:
        """Return the aggregates of a column's cells that `narrow` takes."""
        fits = [f"coalesce({self._condition(name).replace('{0}', cell)}, true)" for name in self.fitting]
        digits = "0"
        if _WITH_CLOCK & set(self.fitting):
            digits = f"coalesce(max(length(regexp_extract({cell}, '\\.(\\d+)', 1))), 0)"
        return [*fits, digits]

    def _condition(self, name: str) -> str:
        """Return the condition of a type on all cells."""
        if name == _AS_ASKED:
            return f"bool_and({{0}} IS NULL OR {self._parsed_as_asked} IS NOT NULL)"
        if name in _WRITTEN:
            return f"bool_and({{0}} IS NULL OR ({_WRITTEN[name]}))"
        return f"bool_and({(_WITH_CODES if self.takes_codes else _CONDITIONS)[name]})"

    @property
    def _parsed_as_asked(self) -> str:
        return "try_strptime({0}, '" + (self.dates or "").replace("'", "''") + "')"

    def narrow(self, found: Iterator[Any]) -> None:
        """Keep the types that fit more cells as well."""
        self.fitting = [name for name in self.fitting if next(found)]
        if self.fitting == [_NO_MARK]:  # which is no type
            self.fitting = []
        self.n_digits = max(self.n_digits, next(found))

    def sides(self, option: str) -> set[str]:
        """Return which values of an option the cells admit; none where it does not matter."""
        if not self.fitting or _SIDES.get(self._first, ("",))[0] != option:
            return set()
        return {_SIDES[name][1] for name in self.fitting if name in _SIDES and _SIDES[name][0] == option}

    def answer(self, option: str) -> str | None:
        """Return the value of an option by which the cells are read, or None where it does not matter."""
        sides, given = self.sides(option), self.decimal if option == "decimal" else self.dates
        if option == "dates" and self.fitting[:1] == [_AS_ASKED]:
            return given
        return next(iter(sides)) if len(sides) == 1 else given if given in sides else None

    @property
    def is_open(self) -> str | None:
        """The option, "decimal" or "dates", that the column needs."""
        for option, answer in (("decimal", self.decimal), ("dates", self.dates)):
            sides = self.sides(option)
            if len(sides) == 2 and answer not in sides and _NO_MARK not in self.fitting:
                return option
        return None

    @property
    def _first(self) -> str:
        return next((name for name in self.fitting if name != _NO_MARK), "text")

    @property
    def name(self) -> str:
        """The first type that fits; "text" if none does, or if the cells leave open which."""
        option, _ = _SIDES.get(self._first, ("", ""))
        sides = self.sides(option)
        if len(sides) < 2:
            return self._first
        answer = self.decimal if option == "decimal" else self.dates
        if answer in sides:
            return next(name for name in self.fitting if _SIDES.get(name) == (option, answer))
        return self._first if _NO_MARK in self.fitting else "text"

    @property
    def is_ours(self) -> bool:
        """Whether the cells are written as we write them, so that others may stand beside them."""
        return self.name in ("null", "whole", "truth", "float", "date", "moment", "moment in UTC", "time", "text")

    def converted(self, cell: str) -> str:
        """Return the expression by which DuckDB converts a cell; texts lose the apostrophe of `escaped_cell`."""
        has_nanoseconds = self.n_digits > 6
        clocks = {
            "date": "CAST({0} AS DATE)",
            "moment": f"CAST(in_full({{0}}) AS TIMESTAMP{'_NS' if has_nanoseconds else ''})",
            "moment in UTC": "CAST(in_full({0}) AS TIMESTAMPTZ)",
            "time": f"CAST({{0}} AS TIME{'_NS' if has_nanoseconds else ''})",
            _AS_ASKED: f"CAST({self._parsed_as_asked} AS {'DATE' if self._asks_for_a_date else 'TIMESTAMP'})",
        }
        return {**_CONVERTED, **clocks}.get(self.name, unescaped_in_sql("{0}")).replace("{0}", cell)

    @property
    def is_time(self) -> bool:
        """Whether cells are dates or times, of which a pattern admits impossible ones."""
        return self.name in ("date", "moment", "moment in UTC", "time")

    @property
    def _asks_for_a_date(self) -> bool:
        return not any(f"%{letter}" in (self.dates or "") for letter in "cXHIMSTRfgnpz")

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of the column."""
        unit = _UNITS[-(-min(self.n_digits, 9) // 3)]
        return {
            "null": pa.null(),
            "whole": pa.int64(),
            "truth": pa.bool_(),
            "float": pa.float64(),
            "date": pa.date32(),
            "moment": pa.timestamp(unit),
            "moment in UTC": pa.timestamp(unit, "UTC"),
            "time": _TIMES_OF_DAY[unit],
            "text": pa.string(),
            **dict.fromkeys(_DATE_FORMATS, pa.date32()),
            **dict.fromkeys(_MOMENTS, pa.timestamp("s")),
            **{f"whole, {name}": pa.int64() for name in _NAMES_OF_NUMBERS.values()},
            **{f"float, {name}": pa.float64() for name in _NAMES_OF_NUMBERS.values()},
            _AS_ASKED: pa.date32() if self._asks_for_a_date else pa.timestamp("us"),
        }[self.name]


def settle(types: Collection[TypeOfColumn], *, sep: str) -> None:
    """Let the columns of a table decide what others leave open, if they agree.

    Without any, a point or comma is as usual where commas separate cells; where semicolons do, either may be decimal.
    """
    for option in ("decimal", "dates"):
        answers = {side for column in types if len(sides := column.sides(option)) == 1 for side in sides}
        if option == "decimal" and not answers and sep != ";":
            answers = {"."} if sep == "," else set()
        for column in types:
            if column.is_open == option and len(answers) == 1:
                setattr(column, option, next(iter(answers)))
