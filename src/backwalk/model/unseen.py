"""Values that the fit did not see: one policy for all calls that take rows.

Where a cell is *given*, a value that the model cannot make (`Codec.supports`) counts as the nearest one in columns of
numbers and of ordered labels, and as missing in others. Where it is *scored*, its row has a log-density of -inf.
`check_unseen` counts such cells, or refuses them, and `settle_given` puts other values in their place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput, UnseenValuesWarning, warn_caller
from backwalk.formatting import listed
from backwalk.limits import UNSEEN, Unseen
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.possible import impossible_words
from backwalk.table.codec_rules import rules_broken

UnseenCells = Counter[tuple[str, str]]
"""The number of cells with unseen values, by what becomes of them and by column."""

_NEAREST, _MISSING = "count as the nearest ones", "count as missing"
_IMPOSSIBLE, _BEYOND = "give a log-density of -inf", "lie beyond the fitted range"
_BROKEN = "break"


def check_unseen(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    given: Sequence[int] = (),
    scored: Sequence[int] = (),
    unseen: Unseen,
    name: str = "X",
) -> UnseenCells:
    """Count the cells of rows, (n, d), with values that the fit did not see, in columns that are given or scored.

    Rows that break a rule between such columns are counted by the rule.

    Raises InvalidInput, which calls the rows `name`, for any such cell if `unseen` is "error".
    """
    is_strange = ~model.codec.supports(values, model.schema.dtypes)
    if unseen == "error":
        is_used = np.isin(np.arange(model.codec.n_columns), [*given, *scored])
        words = impossible_words(model, np.where(is_used, values, np.nan), name)
        if words:
            raise InvalidInput(f'{words}: leave out such rows, fit with them, or allow them by unseen="nearest".')
    cells = UnseenCells()
    for j in np.flatnonzero(is_strange.any(axis=0)).tolist():
        n, label = int(is_strange[:, j].sum()), model.schema.label(j)
        if j in given:
            n_missing = int(np.isnan(_nearest_known(model, j, values[is_strange[:, j], j])).sum())
            cells.update({(_NEAREST, label): n - n_missing, (_MISSING, label): n_missing})
        elif j in scored:
            cells[_IMPOSSIBLE, label] += n
    is_used = np.isin(np.arange(model.codec.n_columns), [*given, *scored])
    broken = rules_broken(model.codec, np.where(is_used, values, np.nan), model.schema.names)
    cells.update({(_BROKEN, rule): int(is_broken.sum()) for rule, is_broken in broken.items()})
    return +cells


def beyond_range(model: DiffusionModel, values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which cells of rows, (n, d), lie beyond the range of the fitted rows; missing ones do not."""
    least, largest = np.array([column.value_range for column in model.codec.columns]).T
    return np.asarray((values < least) | (values > largest))


def count_beyond(model: DiffusionModel, values: NDArray[np.float64]) -> UnseenCells:
    """Count the cells of given rows, (n, d), that the model can make only as given: numbers beyond the fitted range."""
    cells, is_beyond = UnseenCells(), beyond_range(model, values)
    for j, column in enumerate(model.codec.columns):
        if column.chain is not None:
            cells[_BEYOND, model.schema.label(j)] = int(is_beyond[:, j].sum())
    return +cells


def broken_rules(cells: UnseenCells) -> dict[str, int]:
    """Return the number of rows that break each rule between columns, by its text."""
    return {rule: n for (what, rule), n in cells.items() if what == _BROKEN}


def warn_of_unseen(cells: UnseenCells, name: str = "X") -> None:
    """Warn of cells with values that the fit did not see, if there are any, of rows that are called `name`."""
    if not cells:
        return
    broken = [f"{rule} ({n:,} row{'s' * (n != 1)})" for rule, n in broken_rules(cells).items()]
    if broken:
        warn_caller(f"{name} has rows that break the rules of the model: {listed(broken)}.", UnseenValuesWarning)
    parts = []
    for effect in (_NEAREST, _MISSING, _IMPOSSIBLE, _BEYOND):
        columns = [f"{label} ({n:,} cell{'s' * (n != 1)})" for (what, label), n in cells.items() if what == effect]
        if columns:
            parts.append(f"{effect} in {listed(columns)}")
    if not parts:
        return
    remedy = "" if all(what == _BEYOND for what, _ in cells) else ' unseen="error" (--unseen error) refuses them.'
    warn_caller(
        f"{name} has values that the fit did not see: they {'; they '.join(parts)}.{remedy}", UnseenValuesWarning
    )


def settle_given(
    model: DiffusionModel, values: NDArray[np.float64], is_given: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return rows, (n, d), with values that the model can make in the given cells, and which cells remain given.

    `is_given` has cells, (n, d), or whole columns, (d,). A cell that counts as missing is NaN, and given no more.
    """
    is_given = np.broadcast_to(is_given, values.shape)
    is_strange = is_given & ~model.codec.supports(values, model.schema.dtypes)
    if not is_strange.any():
        return values, is_given
    settled, is_given = values.copy(), is_given.copy()
    for j in np.flatnonzero(is_strange.any(axis=0)).tolist():
        at = is_strange[:, j]
        settled[at, j] = _nearest_known(model, j, values[at, j])
        is_given[at, j] = ~np.isnan(settled[at, j])
    return settled, is_given


def check_policy(unseen: object) -> None:
    """Raise InvalidInput unless `unseen` is a policy."""
    if unseen not in UNSEEN:
        raise InvalidInput(f'unseen should be "nearest" or "error", but got {unseen!r}: "nearest" is usual.')


def _nearest_known(model: DiffusionModel, j: int, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest values, (n,), of column j that the model can make; NaN where nothing is near."""
    column, labels = model.codec.columns[j], model.schema.labels[j]
    if labels is not None and not model.schema.is_ordered(j):
        return np.full(len(x), np.nan)
    # Of grids, nothing is near but a number of theirs; beyond a known bound, the bound is.
    nearest = column.nearest(x)
    is_far = ~column.supports(nearest, model.schema.dtypes[j])
    nearest = np.where(is_far, np.clip(nearest, *column.value_range), nearest)
    return np.where(x >= len(labels), np.nan, nearest) if labels is not None else nearest
