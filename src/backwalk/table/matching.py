"""Bring the columns and the labels of a table into those of a fitted schema."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.arrow_columns import FloatArray
from backwalk.table.frame import Table
from backwalk.table.schema import Schema, shown, unescaped, unescaped_cell

PER_DAY = {"D": 1.0, "s": 86_400.0, "ms": 86_400e3, "us": 86_400e6}


def match_columns(table: Table, schema: Schema, *, name: str = "X", estimator: str = "Diffusion") -> Table:
    """Return a table with the columns, the labels and the units of a fitted schema, in its order.

    Columns are matched by name; a name may still have the apostrophe that `escaped` puts before CSV headers like
    `=1+1`. If the table or the schema has no names, columns are matched by position and only their number is checked.
    Columns that the fit set aside are left out. Labels are matched by their texts; numbers match labels that are these
    numbers. Raises InvalidInput for missing and for extra columns, for labels that the fit did not see, and for a
    column of another kind, such as texts instead of numbers.

    >>> fitted = Schema(("a", "b"), ("float64", "float64"), "pandas")
    >>> swapped = Table(np.array([[2.0, 1.0]]), Schema(("b", "a"), ("float64", "float64"), "pandas"))
    >>> match_columns(swapped, fitted).values
    array([[1., 2.]])
    """
    if table.schema == schema:
        return table
    if table.columns is None or schema.columns is None:
        if table.schema.n_columns != schema.n_columns:
            raise InvalidInput(
                f"{name} has {table.schema.n_columns} features, but {estimator} is expecting {schema.n_columns} "
                "features as input: give the columns that it was fitted on."
            )
        order = list(range(schema.n_columns))
    else:
        order = _places(table.columns, schema.columns, schema.set_aside, name)
    own = table.schema.taken(order)
    columns = [_matched(table.values[:, i], own, schema, j, name) for j, i in enumerate(order)]
    return Table(np.stack(columns, axis=1), schema)


def widened(table: Table, schema: Schema, columns: Sequence[int]) -> Table:
    """Return a table with the columns of a schema that it lacks, other than these `columns`, without values."""
    if table.columns is None or schema.columns is None:
        return table
    own = {*table.columns, *map(unescaped, table.columns)}
    absent = tuple(name for j, name in enumerate(schema.columns) if name not in own and j not in columns)
    if not absent:
        return table
    widened = Schema(
        (*table.columns, *absent),
        (*table.schema.dtypes, *["float64"] * len(absent)),
        table.schema.kind,
        (*table.schema.labels, *[None] * len(absent)),
        (*table.schema.units, *[None] * len(absent)),
    )
    return Table(np.column_stack([table.values, np.full((len(table.values), len(absent)), np.nan)]), widened)


def _places(columns: tuple[str, ...], fitted: tuple[str, ...], set_aside: tuple[str, ...], name: str) -> list[int]:
    """Return the place of each fitted column among the columns of a table."""
    known = {*fitted, *set_aside}
    names = [column if column in known else unescaped(column) for column in columns]
    if len(set(names)) < len(names):
        names = list(columns)
    position = {column: j for j, column in enumerate(names)}
    missing = [column for column in fitted if column not in position]
    unseen = [column for column in names if column not in known]
    if missing or unseen:
        found = (("lacks", missing), ("also has", unseen))
        faults = [f"{what} {listed(map(shown, those))}" for what, those in found if those]
        raise InvalidInput(
            f"The feature names should match those that were passed during fit, but {name} {' and '.join(faults)}: "
            "give exactly the columns that the model was fitted on."
        )
    return [position[column] for column in fitted]


def _matched(values: FloatArray, own: Schema, fitted: Schema, j: int, name: str) -> FloatArray:
    """Return column j, (n,), of a table with the schema `own` in the codes and units of a fitted schema."""
    labels, unit = fitted.labels[j], fitted.units[j]
    observed = ~np.isnan(values)
    if (own.labels[j], own.units[j]) == (labels, unit) and (unit is None or _family(own, j) == _family(fitted, j)):
        return values
    if not observed.any():
        return values
    if labels is not None and own.units[j] is None:
        return _codes(values, _text_of(own, j), labels, own.label(j), name)
    if unit is not None and own.units[j] is not None and _family(own, j) == _family(fitted, j):
        return values * (PER_DAY[unit] / PER_DAY[str(own.units[j])])
    row = int(observed.argmax())
    found = own.labels[j]
    got = f"{_family(own, j)}, such as {shown(found[int(values[row])])}" if found else _family(own, j)
    raise InvalidInput(
        f"{own.label(j)} of {name} should hold {_family(fitted, j)}, as in the fit, but holds {got} at row {row} (rows "
        "count from 0): give it in the type of the fit."
    )


def _family(schema: Schema, j: int) -> str:
    if schema.labels[j] is not None:
        return "texts"
    if schema.units[j] is None:
        return "numbers"
    kind = str(schema.types[j])
    return (
        "durations"
        if kind.startswith("duration")
        else "times"
        if kind.startswith("time") and kind[4].isdigit()
        else "dates"
    )


def _text_of(own: Schema, j: int) -> Callable[[float], str]:
    labels = own.labels[j]
    if labels is not None:
        return lambda code: labels[int(code)]
    if own.is_boolean(j):
        return lambda value: str(bool(value))
    return lambda value: str(int(value)) if value == np.rint(value) else repr(float(value))


def label_words(text: str, labels: Sequence[str]) -> str:
    """Name the labels that are most like a text, or the first ones if none is like it.

    >>> label_words("Gento", ("Adelie", "Chinstrap", "Gentoo"))
    "the nearest is 'Gentoo'"
    >>> label_words("x", ("Adelie", "Gentoo"))
    "there are 'Adelie', 'Gentoo'"
    """
    near = difflib.get_close_matches(text, labels, n=3)
    if not near:
        return f"there are {listed(map(shown, labels))}"
    return f"the nearest {'is' if len(near) == 1 else 'are'} {listed(map(shown, near))}"


def _codes(
    values: FloatArray, text_of: Callable[[float], str], labels: tuple[str, ...], column: str, name: str
) -> FloatArray:
    """Return the codes of values, (n,), whose texts are among the labels."""
    place = {label: float(code) for code, label in enumerate(labels)}
    distinct, inverse = np.unique(values, return_inverse=True)  # NaN is the last
    texts = [None if np.isnan(value) else text_of(value) for value in distinct]
    codes = np.array(
        [place.get(text, place.get(unescaped_cell(text), -1.0)) if text is not None else np.nan for text in texts]
    )
    unseen = [text for text, code in zip(texts, codes, strict=True) if code == -1.0]
    if unseen:
        found = codes[inverse]
        row = int((found == -1.0).argmax())
        text = str(texts[inverse[row]])
        at = f" at row {row} (rows count from 0)" if len(values) > 1 else ""
        more = f" and {len(unseen) - 1:,} more" if len(unseen) > 1 else ""
        raise InvalidInput(
            f"{name} should hold labels that the fit saw, but {column} has {shown(text)}{at}{more}: "
            f"{label_words(text, labels)}. Leave out such rows, or fit with them."
        )
    return np.asarray(codes[inverse])
