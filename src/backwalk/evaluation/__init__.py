"""Statistics that compare two sets of points: NumPy arrays in, numbers with standard errors out.

`compare` puts a statistic of generated rows beside its null, the same statistic of real rows. `distances` and
`two_sample` hold the statistics. `paired_gap` and `total_variation` compare densities that can be evaluated;
`nearest_row_share` looks for copies of training rows. Nothing here depends on a model.
"""

from backwalk.evaluation.distances import (
    correlation_difference,
    correlation_matrix,
    coverage,
    energy_distance,
    marginal_ks,
    sliced_wasserstein,
    total_variation,
    wasserstein_1d,
)
from backwalk.evaluation.estimates import Estimate, mean_estimate
from backwalk.evaluation.memorisation import nearest_row_share
from backwalk.evaluation.nulls import Figure, RealPairs, compare, disjoint_pairs, paired_gap, resampled_pairs
from backwalk.evaluation.rows import random_rows
from backwalk.evaluation.two_sample import ClassifierFactory, boosting, c2st, neighbours, perceptron

__all__ = [
    "ClassifierFactory",
    "Estimate",
    "Figure",
    "RealPairs",
    "boosting",
    "c2st",
    "compare",
    "correlation_difference",
    "correlation_matrix",
    "coverage",
    "disjoint_pairs",
    "energy_distance",
    "marginal_ks",
    "mean_estimate",
    "nearest_row_share",
    "neighbours",
    "paired_gap",
    "perceptron",
    "random_rows",
    "resampled_pairs",
    "sliced_wasserstein",
    "total_variation",
    "wasserstein_1d",
]
