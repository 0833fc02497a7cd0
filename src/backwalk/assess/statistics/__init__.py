"""Statistics that compare two sets of points: NumPy arrays in, numbers with standard errors out.

`compare` puts a statistic of generated rows beside its null, the same statistic of real rows. `distances` and
`two_sample` hold the statistics, `columns` those of tables, whose columns have kinds, and `calibration` scores stated
probabilities, draws and posteriors. Nothing here depends on a model.
"""

from backwalk.assess.statistics.distances import sliced_wasserstein
from backwalk.assess.statistics.nulls import Figure, RealPairs, compare, disjoint_pairs, resampled_pairs
from backwalk.assess.statistics.two_sample import boosting, c2st, neighbours
from backwalk.estimates import Estimate

__all__ = [
    "Estimate",
    "Figure",
    "RealPairs",
    "boosting",
    "c2st",
    "compare",
    "disjoint_pairs",
    "neighbours",
    "resampled_pairs",
    "sliced_wasserstein",
]
