"""Default network, training and patterns of a fit: they follow from the numbers of rows (n) and of coordinates (d).

Up to three coordinates (`LOW`), networks hardly overfit but need many steps; beyond (`HIGH`), the reverse holds. Tables
with levels, gaps or conditions have the rules of `HIGH` with other numbers. A time limit changes nothing here: it stops
training. The maintainers' page on the defaults has each number with what it was measured on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from backwalk.denoiser import Architecture, Residual, is_low
from backwalk.fit.settings import always_given
from backwalk.model import Conditions
from backwalk.sampling import EVALUATIONS_OF_CONDITIONALS, EVALUATIONS_OF_ONE_NUMBER, USUAL_EVALUATIONS
from backwalk.table import Block, Codec
from backwalk.training import Shares, Training

FEWEST_ROWS = 20  # with fewer, none are held out
_CPU = torch.device("cpu")
_LEAST_BATCH = 256
_HIDDEN_RATE, _CALM_STEPS = 0.02, 1600
_OWN_NETWORK_RATE = 0.005  # of Adam alone, for a user's network
_DECAYED_ROWS = 200.0
_EMBEDDING_DECAYED_ROWS, _LEAST_EMBEDDING_DECAY, _MOST_EMBEDDING_DECAY = 3000.0, 0.1, 1.5

# Of tables with levels, gaps or conditions:
_STEPS_PER_ROOT, _MOST_STEPS = 5.0, 1600  # of levels alone
_PATIENCE, _PATIENT_STEPS = 5, 1200  # small tables learn for long, or overfit and end
_OUTER_DECAYED_ROWS, _LEAST_OUTER_DECAY, _MOST_OUTER_DECAY = 600.0, 0.3, 2.0
_RIDGE, _MOST_RIDGE = 0.2, 3.0  # times columns / n, and times 1 / n
_STEPS_PER_ROOT_OF_CONDITIONALS = 80.0  # of numbers alone
_OVERFITTING_DECAY = 0.5  # of conditionals of numbers


@dataclass(frozen=True, kw_only=True)
class FitRules:
    """The numbers behind a fit's defaults.

    - Members of the ensemble: 4 for up to `few_rows` rows, 2 for more, at most `most_members`.
    - Steps: `steps_per_root` sqrt(n), within `least_steps`..`most_steps`. With `patience`, at least `patient_steps`;
      the run ends after `patience` validations in a row with overfitted weights.
    - Width: 64 ceil(d / 64) units, within `least_width`..`most_width`; 64 for fewer than `narrow_rows` rows. What a
      network adds to a multiple of x_t lies in a space of as many dimensions as its last layer has units.
    - Batch: n rows, within 256..`most_batch`.
    - Rates: Adam's `learning_rate` haste^1.5 and Muon's 0.02 haste^0.5, with haste = 1600 / steps within
      1..`most_haste`.
    - Weight decay: 200 / n, within `least_decay`..`most_decay`; `overfitting_decay` once the network overfits.
    - Decay of the input and output layers: `outer_decay`; penalty of the input layer's weights: `input_ridge`.
    - Decay of an embedding's weights: `embedding_decay`.
    """

    few_rows: int
    most_members: int = 4
    steps_per_root: float
    least_steps: int
    most_steps: int
    patience: int | None = None
    patient_steps: int = 0
    least_width: int
    most_width: int
    narrow_rows: int = 0
    most_batch: int
    learning_rate: float
    most_haste: float = 1.0
    least_decay: float
    most_decay: float
    overfitting_decay: float = 0.0
    outer_decay: float = 0.0
    input_ridge: float = 0.0
    embedding_decay: float = 0.0


LOW = FitRules(  # up to three coordinates
    few_rows=1300,
    steps_per_root=22,
    least_steps=800,
    most_steps=2200,
    least_width=48,
    most_width=48,
    most_batch=1500,
    learning_rate=0.005,
    most_haste=2.5,  # fewer steps should be larger
    least_decay=0.0,  # decay only costs here
    most_decay=0.0,
)
HIGH = FitRules(  # four coordinates and more
    few_rows=2200,
    steps_per_root=17,
    least_steps=400,
    most_steps=2500,
    least_width=128,
    most_width=512,
    narrow_rows=1000,
    most_batch=1000,
    learning_rate=0.01,
    least_decay=0.05,
    most_decay=0.4,
)


def fit_rules(d: int) -> FitRules:
    """Return the rules for rows of numbers, of d coordinates."""
    return LOW if is_low(d) else HIGH


def table_rules(codec: Codec, n: int, conditions: Conditions = None) -> FitRules:
    """Return the rules of a fit to n encoded rows of a table with levels, gaps or conditions.

    Cross-entropies of levels overfit in fewer steps than errors of numbers, so that the input and output layers decay,
    the more the fewer the rows and the more of the columns have levels. A run is long, and ends when it overfits.
    Numbers take as many steps as in tables of numbers alone; between the two the rules follow the share of columns that
    are numbers. Where only some sets of columns may be given, and all columns are numbers, a fit learns a conditional,
    and takes more steps, with more decay once it overfits: many given columns overfit long before few do.

    The input weights have a penalty in proportion to columns / n, as for a normal prior whose variance is in
    proportion to 1 / columns, with a limit: thirty columns need no more.
    """
    of_numbers = _share_of_numbers(codec)
    steps_per_root, overfitting_decay = _STEPS_PER_ROOT + of_numbers * (HIGH.steps_per_root - _STEPS_PER_ROOT), 0.0
    if _learns_a_conditional_of_numbers(codec, conditions):
        steps_per_root, overfitting_decay = _STEPS_PER_ROOT_OF_CONDITIONALS, _OVERFITTING_DECAY
    return replace(
        HIGH,
        steps_per_root=steps_per_root,
        most_steps=round(_MOST_STEPS + of_numbers * (HIGH.most_steps - _MOST_STEPS)),
        patience=_PATIENCE,
        patient_steps=_PATIENT_STEPS,
        overfitting_decay=overfitting_decay,
        outer_decay=(1.0 - of_numbers) * _within(_OUTER_DECAYED_ROWS / n, _LEAST_OUTER_DECAY, _MOST_OUTER_DECAY),
        input_ridge=min(_RIDGE * len(codec.varying), _MOST_RIDGE) / n,
    )


def embedding_rules(rules: FitRules, n: int) -> FitRules:
    """Return the rules of a fit with an embedding to n rows.

    An embedding of many columns overfits in few steps. Its weights decay, the more the fewer the rows. It takes most of
    the time of a step, so that there is one member.
    """
    decay = _within(_EMBEDDING_DECAYED_ROWS / n, _LEAST_EMBEDDING_DECAY, _MOST_EMBEDDING_DECAY)
    return replace(rules, embedding_decay=decay, most_members=1)


def default_architecture(n: int, d: int, rules: FitRules | None = None) -> Residual:
    """Return the network for n rows in R^d. `rules` are by default those for d coordinates."""
    rules = rules or fit_rules(d)
    width = 64
    if n >= rules.narrow_rows:
        width = int(_within(64 * math.ceil(d / 64), rules.least_width, rules.most_width))
    return Residual(width=width, n_members=min(4 if n <= rules.few_rows else 2, rules.most_members))


def default_training(
    n: int,
    d: int,
    max_steps: int | None = None,
    architecture: Architecture | None = None,
    device: torch.device = _CPU,
    rules: FitRules | None = None,
) -> Training:
    """Return the training of a network (by default the usual one) for n rows in R^d on a device."""
    rules = rules or fit_rules(d)
    usual = int(_within(rules.steps_per_root * math.sqrt(n), rules.least_steps, rules.most_steps))
    length, batch_size = max_steps or max(usual, rules.patient_steps), int(_within(n, _LEAST_BATCH, rules.most_batch))
    network = architecture or default_architecture(n, d, rules)
    if isinstance(network, nn.Module):
        return Training(max_steps=length, batch_size=batch_size, learning_rate=_OWN_NETWORK_RATE)
    haste = _within(_CALM_STEPS / length, 1.0, rules.most_haste)
    is_wide = not is_low(d) and isinstance(network, Residual) and network.width >= HIGH.least_width
    return Training(
        max_steps=length,
        batch_size=batch_size,
        learning_rate=rules.learning_rate * haste**1.5,
        hidden_rate=_HIDDEN_RATE * haste**0.5,
        weight_decay=_within(_DECAYED_ROWS / n, rules.least_decay, rules.most_decay),
        overfitting_decay=rules.overfitting_decay,
        outer_decay=rules.outer_decay,
        input_ridge=rules.input_ridge,
        embedding_decay=rules.embedding_decay,
        patience=rules.patience if max_steps is None else None,
        bfloat16=is_wide and has_fast_bfloat16(device),
    )


def default_validation_fraction(n: int, d: int) -> float:
    """Return the share of n rows in R^d that is held out, to choose the weights and to fit the reverse variances.

    It is a tenth, sqrt(10 n) rows or 1,000 rows, whichever is least, and in up to three coordinates at most a twentieth
    or 50 rows: networks overfit less with more rows, and hardly there. It is 0 for fewer than 20 rows.
    """
    if n < FEWEST_ROWS:
        return 0.0
    most = max(0.05, 50 / n) if is_low(d) else 0.1
    return min(0.1, most, math.sqrt(10.0 / n), 1000 / n)


def default_shares(codec: Codec, conditions: Conditions) -> Shares:
    """Return the shares of the training patterns: with conditions, or for whole rows alone.

    The more of the columns are numbers, the more rows train numbers given levels; those of the chain train levels.
    Where only some sets of columns may be given, and the others are numbers, nearly all rows train these conditionals.
    Patterns for which a table has no columns give their shares to the others.
    """
    has_levels, has_dates = bool(_blocks_asked_for(codec, conditions)), len(codec.dates) > 0
    f = _share_of_numbers(codec)
    joint, numbers, chain, mixed, regression = 0.2, 0.15 + 0.35 * f, 0.29 - 0.27 * f, 0.1 + 0.05 * f, 0.3 - 0.15 * f
    if conditions is None:
        joint, mixed, regression = 0.4, 0.0, 0.0
    elif not has_levels and not has_dates:
        joint, mixed, regression = (0.2, 0.3, 0.5) if conditions == "any" else (0.1, 0.85, 0.05)
    if not has_levels:  # but whole rows may: levels are drawn before numbers, of which half have the set given
        numbers, chain = (0.25, 0.05) if codec.blocks else (numbers, 0.0)
    if len(codec.numbers) == len(codec.dates) or not (codec.blocks or has_dates):
        numbers = 0.0
    total = joint + numbers + chain + mixed + regression
    return Shares(joint / total, numbers / total, chain / total, mixed / total, regression / total)


def default_evaluations(codec: Codec, conditions: Conditions) -> int:
    """Return the evaluations of the denoiser with which a row is drawn.

    Conditionals of numbers are narrow, and finer draws are nearer to their densities. The ODE of a single number beside
    levels needs few.
    """
    if _learns_a_conditional_of_numbers(codec, conditions):
        return EVALUATIONS_OF_CONDITIONALS
    return EVALUATIONS_OF_ONE_NUMBER if codec.blocks and len(codec.numbers) == 1 else USUAL_EVALUATIONS


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether products of bfloat16 numbers are faster than those of float32 numbers on a device.

    On CPUs they are with matrix units (AMX), and with vector instructions (AVX-512 BF16) on AMD's processors but not on
    Intel's. On CUDA they are where the GPU has them without emulation. The answer depends on the device's name and not
    on a trial, so that a busy machine gives the same model.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    is_amd = str(capabilities.get("cpu_name", "")).startswith("AMD")
    return bool(capabilities.get("amx_bf16") or (is_amd and capabilities.get("avx512_bf16")))


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


def _within(x: float, least: float, most: float) -> float:
    return float(np.clip(x, least, most))
