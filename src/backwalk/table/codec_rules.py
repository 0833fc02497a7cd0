"""What the rules of a codec say about rows: the one check of drawn and scored rows, and in which units they are scored.

A row is possible if it obeys every rule within its tolerance, and every value is one that its column can have. A drawn
row is accepted if it is possible, and what rules compute lies within the ranges of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backwalk.table.codec import Codec
from backwalk.table.maps import BoolArray
from backwalk.table.rule_system import IntArray
from backwalk.table.schema import FloatArray


def stated_rules(codec: Codec, names: Sequence[str]) -> list[str]:
    """Return the texts of the rules between columns of these names."""
    return [] if codec.rules is None else list(map(str, codec.rules.stated(names)))


def broken_rules(codec: Codec, values: FloatArray, given: FloatArray | None = None) -> BoolArray:
    """Return which rules, in the order of `stated_rules`, rows, (n, d), break: (n, R).

    Missing values break none, and neither do levels that the fit did not see. A difference that the fit did not see
    breaks its order, as no row has it, and so does a level that follows from other columns its equation.

    Drawn rows come with the values that were `given`, (n, d), NaN where there is none. What rules compute of them has
    to be a value of its column, too, and within its range: otherwise it breaks the rules of its column. What the given
    values break alone does not count.
    """
    if codec.rules is None:
        return np.zeros((len(values), 0), dtype=bool)
    rules, cells = codec.rules, codec.cells(values)
    broken = rules.breaks(values, lambda j: _levels_of(codec, j, values[:, j]))
    first = len(rules.relations)
    for i, difference in enumerate(codec.differences[: rules.n_differences]):
        x = cells[:, codec.n_columns + i]
        if first + i not in rules.left_out:
            broken[:, first + i] |= ~(np.isnan(x) | difference.supports(x, None))
    is_known = ~np.isnan(cells)
    for i, equation in rules.equations.items() if rules.levels else ():
        for j, follows in equation.follows(is_known):
            if j in rules.levels:  # and is none of them, or it would be known
                broken[:, i] |= follows
    if given is None:
        return broken
    broken &= ~broken_rules(codec, given)
    for i, (source, target, _) in rules.active_copies.items():  # one column may have values that the other has not
        is_copy = values[:, source] == values[:, target]
        for j in (source, target):
            broken[:, i] |= is_copy & codec.is_off(j, values[:, j]) & np.isnan(given[:, j])
    for j in (j for j in rules.preference if j < codec.n_columns):
        is_off = codec.is_off(j, values[:, j]) & np.isnan(given[:, j])
        for i, columns in enumerate(rules.columns_of):
            if j in columns and i in rules.equations:
                broken[:, i] |= is_off
    return broken


def rules_broken(codec: Codec, values: FloatArray, names: Sequence[str]) -> dict[str, BoolArray]:
    """Return which rows, (n, d), break each rule, (n,), of those that one breaks, by the text of the rule."""
    broken = zip(stated_rules(codec, names), broken_rules(codec, values).T, strict=True)
    return {text: is_broken for text, is_broken in broken if is_broken.any()}


def obeys_rules(codec: Codec, values: FloatArray) -> BoolArray:
    """Return which rows, (n, d), a model can make as far as rules go: (n,). Missing values break none."""
    return np.asarray(~broken_rules(codec, values).any(axis=1))


def ends_by_rules(codec: Codec, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return the ends that rules leave the cells of rows whose values lie between `low` and `high`, (n, d): (n, D).

    Ends that are infinite are those of the columns. Returned is also the number of a rule that no such row meets, (n,),
    -1 where no rule contradicts by itself; several together may.
    """
    assert codec.rules is not None
    ends = np.array([column.value_range for column in codec.columns]).T
    n_others = codec.rules.n_rules - len(codec.rules.copies)
    in_rules = np.isin(
        np.arange(codec.n_columns), [j for columns in codec.rules.columns_of[:n_others] for j in columns]
    )
    is_open = np.isinf(low) & in_rules, np.isinf(high) & in_rules
    of_differences = np.zeros((len(low), len(codec.differences)))
    return codec.rules.narrowed(
        np.column_stack([np.where(is_open[0], np.minimum(ends[0], high), low), of_differences]),
        np.column_stack([np.where(is_open[1], np.maximum(ends[1], low), high), of_differences + np.inf]),
    )


def log_change(codec: Codec, given: BoolArray, asked: BoolArray, values: FloatArray, scored: FloatArray) -> FloatArray:
    """Return what turns the log-density of scored cells, (n, D), into that of the columns asked for, (d,): (n,).

    `given` are the known columns, (d,), `values` the rows, (n, d), and `scored` is NaN in cells that are not scored.
    """
    if codec.rules is None or not codec.rules.equations:
        return np.zeros(len(values))
    has_density = np.array([column.chain is not None and not column.cell_width for column in codec.all_columns])
    has_value, cells = ~np.isnan(values), codec.cells(values)
    at_atom = np.column_stack(
        [np.isin(x, list(c.atom_shares)) for c, x in zip(codec.all_columns, cells.T, strict=True)]
    )
    return codec.rules.log_change(given & has_value, asked & has_value, ~np.isnan(scored), cells, has_density, at_atom)


def _levels_of(codec: Codec, j: int, x: FloatArray) -> IntArray:
    """Return the number of the level of each value of a column, (n,), -1 where it is none that the fit saw."""
    block = codec.blocks[codec.block_numbers[j]]
    places = block.places(x)
    return np.where(block.values[places] == x, places, -1)
