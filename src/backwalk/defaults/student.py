"""Defaults of a distilled student: its network, its training and the number of pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from backwalk.defaults.fit import default_architecture, default_training
from backwalk.denoiser import Architecture, Residual
from backwalk.training import Training

_STEPS, _BATCH_SIZE = 3000, 2000
_LEAST_STEP_SECONDS = 1e-3  # steps of usual networks take longer
_MOST_PAIRS, _MOST_NUMBERS = 200_000, 2**25  # 128 MiB each for x_N and x_0
_CPU = torch.device("cpu")


def default_student(d: int, teacher: Architecture | None) -> Residual:
    """Return the network of a student in R^d: one member of the teacher's ensemble, or of a default network."""
    return replace(teacher if isinstance(teacher, Residual) else default_architecture(1000, d), n_members=1)


def default_distillation(
    d: int,
    student: Architecture,
    max_steps: int | None = None,
    max_time: float | None = None,
    device: torch.device = _CPU,
) -> Training:
    """Return the training of a student in R^d on a device, at the rates of a fit of as many steps.

    With `max_time` the time limit ends it, and the number of steps is an upper bound.
    """
    steps = _STEPS if max_time is None else math.ceil(max_time / _LEAST_STEP_SECONDS)
    plan = default_training(default_pairs(d), d, max_steps or steps, architecture=student, device=device)
    return replace(plan, batch_size=_BATCH_SIZE)


def default_pairs(d: int) -> int:
    """Return the number of training pairs of a student in R^d: few would be memorised, many would not fit in memory."""
    return max(1, min(_MOST_PAIRS, _MOST_NUMBERS // d))
