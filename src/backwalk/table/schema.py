"""The schema of a table: its column names, its dtypes and the library that it came from.

A model has the `Schema` of the rows that it was fitted to, so that generated rows are returned as the same kind of
object with the same columns and dtypes. A schema is plain JSON and holds no data. pandas or polars are imported only to
return rows as their DataFrame.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from backwalk.errors import InvalidInput
from backwalk.formatting import listed

Kind = Literal["numpy", "pandas", "polars", "pyarrow"]
FloatArray = npt.NDArray[np.float64]

_KINDS = get_args(Kind)
_FORMULA_SIGNS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")  # also full-width
_ARROW_NAMES = {"boolean": "bool", "double": "float64", "float": "float32", "halffloat": "float16"}
_INTEGERS = {"bool"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_IN_BYTE_ORDER = re.compile("[<>]([iu][1248]|f[248])")
_NUMERIC = _INTEGERS | {"float16", "float32", "float64"}
# pandas has more dtypes than NumPy: capitalised ones and those of pyarrow. Other libraries use NumPy's names.
_OF_PANDAS = _NUMERIC | {"boolean", "Float32", "Float64"}
_OF_PANDAS |= {name.replace("i", "I").replace("u", "U") for name in _INTEGERS if "int" in name}
_OF_PANDAS |= {f"{name}[pyarrow]" for name in _INTEGERS | {"halffloat", "float", "double"}}


def numpy_dtype(dtype: str) -> str | None:
    """Return NumPy's name of a column's dtype, or None if the column does not hold numbers.

    >>> [numpy_dtype(name) for name in ("float32", "Int64", "double[pyarrow]", "boolean", ">f8", "<U4")]
    ['float32', 'int64', 'float64', 'bool', 'float64', None]
    """
    if _IN_BYTE_ORDER.fullmatch(dtype):  # with an explicit byte order, as in FITS files
        dtype = np.dtype(dtype).name
    plain = dtype.lower().removesuffix("[pyarrow]")
    plain = _ARROW_NAMES.get(plain, plain)
    return plain if plain in _NUMERIC else None


@dataclass(frozen=True)
class Schema:
    """The columns, dtypes and kind of a table.

    `columns` is None if the columns have no names (arrays, and DataFrames made from arrays). `dtypes` has one entry per
    column, the dtype in which rows are returned: for arrays "float32" or "float64", for DataFrames their own.

    >>> schema = Schema(columns=("length", "count"), dtypes=("float64", "int64"), kind="pandas")
    >>> Schema.from_dict(schema.to_dict()) == schema
    True
    """

    columns: tuple[str, ...] | None
    dtypes: tuple[str, ...]
    kind: Kind

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise InvalidInput(f"kind should be one of {', '.join(_KINDS)}, but got {self.kind!r}.")
        if self.columns is None and self.kind in ("polars", "pyarrow"):
            raise InvalidInput(f"A {self.kind} table should have column names, but got none: name the columns.")
        known = _OF_PANDAS if self.kind == "pandas" else _NUMERIC
        for dtype in self.dtypes:
            if dtype not in known and not (self.kind == "pandas" and _IN_BYTE_ORDER.fullmatch(dtype)):
                raise InvalidInput(
                    f"A column's dtype should be numeric in {self.kind}, but got {shown(dtype)}: encode or drop it."
                )
        if self.columns is None:
            return
        if len(self.columns) != len(self.dtypes):
            raise InvalidInput(
                f"There should be a dtype for each column, but got {len(self.columns)} names and {len(self.dtypes)} "
                "dtypes."
            )
        for name in self.columns:
            if any("\ud800" <= sign <= "\udfff" for sign in name):
                raise InvalidInput(
                    f"Column names should be texts that UTF-8 can encode, but got {shown(name)}: rename the column."
                )
        refuse_duplicates(self.columns)

    @property
    def n_columns(self) -> int:
        """The number of columns, d."""
        return len(self.dtypes)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names; x1, x2, ... if they have none."""
        return self.columns or tuple(f"x{j}" for j in range(1, self.n_columns + 1))

    def label(self, column: int) -> str:
        """Return a column's name in messages: its name in quotes, or its number."""
        return f"column {column}" if self.columns is None else f"column {shown(self.columns[column])}"

    def is_integer(self, column: int) -> bool:
        """Return whether a column's dtype is one of integers or truth values."""
        return numpy_dtype(self.dtypes[column]) in _INTEGERS

    def clipped(self, values: FloatArray) -> FloatArray:
        """Clip rows, (n, d), to the ranges of their columns' dtypes; that of bool is 0 to 1."""
        low, high = zip(*map(_range, self.dtypes), strict=True)
        return np.clip(values, low, high)

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain JSON values."""
        columns = None if self.columns is None else list(self.columns)
        return {"columns": columns, "dtypes": list(self.dtypes), "kind": self.kind}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Schema:
        """Return the schema that `to_dict` wrote. Raises InvalidInput for any other record."""
        if not isinstance(record, Mapping) or set(record) != {"columns", "dtypes", "kind"}:
            raise InvalidInput("A schema should have the keys columns, dtypes and kind, and no others.")
        columns, dtypes = record["columns"], record["dtypes"]
        for texts in (dtypes, [] if columns is None else columns):
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise InvalidInput("A schema's columns and dtypes should be lists of texts.")
        return cls(None if columns is None else tuple(columns), tuple(dtypes), record["kind"])


def shown(name: object) -> str:
    """Return a column's name for messages: quoted, on one line, of at most 60 characters."""
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def escaped(name: str) -> str:
    """Return a column's name as a CSV header, with an apostrophe before a name that a spreadsheet runs as a formula.

    Such a name begins with =, +, -, @, one of their full-width forms, a tab or a line end. A name that begins with
    apostrophes and then such a sign gets one more apostrophe, so that `unescaped` restores every name.

    >>> [escaped(name) for name in ("=1+1", "'=1+1", "length")]
    ["'=1+1", "''=1+1", 'length']
    """
    return f"'{name}" if name.lstrip("'").startswith(_FORMULA_SIGNS) else name


