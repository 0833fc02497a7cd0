"""Synthesis column by column with trees (CART): each column is drawn from the leaf of the columns before it.

    p(x) = prod_j p(x_j | leaf_j(x_1..x_{j-1}))

A leaf holds the m training values that fell into it. For levels p is their share; for a number, the mean of normal
kernels around them. One pseudo-row of the whole column in each leaf, a level by its frequency or a wide normal density,
keeps every value possible, so that ln p is finite. Source: Reiter 2005.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from backwalk.assess.baselines.features import Feature, FittedDensity
from backwalk.estimates import Rows, random_rows
from backwalk.streams import Stream

_MOST_ROWS = 20_000
_ROWS_A_LEAF = (10, 40, 160, 640)
_HELD_OUT = 0.15  # of the rows, to choose from these
_MOST_LEVELS = 256  # of a column that is split for; beyond, its tree is a single leaf
_MOST_IN_A_LEAF = 1_000  # values of a number that its density is made of
_BANDWIDTHS = (0.05, 0.1, 0.2, 0.35, 0.6, 1.0)  # in standard deviations of the leaf
_WIDE = 2.0  # standard deviations of the pseudo-row, in those of the column
_BLOCK = 2**21  # kernels held at once


@dataclass(frozen=True, eq=False)
class _Leaves:
    """The training values of a column, sorted by the leaf of its tree; `starts` is (n_leaves + 1,).

    `tree` is None where all values are in one leaf; `leaf_of` maps the tree's nodes to leaves.
    """

    tree: Any
    leaf_of: NDArray[np.intp]
    values: Rows
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, tree: Any, before: Rows, values: Rows) -> _Leaves:
        nodes = np.zeros(len(values), dtype=np.intp) if tree is None else tree.apply(before)
        used, leaf = np.unique(nodes, return_inverse=True)
        leaf_of = np.zeros(int(used[-1]) + 1, dtype=np.intp)
        leaf_of[used] = np.arange(len(used))
        order = np.argsort(leaf, kind="stable")
        return cls(tree, leaf_of, values[order], np.concatenate([[0], np.cumsum(np.bincount(leaf))]))

    def find(self, before: Rows) -> NDArray[np.intp]:
        """Return the leaf of each row, from the columns before, (n, j)."""
        nodes = np.zeros(len(before), dtype=np.intp) if self.tree is None else self.tree.apply(before)
        return np.asarray(self.leaf_of[nodes])

    @property
    def sizes(self) -> NDArray[np.intp]:
        return np.diff(self.starts)

    def draw(self, leaf: NDArray[np.intp], u: Rows) -> tuple[Rows, NDArray[np.bool_]]:
        """Return a value of each row's leaf by its uniform u, (n,), and whether the pseudo-row was drawn instead."""
        place = (u * (self.sizes[leaf] + 1)).astype(np.intp)
        is_pseudo = place >= self.sizes[leaf]
        return self.values[np.where(is_pseudo, 0, self.starts[leaf] + place)], is_pseudo


@dataclass(frozen=True, eq=False)
class _LevelTree:
    leaves: _Leaves
    frequencies: Rows

    @classmethod
    def fit(cls, before: Rows, values: Rows, n_levels: int, rows_a_leaf: int, seed: int) -> _LevelTree:
        counts = np.bincount(values.astype(np.intp), minlength=n_levels)
        tree = None
        if before.shape[1] and n_levels <= _MOST_LEVELS:
            tree = DecisionTreeClassifier(min_samples_leaf=rows_a_leaf, random_state=seed)
            tree.fit(before, values)
        frequencies: Rows = np.asarray((counts + 1.0 / n_levels) / (len(values) + 1.0), dtype=np.float64)
        return cls(_Leaves.of(tree, before, values), frequencies)

    def log_prob(self, before: Rows, values: Rows) -> Rows:
        leaf, leaves, n_levels = self.leaves.find(before), self.leaves, len(self.frequencies)
        of_leaf = np.repeat(np.arange(len(leaves.sizes)), leaves.sizes)
        pairs, counts = np.unique(of_leaf * n_levels + leaves.values.astype(np.intp), return_counts=True)
        level = values.astype(np.intp)
        place = np.minimum(np.searchsorted(pairs, leaf * n_levels + level), len(pairs) - 1)
        count = np.where(pairs[place] == leaf * n_levels + level, counts[place], 0)
        return np.asarray(np.log((count + self.frequencies[level]) / (leaves.sizes[leaf] + 1.0)))

    def sample(self, before: Rows, stream: Stream) -> Rows:
        u = stream.uniform(0, len(before), 2).numpy()
        drawn, is_pseudo = self.leaves.draw(self.leaves.find(before), u[:, 0])
        cumulated = np.cumsum(self.frequencies)
        return np.where(is_pseudo, np.searchsorted(cumulated / cumulated[-1], u[:, 1]), drawn)


