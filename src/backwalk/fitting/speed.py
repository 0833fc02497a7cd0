"""The speed of this machine: a few training steps are timed before a fit with a time limit is planned."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from statistics import median

import torch

from backwalk.defaults import default_architecture, default_training, reference_step_seconds
from backwalk.denoiser import build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream
from backwalk.training import LogNormalLevels, Trainer

_N_MEMBERS = 2  # as members of a fit train in pairs
_LEAST_TIMED, _MOST_TIMED = 3, 16
_SHARE = 0.02  # of the time limit, which the timed steps may take


def measured_slowness(n: int, d: int, max_time: float, device: torch.device) -> float:
    """Return the time of a training step here, relative to the reference machine: 1, 2, 4, ...

    Steps of the usual network for n rows in R^d are timed, on rows of noise. The result is rounded to a power of two,
    so that repeated fits on one machine rarely differ in their plan, and is at least 1: a faster machine takes more
    steps with the same networks. It is 1 on a GPU.
    """
    if device.type != "cpu":
        return 1.0
    return rounded_slowness(_step_seconds(n, d, max_time) / reference_step_seconds(n, d))


def rounded_slowness(ratio: float) -> float:
    """Return the power of two nearest to a ratio of times, 1 at least."""
    return 2.0 ** max(0, round(math.log2(ratio)))


def _step_seconds(n: int, d: int, max_time: float) -> float:
    """Return the median time of a training step of one member: the first step, which sets up, is not among them."""
    stream, training = Stream(0).child("trial"), default_training(n, d)
    schedule = NoiseSchedule.log_snr_uniform(2, log_snr_max=5.0, log_snr_min=-5.0)
    architecture = replace(default_architecture(n, d), n_members=_N_MEMBERS)
    trainer = Trainer(
        build_denoiser(architecture, d, schedule=schedule, floor=0.1, stream=stream),
        stream.child("rows").normal(0, training.batch_size, d, torch.float32),
        LogNormalLevels(0.1, 10.0, 0.0),
        training,
        stream=stream,
    )
    with closing(trainer.run()) as steps:
        next(steps)
        ends = [time.perf_counter()]
        while len(ends) <= _LEAST_TIMED or (len(ends) <= _MOST_TIMED and ends[-1] - ends[0] < _SHARE * max_time):
            next(steps)
            ends.append(time.perf_counter())
    return median(end - begin for begin, end in pairwise(ends)) / _N_MEMBERS
