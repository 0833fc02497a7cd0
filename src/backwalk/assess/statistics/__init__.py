"""Statistics that compare two sets of points: NumPy arrays in, numbers with standard errors out.

`compare` puts a statistic of generated rows beside its null, the same statistic of real rows. `distances` and
`two_sample` hold the statistics; `columns` those of tables, whose columns have kinds. `paired_gap` and
`total_variation` compare densities that can be evaluated; `calibration` scores stated probabilities, draws and
posteriors, and `downstream` models trained on generated rows. `nearest_row_share` and `rare_copies` look for copies of
training rows. Nothing here depends on a model.
"""

from backwalk.assess.statistics.calibration import (
    CoverageCurve,
    RankHistogram,
    Reliability,
    coverage_curve,
    density_ranks,
    interval_coverage,
    log_loss,
    rank_histogram,
    ranks_in_draws,
    reliability,
    tarp_ranks,
)
from backwalk.assess.statistics.columns import (
    ColumnKind,
    LevelBands,
    association_difference,
    associations,
    column_distance,
    level_bands,
    level_index,
    level_shares,
)
from backwalk.assess.statistics.distances import (
    correlation_difference,
    correlation_matrix,
    coverage,
    energy_distance,
    marginal_ks,
    sliced_wasserstein,
    total_variation,
    wasserstein_1d,
)
from backwalk.assess.statistics.downstream import Utility, frequency_probabilities, level_probabilities, utility
from backwalk.assess.statistics.memorisation import RareCopies, draw_equally_many, nearest_row_share, rare_copies
from backwalk.assess.statistics.nulls import (
    Figure,
    RealPairs,
    compare,
    disjoint_pairs,
    paired_gap,
    resampled_pairs,
    sign_that_matters,
)
from backwalk.assess.statistics.two_sample import ClassifierFactory, boosting, boosting_of, c2st, neighbours
from backwalk.estimates import Estimate, mean_estimate, random_rows

__all__ = [
    "ClassifierFactory",
    "ColumnKind",
    "CoverageCurve",
    "Estimate",
    "Figure",
    "LevelBands",
    "RankHistogram",
    "RareCopies",
    "RealPairs",
    "Reliability",
    "Utility",
    "association_difference",
    "associations",
    "boosting",
    "boosting_of",
    "c2st",
    "column_distance",
    "compare",
    "correlation_difference",
    "correlation_matrix",
    "coverage",
    "coverage_curve",
    "density_ranks",
    "disjoint_pairs",
    "draw_equally_many",
    "energy_distance",
    "frequency_probabilities",
    "interval_coverage",
    "level_bands",
    "level_index",
    "level_probabilities",
    "level_shares",
    "log_loss",
    "marginal_ks",
    "mean_estimate",
    "nearest_row_share",
    "neighbours",
    "paired_gap",
    "random_rows",
    "rank_histogram",
    "ranks_in_draws",
    "rare_copies",
    "reliability",
    "resampled_pairs",
    "sign_that_matters",
    "sliced_wasserstein",
    "tarp_ranks",
    "total_variation",
    "utility",
    "wasserstein_1d",
]
