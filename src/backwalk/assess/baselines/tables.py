"""The baselines beside the model of a table with levels or gaps: simple models of mixed rows.

They are independent columns, a mixture of product distributions, and trees column by column. All see the features of
the model's own codec: level numbers, and the encoded numbers where they apply.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from backwalk.assess.baselines import (
    Feature,
    MixedBaseline,
    independent_baseline,
    product_mixture_baseline,
    tree_baseline,
)
from backwalk.assess.statistics import level_index
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows
from backwalk.model import DiffusionModel, log_prob_of_rows
from backwalk.streams import RandomState, Stream, as_stream
from backwalk.table import Block, Codec, Schema, as_table, from_values, match_columns

_FITS = {"independent": independent_baseline, "mixture": product_mixture_baseline, "trees": tree_baseline}


@dataclass(frozen=True, eq=False)
class Features:
    """The map between a table's rows in the user's units and rows of features."""

    codec: Codec

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features: those of each column side by side."""
        found: list[Feature] = []
        for _, block, number in self._parts():
            if block is not None:
                found.append(Feature(block.n_levels))
            if number is not None:
                where = None if block is None or block.continuous is None else (len(found) - 1, block.continuous)
                found.append(Feature(applies=where))
        return tuple(found)

    def rows(self, values: Rows, *, stream: Stream | None = None) -> Rows:
        """Return rows of features; integers are dequantised if a `stream` is given."""
        z, found = self.codec.encode(values, stream=stream), list[Rows]()
        for column, block, number in self._parts():
            if block is not None:
                found.append(_levels_of(block, values[:, column]))
            if number is not None:
                found.append(z[:, number])
        return np.stack(found, axis=1)

    def values(self, rows: Rows) -> Rows:
        """Return the rows of the user's table, (n, d), that complete rows of features stand for."""
        z, place = np.empty((len(rows), self.codec.n_encoded)), 0
        for _, block, number in self._parts():
            if block is not None:
                z[:, block.coordinates] = block.codes[rows[:, place].astype(np.intp)]
                place += 1
            if number is not None:
                z[:, number] = rows[:, place]
                place += 1
        return np.asarray(self.codec.within_range(self.codec.decode(z)))

    def _parts(self) -> Iterator[tuple[int, Block | None, int | None]]:
        """Yield each column that varies, its block of levels and the coordinate of its number."""
        blocks = {block.column: block for block in self.codec.blocks}
        for j in self.codec.varying:
            block = blocks.get(j)
            yield j, block, self.codec.slices[j].start if block is None else block.number


@dataclass(frozen=True, eq=False)
class TableBaseline:
    """A baseline fitted to the training rows of a table."""

    baseline: MixedBaseline
    features: Features
    schema: Schema

    def log_density(self, rows: Rows, *, stream: Stream) -> Rows:
        """Return ln p of rows (n, d) in the user's units, as the model's: probabilities of levels and integers."""

        def of_places(values: Rows) -> Rows:
            log_p = self.baseline.log_prob(self.features.rows(values))
            return np.asarray(log_p + self.features.codec.log_abs_det_jacobian(values))

        return log_prob_of_rows(of_places, self.features.codec, rows, stream=stream)

    def sample_rows(self, n: int, stream: Stream) -> Rows:
        """Return n rows in the user's units, (n, d)."""
        return np.asarray(self.schema.clipped(self.features.values(self.baseline.sample(n, stream))))

    def timed_sample(self, n: int, stream: Stream) -> tuple[Rows, float]:
        """Return n rows in the user's units, and the seconds that they took."""
        started = time.perf_counter()
        rows = self.sample_rows(n, stream)
        return rows, time.perf_counter() - started

    def sample(self, n_samples: int, *, random_state: RandomState = None) -> Any:
        """Return n rows as a table of the same kind as the fitted one."""
        return from_values(self.sample_rows(n_samples, as_stream(random_state)), self.schema)


def fitted_table_baselines(
    training: Rows, model: DiffusionModel, stream: Stream
) -> Iterator[tuple[str, TableBaseline]]:
    """Yield each baseline, by the name that `table_baseline` takes, fitted to rows (n, d) in the user's units."""
    features = Features(model.codec)
    rows = features.rows(training, stream=stream.child("dequantisation"))
    for kind, fit in _FITS.items():
        baseline = fit(rows, features.features, stream=stream.child(kind))
        yield kind, TableBaseline(baseline, features, model.schema)


def table_baseline(kind: str, X: Any, model: DiffusionModel, *, random_state: RandomState = 0) -> TableBaseline:
    """Fit a baseline to the rows that a model was fitted to.

    `kind` is "independent", "mixture" or "trees"; the model says of what kinds the columns are. The result has
    `sample(n_samples, random_state=...)`. Raises InvalidInput for another kind.
    """
    if kind not in _FITS:
        raise InvalidInput(f"kind should be one of {', '.join(_FITS)}, but got {kind!r}.")
    table, stream = match_columns(as_table(X), model.schema), as_stream(random_state)
    features = Features(model.codec)
    rows = features.rows(table.values, stream=stream.child("dequantisation"))
    return TableBaseline(_FITS[kind](rows, features.features, stream=stream.child(kind)), features, model.schema)


def baseline_code(kind: str, path: str) -> str:
    """Return the lines of Python that fit the baseline of this kind to rows X and draw rows from it."""
    return "\n".join(
        [
            "from backwalk import Diffusion",
            "from backwalk.assess import table_baseline",
            "",
            f"model = Diffusion.load({path!r}).model_  # for the kinds of the columns",
            f"X_new = table_baseline({kind!r}, X, model).sample(10_000)",
        ]
    )


def _levels_of(block: Block, values: Rows) -> Rows:
    """Return the level of each value of a column, (n,); NaN for a missing value that is no level."""
    if block.continuous is None:
        is_missing = np.isnan(block.values)
        known, missing = np.flatnonzero(~is_missing), np.flatnonzero(is_missing)
        index = level_index(values, tuple(block.values[known].tolist()))
        return np.where(index < 0, missing[0] if len(missing) else np.nan, known[index])
    level = np.where(np.isnan(values), np.nan, float(block.continuous))
    for k, atom in enumerate(block.values):
        if k != block.continuous:
            level[np.isnan(values) if np.isnan(atom) else values == atom] = k
    return level
