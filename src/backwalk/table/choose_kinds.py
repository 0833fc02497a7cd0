"""Which columns of a table have levels, with their codes, and which are numbers, with their atoms.

A column has levels if its values repeat. On a grid of up to a thousand places, up to 16 values are levels. With more,
of which each is in seven rows on average, each place is a level, those that no row has as well (`basis.py`). Otherwise
it has levels if new rows have values that were never seen in at most one of fifty: about as often as rows have values
that are in no other (Good 1953, after Turing). On long grids, or on none, each value that is in two rows or more is
then an atom, and the others stay numbers. The same holds for a column on any grid whose values say more about new rows
than a density and the other columns do (`find_repeating`). All others are numbers, of which those values are atoms that
stand out among their neighbours (`find_atoms`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.table.basis import MOST_OF_THEIR_OWN, smoothed_frequencies
from backwalk.table.choose_atoms import FEWEST_OTHERS, find_repeating, repeated_values
from backwalk.table.choose_names import find_names
from backwalk.table.choose_numbers import rows_looked_at
from backwalk.table.column_options import Levels, Option
from backwalk.table.frame import Table
from backwalk.table.grids import Grid, find_grid
from backwalk.table.level_column import Coding, LevelsColumn
from backwalk.table.relation import MOST_VALUES, Relation
from backwalk.table.schema import FloatArray, Schema, shown

_ROWS_PER_VALUE = 7.0  # on a short grid; with fewer a density is closer
_MOST_UNSEEN = 0.02  # of rows, that have values of their own: as often new rows have values never seen
_MOST_ONE_HOT = 64  # levels


@dataclass(frozen=True)
class Kinds:
    """The columns that have levels, by number; of the others, the atoms of those of few values.

    `grids` are those of levels on a grid with more than 16 values, and `names` those of levels without an order.
    """

    levels: set[int]
    atoms: dict[int, FloatArray] = field(default_factory=dict)
    grids: dict[int, Grid] = field(default_factory=dict)
    names: set[int] = field(default_factory=set)

    @property
    def categories(self) -> set[int]:
        """The columns of levels that rules take as such; between those on a grid they take differences of numbers."""
        return self.levels - set(self.grids)

    def with_levels(self, columns: Iterable[int]) -> Kinds:
        """Return the kinds in which columns of atoms, and of levels on a grid, have their values as levels."""
        moved = set(columns) & (set(self.atoms) | set(self.grids))
        atoms = {j: own for j, own in self.atoms.items() if j not in moved}
        grids = {j: own for j, own in self.grids.items() if j not in moved}
        return replace(self, levels=self.levels | moved, atoms=atoms, grids=grids)


def choose_kinds(
    table: Table,
    x: FloatArray,
    whole: Relation,
    options: Mapping[int, Option],
    given: Collection[int],
    weights: FloatArray | None = None,
) -> Kinds:
    """Return the kinds of the columns of a table, by its rows x that have a weight, (n, d), with these `weights`.

    `options` are those that a user asks for, and columns that are always `given` stay numbers.
    """
    schema = table.schema
    has_labels = np.array([labels is not None for labels in schema.labels])
    columns = range(schema.n_columns)
    levels = {j for j in columns if has_labels[j] or isinstance(options.get(j), Levels)}
    for j in sorted(levels & set(options)):
        if not isinstance(options[j], Levels) and options[j] != "constant":
            kind = f'"{options[j]}"' if isinstance(options[j], str) else "that of numbers"
            raise InvalidInput(
                f"{schema.label(j)} holds texts, and should have levels, but its kind is {kind}: leave it out, or give "
                "numbers."
            )
    kinds = Kinds(levels)
    free = [] if schema.kind == "numpy" else [j for j in columns if not has_labels[j] and j not in options]
    others = dict[int, tuple[FloatArray, FloatArray]]()  # the values of columns that are numbers so far, and their rows
    for j in free:
        values, rows = _counted(whole, x, j, is_weighted=weights is not None)
        is_given = j in given and not schema.is_boolean(j)
        if not len(values) or is_given:
            continue
        if schema.units[j] is not None:  # of dates few repeat, as their seasons tell more than each alone
            if whole.has_few_values(j) and (rows > 1.0).all():
                levels.add(j)
            continue
        _choose(kinds, j, values, rows, schema.dtypes[j])
        if j not in kinds.levels and j not in kinds.atoms:
            others[j] = values, rows
    if others:
        kinds.atoms.update(find_repeating(rows_looked_at(x, "kinds", weights), others, schema.dtypes, has_labels))
    values_of = {j: _counted(whole, x, j, is_weighted=weights is not None)[0] for j in free if j in levels}
    long = {j: values for j, values in values_of.items() if len(values) > MOST_OF_THEIR_OWN}
    kinds.names.update(find_names(x, long, has_labels))
    for j in kinds.names:
        kinds.grids.pop(j, None)
    return kinds


def _counted(whole: Relation, x: FloatArray, j: int, *, is_weighted: bool) -> tuple[FloatArray, FloatArray]:
    """Return a column's values, increasing, and in how many rows each is; none if they are many."""
    if not is_weighted:
        return whole.counted(j)
    values, rows = np.unique(x[~np.isnan(x[:, j]), j], return_counts=True)  # a heavy row does not repeat
    return (values, rows.astype(np.float64)) if len(values) <= MOST_VALUES else (np.empty(0), np.empty(0))


