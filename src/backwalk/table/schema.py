"""The schema of a table: its column names, its dtypes, its labels and the library that it came from.

A model has the `Schema` of the rows that it was fitted to, so that generated rows are returned as the same kind of
object with the same columns, dtypes and categories. A schema is plain JSON and holds no data but labels.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.dtypes import KINDS, Kind, arrow_type, has_labels, is_time, numeric_range, numpy_dtype, stored_unit

Labels = tuple[str, ...]
FloatArray = npt.NDArray[np.float64]

PER_DAY = {"D": 1.0, "s": 86_400.0, "ms": 86_400e3, "us": 86_400e6}
"""The units of dates and times, the coarsest first, and how many of each a day has."""

CLOCK = "HHMM"
"""The unit of clock times that the user's table has as whole numbers HHMM: here they are minutes since midnight."""

MISSING_WORDS = frozenset(pyarrow.csv.ConvertOptions().null_values)
"""Cells of text files that are missing values, such as NA and the empty cell."""

_FORMULA_SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")  # also full-width
_FIRST_DATE, _LAST_DATE = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31, in days
_LONGEST_DURATION = 999_999_999  # days; that of Python's timedelta
_INTEGER = re.compile(r"-?\d{1,100}")
_KEYS = {"columns", "dtypes", "kind", "labels", "units", "set_aside"}


