"""Defaults of tables with levels, gaps or conditions: rules of the fit, and which columns are given in training.

research/defaults.md has the measurements.
"""

from __future__ import annotations

import math
from dataclasses import replace

from backwalk.denoiser import WIDE
from backwalk.fit.rules import HIGH, FitRules
from backwalk.fit.settings import always_given
from backwalk.model import Conditions
from backwalk.sampling import EVALUATIONS_OF_CONDITIONALS, EVALUATIONS_OF_ONE_NUMBER, USUAL_EVALUATIONS
from backwalk.table import Block, Codec
from backwalk.training import Shares

_STEPS_PER_ROOT, _MOST_STEPS = 5.0, 1600  # of levels alone
_PATIENCE, _PATIENT_STEPS = 5, 1200  # small tables learn for long, or overfit and end
_DECAYED_ROWS, _LEAST_DECAY, _MOST_DECAY = 600.0, 0.3, 2.0
_RIDGE, _MOST_RIDGE = 0.2, 3.0  # times columns / n, and times 1 / n
_STEPS_PER_ROOT_OF_CONDITIONALS = 80.0  # of numbers alone
_OVERFITTING_DECAY = 0.5  # of conditionals of numbers
_BLURRED, _MOST_BLURRED = 6.0, 0.5  # times given columns / sqrt(n), and at most
_START = 1.6  # seconds of a step with the exact start, over those of the network alone


def table_rules(codec: Codec, n: int, conditions: Conditions = None) -> FitRules:
    """Return the rules of a fit to n encoded rows of a table.

    Cross-entropies of levels overfit in fewer steps than errors of numbers, so that time buys members instead, and the
    input and output layers decay, the more the fewer the rows and the more of the columns have levels. Without a time
    limit a run is long, and ends when it overfits. Numbers take as many steps as in tables of numbers alone; between
    the two the rules follow the share of columns that are numbers. Where only some sets of columns may be given, and
    all columns are numbers, a fit learns a conditional, and takes more steps, with more decay once it overfits: many
    given columns overfit long before few do. A step takes longer, as the network reads every level and gives a logit
    to each.

    The input weights have a penalty in proportion to columns / n, as for a normal prior whose variance is in
    proportion to 1 / columns, with a limit: thirty columns need no more.
    """
    of_numbers = _share_of_numbers(codec)
    steps_per_root, overfitting_decay = _STEPS_PER_ROOT + of_numbers * (HIGH.steps_per_root - _STEPS_PER_ROOT), 0.0
    if _learns_a_conditional_of_numbers(codec, conditions):
        steps_per_root, overfitting_decay = _STEPS_PER_ROOT_OF_CONDITIONALS, _OVERFITTING_DECAY
    n_levels = sum(_levels_in_a_step(block.n_levels) for block in codec.blocks)
    ends = 2 * n_levels + 3 * len(codec.numbers) + 2 * len(codec.varying)
    cost = _START * (1.0 + ends / (6.0 * HIGH.least_width))
    return replace(
        HIGH,
        steps_per_root=steps_per_root,
        patience=_PATIENCE,
        patient_steps=_PATIENT_STEPS,
        most_steps=round(_MOST_STEPS + of_numbers * (HIGH.most_steps - _MOST_STEPS)),
        most_members=8,
        overfitting_decay=overfitting_decay,
        outer_decay=(1.0 - of_numbers) * min(max(_DECAYED_ROWS / n, _LEAST_DECAY), _MOST_DECAY),
        input_ridge=min(_RIDGE * len(codec.varying), _MOST_RIDGE) / n,
        step_seconds=HIGH.step_seconds * cost,
        narrow_step_seconds=HIGH.narrow_step_seconds * cost,
    )


def _levels_in_a_step(n_levels: int) -> float:
    """Return as how many levels of narrow blocks a block counts in the time of a training step."""
    return n_levels if n_levels <= WIDE else 128.0 + n_levels / 400.0


def default_shares(codec: Codec, conditions: Conditions, n: int) -> Shares:
    """Return the shares of the training patterns: with conditions, or for whole rows alone.

    The more of the columns are numbers, the more rows train numbers given levels; those of the chain train levels.
    Where only some sets of columns may be given, and the others are numbers, nearly all rows train these conditionals.
    Patterns for which a table has no columns give their shares to the others. The more columns are given, and the fewer
    the n rows, the more rows are blurred, which delays overfitting.
    """
    asked = _blocks_asked_for(codec, conditions)
    has_levels, has_dates, has_numbers = bool(asked), len(codec.dates) > 0, len(codec.numbers) > len(codec.dates)
    f = _share_of_numbers(codec)
    joint, numbers, chain, mixed, regression = 0.2, 0.15 + 0.35 * f, 0.29 - 0.27 * f, 0.1 + 0.05 * f, 0.3 - 0.15 * f
    if conditions is None:
        joint, mixed, regression = 0.4, 0.0, 0.0
    elif not has_levels and not has_dates:
        mixed, regression = 0.3, 0.5
        if conditions != "any":
            joint, mixed, regression = 0.1, 0.85, 0.05
    if not has_levels:  # but whole rows may: levels are drawn before numbers, of which half have the set given
        numbers, chain = (0.25, 0.05) if codec.blocks else (numbers, 0.0)
    if not has_numbers or not (codec.blocks or has_dates):
        numbers = 0.0
    total = joint + numbers + chain + mixed + regression
    most_given = 0 if conditions is None or conditions == "any" else max(map(len, conditions), default=0)
    blurred = min(_MOST_BLURRED, _BLURRED * most_given / math.sqrt(n))
    return Shares(joint / total, numbers / total, chain / total, mixed / total, regression / total, blurred)


def default_evaluations(codec: Codec, conditions: Conditions) -> int:
    """Return the evaluations of the denoiser with which a row is drawn.

    Conditionals of numbers are narrow, and finer draws are nearer to their densities. The ODE of a single number beside
    levels needs few.
    """
    if _learns_a_conditional_of_numbers(codec, conditions):
        return EVALUATIONS_OF_CONDITIONALS
    return EVALUATIONS_OF_ONE_NUMBER if codec.blocks and len(codec.numbers) == 1 else USUAL_EVALUATIONS


def _learns_a_conditional_of_numbers(codec: Codec, conditions: Conditions) -> bool:
    """Return whether only some sets of columns may be given, and the others are numbers, with or without atoms."""
    of_numbers = all(block.number is not None for block in _blocks_asked_for(codec, conditions))
    return of_numbers and conditions is not None and conditions != "any"


def _blocks_asked_for(codec: Codec, conditions: Conditions) -> list[Block]:
    """Return the levels of the columns that are not always given."""
    given = always_given(conditions)
    return [block for block in codec.blocks if block.column not in given]


def _share_of_numbers(codec: Codec) -> float:
    """Return the share of the numbers among numbers and columns of levels."""
    return len(codec.numbers) / (len(codec.numbers) + len(codec.blocks))