def unescaped(name: str) -> str:
    """Return the name that was given to `escaped`."""
    return name[1:] if name.startswith("'") and name.lstrip("'").startswith(_FORMULA_SIGNS) else name


def refuse_duplicates(columns: Sequence[str]) -> None:
    """Raise InvalidInput if two columns have the same name."""
    twice = [name for name, n in Counter(columns).items() if n > 1]
    if twice:
        raise InvalidInput(
            f"Column names should differ, but got {listed(map(shown, twice))} more than once: rename one of them."
        )


def from_values(values: npt.ArrayLike, schema: Schema) -> Any:
    """Return rows as the kind of table that a schema describes: the inverse of `as_table`.

    Columns of integers are rounded, truth values are True from 1/2 on, and every number is clipped to the range of its
    dtype. `values` is (n, d) in the user's units. Returns an array, a DataFrame or a pyarrow Table of n rows. Raises
    InvalidInput for another number of columns, for NaN in columns of integers, and if the library of `schema.kind` is
    not installed.

    >>> from_values([[0.25, 2.7]], Schema(("length", "count"), ("float64", "int64"), "pyarrow")).to_pydict()
    {'length': [0.25], 'count': [3]}
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != schema.n_columns:
        raise InvalidInput(f"values should have shape (n, {schema.n_columns}), but got {array.shape}.")
    if schema.kind == "numpy":
        return _restored(array, schema.dtypes[0], "values")
    try:
        library = importlib.import_module(schema.kind)
    except ImportError as error:
        raise InvalidInput(
            f"Rows are returned as a {schema.kind} table, like the fitted rows, but {schema.kind} is not installed: "
            f"pip install {schema.kind}."
        ) from error
    names: Sequence[Any] = range(schema.n_columns) if schema.columns is None else schema.columns
    data = {
        name: _restored(array[:, j], dtype, schema.label(j))
        for j, (name, dtype) in enumerate(zip(names, schema.dtypes, strict=True))
    }
    if schema.kind == "pyarrow":
        return library.table(data)
    frame = library.DataFrame(data)
    if schema.kind == "polars":
        return frame
    # pandas has dtypes that NumPy lacks, such as Int64 and double[pyarrow].
    extended = {name: dtype for name, dtype in zip(names, schema.dtypes, strict=True) if dtype != numpy_dtype(dtype)}
    return frame.astype(extended) if extended else frame


def _restored(values: FloatArray, dtype: str, label: str) -> npt.NDArray[Any]:
    name = numpy_dtype(dtype)
    if name == "float64":
        return values.copy()
    if name not in _INTEGERS:
        return np.clip(values, *_range(dtype)).astype(name)
    if np.isnan(values).any():
        raise InvalidInput(f"{label} has dtype {dtype}, which has no NaN, but got one: fill the gaps first.")
    if name == "bool":
        return values >= 0.5
    return np.clip(np.rint(values), *_range(dtype)).astype(name)


def _range(dtype: str) -> tuple[float, float]:
    """Return the least and the largest number of a column's dtype, as float64."""
    name = numpy_dtype(dtype)
    if name == "bool":
        return 0.0, 1.0
    info: Any = np.iinfo(name) if name in _INTEGERS else np.finfo(str(name))
    low, high = float(info.min), float(info.max)
    # As float64, the largest 64-bit integers round up, beyond the range of their dtype.
    return low, high if high <= info.max else float(np.nextafter(high, 0.0))