@dataclass(frozen=True)
class Schema:
    """The columns, dtypes and kind of a table, and what its numbers mean.

    - `columns`: the names, or None if the columns have no names (arrays, and DataFrames made from arrays).
    - `dtypes`: for each column the dtype in which rows are returned (see `backwalk.table.dtypes`).
    - `kind`: the library of the rows.
    - `labels`: for each column of texts or categories the labels of its codes 0..L-1, otherwise None. They are in the
      order of the categories, or sorted.
    - `units`: for each column of dates, times or durations "D", "s", "ms" or "us", the unit of its numbers since
      1970-01-01 (of a time: since midnight); "HHMM" for clock times of such numbers; otherwise None.
    - `set_aside`: names of columns that the fit left out, which later tables may have.
    - `integer_names`: those of `columns` that are integers in the user's table.

    Without `labels` and `units`, no column has any.

    >>> from backwalk.table.schema import Schema
    >>> schema = Schema(("grade", "count"), ("string", "int64"), "pyarrow", labels=(("A", "B"), None))
    >>> Schema.from_dict(schema.to_dict()) == schema
    True
    """

    columns: tuple[str, ...] | None
    dtypes: tuple[str, ...]
    kind: Kind
    labels: tuple[Labels | None, ...] = ()
    units: tuple[str | None, ...] = ()
    set_aside: tuple[str, ...] = ()
    integer_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"kind should be one of {', '.join(KINDS)}, but got {self.kind!r}.")
        if self.columns is None and self.kind in ("polars", "pyarrow"):
            raise InvalidInput(f"A {self.kind} table should have column names, but got none: name the columns.")
        for name in ("labels", "units"):
            object.__setattr__(self, name, getattr(self, name) or (None,) * len(self.dtypes))
        if not len(self.labels) == len(self.units) == len(self.dtypes):
            raise InvalidInput("A schema should have labels and a unit, or None, for each column.")
        for dtype, labels, unit in zip(self.dtypes, self.labels, self.units, strict=True):
            found = arrow_type(dtype, self.kind)
            if found is None:
                raise InvalidInput(f"A column of {self.kind} has no dtype {shown(dtype)} here: convert or drop it.")
            if has_labels(found) != (labels is not None) or len(set(labels or ())) < len(labels or ()):
                raise InvalidInput(f"A column of dtype {shown(dtype)} should have distinct labels, and others none.")
            if unit == CLOCK and (pa.types.is_integer(found) or pa.types.is_floating(found)):
                continue
            if is_time(found) != (unit is not None) or (unit != "D" and pa.types.is_date32(found)):
                raise InvalidInput(f"A column of dtype {shown(dtype)} has no unit {unit!r}.")
        if self.columns is None:
            return
        if len(self.columns) != len(self.dtypes):
            raise InvalidInput(
                f"There should be a dtype for each column, but got {len(self.columns)} names and {len(self.dtypes)} "
                "dtypes."
            )
        for name in (*self.columns, *self.set_aside):
            if any("\ud800" <= sign <= "\udfff" for sign in name):
                raise InvalidInput(
                    f"Column names should be texts that UTF-8 can encode, but got {shown(name)}: rename the column."
                )
        refuse_duplicates((*self.columns, *self.set_aside))
        if not all(name in self.columns and _INTEGER.fullmatch(name) for name in self.integer_names):
            raise InvalidInput(f"integer_names should be columns and integers, but got {shown(self.integer_names)}.")

    @property
    def n_columns(self) -> int:
        """The number of columns, d."""
        return len(self.dtypes)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names; x1, x2, ... if they have none."""
        return self.columns or tuple(f"x{j}" for j in range(1, self.n_columns + 1))

    @property
    def labelled(self) -> tuple[str, ...]:
        """The names of the columns of texts and categories."""
        return tuple(name for name, labels in zip(self.names, self.labels, strict=True) if labels is not None)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The names of the columns of numbers and truth values."""
        columns = zip(self.names, self.labels, self.units, strict=True)
        return tuple(name for name, labels, unit in columns if labels is None and unit in (None, CLOCK))

    @cached_property
    def types(self) -> tuple[pa.DataType, ...]:
        """The Arrow type of each column's values."""
        return tuple(arrow_type(dtype, self.kind) for dtype in self.dtypes)

    def label(self, column: int) -> str:
        """Return a column's name in messages: its name in quotes, or its number."""
        return f"column {column}" if self.columns is None else f"column {shown(self.columns[column])}"

    def is_integer(self, column: int) -> bool:
        """Return whether a column holds whole numbers: integers, truth values, codes of labels, or times in a unit."""
        found, has_unit = self.types[column], self.units[column] is not None
        return bool(pa.types.is_integer(found) or has_labels(found) or has_unit or self.is_boolean(column))

    def is_boolean(self, column: int) -> bool:
        """Return whether a column's dtype is one of truth values."""
        return bool(pa.types.is_boolean(self.types[column]))

    def per_day(self, column: int) -> float | None:
        """Return how many units of a column of dates, with times or without, a day has; None for other columns."""
        found, unit = self.types[column], self.units[column]
        is_date = pa.types.is_date(found) or pa.types.is_timestamp(found)
        return PER_DAY[unit] if is_date and unit is not None else None

    def is_ordered(self, column: int) -> bool:
        """Return whether a column holds categories in an order."""
        found = self.types[column]
        return bool(pa.types.is_dictionary(found) and found.ordered)

    def value_range(self, column: int) -> tuple[float, float]:
        """Return the least and the largest number that a column may hold: of its dtype, its codes or its dates."""
        of_type, labels, unit = self.types[column], self.labels[column], self.units[column]
        if labels is not None:
            return 0.0, float(max(len(labels) - 1, 0))
        if unit is None:
            return numeric_range(of_type)
        if unit == CLOCK:
            return 0.0, 1_439.0
        per_day = PER_DAY[unit]
        if pa.types.is_time(of_type):
            return 0.0, per_day - 1.0
        is_duration = pa.types.is_duration(of_type)
        first, last = (-_LONGEST_DURATION, _LONGEST_DURATION) if is_duration else (_FIRST_DATE, _LAST_DATE)
        low, high = first * per_day, (last + 1) * per_day - 1.0
        if not pa.types.is_date32(of_type):  # 64 bits of nanoseconds end in 2262
            most = float(2**63 // int(PER_DAY["s"] * stored_unit(of_type)[1]) - 1) * per_day
            low, high = max(low, -most), min(high, most)
        return low, high

    def clipped(self, values: FloatArray) -> FloatArray:
        """Clip rows, (n, d), to the ranges of their columns; that of bool is 0 to 1."""
        low, high = zip(*map(self.value_range, range(self.n_columns)), strict=True)
        return np.clip(values, low, high)

    def with_clocks(self, columns: Collection[int]) -> Schema:
        """Return the schema with clock times in some columns, by number, and plain numbers in the others of these."""
        plain = (None if unit == CLOCK else unit for unit in self.units)
        return replace(self, units=tuple(CLOCK if j in columns else unit for j, unit in enumerate(plain)))

    def taken(self, columns: Sequence[int]) -> Schema:
        """Return the schema of some of the columns, by their numbers."""
        names = None if self.columns is None else tuple(self.columns[j] for j in columns)
        dtypes, labels, units = (tuple(each[j] for j in columns) for each in (self.dtypes, self.labels, self.units))
        return Schema(
            names,
            cast("Any", dtypes),
            self.kind,
            cast("Any", labels),
            cast("Any", units),
            self.set_aside,
            tuple(name for name in self.integer_names if name in (names or ())),
        )

    def as_arrow(self) -> Schema:
        """Return the schema of the same columns, all with names, in a table of pyarrow, where clock times are int64."""
        types = zip(self.types, self.units, strict=True)
        dtypes = tuple(
            "int64" if unit == CLOCK else numpy_dtype(str(of_type)) or str(of_type) for of_type, unit in types
        )
        return Schema(self.names, dtypes, "pyarrow", self.labels, self.units)

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain JSON values."""
        return {
            "columns": None if self.columns is None else list(self.columns),
            "dtypes": list(self.dtypes),
            "kind": self.kind,
            "labels": [None if labels is None else list(labels) for labels in self.labels],
            "units": list(self.units),
            "set_aside": list(self.set_aside),
            **({"integer_names": list(self.integer_names)} if self.integer_names else {}),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Schema:
        """Return the schema that `to_dict` wrote. Raises InvalidInput for any other record."""
        if not isinstance(record, Mapping) or set(record) - {"integer_names"} != _KEYS:
            raise InvalidInput(f"A schema should have the keys {', '.join(sorted(_KEYS))}, and no others.")
        labels, units, integer_names = record["labels"], record["units"], record.get("integer_names", [])
        if not isinstance(labels, list) or not isinstance(units, list):
            raise InvalidInput("A schema's labels and units should be lists.")
        known = (each for each in (record["columns"], *labels) if each is not None)
        for texts in (
            record["dtypes"],
            record["set_aside"],
            integer_names,
            *known,
            [unit for unit in units if unit is not None],
        ):
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise InvalidInput(
                    "A schema's columns, dtypes, labels, units, set_aside and integer_names should be lists of texts."
                )
        columns = record["columns"]
        return cls(
            None if columns is None else tuple(columns),
            tuple(record["dtypes"]),
            record["kind"],
            tuple(None if each is None else tuple(each) for each in labels),
            tuple(units),
            tuple(record["set_aside"]),
            tuple(integer_names),
        )


def is_no_clock_time(x: FloatArray) -> npt.NDArray[np.bool_]:
    """Return which numbers are no clock times HHMM, of the shape of x; NaN is none of these."""
    return np.asarray((x < 0.0) | (x > 2359.0) | (x % 100.0 > 59.0) | (x % 1.0 > 0.0))


def shown(name: object) -> str:
    """Return a column's name for messages: quoted, on one line, of at most 60 characters."""
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def escaped(name: str) -> str:
    """Return a column's name as a CSV header, with an apostrophe before a name that a spreadsheet runs as a formula.

    Such a name begins with =, +, -, @, one of their full-width forms, a tab or a line end. A name that begins with
    apostrophes and then such a sign gets one more apostrophe, so that `unescaped` restores every name.

    >>> from backwalk.table.schema import escaped
    >>> [escaped(name) for name in ("=1+1", "'=1+1", "length")]
    ["'=1+1", "''=1+1", 'length']
    """
    return f"'{name}" if name.lstrip("'").startswith(_FORMULA_SIGNS) else name


def unescaped(name: str) -> str:
    """Return the name that was given to `escaped`."""
    return name[1:] if name.startswith("'") and name.lstrip("'").startswith(_FORMULA_SIGNS) else name


def escaped_cell(text: str) -> str:
    """Return a text as a cell of a text file: `escaped`, and with an apostrophe if it reads as a missing value.

    >>> from backwalk.table.schema import escaped_cell
    >>> [escaped_cell(text) for text in ("=1+1", "NA", "'NA", "", "red")]
    ["'=1+1", "'NA", "''NA", "'", 'red']
    """
    return f"'{text}" if text.lstrip("'") in MISSING_WORDS else escaped(text)


def unescaped_cell(text: str) -> str:
    """Return the text that was given to `escaped_cell`."""
    return text[1:] if text.startswith("'") and text.lstrip("'") in MISSING_WORDS else unescaped(text)


def unescaped_in_sql(cell: str) -> str:
    """Return the expression in SQL of the text that was given to `escaped_cell`."""
    words = ", ".join(f"'{word}'" for word in sorted(MISSING_WORDS))
    signs, plain = "".join(_FORMULA_SIGNS), f"ltrim({cell}, '''')"
    begins = f"contains('{signs}', nullif(left({plain}, 1), ''))"
    is_escaped = f"starts_with({cell}, '''') AND ({plain} IN ({words}) OR {begins})"
    return f"CASE WHEN {is_escaped} THEN substr({cell}, 2) ELSE {cell} END"


def refuse_duplicates(columns: Sequence[str]) -> None:
    """Raise InvalidInput if two columns have the same name."""
    twice = [name for name, n in Counter(columns).items() if n > 1]
    if twice:
        raise InvalidInput(
            f"Column names should differ, but got {listed(map(shown, twice))} more than once: rename one of them."
        )
