"""The types of columns of text: the first type that fits all cells of a column.

The types are, in this order: whole numbers, truth values, numbers, dates, times with a date, the same in UTC, times of
day, dates that are not written as in ISO 8601, and texts. Each has a condition on one cell, so that a column's type
depends neither on the order of its rows nor on how they lie in blocks or files. Dates such as 3/4/2021 stay texts
where all cells leave open which is the day.

Whole numbers with leading zeros, and those of 7 digits or more with a plus, are codes such as 00501, and stay texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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

_CONVERTED = {
    "null": "NULL",
    "whole": "CAST({0} AS BIGINT)",
    "truth": "lower(trim({0})) IN ('true', '1')",
    "float": "CAST({0} AS DOUBLE)",
    **{how: f"CAST({_parsed_date(how)} AS DATE)" for how in _DATE_FORMATS},
}
"""How DuckDB converts a cell of some types."""


@dataclass
class TypeOfColumn:
    """What is known of a column's cells: which types fit all of them, and how many digits of a second they have."""

    takes_codes: bool = False
    fitting: list[str] = field(default_factory=lambda: list(_CONDITIONS))
    n_digits: int = 0

    is_text: bool = False

    def __post_init__(self) -> None:
        if self.is_text:
            self.fitting = []

    def expressions(self, cell: str) -> list[str]:
        """Return the aggregates of a column's cells that `narrow` takes."""
        conditions = _WITH_CODES if self.takes_codes else _CONDITIONS
        fits = [f"coalesce(bool_and({conditions[name].replace('{0}', cell)}), true)" for name in self.fitting]
        digits = n_bytes = "0"
        if _WITH_CLOCK & set(self.fitting):
            digits = f"coalesce(max(length(regexp_extract({cell}, '\\.(\\d+)', 1))), 0)"
        if not {"whole", "float"} & set(self.fitting):
            n_bytes = f"coalesce(sum(strlen({cell})), 0)"
        return [*fits, digits, n_bytes]

    def narrow(self, found: Iterator[Any]) -> int:
        """Keep the types that fit more cells as well, and return the bytes of these if they are texts."""
        self.fitting = [name for name in self.fitting if next(found)]
        self.n_digits = max(self.n_digits, next(found))
        return int(next(found))

    @property
    def name(self) -> str:
        """The first type that fits; "text" if none does, or if it leaves open what is the day and what the month."""
        if self.fitting[:2] == [_DAY_FIRST, _MONTH_FIRST]:
            return "text"
        return self.fitting[0] if self.fitting else "text"

    def converted(self, cell: str) -> str:
        """Return the expression by which DuckDB converts a cell; of dates and times it gives the texts."""
        return _CONVERTED.get(self.name, "{0}").replace("{0}", cell)

    def typed(self, column: pa.Array) -> pa.Array:
        """Return what `converted` gives in the column's type. Raises ArrowInvalid for an impossible date."""
        if self.name == "null":
            return pa.nulls(len(column))
        if not pa.types.is_time(self.type):
            return column.cast(self.type)
        moments = pc.binary_join_element_wise("1970-01-01", column, " ")
        return moments.cast(pa.timestamp(self.type.unit)).cast(self.type)

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
        }[self.name]
