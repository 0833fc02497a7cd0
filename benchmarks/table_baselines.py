"""The report's baselines of tables as methods: synthesis column by column with trees, and mixtures of products.

Both are given the same features: text and numbers with few values as levels, numbers that equal some value in more than
5 % of the rows as an atom and a number, other numbers standardised; a number that has such values alone has levels.
Levels come first, then the numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from backwalk.assess.baselines.features import Feature, FittedDensity
from backwalk.assess.baselines.product_mixtures import fit_product_mixture
from backwalk.assess.baselines.trees import fit_trees
from backwalk.streams import Stream
from benchmarks.methods import Rows
from benchmarks.table_methods import FittedTable

_SHARE_OF_AN_ATOM = 0.05
Build = Callable[..., FittedDensity]


@dataclass(frozen=True, eq=False)
class _Layout:
    """A frame's columns as features: `levels` by column, in which None stands for the numbers beside an atom."""

    names: list[str]
    levels: dict[str, list[Any]]
    scales: dict[str, tuple[float, float]]

    @classmethod
    def of(cls, frame: pd.DataFrame, most_levels: int) -> _Layout:
        levels, scales = dict[str, list[Any]](), dict[str, tuple[float, float]]()
        for name in frame:
            shares = frame[name].value_counts(normalize=True)
            atoms = list(shares.index[shares > _SHARE_OF_AN_ATOM])
            is_few = len(shares) <= max(most_levels, len(atoms))
            if is_few or not pd.api.types.is_numeric_dtype(frame[name]):
                levels[name] = sorted(shares.index)
                continue
            if atoms:
                levels[name] = [*atoms, None]
            others = frame[name][~frame[name].isin(atoms)].to_numpy(float)
            scales[name] = float(others.mean()), float(others.std()) or 1.0
        return cls(list(frame), levels, scales)

    @property
    def features(self) -> list[Feature]:
        places = {name: j for j, name in enumerate(self.levels)}
        of_levels = [Feature(len(levels)) for levels in self.levels.values()]
        return of_levels + [
            Feature(applies=(places[name], len(self.levels[name]) - 1) if name in places else None)
            for name in self.scales
        ]

    def encode(self, frame: pd.DataFrame) -> tuple[Rows, Rows]:
        """Return rows of features, (n, k), and ln of the slopes of the numbers that apply, (n,)."""
        columns, log_slope = list[Rows](), np.zeros(len(frame))
        for name, levels in self.levels.items():
            code = {level: float(i) for i, level in enumerate(levels) if level is not None}
            codes = frame[name].map(code).to_numpy(float)
            columns.append(np.where(np.isnan(codes), len(levels) - 1.0, codes) if levels[-1] is None else codes)
        for name, (centre, scale) in self.scales.items():
            applies = ~frame[name].isin(self.levels.get(name, [])).to_numpy()
            columns.append(np.where(applies, (frame[name].to_numpy(float) - centre) / scale, np.nan))
            log_slope -= applies * np.log(scale)
        return np.stack(columns, axis=1), log_slope

    def decode(self, rows: Rows) -> pd.DataFrame:
        columns: dict[str, Any] = {}
        for j, (name, levels) in enumerate(self.levels.items()):
            columns[name] = [levels[int(code)] for code in rows[:, j]]
        for j, (name, (centre, scale)) in enumerate(self.scales.items(), start=len(self.levels)):
            number = centre + scale * rows[:, j]
            columns[name] = np.where(np.isnan(rows[:, j]), pd.Series(columns.get(name, number), dtype=float), number)
        return pd.DataFrame({name: columns[name] for name in self.names})


@dataclass(frozen=True)
class Baseline:
    """One of the report's baselines of tables, on at most 20,000 rows; numbers with few values count as levels.

    `words` say on the page what it is.
    """

    name: str
    words: str
    build: Build = field(repr=False)
    most_levels: int = 256

    def fit(self, frame: pd.DataFrame, budget: float, seed: int) -> FittedTable:  # noqa: ARG002
        """Fit; it takes seconds, whatever the budget."""
        layout = _Layout.of(frame, self.most_levels)
        fitted = self.build(layout.encode(frame)[0], layout.features, stream=Stream(seed).child("benchmark", self.name))

        def log_prob(rows: pd.DataFrame, columns: Sequence[str], given: Sequence[str]) -> Rows:  # noqa: ARG001
            features, log_slope = layout.encode(rows)
            if set(columns) == set(layout.names):
                return np.asarray(fitted.log_prob(features) + log_slope)
            features[:, len(layout.levels) :] = np.nan
            return fitted.log_prob(features)

        return FittedTable(
            lambda n, seed: layout.decode(fitted.sample(n, Stream(seed).child("benchmark draws", self.name))),
            log_prob,
            None,
            None,
            scores="rows",
        )


TREE_SYNTHESIS = Baseline(
    "CART synthesis", "One tree for each column given those before it, as in the R package synthpop.", fit_trees
)
PRODUCT_MIXTURE = Baseline(
    "mixture of products", "A mixture in whose components all columns are independent.", fit_product_mixture
)
