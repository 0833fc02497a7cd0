"""Defaults of tables with levels, gaps or conditions: rules of the fit, and which columns are given in training.

docs/defaults.md has the measurements.
"""

from __future__ import annotations

from dataclasses import replace

from backwalk.defaults.fit import HIGH, FitRules
from backwalk.table import Codec
from backwalk.training import Shares

_DECAYED_ROWS, _LEAST_DECAY, _MOST_DECAY = 600.0, 0.3, 2.0
_START = 1.6  # seconds of a step with the exact start, over those of the network alone


def table_rules(codec: Codec, n: int) -> FitRules:
    """Return the rules of a fit to n encoded rows of a table.

    Cross-entropies of levels overfit in fewer steps than errors of numbers, so that time buys members instead, and the
    input and output layers decay, the more the fewer the rows. A step takes longer, as the network reads every level
    and gives a logit to each.
    """
    n_levels = sum(block.n_levels for block in codec.blocks)
    ends = 2 * n_levels + 3 * len(codec.numbers) + 2 * len(codec.varying)
    cost = _START * (1.0 + ends / (6.0 * HIGH.least_width))
    return replace(
        HIGH,
        steps_per_root=5.0,
        most_steps=1600,
        most_members=8,
        outer_decay=min(max(_DECAYED_ROWS / n, _LEAST_DECAY), _MOST_DECAY),
        step_seconds=HIGH.step_seconds * cost,
        narrow_step_seconds=HIGH.narrow_step_seconds * cost,
    )


def default_shares(codec: Codec, conditions: object) -> Shares:
    """Return the shares of the training patterns: with conditions, or for whole rows alone.

    Patterns for which a table has no columns give their shares to the others.
    """
    has_levels, has_numbers = bool(codec.blocks), len(codec.numbers) > 0
    if conditions is None:
        joint, numbers, chain, mixed, regression = 0.4, 0.2, 0.4, 0.0, 0.0
    elif has_levels:
        joint, numbers, chain, mixed, regression = 0.2, 0.15, 0.25, 0.1, 0.3
    else:
        joint, numbers, chain, mixed, regression = 0.2, 0.0, 0.0, 0.3, 0.5
    if not has_levels:
        numbers = chain = 0.0
    if not has_numbers:
        numbers = 0.0
    total = joint + numbers + chain + mixed + regression
    return Shares(*(share / total for share in (joint, numbers, chain, mixed, regression)))
