"""How the statistics represent rows: values of columns that have kinds, and coordinates for distances.

Complete numbers are encoded, columns in standard deviations and heavy tails transformed by asinh, and their values are
their coordinates. Rows of a table with levels or gaps are values in the user's units and coordinates side by side.

Two levels of a category lie at distance 1, two numbers at their distance in standard deviations. A missing cell has the
column's mean coordinates, as each row then has one place whatever the others are, so that trees, projections and
nearest rows can use it. Any function of single rows keeps the nulls valid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backwalk.assess.statistics.columns import ColumnKind
from backwalk.estimates import Rows
from backwalk.model import DiffusionModel
from backwalk.streams import Stream
from backwalk.table import Codec, Table, refit_codec

_BETWEEN_LEVELS = 0.5**0.5  # of one-hot codes, whose distance is sqrt(2)


@dataclass(frozen=True, eq=False)
class Representation:
    """The map from rows in the user's units, (n, d), to rows of statistics, (n, w).

    `values` are the cells of the v columns that vary, of the `kinds`, and `coordinates` those for distances: the
    codec's, minus `centre`, times `factor`, each (k,), which are None for complete tables of numbers. `gaps` are
    patterns of missing cells of real rows, (m, d), which are given to the rows of a model that makes complete rows.
    """

    codec: Codec
    kinds: tuple[ColumnKind, ...]
    values: slice
    coordinates: slice
    centre: Rows | None = None
    factor: Rows | None = None
    gaps: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, model: DiffusionModel, unseen: Rows, training: Rows | None) -> Representation:
        """Return the representation of rows of a model's table; training rows, if there are any, give the scales."""
        scales = unseen if training is None else training
        if model.codec.blocks or np.isnan(unseen).any() or np.isnan(scales).any():
            return cls.of_table(model.codec.without_rules, scales)
        return cls.of_numbers(refit_codec(model.codec.without_rules, Table(scales, model.schema)))

    @classmethod
    def of_numbers(cls, codec: Codec) -> Representation:
        """Return that of a table of complete numbers, which the codec encodes."""
        cells = slice(0, codec.n_encoded)
        return cls(codec, (ColumnKind(),) * codec.n_encoded, cells, cells)

    @classmethod
    def of_table(cls, codec: Codec, training: Rows) -> Representation:
        """Return that of a table with levels or gaps; the rows `training`, (n, d), give the scales and the gaps."""
        z = codec.encode(training)
        observed = ~np.isnan(z)
        n = np.maximum(1, observed.sum(axis=0))
        centre = np.where(observed, z, 0.0).sum(axis=0) / n
        spread = (np.where(observed, z - centre, 0.0) ** 2).sum(axis=0) / n
        factor = 1.0 / np.sqrt(np.where(spread > 0.0, spread, 1.0))
        for block in codec.blocks:
            if block.width > 1:
                factor[block.coordinates] = _BETWEEN_LEVELS
        kinds, v = kinds_of(codec), len(codec.varying)
        gaps = np.isnan(training)
        gaps[:, [j for j, kind in enumerate(kinds) if kind.generates_gaps]] = False
        return cls(
            codec,
            tuple(kinds[j] for j in codec.varying),
            slice(0, v),
            slice(v, v + codec.n_encoded),
            centre,
            factor,
            gaps if gaps.any() else None,
        )

    @property
    def is_of_numbers(self) -> bool:
        """Whether the table holds complete numbers alone."""
        return self.centre is None

    def encode(self, rows: Rows) -> Rows:
        """Return rows (n, d) in the user's units as the statistics take them, (n, w)."""
        z = self.codec.encode(rows)
        if self.centre is None or self.factor is None:
            return z
        z = np.nan_to_num((z - self.centre) * self.factor)
        return np.concatenate([rows[:, list(self.codec.varying)], z], axis=1)

    def with_gaps(self, rows: Rows, stream: Stream) -> Rows:
        """Return generated rows, (n, d), with the gaps of random training rows, the same for all models."""
        if self.gaps is None:
            return rows
        drawn = (stream.uniform(0, len(rows), 1).numpy()[:, 0] * len(self.gaps)).astype(np.intp)
        return np.where(self.gaps[drawn], np.nan, rows)


def kinds_of(codec: Codec) -> tuple[ColumnKind, ...]:
    """Return the kind of each of a table's columns, (d,)."""
    kinds = [ColumnKind()] * codec.n_columns
    for block in codec.without_rules.blocks:  # not those of the rules' cells
        if block.is_category:
            is_value = ~np.isnan(block.values)
            kinds[block.column] = ColumnKind(
                tuple(block.values[is_value].tolist()),
                is_ordered=block.width == 1,
                generates_gaps=not is_value.all(),
            )
        elif block.number is None:
            kinds[block.column] = ColumnKind(generates_gaps=bool(np.isnan(block.values).any()))
        else:
            is_value = ~np.isnan(block.atoms)
            kinds[block.column] = ColumnKind(
                atoms=tuple(block.atoms[is_value].tolist()), generates_gaps=not is_value.all()
            )
    return tuple(kinds)
