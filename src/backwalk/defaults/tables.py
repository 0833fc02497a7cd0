"""Default training patterns of tables: which columns are given or absent; docs/defaults.md has the measurements."""

from __future__ import annotations

from backwalk.table import Codec
from backwalk.training import Shares

LEAST_TABLE_WIDTH = 4  # encoded coordinates: tables of fewer are trained by the rules for more columns


def default_shares(codec: Codec, conditions: object) -> Shares:
    """Return the shares of the training patterns: with conditions on any columns, or for whole rows alone.

    Patterns for which a table has no columns give their shares to the others.
    """
    has_levels, has_numbers = bool(codec.blocks), len(codec.numbers) > 0
    if conditions is None:
        joint, numbers, chain, mixed, regression = 0.5, 0.2, 0.3, 0.0, 0.0
    else:
        joint, numbers, chain, mixed, regression = 0.35, 0.15, 0.2, 0.1, 0.2
    if not has_numbers:
        numbers = 0.0
    if not has_levels:
        numbers = chain = 0.0
    total = joint + numbers + chain + mixed + regression
    return Shares(*(share / total for share in (joint, numbers, chain, mixed, regression)))
