"""Training within a fit: the speed of the machine before it, its checkpoints, callbacks and progress, and its end.

With a time limit a few training steps are timed before the fit is planned.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import pairwise
from statistics import median

import torch

from backwalk.denoiser import build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput, TrainingDiverged
from backwalk.fit.progress import Display, FitProgress
from backwalk.fit.rules import default_architecture, default_training, reference_step_seconds
from backwalk.fit.settings import CheckpointOptions, Settings
from backwalk.model import DiffusionModel
from backwalk.streams import Stream
from backwalk.training import LogNormalLevels, Progress, Trainer, checkpointed

_N_MEMBERS = 2  # as members of a fit train in pairs
_LEAST_TIMED, _MOST_TIMED = 3, 16
_SHARE = 0.02  # of the time limit, which the timed steps may take


def run_training(
    trainer: Trainer,
    settings: Settings,
    options: CheckpointOptions | None,
    slowness: float,
    model_so_far: Callable[[], DiffusionModel],
) -> TrainingDiverged | None:
    """Train to the end, or until a callback returns True.

    Return the error where training diverged and the trainer has finite weights.
    """
    steps: Generator[Progress] = (
        trainer.run()
        if options is None
        else checkpointed(
            trainer,
            options.path,
            resume=options.resume,
            overwrite=options.overwrite,
            every=options.every,
            slowness=slowness,
        )
    )
    stops = False
    try:
        with Display(verbose=settings.verbose) as display, closing(_memory_checked(steps)) as checked_steps:
            callbacks = (display.training(), *settings.callbacks)
            for progress in checked_steps:
                fit_progress = FitProgress(**vars(progress), model=model_so_far)
                answers = [callback(fit_progress) for callback in callbacks]
                stops = any(answer is True for answer in answers)
                if stops:
                    break
        if stops:  # the generator has written its checkpoint
            with enough_memory():
                trainer.stop()
    except TrainingDiverged as stopped:
        if trainer.give_up() is None:
            raise
        with enough_memory():
            deque(trainer.run(), maxlen=0)  # takes no step, but copies the chosen weights into the network
        return stopped
    if trainer.diverged:
        warnings.warn(
            f"Training diverged at step {trainer.step}: the model has the chosen weights, of step "
            f"{trainer.history().chosen_step}.",
            RuntimeWarning,
            stacklevel=5,
        )
    return None


def stopped_by(trainer: Trainer) -> str:
    """Return what ended a training: "divergence", "steps", "callback", "overfitting" or "time limit"."""
    if trainer.diverged:
        return "divergence"
    if trainer.step == trainer.max_steps:
        return "steps"
    if trainer.stopped:
        return "callback"
    return "overfitting" if trainer.overfits else "time limit"


def _memory_checked(steps: Generator[Progress]) -> Generator[Progress]:
    """Turn running out of memory in a step into InvalidInput; exceptions of callbacks propagate."""
    with closing(steps):
        while True:
            with enough_memory():
                progress = next(steps, None)
            if progress is None:
                return
            yield progress


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn out-of-memory errors of NumPy and torch into InvalidInput."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("can't allocate|out of memory|bad_alloc", str(error)):
            raise
        raise InvalidInput(
            "The fit needs more memory than there is: give fewer rows, or a `denoiser` of smaller width and a "
            "`training` of smaller batch_size."
        ) from error


def measure_slowness(n: int, d: int, max_time: float, device: torch.device) -> float:
    """Return the time of a training step here, relative to the reference machine: 1, 2, 4, ...

    Steps of the usual network for n rows in R^d are timed, on rows of noise. The result is rounded to a power of two,
    so that repeated fits on one machine rarely differ in their plan, and is at least 1: a faster machine takes more
    steps with the same networks. It is 1 on a GPU.
    """
    if device.type != "cpu":
        return 1.0
    return round_slowness(step_seconds(n, d, max_time) / reference_step_seconds(n, d))


def round_slowness(ratio: float) -> float:
    """Return the power of two nearest to a ratio of times, 1 at least."""
    return 2.0 ** max(0, round(math.log2(ratio)))


def step_seconds(n: int, d: int, max_time: float) -> float:
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
