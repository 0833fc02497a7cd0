"""Which rows a model can make and score, and the messages for others.

A model cannot make another value than the fitted one in a constant column, a fraction in a column of integers, or a
value that is no level (`Codec.supports`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.terms import user_terms
from backwalk.table import FILL_GAPS, Column, Schema, Table, complete, label_words
from backwalk.table.codec_rules import obeys_rules, rules_broken


def possible_rows(
    model: DiffusionModel,
    values: NDArray[np.float64],
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
) -> NDArray[np.bool_]:
    """Return which rows (n, d) the model can make: see `Codec.supports`. Only the columns named are looked at.

    Rows that break a rule between these columns are impossible as well.

    Given cells may hold any values: see `settle_given`.
    """
    is_possible = model.codec.supports(values, model.schema.dtypes)
    is_possible[:, list(given)] = True
    if columns is not None:
        is_possible = is_possible[:, list(columns)]
        values = np.where(np.isin(np.arange(values.shape[1]), [*given, *columns]), values, np.nan)
    return np.asarray(is_possible.all(axis=1) & obeys_rules(model.codec, values))


def impossible_words(model: DiffusionModel, values: NDArray[np.float64], name: str = "X") -> str | None:
    """Describe the rows (n, d) that the model cannot make, see `Codec.supports`; None if it can make all.

    Such rows have no finite bound, no latents, and a log-density of -inf.
    """
    is_possible = model.codec.supports(values, model.schema.dtypes)
    impossible = np.flatnonzero(~is_possible.all(axis=1))
    if not len(impossible):
        return _broken_words(model, values, name)
    row = int(impossible[0])
    j = int(is_possible[row].argmin())
    others = len(impossible) - 1
    more = f", and {others:,} more row{' differs' if others == 1 else 's differ'}" if others else ""
    return (
        f"{name} should hold values that the model can make, but got {user_terms(model.schema, j, values[row, j])} at "
        f"row {row} (rows count from 0) in {model.schema.label(j)}, which is {model.codec.columns[j].description}{more}"
    )


def _broken_words(model: DiffusionModel, values: NDArray[np.float64], name: str) -> str | None:
    """Describe the first rule that rows, (n, d), break; None if they break none."""
    for rule, is_broken in rules_broken(model.codec, values, model.schema.names).items():
        row, n = int(is_broken.argmax()), int(is_broken.sum())
        others = f", and {n - 1:,} more break{'s' if n == 2 else ''} it" if n > 1 else ""
        return f"{name} should obey the rule {rule}, but row {row} (rows count from 0) does not{others}"
    return None


def refuse_impossible(model: DiffusionModel, values: NDArray[np.float64], name: str = "X") -> None:
    """Raise InvalidInput for rows (n, d) that the model cannot make: see `impossible_words`."""
    words = impossible_words(model, values, name)
    if words:
        raise InvalidInput(f"{words}: drop such rows, or include some in the fit.")


def refuse_gaps(table: Table, columns: Sequence[int], *, name: str = "X", remedy: str = FILL_GAPS) -> Table:
    """Return a table if all of its gaps are in some columns, by their numbers. Raises InvalidInput otherwise."""
    if len(columns) < table.schema.n_columns:
        others = table.values.copy()
        others[:, list(columns)] = 0.0
        complete(Table(others, table.schema), name=name, remedy=remedy)
    return table


def refuse_fractions(schema: Schema, values: NDArray[np.float64], name: str) -> None:
    """Raise InvalidInput for rows, (n, d), with other than whole numbers in a column whose dtype holds only these."""
    for j in filter(schema.is_integer, range(schema.n_columns)):
        x = values[~np.isnan(values[:, j]), j]
        broken = x[x != np.rint(x)]
        if len(broken):
            raise InvalidInput(
                f"{name} should hold whole numbers in {schema.label(j)}, as in the fit, but got {broken[0]:.6g}: round "
                "it."
            )


def refuse_not_made(model: DiffusionModel, values: NDArray[np.float64], name: str = "given") -> None:
    """Raise InvalidInput for given values, (m, d), that the model cannot make."""
    schema, codec = model.schema, model.codec
    held = codec.supports(values, schema.dtypes)
    for j in np.flatnonzero(~held.all(axis=0)).tolist():
        column, value = codec.columns[j], float(values[held[:, j].argmin(), j])
        raise InvalidInput(
            f"{name} should hold values that the model can make, but got {user_terms(schema, j, value)} in "
            f"{schema.label(j)}: {_possible(schema, column, j, value)}."
        )


def _possible(schema: Schema, column: Column, j: int, value: float) -> str:
    labels = schema.labels[j]
    if labels is None or not column.levels:
        return f"it is {column.description}"
    known = [labels[int(level)] for level in column.levels]
    if not 0 <= value < len(labels):
        return f"labels have the numbers 0..{len(labels) - 1} in the order of the levels"
    return f"no fitted row has it; {label_words(labels[int(value)], known)}"
