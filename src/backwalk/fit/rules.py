"""Default network and training of a fit, from the numbers of rows (n) and columns (d) and the time limit.

The rules have the same form for all d. Their numbers differ between up to three columns (`LOW`), where networks hardly
overfit but need many steps, and more columns (`HIGH`), where the reverse holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from backwalk.denoiser import Architecture, Residual, is_low
from backwalk.training import Training

_CPU = torch.device("cpu")
_OWN_NETWORK_RATE = 0.005  # of Adam alone, for a user's network
_SETUP_SECONDS = 0.4  # of a time limit, in which the reference machine does not train
MOST_FASTER = 100  # speed relative to the reference machine at which the planned steps would end a timed run
_STEPS_PER_ROW = 0.375  # of a member with a time limit, beyond which it overfits
_LEAST_BATCH = 256
_HIDDEN_RATE, _CALM_STEPS = 0.02, 1600
_DECAYED_ROWS = 200.0
_EMBEDDING_DECAYED_ROWS, _LEAST_EMBEDDING_DECAY, _MOST_EMBEDDING_DECAY = 3000.0, 0.1, 1.5


@dataclass(frozen=True, kw_only=True)
class FitRules:
    """The numbers behind a fit's defaults; research/defaults.md says how each was measured.

    - Steps of a fit without a time limit: `steps_per_root` sqrt(n), within `least_steps`..`most_steps`.
    - Members of the ensemble without a time limit: 4 for up to `few_rows` rows, 2 for more, at most `most_members`.
    - Members with a time limit T: T buys A = T / (seconds of a step of one member) steps, which m members share.
      m = M sqrt(A / (M steps)), with M = `timed_members` for up to `few_rows` rows and 2 for more, so that members and
      steps grow alike; more where each would take more steps than usual, or more than 0.375 n, as a member then
      overfits. m is even (members train in pairs), rounded up from `round_up` of a pair on, at most
      `most_members`; 1 below 1.5, unless A >= `steps_for_two`; and no more than leave each `sound_steps` in the
      time after set-up.
    - Width: 64 ceil(d / 64) units, within `least_width`..`most_width`; `narrow_width` for fewer than `narrow_rows`
      rows, and `hurried_width` for a time limit below `hurried_seconds`. What a network adds to a multiple of x_t lies
      in a space of as many dimensions as its last layer has units.
    - Batch: n rows, within 256..`most_batch`.
    - Rates: Adam's `learning_rate` haste^1.5 and Muon's 0.02 haste^0.5, with haste = 1600 / steps within
      1..`most_haste`.
    - Weight decay: 200 / n, within `least_decay`..`most_decay`; `overfitting_decay` once the network overfits.
    - Decay of the input and output layers: `outer_decay`; penalty of the input layer's weights: `input_ridge`.
    - Decay of an embedding's weights: `embedding_decay`.
    - Held-out rows: a tenth, at most sqrt(10 n), 1,000, and the larger of `held_out_share` n and `held_out_rows`.
    - With `patience`, a run without a time limit takes at least `patient_steps` steps, but ends after `patience`
      validations in a row with overfitted weights.
    - Products in bfloat16: from `bfloat16_width` units on, on devices where they are fast.
    - `step_seconds`: a training step of one member at the largest batch and `least_width`, on two cores of 2024;
      `narrow_step_seconds` for fewer than `narrow_rows` rows.
    """

    steps_per_root: float
    least_steps: int
    most_steps: int
    few_rows: int
    timed_members: int
    most_members: int = 16
    steps_for_two: float = math.inf
    round_up: float
    least_width: int
    most_width: int
    narrow_rows: int = 0
    narrow_width: int = 0
    hurried_seconds: float = 0.0
    hurried_width: int = 0
    most_batch: int
    learning_rate: float
    most_haste: float = 1.0
    least_decay: float
    most_decay: float
    overfitting_decay: float = 0.0
    outer_decay: float = 0.0
    input_ridge: float = 0.0
    embedding_decay: float = 0.0
    held_out_share: float
    held_out_rows: int = 0
    patience: int | None = None
    patient_steps: int = 0
    bfloat16_width: float = math.inf
    step_seconds: float
    narrow_step_seconds: float = 0.0

    @property
    def sound_steps(self) -> int:
        """The number of training steps below which a fit warns."""
        return self.least_steps // 2


LOW = FitRules(  # up to three columns
    steps_per_root=22,
    least_steps=800,
    most_steps=2200,
    few_rows=1300,
    timed_members=2,  # four members of few steps each would not learn rings
    steps_for_two=1200,
    round_up=0.25,
    least_width=48,
    most_width=48,
    hurried_seconds=1.3,
    hurried_width=32,
    most_batch=1500,
    learning_rate=0.005,
    most_haste=2.5,  # fewer steps should be larger
    least_decay=0.0,  # decay only costs here
    most_decay=0.0,
    held_out_share=0.05,
    held_out_rows=50,
    step_seconds=2e-3,
)
HIGH = FitRules(  # four columns and more
    steps_per_root=17,
    least_steps=400,
    most_steps=2500,
    few_rows=2200,
    timed_members=4,
    round_up=0.5,
    least_width=128,
    most_width=512,
    narrow_rows=1000,
    narrow_width=64,
    most_batch=1000,
    learning_rate=0.01,
    least_decay=0.05,
    most_decay=0.4,
    held_out_share=0.1,
    bfloat16_width=128,  # at 48, rounding took what the products saved
    step_seconds=5e-3,
    narrow_step_seconds=3e-3,
)


def fit_rules(d: int) -> FitRules:
    """Return the rules for rows of d columns."""
    return LOW if is_low(d) else HIGH


def embedding_rules(rules: FitRules, n: int) -> FitRules:
    """Return the rules of a fit with an embedding to n rows.

    An embedding of many columns overfits in few steps. Its weights decay, the more the fewer the rows. It takes most of
    the time of a step, so that there is one member.
    """
    decay = float(np.clip(_EMBEDDING_DECAYED_ROWS / n, _LEAST_EMBEDDING_DECAY, _MOST_EMBEDDING_DECAY))
    return replace(rules, embedding_decay=decay, most_members=1)


def usual_steps(n: int, d: int, rules: FitRules | None = None) -> int:
    """Return the usual training steps for n rows in R^d; with `FitRules.patience`, a fit may take more."""
    rules = rules or fit_rules(d)
    return int(np.clip(rules.steps_per_root * math.sqrt(n), rules.least_steps, rules.most_steps))


def default_architecture(
    n: int,
    d: int,
    max_time: float | None = None,
    max_steps: int | None = None,
    *,
    slowness: float = 1.0,
    rules: FitRules | None = None,
) -> Residual:
    """Return the network for n rows in R^d. A time limit in seconds buys members and steps.

    With `max_steps` there are no more members than without a time limit. `slowness` is the time of a training step
    relative to that on the reference machine (`reference_step_seconds`). `rules` are by default those for d columns.
    """
    rules = rules or fit_rules(d)
    members, _ = _members_and_steps(n, d, max_time, slowness, rules)
    if max_steps is not None:
        members = min(members, _members_and_steps(n, d, None, slowness, rules)[0])
    width = _width(n, d, None if max_time is None else max_time / slowness, rules)
    return Residual(width=width, n_blocks=3, n_members=members)


def default_training(
    n: int,
    d: int,
    max_steps: int | None = None,
    max_time: float | None = None,
    architecture: Architecture | None = None,
    device: torch.device = _CPU,
    *,
    slowness: float = 1.0,
    rules: FitRules | None = None,
) -> Training:
    """Return the training of a network (by default the usual one) for n rows in R^d on a device.

    With `max_time` the time limit ends the run, and the learning rates follow the elapsed time; the number of steps is
    an upper bound. `slowness` and `rules` are as for `default_architecture`.
    """
    rules = rules or fit_rules(d)
    _, steps = _members_and_steps(n, d, max_time, slowness, rules)
    length = (max_steps or steps) if max_time is None else min(steps, max_steps or steps)
    haste = float(np.clip(_CALM_STEPS / length, 1.0, rules.most_haste))
    most = max_steps or (steps if max_time is None else MOST_FASTER * steps)
    network = architecture or default_architecture(n, d, max_time, slowness=slowness, rules=rules)
    if isinstance(network, nn.Module):
        return Training(max_steps=most, batch_size=_batch_size(n, rules), learning_rate=_OWN_NETWORK_RATE)
    is_wide = isinstance(network, Residual) and network.width >= rules.bfloat16_width
    return Training(
        max_steps=most,
        batch_size=_batch_size(n, rules),
        learning_rate=rules.learning_rate * haste**1.5,
        hidden_rate=_HIDDEN_RATE * haste**0.5,
        weight_decay=float(np.clip(_DECAYED_ROWS / n, rules.least_decay, rules.most_decay)),
        overfitting_decay=rules.overfitting_decay,
        outer_decay=rules.outer_decay,
        input_ridge=rules.input_ridge,
        embedding_decay=rules.embedding_decay,
        patience=rules.patience if max_steps is None and max_time is None else None,
        bfloat16=is_wide and has_fast_bfloat16(device),
    )


def default_validation_fraction(n: int, d: int) -> float:
    """Return the share of n rows in R^d that is held out, to choose the weights and to fit the reverse variances.

    The share falls with n, as networks overfit less; it is 0 for fewer than 20 rows.
    """
    rules = fit_rules(d)
    most = max(rules.held_out_share, rules.held_out_rows / n)
    return 0.0 if n < 20 else min(0.1, most, math.sqrt(10.0 / n), 1000 / n)


def reference_step_seconds(n: int, d: int, rules: FitRules | None = None) -> float:
    """Return the seconds of a training step of one member on two cores of 2024, a third of them for any batch."""
    rules = rules or fit_rules(d)
    if n < rules.narrow_rows:
        of_largest_batch = rules.narrow_step_seconds
    else:
        of_largest_batch = rules.step_seconds * (_width(n, d, None, rules) / rules.least_width) ** 2
    return of_largest_batch * (1.0 + 2.0 * _batch_size(n, rules) / rules.most_batch) / 3.0


def _members_and_steps(n: int, d: int, max_time: float | None, slowness: float, rules: FitRules) -> tuple[int, int]:
    """Return the members of the ensemble and the training steps of each, as `FitRules` describes."""
    steps, has_few_rows = usual_steps(n, d, rules), n <= rules.few_rows
    if max_time is None:
        return min(4 if has_few_rows else 2, rules.most_members), max(steps, rules.patient_steps)
    start = rules.timed_members if has_few_rows else 2
    affordable = max_time / (slowness * reference_step_seconds(n, d, rules))
    wanted = start * math.sqrt(affordable / (start * steps))
    even = 2 * math.floor(wanted / 2.0 + (1.0 - rules.round_up))
    even = max(even, 2 * round(affordable / max(steps, _STEPS_PER_ROW * n) / 2.0))
    least = 2 if affordable >= rules.steps_for_two else 1
    trainable = affordable - _SETUP_SECONDS / reference_step_seconds(n, d, rules)
    most = min(rules.most_members, max(1, int(trainable / rules.sound_steps)))
    members = int(np.clip(even if wanted >= 1.5 else 1, least, most))
    members -= members % 2 if members > 1 else 0
    return members, max(1, round(affordable / members))


def _width(n: int, d: int, seconds: float | None, rules: FitRules) -> int:
    """Return the units of a layer; `seconds` is the time limit in seconds of the reference machine."""
    if seconds is not None and seconds < rules.hurried_seconds:
        return rules.hurried_width
    if n < rules.narrow_rows:
        return rules.narrow_width
    return int(np.clip(64 * math.ceil(d / 64), rules.least_width, rules.most_width))


def _batch_size(n: int, rules: FitRules) -> int:
    return int(np.clip(n, _LEAST_BATCH, rules.most_batch))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether products of bfloat16 numbers are faster than those of float32 numbers on a device.

    On CPUs they are with matrix units (AMX), and with vector instructions (AVX-512 BF16) on AMD's processors but not on
    Intel's (research/defaults.md has the times). On CUDA they are where the GPU has them without emulation. The answer
    depends on the device's name and not on a trial, so that a busy machine gives the same model.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    is_amd = str(capabilities.get("cpu_name", "")).startswith("AMD")
    return bool(capabilities.get("amx_bf16") or (is_amd and capabilities.get("avx512_bf16")))
