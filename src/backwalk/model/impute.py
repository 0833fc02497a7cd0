"""Missing cells of rows, drawn or estimated given the observed cells of the same row.

Draws fill all gaps of a row jointly. Estimates take each gap by itself: the conditional mean or median of a number, the
most probable level of a label. Observed cells stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.model.conditionals import has_mean, mean_of_number, means_of_numbers, median_of_number
from backwalk.model.copies import probabilities_with_copies
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.distribution import Conditional
from backwalk.model.given import Given
from backwalk.model.sample import sample_candidates, sample_numbered
from backwalk.streams import Stream
from backwalk.table import Codec
from backwalk.table.codec_rules import broken_rules, ends_by_rules
from backwalk.torch_state import in_initial_torch_state

Array = NDArray[np.float64]
Statistic = Literal["mean", "median"]
_DRAWS_AT_ONCE = 2**16


def impute_rows(
    model: DiffusionModel,
    values: Array,
    n_draws: int,
    *,
    stream: Stream,
    first_row: int = 0,
) -> Iterator[Array]:
    """Yield `n_draws` copies of rows, (n, d), whose missing cells are drawn given the observed ones.

    Observed values that the fit did not see stay as they are (`unseen.py` says what is drawn given them).
    Draw m of row i depends only on the stream, on m and i, and on the row; rows count from `first_row`.
    Raises InvalidInput for gaps that the model was not trained for, and in columns whose missing values it generates.
    """
    filled, with_gaps = _with_constants(model, values)
    given = Given.to_draw(model, filled[with_gaps])
    for m in range(n_draws):
        rows, of_draw = filled.copy(), stream.child("draw", m)
        if len(with_gaps):
            drawn = sample_numbered(given, first_row + with_gaps, stream=of_draw)
            rows[with_gaps] = np.where(np.isnan(filled[with_gaps]), drawn, filled[with_gaps])
        yield rows


@in_initial_torch_state
def estimate_rows(
    model: DiffusionModel,
    values: Array,
    statistic: Statistic,
    n_draws: int,
    *,
    stream: Stream,
    first_row: int = 0,
) -> Array:
    """Return rows, (n, d), whose missing cells are the mean or the median given the observed ones.

    In columns with levels or steps it is the nearest of these. Labels and truth values are the most probable ones.
    Levels take one evaluation for each column, and so do the means of all numbers that are linear in their coordinates.
    Where any columns may be given, means of other numbers take 61 for each column, and medians 10, or 310 beside atoms.
    Other means and medians are those of `n_draws` draws. Rows count, and it raises, as `impute_rows` does; bits may
    depend on the other rows.
    """
    rows, with_gaps = _with_constants(model, values)
    if len(with_gaps):
        some = rows[with_gaps]
        rows[with_gaps] = _estimates(model, some, first_row + with_gaps, statistic, n_draws, stream=stream)
    return rows


def _estimates(
    model: DiffusionModel,
    values: Array,
    numbers: NDArray[np.intp],
    statistic: Statistic,
    n_draws: int,
    *,
    stream: Stream,
) -> Array:
    """Return rows with gaps, (n, d), filled; row i has the number `numbers[i]` in the stream.

    Cells that rules determine are computed from estimates of the others. Estimates lie between the ends that rules
    leave; a row whose estimates break a rule has one draw of its columns.
    """
    codec, schema, given = model.codec, model.schema, Given.to_draw(model, values)
    cells, is_free = codec.cells(values).copy(), given.free_cells()
    pending: NDArray[np.bool_] = np.asarray(is_free.any(axis=0))
    if codec.rules is not None:
        pending[codec.rules.first_copy :] = False
    for i, block in enumerate(codec.blocks):
        j = block.column
        if not pending[j] or block.number is not None:
            continue
        of_levels = Conditional(schema.label(j), schema.taken([j]), block.values, probabilities_with_copies(given, i))
        is_named = schema.labels[j] is not None or schema.is_boolean(j)
        estimates = of_levels.most_probable if is_named else _of(of_levels, statistic)
        cells[is_free[:, j], j] = estimates[is_free[:, j]]
        pending[j] = False
    linear = np.array([column.is_linear for column in codec.all_columns]) & (statistic == "mean")
    if (pending & linear).any():
        cells = np.where(is_free & linear, means_of_numbers(given), cells)
        pending &= ~linear
    of_number = mean_of_number if statistic == "mean" else median_of_number
    for j in np.flatnonzero(pending).tolist():
        if has_mean(model, j) if statistic == "mean" else model.conditions == "any":
            at = np.flatnonzero(is_free[:, j])
            cells[at, j] = of_number(given.take(at), j)
            pending[j] = False
    draw = partial(sample_candidates, stream=stream)
    if pending.any():
        still = np.flatnonzero((is_free & pending).any(axis=1))
        at_once = max(_DRAWS_AT_ONCE // n_draws, 1)
        take: Callable[..., Array] = np.mean if statistic == "mean" else np.median
        for first in range(0, len(still), at_once):
            part = still[first : first + at_once]
            drawn = draw(given.take(part), numbers[part], n_draws)
            of_draws = codec.cells(drawn.reshape(-1, codec.n_columns)).reshape(*drawn.shape[:2], -1)
            cells[part] = np.where(is_free[part] & pending, take(of_draws, axis=1), cells[part])
    if codec.rules is not None:
        unknown = np.isnan(values)
        least, largest, _ = ends_by_rules(codec, np.where(unknown, -np.inf, values), np.where(unknown, np.inf, values))
        cells = np.where(is_free, np.clip(cells, least, largest), cells)
    rows = codec.rows_of_cells(np.where(is_free, _nearest_values(codec, cells), cells))
    broken = broken_rules(codec, rows) & ~broken_rules(codec, values)
    at = np.flatnonzero(broken.any(axis=1))
    if codec.rules is not None and len(at):
        drawn = draw(given.take(at), numbers[at], 1)[:, 0]
        rows[at] = np.where(broken[at] @ codec.rules.joined, drawn, rows[at])
    return np.where(np.isnan(values), rows, values)


def _nearest_values(codec: Codec, cells: Array) -> Array:
    """Return cells, (n, D), with the nearest level, step or atom in those that have levels or steps."""
    nearest = cells.copy()
    for column, x in zip(codec.all_columns, nearest.T, strict=True):
        x[:] = column.nearest(x)
    return nearest


def _of(conditional: Conditional, statistic: Statistic) -> Array:
    return conditional.mean_value if statistic == "mean" else conditional.quantile_values(np.array([0.5]))[:, 0]


def _with_constants(model: DiffusionModel, values: Array) -> tuple[Array, NDArray[np.intp]]:
    """Return rows, (n, d), with the gaps of constant columns filled, and the numbers of the rows with other gaps."""
    filled, codec, schema = values.copy(), model.codec, model.schema
    for j in np.flatnonzero(np.isnan(values).any(axis=0)).tolist():
        if j in codec.missing_levels:
            raise InvalidInput(
                f'Gaps of {schema.label(j)} cannot be filled, as the model generates them: fit with missing="absent".'
            )
        if not codec.columns[j].width:
            gaps = np.isnan(values[:, j])
            filled[gaps, j] = codec.decode(np.zeros((1, codec.n_encoded)))[0, j]
    return filled, np.flatnonzero(np.isnan(filled).any(axis=1))
