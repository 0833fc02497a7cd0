"""Rows of features: what the baselines are fitted to.

A feature is a column of levels, given as level numbers 0..L-1, or a number on any scale. Rows of k features are float64
(n, k), NaN for a missing cell. A number with atoms is two features: its level, and the number, which applies at the
level "continuous" only and is NaN at the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from backwalk.assess.statistics.columns import level_index
from backwalk.estimates import Rows
from backwalk.streams import Stream
from backwalk.table import Block, Codec


@dataclass(frozen=True)
class Feature:
    """One feature: its number of levels (0 for a number), and where it applies.

    `applies` is None, or the number of another, earlier feature and the level of it at which this number applies.
    """

    n_levels: int = 0
    applies: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class FittedDensity:
    """A density fitted to rows of features.

    `log_prob` maps rows of features (n, k) to ln p, (n,): the probability of levels times the density of the numbers at
    which rows apply; a missing cell is left out. `sample(n, stream)` returns complete rows (n, k), with NaN only where
    a number does not apply.
    """

    name: str
    fit_seconds: float
    log_prob: Callable[[Rows], Rows]
    sample: Callable[[int, Stream], Rows]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The map between a table's rows in the user's units and rows of features: those of the cells that are drawn."""

    codec: Codec

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features: those of each column side by side."""
        features: list[Feature] = []
        for _, block, number in self._parts():
            if block is not None:
                features.append(Feature(block.n_levels))
            if number is not None:
                where = None if block is None else (len(features) - 1, block.other)
                features.append(Feature(applies=where))
        return tuple(features)

    def encode(self, values: Rows, *, stream: Stream | None = None) -> Rows:
        """Return rows of features (n, k) of rows (n, d), or of cells (n, D); a `stream` dequantises integers."""
        cells = self.codec.cells(values) if values.shape[1] == self.codec.n_columns else values
        z, columns = self.codec.encode(cells, stream=stream), list[Rows]()
        for cell, block, number in self._parts():
            if block is not None:
                columns.append(_level_numbers(block, cells[:, cell], z))
            if number is not None:
                columns.append(z[:, number])
        return np.stack(columns, axis=1)

    def decode(self, rows: Rows) -> Rows:
        """Return the rows of the user's table, (n, d), that complete rows of features (n, k) stand for."""
        z, feature = np.full((len(rows), self.codec.n_encoded), np.nan), 0
        for _, block, number in self._parts():
            if block is not None:
                z[:, block.coordinates] = block.codes[rows[:, feature].astype(np.intp)]
                feature += 1
            if number is not None:
                z[:, number] = rows[:, feature]
                feature += 1
        return self.codec.decode_new(z, np.full((len(z), self.codec.n_columns), np.nan))

    def _parts(self) -> Iterator[tuple[int, Block | None, int | None]]:
        """Yield each drawn cell that varies, its block of levels and the coordinate of its number."""
        blocks = {block.column: block for block in self.codec.blocks}
        for j in np.flatnonzero(self.codec.drawn_cells).tolist():
            if not self.codec.all_columns[j].width:
                continue
            block = blocks.get(j)
            yield j, block, self.codec.slices[j].start if block is None else block.number


def _level_numbers(block: Block, values: Rows, z: Rows) -> Rows:
    """Return the level of each value of a column, (n,), in encoded rows z; NaN for a missing value that is no level."""
    if block.number is None:
        is_missing = np.isnan(block.values)
        observed, missing = np.flatnonzero(~is_missing), np.flatnonzero(is_missing)
        index = level_index(values, tuple(block.values[observed].tolist()))
        return np.where(index < 0, missing[0] if len(missing) else np.nan, observed[index])
    return np.where(np.isnan(z[:, block.coordinates.start]), np.nan, block.nearest_level(z))
