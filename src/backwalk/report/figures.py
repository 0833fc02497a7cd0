"""One function per figure: arrays in, a matplotlib `Figure` out, for the report and for notebooks.

Figures are made without pyplot, so they are neither shown nor kept in memory: a notebook shows the figure that is the
last expression of a cell.
"""

from backwalk.report.axes import limits_of
from backwalk.report.chain_figures import (
    plot_bound,
    plot_bound_parts,
    plot_log_snr,
    plot_noise,
    plot_schedule,
    plot_signal,
    plot_transitions,
)
from backwalk.report.loss_figures import plot_loss, plot_training_loss, plot_validation_loss
from backwalk.report.nats_figures import plot_gain_by_level, plot_nats
from backwalk.report.posterior_figures import plot_coverage
from backwalk.report.row_figures import (
    farthest_pair,
    plot_chain,
    plot_marginal,
    plot_points,
    plot_side_by_side,
    telling_pairs,
)
from backwalk.report.table_figures import (
    plot_association_differences,
    plot_associations,
    plot_given,
    plot_levels,
    plot_number_with_atoms,
    plot_ranks,
    plot_reliability,
)

__all__ = [
    "farthest_pair",
    "limits_of",
    "plot_association_differences",
    "plot_associations",
    "plot_bound",
    "plot_bound_parts",
    "plot_chain",
    "plot_coverage",
    "plot_gain_by_level",
    "plot_given",
    "plot_levels",
    "plot_log_snr",
    "plot_loss",
    "plot_marginal",
    "plot_nats",
    "plot_noise",
    "plot_number_with_atoms",
    "plot_points",
    "plot_ranks",
    "plot_reliability",
    "plot_schedule",
    "plot_side_by_side",
    "plot_signal",
    "plot_training_loss",
    "plot_transitions",
    "plot_validation_loss",
    "telling_pairs",
]
