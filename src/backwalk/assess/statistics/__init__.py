"""Statistics that compare two sets of points: NumPy arrays in, numbers with standard errors out.

`compare` puts a statistic of generated rows beside its null, the same statistic of real rows. `distances` and
`two_sample` hold the statistics; `columns` those of tables, whose columns have kinds. `paired_gap` and
`total_variation` compare densities that can be evaluated; `calibration` scores stated probabilities, draws and
posteriors, and `downstream` models trained on generated rows. `memorisation` looks for copies of training
rows, and `membership` tests whether scores tell them from other rows. Nothing here depends on a model.
"""

from backwalk.assess.statistics.calibration import CoverageCurve, coverage_curve, density_ranks
from backwalk.assess.statistics.distances import (
    correlation_difference,
    coverage,
    energy_distance,
    marginal_ks,
    sliced_wasserstein,
    total_variation,
)
from backwalk.assess.statistics.nulls import (
    Figure,
    RealPairs,
    compare,
    disjoint_pairs,
    paired_gap,
    resampled_pairs,
    sign_that_matters,
)
from backwalk.assess.statistics.two_sample import boosting, c2st, neighbours
from backwalk.estimates import Estimate, mean_estimate

__all__ = [
    "CoverageCurve",
    "Estimate",
    "Figure",
    "RealPairs",
    "boosting",
    "c2st",
    "compare",
    "correlation_difference",
    "coverage",
    "coverage_curve",
    "density_ranks",
    "disjoint_pairs",
    "energy_distance",
    "marginal_ks",
    "mean_estimate",
    "neighbours",
    "paired_gap",
    "resampled_pairs",
    "sign_that_matters",
    "sliced_wasserstein",
    "total_variation",
]