def _choose(kinds: Kinds, j: int, values: FloatArray, rows: FloatArray, dtype: str) -> None:
    """Choose the kind of a column of few values, (L,), with these rows each."""
    grid, n_unseen = find_grid(values, dtype), float((rows == 1.0).sum())
    n_places = math.inf if grid is None else float(np.ptp(grid.places(values[[0, -1]]))) + 1.0
    is_short = n_places <= MOST_VALUES
    if len(values) <= 2 or (is_short and len(values) <= MOST_OF_THEIR_OWN):
        kinds.levels.add(j)
    elif n_unseen <= _MOST_UNSEEN * rows.sum() or (is_short and rows.sum() >= _ROWS_PER_VALUE * len(values)):
        if is_short or (rows > 1.0).all() or len(values) <= FEWEST_OTHERS:
            kinds.levels.add(j)
            if is_short and grid is not None:
                kinds.grids[j] = grid
        else:
            kinds.atoms[j] = repeated_values(values, rows)


def choose_levels(
    whole: Relation,
    schema: Schema,
    j: int,
    option: Levels,
    *,
    generate: bool,
    grid: Grid | None = None,
    is_name: bool = False,
) -> LevelsColumn:
    """Return the levels of column j. With `generate`, a missing value is a level too.

    With a `grid` all of its places from the least value to the largest are levels, and shares are smoothed. Numbers
    that are names have no order.
    """
    labels = schema.labels[j]
    values, shares = whole.frequencies(j, missing=generate)
    is_ordered = schema.is_ordered(j) or (labels is None and not schema.is_boolean(j) and not is_name)
    coding: Coding = "one-hot" if len(values) <= _MOST_ONE_HOT else "random"
    if option.order is not None:
        at = _places_in_order(values, option.order, labels, schema.label(j))
        values, shares, coding = values[at], shares[at], "ordered"
    elif is_ordered and len(values) > 2:
        coding = "ordered"
        if grid is not None:
            values, shares = _on_grid(values, shares * whole.facts[j].n_observed, grid)
    return LevelsColumn(tuple(values.tolist()), tuple(shares.tolist()), coding, int(whole.facts[j].n_observed))


def _on_grid(values: FloatArray, rows: FloatArray, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Return all values of a grid between the least and the largest, and smoothed shares; a missing value stays."""
    is_missing = np.isnan(values)
    places = np.rint(grid.places(values[~is_missing])).astype(np.intp)
    of_places = np.zeros(places[-1] - places[0] + 1)
    of_places[places - places[0]] = rows[~is_missing]
    every = grid.values(np.arange(places[0], places[-1] + 1.0))
    every[places - places[0]] = values[~is_missing]  # as they are, in float32 too
    shares = smoothed_frequencies(of_places) * (1.0 - rows[is_missing].sum() / rows.sum())
    return np.append(every, values[is_missing]), np.append(shares, rows[is_missing] / rows.sum())


def _places_in_order(
    values: FloatArray, order: Sequence[object], labels: tuple[str, ...] | None, label: str
) -> np.ndarray:
    """Return the numbers of the values, (L,), in the order that a user gives; a missing value is last."""
    names = list[object](values.tolist() if labels is None else [labels[int(v)] for v in values[~np.isnan(values)]])
    if math.isnan(values[-1]):
        names = [*names[: len(values) - 1], math.nan]
    places = {level: i for i, level in enumerate(order)}
    unknown = [level for level in names if level == level and level not in places]
    if unknown:
        raise InvalidInput(
            f"order of Levels should have every level of {label}, but lacks {listed(map(shown, unknown))}: add "
            f"{'it' if len(unknown) == 1 else 'them'}."
        )
    return np.argsort([places.get(level, len(order)) for level in names])
