"""Default network, training and patterns of a fit: they follow from the numbers of rows (n) and of columns.

There is one rule for each of width, batch, decay and patience. No limit of time or steps changes them: limits stop
training. The maintainers' page on the defaults has each number with what it was measured on.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from backwalk.denoiser import Architecture, Residual
from backwalk.fit.settings import always_given
from backwalk.model import Conditions
from backwalk.sampling import EVALUATIONS_OF_CONDITIONALS, EVALUATIONS_OF_ONE_NUMBER, USUAL_EVALUATIONS
from backwalk.table import Block, Codec
from backwalk.training import Shares, Training

FEWEST_ROWS = 20  # with fewer, none are held out
_FEWEST_FOR_PATIENCE = 5  # held-out rows: the standard error of fewer tells little
_LEAST_WIDTH, _MOST_WIDTH, _WIDTH_STEP = 64, 512, 32  # products of 32 columns fill the registers of a processor
MOST_MEMBERS = 4  # each evaluation of the model takes as many of a network
_LEAST_BATCH, _MOST_BATCH = 256, 1000
_RATE, _HIDDEN_RATE = 0.01, 0.02  # Adam's and Muon's
_OWN_NETWORK_RATE = 0.005  # of Adam alone, for a user's network
_PATIENCE = 8  # validations: about six tenths of the steps so far
_STEPS_WITHOUT_VALIDATION = 1000
_BFLOAT16_WIDTH = 128  # from which products in bfloat16 are faster
_CPU = torch.device("cpu")

# Against overfitting:
_DECAYED_ROWS, _LEAST_DECAY, _MOST_DECAY = 600.0, 0.3, 2.0  # decay: so much over n, within the limits
_HIDDEN_SHARE = 1 / 6  # of it for the matrices that Muon moves
_RIDGE, _MOST_RIDGE = 0.2, 3.0  # times columns / n, and times 1 / n


def default_architecture(n: int, n_columns: int, *, n_members: int = MOST_MEMBERS) -> Residual:
    """Return the network for n rows of so many columns: as wide as the rows can bear.

    The hidden layers of a network of width w have 6 w^2 weights. The width is the largest multiple of 32, within
    64..512, with which they have no more weights than the rows have numbers. Up to `n_members` networks are trained.
    """
    root = math.sqrt(n * n_columns / (2 * Residual().n_blocks))
    width = _WIDTH_STEP * int(_within(root, _LEAST_WIDTH, _MOST_WIDTH) / _WIDTH_STEP)
    return Residual(width=width, n_members=n_members)


def default_training(
    n: int,
    *,
    codec: Codec | None = None,
    architecture: Architecture | None = None,
    max_steps: int | None = None,
    n_held_out: int = 0,
    of_whole_rows: bool = True,
    device: torch.device = _CPU,
) -> Training:
    """Return the training of a network on n rows, of a table with the columns of `codec`, or of numbers alone.

    A batch has n rows, within 256..1,000. The run of a network ends by patience; without enough held-out rows it has
    1,000 steps.

    The fewer the rows, the more the weights decay: those of an embedding by 600 / n, within .3..2, and the hidden
    matrices by a sixth of it. Cross-entropies of levels overfit in fewer steps than errors of numbers, so that in
    tables the input and output layers decay as well, the more of the columns have levels. The input
    weights of tables have a penalty in proportion to columns / n, as for a normal prior whose variance is in proportion
    to 1 / columns, with a limit: thirty columns need no more.

    The rates are full for two thirds of a run for numbers alone, in arrays and where only some columns are given. In
    other tables they fall from the start, as long runs at full rates overfit there.

    Noise levels are balanced where whole rows are modelled. Conditionals given some columns alone, as posteriors are,
    overfit at little noise, on which balanced levels put more weight.
    """
    has_patience = n_held_out >= _FEWEST_FOR_PATIENCE
    length = max_steps if max_steps or has_patience else _STEPS_WITHOUT_VALIDATION
    patience, batch_size = _PATIENCE if has_patience else None, int(_within(n, _LEAST_BATCH, _MOST_BATCH))
    if isinstance(architecture, nn.Module):
        return Training(batch_size=batch_size, learning_rate=_OWN_NETWORK_RATE, max_steps=length, patience=patience)
    is_wide = isinstance(architecture, Residual) and architecture.width >= _BFLOAT16_WIDTH
    of_levels = 0.0 if codec is None else 1.0 - _share_of_numbers(codec)
    decay = _within(_DECAYED_ROWS / n, _LEAST_DECAY, _MOST_DECAY)
    return Training(
        batch_size=batch_size,
        learning_rate=_RATE,
        max_steps=length,
        hidden_rate=_HIDDEN_RATE,
        weight_decay=_HIDDEN_SHARE * decay,
        outer_decay=of_levels * decay,
        input_ridge=0.0 if codec is None else min(_RIDGE * len(codec.varying), _MOST_RIDGE) / n,
        embedding_decay=decay,
        decay="linear" if codec is None or not (of_whole_rows or codec.blocks) else "root",
        levels="balanced" if of_whole_rows else "log_normal",
        patience=patience,
        bfloat16=is_wide and has_fast_bfloat16(device),
    )


def default_validation_fraction(n: int) -> float:
    """Return the share of n rows that is held out, to choose the weights and to fit the reverse variances.

    It is a tenth, sqrt(10 n) rows or 1,000 rows, whichever is least; 0 for fewer than 20 rows.
    """
    return 0.0 if n < FEWEST_ROWS else min(0.1, math.sqrt(10.0 / n), 1000 / n)


def default_shares(codec: Codec, conditions: Conditions) -> Shares:
    """Return the shares of the training patterns: they follow from what is asked of the model.

    A fifth of the rows is joint in any case, as these regularise. The rest is shared by what is asked for:

    - Whole rows are drawn level by level, each given those before it, and then the numbers given all levels; numbers
      alone are drawn jointly. Each column counts alike, and the numbers for half at least, as they are learnt at all
      noise levels.
    - With conditions, the other columns are asked for given a set: for draws, and for probabilities and means in one
      evaluation. Where only some sets of columns may be given, and the others are numbers, these are draws, and nearly
      all that is asked for; as the free numbers share a noise level, a tenth of joint rows will do, and a twentieth of
      rows for means.
    """
    n_levels = len(codec.blocks)
    of_numbers = max(0.5, _share_of_numbers(codec))
    has_order = n_levels > 0 or len(codec.dates) > 0
    joint, drawn, mixed, regression = 0.2, 0.4, 0.2, 0.2
    if conditions is None:
        drawn, mixed, regression = 0.8, 0.0, 0.0
    elif _learns_a_conditional_of_numbers(codec, conditions):
        drawn, mixed, regression = (0.2, 0.65, 0.05) if has_order else (0.0, 0.85, 0.05)
        joint = 0.1
    if not has_order:
        return Shares(joint + drawn, 0.0, 0.0, mixed, regression)
    numbers, chain = drawn * of_numbers, drawn * (1.0 - of_numbers)
    if len(codec.numbers) == len(codec.dates):  # nothing is left to draw once levels and dates are given
        numbers = 0.0
    if not n_levels:
        chain = 0.0
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
