"""The dtypes of columns by name, and the Arrow type that holds the values of each.

A `Schema` names dtypes by texts, so that it is plain JSON:

- arrays: "float32", "float64", "str", "datetime64[s]" and the like, or "object[TYPE]" in arrays of Python objects;
- pandas: its own names; for categories "category[DTYPE]" or "category[DTYPE, ordered]" with the dtype of the
  categories; for Python objects "object[TYPE]";
- polars: NumPy's names of numbers and truth values, "string", "categorical", "enum", and TYPE of dates and times;
- pyarrow: NumPy's names of numbers and truth values, and TYPE of all others, such as "decimal128(10, 2)".

TYPE is Arrow's name of a type.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Literal, cast, get_args

import numpy as np
import pyarrow as pa

Kind = Literal["numpy", "pandas", "polars", "pyarrow"]
KINDS = get_args(Kind)

_ARROW_NAMES = {"boolean": "bool", "double": "float64", "float": "float32", "halffloat": "float16"}
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_NUMERIC = _INTEGERS | {"bool", "float16", "float32", "float64"}
# pandas has more dtypes than NumPy: capitalised ones and those of pyarrow. Other libraries use NumPy's names.
_OF_PANDAS = _NUMERIC | {"boolean", "Float32", "Float64"}
_OF_PANDAS |= {name.replace("i", "I").replace("u", "U") for name in _INTEGERS}
_OF_PANDAS |= {f"{name}[pyarrow]" for name in _INTEGERS | {"bool", "halffloat", "float", "double"}}

_OBJECT = re.compile(r"object\[(.+)\]")
_CATEGORY = re.compile(r"category\[(.+?)(, ordered)?\]")
_NUMPY_TIME = re.compile(r"(datetime|timedelta)64\[(Y|M|W|D|h|m|s|ms|us|ns)(?:, (.+))?\]")
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_DICTIONARY = re.compile(r"dictionary<values=(\w+), indices=(u?int\d+), ordered=([01])>")
_DECIMAL = re.compile(r"(decimal(?:32|64|128|256))\((\d+), (\d+)\)")
_ZONE = re.compile(r"[\w+\-/:]+")
_TEXTS = ("string", "large_string", "string_view")
_TIMES = {"date32[day]", "date64[ms]", "time32[s]", "time32[ms]", "time64[us]", "time64[ns]"}
_TIMES |= {f"duration[{unit}]" for unit in ("s", "ms", "us", "ns")}
_EXACT_DIGITS = 15  # of a decimal, which float64 keeps
_LEVELS = pa.dictionary(pa.int32(), pa.string())
_ORDERED_LEVELS = pa.dictionary(pa.int32(), pa.string(), ordered=True)


def numpy_dtype(dtype: str) -> str | None:
    """Return NumPy's name of a column's dtype, or None if the column holds neither numbers nor truth values.

    >>> from backwalk.table.dtypes import numpy_dtype
    >>> [numpy_dtype(name) for name in ("float32", "Int64", "double[pyarrow]", "boolean", "<U4")]
    ['float32', 'int64', 'float64', 'bool', None]
    """
    plain = dtype.lower().removesuffix("[pyarrow]")
    plain = _ARROW_NAMES.get(plain, plain)
    return plain if plain in _NUMERIC else None


@cache
def arrow_type(dtype: str, kind: Kind) -> pa.DataType | None:
    """Return the Arrow type of a dtype's values, or None if there is no such dtype in a table of this kind.

    Texts are string types; categories are dictionaries.

    >>> from backwalk.table.dtypes import arrow_type
    >>> arrow_type("category[int64, ordered]", "pandas"), arrow_type("Int8", "pandas"), arrow_type("Int8", "polars")
    (DictionaryType(dictionary<values=string, indices=int32, ordered=1>), DataType(int8), None)
    """
    if dtype in (_OF_PANDAS if kind == "pandas" else _NUMERIC):
        return pa.from_numpy_dtype(np.dtype(str(numpy_dtype(dtype))))
    if kind == "pyarrow":
        return _arrow(dtype)
    if kind == "polars":
        found = {"string": pa.large_string(), "categorical": _LEVELS, "enum": _LEVELS}.get(dtype)
        return found or (None if dtype in _TEXTS or _DICTIONARY.fullmatch(dtype) else _arrow(dtype))
    if dtype == "str" or (dtype == "string" and kind == "pandas"):
        return pa.string()
    if match := _OBJECT.fullmatch(dtype):
        inner = match[1]
        return pa.type_for_alias(inner) if inner in ("int64", "double", "bool") else _arrow(inner)
    if match := _NUMPY_TIME.fullmatch(dtype):
        return _of_numpy_time(match[1], match[2], match[3], kind)
    if kind == "pandas" and (match := _CATEGORY.fullmatch(dtype)):
        inner = match[1].removeprefix("interval[").partition(",")[0]
        known = inner in ("object", "str", "string") or numpy_dtype(inner) is not None
        return (_ORDERED_LEVELS if match[2] else _LEVELS) if known else None
    return _arrow(dtype.removesuffix("[pyarrow]")) if kind == "pandas" and dtype.endswith("[pyarrow]") else None


def _of_numpy_time(what: str, unit: str, zone: str | None, kind: Kind) -> pa.DataType | None:
    if (zone and not (kind == "pandas" and what == "datetime" and _ZONE.fullmatch(zone))) or (
        kind == "pandas" and unit not in ("s", "ms", "us", "ns")
    ):
        return None
    stored = unit if unit in ("s", "ms", "us", "ns") else "s"
    return pa.timestamp(stored, zone) if what == "datetime" else pa.duration(stored)


def _arrow(name: str) -> pa.DataType | None:
    if name in _TEXTS or name in _TIMES:
        return pa.type_for_alias(name)
    if match := _TIMESTAMP.fullmatch(name):
        return pa.timestamp(match[1], match[2]) if match[2] is None or _ZONE.fullmatch(match[2]) else None
    if match := _DECIMAL.fullmatch(name):
        try:
            return cast("pa.DataType", getattr(pa, match[1])(int(match[2]), int(match[3])))
        except ValueError:  # more digits than the type has
            return None
    match = _DICTIONARY.fullmatch(name)
    if match is None or not (match[1] in _TEXTS or numpy_dtype(match[1])):
        return None
    return pa.dictionary(pa.type_for_alias(match[2]), pa.type_for_alias(match[1]), ordered=match[3] == "1")


def category_dtype(dtype: str) -> str | None:
    """Return the dtype of the categories of a column of pandas, or None if it holds none.

    >>> from backwalk.table.dtypes import category_dtype
    >>> category_dtype("category[int64, ordered]")
    'int64'
    """
    match = _CATEGORY.fullmatch(dtype)
    return match[1] if match else None


def is_text(of_type: pa.DataType) -> bool:
    """Return whether values of an Arrow type are texts."""
    return str(of_type) in _TEXTS


def has_labels(of_type: pa.DataType) -> bool:
    """Return whether values of an Arrow type are levels with labels: texts or categories."""
    return is_text(of_type) or bool(pa.types.is_dictionary(of_type))


def is_time(of_type: pa.DataType) -> bool:
    """Return whether values of an Arrow type are dates, times or durations."""
    return bool(pa.types.is_temporal(of_type))


def stored_unit(of_type: pa.DataType) -> tuple[str, int]:
    """Return the unit of an Arrow type of times, and how many of it a second has."""
    unit = "ms" if pa.types.is_date64(of_type) else str(of_type.unit)
    return unit, {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]


def numeric_range(of_type: pa.DataType) -> tuple[float, float]:
    """Return the least and the largest number of an Arrow type of numbers, decimals or truth values, as float64."""
    if pa.types.is_boolean(of_type):
        return 0.0, 1.0
    if pa.types.is_decimal(of_type):
        largest = (10**of_type.precision - 1) / 10**of_type.scale
        largest = largest if of_type.precision <= _EXACT_DIGITS else float(np.nextafter(largest, 0.0))
        return -largest, largest
    dtype = np.dtype(numpy_dtype(str(of_type)))
    info: Any = np.iinfo(dtype) if pa.types.is_integer(of_type) else np.finfo(dtype)
    low, high = float(info.min), float(info.max)
    # As float64, the largest 64-bit integers round up, beyond the range of their dtype.
    return low, high if high <= info.max else float(np.nextafter(high, 0.0))