@dataclass(frozen=True, eq=False)
class _NumberTree:
    leaves: _Leaves
    spreads: Rows  # of the kernels of each leaf
    centre: float
    spread: float

    @classmethod
    def fit(cls, before: Rows, values: Rows, rows_a_leaf: int, seed: int, stream: Stream) -> _NumberTree:
        tree = None
        if before.shape[1]:
            tree = DecisionTreeRegressor(min_samples_leaf=rows_a_leaf, random_state=seed)
            tree.fit(before, values)
        else:
            values = random_rows(values, _MOST_IN_A_LEAF, stream=stream)
            before = before[: len(values)]
        leaves = _Leaves.of(tree, before, values)
        centre, spread = float(values.mean()), float(values.std()) or 1.0
        deviations = np.array([leaves.values[a:b].std() for a, b in pairwise(leaves.starts)])
        deviations = np.maximum(deviations, 1e-3 * spread)
        tried = [cls(leaves, width * deviations, centre, spread) for width in _BANDWIDTHS]
        leaf = np.repeat(np.arange(len(leaves.sizes)), leaves.sizes)
        some = stream.child("left out").permutation(len(leaf))[:2_000]
        scores = [one._log_prob(leaf[some], leaves.values[some], left_out=True).mean() for one in tried]
        return tried[int(np.argmax(scores))]

    def log_prob(self, before: Rows, values: Rows) -> Rows:
        return self._log_prob(self.leaves.find(before), values)

    def _log_prob(self, leaf: NDArray[np.intp], values: Rows, *, left_out: bool = False) -> Rows:
        """Return ln p of values (n,) in their leaves; with `left_out`, by the other values of the leaf."""
        sizes, density = self.leaves.sizes[leaf], np.empty(len(leaf))
        order = np.argsort(sizes)
        step = max(1, _BLOCK // int(sizes.max()))
        for start in range(0, len(order), step):
            rows = order[start : start + step]
            place = np.arange(sizes[rows].max())
            inside = place < sizes[rows, None]
            centres = self.leaves.values[np.where(inside, self.leaves.starts[leaf[rows], None] + place, 0)]
            width = self.spreads[leaf[rows], None]
            kernels = np.where(inside, _normal((values[rows, None] - centres) / width) / width, 0.0).sum(axis=1)
            density[rows] = kernels - (_normal(0.0) / width[:, 0] if left_out else 0.0)
        wide = _WIDE * self.spread
        pseudo = _normal((values - self.centre) / wide) / wide
        with np.errstate(divide="ignore"):  # far beyond all training values
            return np.asarray(np.log((np.maximum(density, 0.0) + pseudo) / (sizes + 1 - left_out)))

    def sample(self, before: Rows, stream: Stream) -> Rows:
        leaf = self.leaves.find(before)
        drawn, is_pseudo = self.leaves.draw(leaf, stream.child("leaf").uniform(0, len(before), 1).numpy()[:, 0])
        noise = stream.child("kernel").normal(0, len(before), 1).numpy()[:, 0]
        return np.where(is_pseudo, self.centre + _WIDE * self.spread * noise, drawn + self.spreads[leaf] * noise)


def fit_trees(rows: Rows, features: Sequence[Feature], *, stream: Stream) -> FittedDensity:
    """Return the synthesis of features by trees, one after another in their order, of at most 20,000 rows (n, k).

    The least number of rows in a leaf, 10 to 640, is chosen column by column by ln p of 15 % of the rows that are held
    out; the bandwidth of a number's kernels, in standard deviations of the leaf, by leaving single values out. Splits
    treat levels as ordered by their numbers; columns of more than 256 levels are drawn by their frequencies. In a row
    with gaps, ln p is that of the observed cells given which cells are missing, as trees see the gaps.
    """
    started = time.perf_counter()
    kept = random_rows(rows, _MOST_ROWS, stream=stream.child("rows"))
    trees: list[_LevelTree | _NumberTree] = []
    for j, feature in enumerate(features):
        observed = kept[~np.isnan(kept[:, j])]
        trees.append(_choose_tree(observed[:, :j], observed[:, j], feature, stream.child("column", j)))

    def log_prob(rows: Rows) -> Rows:
        total = np.zeros(len(rows))
        for j, tree in enumerate(trees):
            observed = ~np.isnan(rows[:, j])
            if observed.any():
                total[observed] += tree.log_prob(rows[observed, :j], rows[observed, j])
        return total

    def sample(n: int, stream: Stream) -> Rows:
        drawn = np.empty((n, 0))
        for j, (tree, feature) in enumerate(zip(trees, features, strict=True)):
            column = tree.sample(drawn, stream.child(j))
            if feature.applies is not None:
                other, level = feature.applies
                column = np.where(drawn[:, other] == level, column, np.nan)
            drawn = np.column_stack([drawn, column])
        return drawn

    return FittedDensity("Trees, column by column", time.perf_counter() - started, log_prob, sample)


def _choose_tree(before: Rows, values: Rows, feature: Feature, stream: Stream) -> _LevelTree | _NumberTree:
    """Return the tree with the number of rows in a leaf that gives held-out values the largest ln p."""
    seed = stream.child("seed").integer()

    def fit_tree(rows: NDArray[np.intp], rows_a_leaf: int) -> _LevelTree | _NumberTree:
        if feature.n_levels:
            return _LevelTree.fit(before[rows], values[rows], feature.n_levels, rows_a_leaf, seed)
        return _NumberTree.fit(before[rows], values[rows], rows_a_leaf, seed, stream)

    order = stream.child("held out").permutation(len(values))
    n_held_out = int(_HELD_OUT * len(values))
    best = _ROWS_A_LEAF[0]
    if before.shape[1] and n_held_out:
        rest, fit = order[:n_held_out], np.sort(order[n_held_out:])
        scores = [fit_tree(fit, size).log_prob(before[rest], values[rest]).mean() for size in _ROWS_A_LEAF]
        best = _ROWS_A_LEAF[int(np.argmax(scores))]
    return fit_tree(np.arange(len(values)), best)


def _normal(z: Any) -> Any:
    return np.exp(-0.5 * np.square(z)) / (2.0 * np.pi) ** 0.5
