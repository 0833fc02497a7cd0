"""What a time limit of a fit leaves for training, and how fast this machine trains: a few steps are timed before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor

from backwalk.denoiser import build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.fit.rules import default_architecture, default_training, reference_step_seconds
from backwalk.fit.settings import CheckpointOptions, Settings, choose_device
from backwalk.model import N_MEASURED_LEVELS
from backwalk.streams import Stream
from backwalk.training import LogNormalLevels, Trainer, TrainingRows
from backwalk.training.checkpoint import checkpoint_facts

FEW_LEVELS = 4  # noise levels at which denoising errors are measured where an estimate will do
_N_MEMBERS = 2  # as members of a fit train in pairs
_LEAST_TIMED, _MOST_TIMED = 3, 16
_SHARE = 0.02  # of the time limit, which the timed steps may take


def slowness_here(settings: Settings, options: CheckpointOptions | None, n: int, d: int) -> float:
    """Return the time of a training step here, relative to the reference machine: 1, 2, 4, ...

    The plan of a fit to n rows in R^d with a time limit depends on it; it is 1 without one, and on a GPU. Steps of the
    usual network are timed, on rows of noise. The result is rounded to a power of two, so that repeated fits on one
    machine rarely differ in their plan, and is at least 1: a faster machine takes more steps with the same networks. A
    resumed fit takes it from its checkpoint.
    """
    if settings.max_time is None or (settings.denoiser is not None and settings.training is not None):
        return 1.0  # nothing depends on it
    if options is not None and options.resume and options.path.exists():
        return checkpoint_facts(options.path).slowness
    if torch.device(choose_device(settings.device)).type != "cpu":
        return 1.0
    ratio = step_seconds(n, d, settings.max_time) / reference_step_seconds(n, d)
    return 2.0 ** max(0, round(math.log2(ratio)))


def step_seconds(n: int, d: int, max_time: float) -> float:
    """Return the median time of a training step of one member: the first step, which sets up, is not among them."""
    stream, training = Stream(0).child("trial"), default_training(n, d)
    schedule = NoiseSchedule.log_snr_uniform(2, log_snr_max=5.0, log_snr_min=-5.0)
    architecture = replace(default_architecture(n, d), n_members=_N_MEMBERS)
    trainer = Trainer(
        build_denoiser(architecture, d, schedule=schedule, floor=0.1, stream=stream),
        TrainingRows(x_0=stream.child("rows").normal(0, training.batch_size, d, torch.float32)),
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


def seconds_outside_training(began: float, denoising_error: Callable[[int], Tensor], n_steps: int) -> float:
    """Return the seconds that a fit takes before and after training.

    After training, a fit measures the denoising errors. A trial at a few noise levels shows how long this will take.
    """
    denoising_error(2)  # the first call sets up what later ones reuse
    trial_began = time.perf_counter()
    denoising_error(FEW_LEVELS)
    trial_seconds = time.perf_counter() - trial_began
    afterwards = min(N_MEASURED_LEVELS, n_steps) / min(FEW_LEVELS, n_steps) * trial_seconds
    return time.perf_counter() - began + afterwards
