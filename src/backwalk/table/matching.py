"""Bring the columns and the labels of a table into those of a fitted schema."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.limits import Unseen
from backwalk.table.frame import Table
from backwalk.table.schema import CLOCK, PER_DAY, FloatArray, Schema, is_no_clock_time, shown, unescaped, unescaped_cell


def match_columns(
    table: Table,
    schema: Schema,
    *,
    columns: Collection[int] | None = None,
    name: str = "X",
    estimator: str = "Diffusion",
    unseen: Unseen = "error",
) -> Table:
    """Return a table with the columns, the labels and the units of a fitted schema, in its order.

    Columns are matched by name; a name may still have the apostrophe that `escaped` puts before CSV headers like
    `=1+1`. If the table or the schema has no names, columns are matched by position and only their number is checked.
    Columns that the fit set aside are left out. Labels are matched by their texts; numbers match labels that are these
    numbers. `columns` are the numbers of the schema's columns in question, or None for all: the others may be lacking,
    are not looked at, and have no values in the result. With `unseen` "nearest", labels that the fit did not see follow
    the others in the result's schema, and have the next codes. Raises InvalidInput for missing and for extra columns,
    for such labels otherwise, and for a column of another kind, such as texts instead of numbers.

    >>> import numpy as np
    >>> from backwalk.table import Schema, Table
    >>> from backwalk.table.matching import match_columns
    >>> fitted = Schema(("a", "b"), ("float64", "float64"), "pandas")
    >>> swapped = Table(np.array([[2.0, 1.0]]), Schema(("b", "a"), ("float64", "float64"), "pandas"))
    >>> match_columns(swapped, fitted).values
    array([[1., 2.]])
    """
    if table.schema == schema and columns is None:
        return table
    wanted = range(schema.n_columns) if columns is None else columns
    if table.columns is None or schema.columns is None:
        if table.schema.n_columns != schema.n_columns:
            raise InvalidInput(
                f"{name} has {table.schema.n_columns} features, but {estimator} is expecting {schema.n_columns} "
                "features as input: give the columns that it was fitted on."
            )
        place = {j: j for j in wanted}
    else:
        place = _places(table.columns, schema, wanted, name)
    values, labels = np.full((len(table.values), schema.n_columns), np.nan), list(schema.labels)
    for j, i in place.items():
        given, label = table.schema.taken([i]), table.schema.label(i)
        values[:, j], labels[j] = _matched(table.values[:, i], given, schema.taken([j]), label, name, unseen)
    return Table(values, schema if labels == list(schema.labels) else replace(schema, labels=tuple(labels)))


def _places(columns: tuple[str, ...], schema: Schema, wanted: Collection[int], name: str) -> dict[int, int]:
    """Return the place among the columns of a table of each fitted column that is `wanted`."""
    fitted = schema.columns or ()
    expected = {*fitted, *schema.set_aside}
    names = [column if column in expected else unescaped(column) for column in columns]
    if len(set(names)) < len(names):
        names = list(columns)
    position = {column: i for i, column in enumerate(names)}
    missing = [fitted[j] for j in sorted(set(wanted)) if fitted[j] not in position]
    unseen = [column for column in names if column not in expected]
    if missing or unseen:
        both = (("lacks", missing), ("also has", unseen))
        faults = [f"{what} {listed(map(shown, those))}" for what, those in both if those]
        remedy = "give exactly the columns that the model was fitted on"
        if missing and len(set(wanted)) < len(fitted):
            remedy = f"give the columns of the fit, or name in given= only those that {name} has"
        raise InvalidInput(
            f"The feature names should match those that were passed during fit, but {name} {' and '.join(faults)}: "
            f"{remedy}."
        )
    return {j: position[fitted[j]] for j in wanted}


def _matched(
    values: FloatArray, given: Schema, fitted: Schema, label: str, name: str, unseen: Unseen
) -> tuple[FloatArray, tuple[str, ...] | None]:
    """Return the values, (n,), of a column with the schema `given` in the codes and units of the fitted one.

    Its labels come with them: the fitted ones, and after them those that are unseen.
    """
    (labels,), (unit,) = fitted.labels, fitted.units
    observed = ~np.isnan(values)
    if unit == CLOCK and _family(given) == "numbers":
        return _minutes(values, label, name), labels
    is_alike = unit is None or _family(given) == _family(fitted)
    if not observed.any() or ((given.labels, given.units) == (fitted.labels, fitted.units) and is_alike):
        return values, labels
    if labels is not None and given.units[0] is None:
        return _codes(values, _text_of(given), labels, label, name, unseen)
    if unit is not None and given.units[0] is not None and is_alike:
        return values * (PER_DAY[unit] / PER_DAY[given.units[0]]), labels
    row, got = int(observed.argmax()), _family(given)
    if given.labels[0]:
        got += f", such as {shown(given.labels[0][int(values[row])])}"
    raise InvalidInput(
        f"{label} of {name} should hold {_family(fitted)}, as in the fit, but holds {got} at row {row} (rows count "
        "from 0): give it in the type of the fit."
    )


def _minutes(values: FloatArray, label: str, name: str) -> FloatArray:
    """Return clock times HHMM, (n,), as minutes since midnight."""
    impossible = is_no_clock_time(values)
    if impossible.any():
        row = int(impossible.argmax())
        raise InvalidInput(
            f"{label} of {name} should hold clock times HHMM, from 0 to 2359, but got {values[row]:g} at row {row} "
            f"(rows count from 0), in {int(impossible.sum()):,} of {len(values):,} rows: mend them; midnight is 0."
        )
    return np.asarray(values - 40.0 * (values // 100.0))


def _family(schema: Schema) -> str:
    """Return what the one column of a schema holds, in words."""
    if schema.labels[0] is not None:
        return "texts"
    if schema.units[0] is None:
        return "numbers"
    if schema.units[0] == CLOCK:
        return "clock times HHMM"
    kind = str(schema.types[0])
    return (
        "durations"
        if kind.startswith("duration")
        else "times"
        if kind.startswith("time") and kind[4].isdigit()
        else "dates"
    )


def _text_of(schema: Schema) -> Callable[[float], str]:
    """Return the function from a value of the one column of a schema to its text."""
    labels = schema.labels[0]
    if labels is not None:
        return lambda code: labels[int(code)]
    if schema.is_boolean(0):
        return lambda value: str(bool(value))
    return lambda value: str(int(value)) if value == np.rint(value) else repr(float(value))


def label_words(text: str, labels: Sequence[str]) -> str:
    """Name the labels that are most like a text, or the first ones if none is like it.

    >>> from backwalk.table.matching import label_words
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
    values: FloatArray,
    text_of: Callable[[float], str],
    labels: tuple[str, ...],
    column: str,
    name: str,
    unseen: Unseen,
) -> tuple[FloatArray, tuple[str, ...]]:
    """Return the codes of values, (n,), and the labels with those that are unseen, unless these are refused."""
    place = {label: float(code) for code, label in enumerate(labels)}
    distinct, inverse = np.unique(values, return_inverse=True)  # NaN is the last
    texts = [None if np.isnan(value) else text_of(value) for value in distinct]
    codes = np.array(
        [place.get(text, place.get(unescaped_cell(text), -1.0)) if text is not None else np.nan for text in texts]
    )
    strange = [str(text) for text, code in zip(texts, codes, strict=True) if code == -1.0]
    if strange and unseen == "error":
        row = int((codes[inverse] == -1.0).argmax())
        text = str(texts[inverse[row]])
        at = f" at row {row} (rows count from 0)" if len(values) > 1 else ""
        more = f" and {len(strange) - 1:,} more" if len(strange) > 1 else ""
        remedy = "Leave out such rows, or fit with them" if len(values) > 1 else "Give a label of the fit"
        raise InvalidInput(
            f"{name} should hold labels that the fit saw, but {column} has {shown(text)}{at}{more}: "
            f"{label_words(text, labels)}. {remedy}."
        )
    codes[codes == -1.0] = len(labels) + np.arange(len(strange))
    return np.asarray(codes[inverse]), (*labels, *strange)
