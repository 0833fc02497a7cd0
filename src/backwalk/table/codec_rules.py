"""What the rules of a codec say about rows: which of them break one, and in which units they are scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backwalk.table.codec import Codec
from backwalk.table.maps import BoolArray
from backwalk.table.schema import FloatArray


def stated_rules(codec: Codec, names: Sequence[str]) -> list[str]:
    """Return the texts of the rules between columns of these names."""
    return [] if codec.rules is None else list(map(str, codec.rules.stated(names)))


def breaks_rules(codec: Codec, values: FloatArray, given: FloatArray | None = None) -> BoolArray:
    """Return which rows, (n, d), break a rule between numbers: (n,). Missing values break none.

    With `given` values, (n, d), NaN where there is none, so do rows in which rules compute another value beyond the
    range of its column.
    """
    is_broken = np.zeros(len(values), dtype=bool)
    if codec.rules is None:
        return is_broken
    is_broken |= codec.rules.is_broken(values).any(axis=1)
    if given is not None:
        for j in (j for j in codec.rules.preference if j < codec.n_columns):
            least, largest = codec.columns[j].value_range
            with np.errstate(invalid="ignore"):
                is_broken |= np.isnan(given[:, j]) & ((values[:, j] < least) | (values[:, j] > largest))
    return is_broken


def rules_broken(codec: Codec, values: FloatArray, names: Sequence[str]) -> dict[str, BoolArray]:
    """Return which rows, (n, d), break each rule, (n,), of those that one breaks, by the text of the rule.

    Missing values break none, and neither do levels that the fit did not see. A gap that the fit did not see counts as
    a rule of its own, as no row has it.
    """
    if codec.rules is None:
        return {}
    cells, stated = codec.cells(values), stated_rules(codec, names)
    of_numbers = codec.rules.is_broken(values).T
    broken = dict(zip(stated, of_numbers, strict=False))
    for text, pairs in zip(stated[len(of_numbers) :], codec.rules.level_pairs, strict=True):
        one, other = (codec.blocks[codec.block_numbers[j]] for j in pairs.columns)
        places = [block.places(values[:, block.column]) for block in (one, other)]
        is_excluded = ~pairs.allowed((one.n_levels, other.n_levels))[places[0], places[1]]
        for block, place in zip((one, other), places, strict=True):
            is_excluded &= block.values[place] == values[:, block.column]
        broken[text] = is_excluded
    for i, (gap, (low, high)) in enumerate(zip(codec.gaps, codec.rules.orders, strict=False), start=codec.n_columns):
        is_new = ~(np.isnan(cells[:, i]) | gap.supports(cells[:, i], None))
        broken[f"{names[high]} - {names[low]} within its fitted range"] = is_new
    return {text: is_broken for text, is_broken in broken.items() if is_broken.any()}


def obeys_rules(codec: Codec, values: FloatArray) -> BoolArray:
    """Return which rows, (n, d), a model can make as far as rules go: (n,). Missing values break none."""
    obeys = np.ones(len(values), dtype=bool)
    for is_broken in rules_broken(codec, values, [str(j) for j in range(codec.n_columns)]).values():
        obeys &= ~is_broken
    return obeys


def log_change(codec: Codec, asked: BoolArray, values: FloatArray, scored: FloatArray) -> FloatArray:
    """Return what turns the log-density of scored cells, (n, D), into that of the columns asked for, (d,): (n,).

    `values` are the rows, (n, d), and `scored` is NaN in cells that are not scored.
    """
    if codec.rules is None or not codec.rules.equations:
        return np.zeros(len(values))
    has_density = np.array([column.chain is not None and not column.cell_width for column in codec.all_columns])
    is_asked, cells = asked & ~np.isnan(values), codec.cells(values)
    at_atom = np.column_stack(
        [np.isin(x, list(c.atom_shares)) for c, x in zip(codec.all_columns, cells.T, strict=True)]
    )
    return codec.rules.log_change(is_asked, ~np.isnan(scored) & ~at_atom, cells, has_density)
