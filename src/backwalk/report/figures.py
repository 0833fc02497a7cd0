"""One function per figure: arrays in, a matplotlib `Figure` out, for the report and for notebooks.

Figures are made without pyplot, so they are neither shown nor kept in memory: a notebook shows the figure that is the
last expression of a cell. Functions that draw a single panel take `ax`, axes to draw into instead of a new figure.
"""

from backwalk.report.axes import limits_of
from backwalk.report.sections.associations import plot_associations
from backwalk.report.sections.bound import plot_bound, plot_bound_parts, plot_nats, plot_transitions
from backwalk.report.sections.columns import plot_levels, plot_marginal, plot_number_with_atoms
from backwalk.report.sections.conditionals import plot_given, plot_ranks, plot_reliability
from backwalk.report.sections.posteriors import plot_coverage
from backwalk.report.sections.rows import farthest_pair, plot_chain, plot_points, plot_side_by_side, telling_pairs
from backwalk.report.sections.schedule import plot_log_snr, plot_noise, plot_schedule, plot_signal
from backwalk.report.sections.training import plot_loss, plot_training_loss, plot_validation_loss

__all__ = [
    "farthest_pair",
    "limits_of",
    "plot_associations",
    "plot_bound",
    "plot_bound_parts",
    "plot_chain",
    "plot_coverage",
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
