"""What a `Diffusion` may be set to: every rule about its parameters, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backwalk.denoiser import Architecture
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import (
    GREATEST_LEVEL,
    HISTORY_LENGTH,
    LARGEST_LOG_SNR,
    LONGEST_TIME,
    MOST_STEPS,
    ReverseVariance,
    is_number,
    is_whole,
)
from backwalk.model import check_reverse_variance
from backwalk.progress import Callback
from backwalk.sampling import Sampler
from backwalk.streams import RandomState, Stream, as_stream
from backwalk.training import Training
from backwalk.training.checkpoint import checkpoint_seed, refuse_begun, refuse_foreign


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A `Diffusion`'s parameters, each within what is accepted: see there what they mean."""

    n_steps: int | None
    schedule: NoiseSchedule | None
    denoiser: Architecture | None
    training: Training | None
    reverse_variance: ReverseVariance
    sampler: Sampler | None
    max_steps: int | None
    max_time: float | None
    validation_fraction: float | None
    scale: bool
    device: str
    random_state: Any  # which `as_stream` looks at
    callbacks: tuple[Callback, ...]
    verbose: bool
    warm_start: bool


@dataclass(frozen=True)
class CheckpointOptions:
    """Where and how often, in seconds, a fit keeps its state, and whether it goes on from there."""

    path: Path
    resume: bool
    every: float
    overwrite: bool


def checked_settings(given: Mapping[str, Any]) -> Settings:
    """Return a `Diffusion`'s parameters as settings. Raises InvalidInput for the first that is not accepted."""
    n_steps, fraction, schedule = given["n_steps"], given["validation_fraction"], given["schedule"]
    if isinstance(given["sampler"], str):
        given = {**given, "sampler": Sampler(given["sampler"])}
    check_reverse_variance(given["reverse_variance"])
    if n_steps is not None and not (is_whole(n_steps) and 2 <= n_steps <= MOST_STEPS):
        raise InvalidInput(
            f"n_steps should be an integer in 2..{MOST_STEPS} or None, but got {n_steps!r}: 1000 is usual."
        )
    check_budget(given["max_steps"], given["max_time"])
    if given["training"] is not None and given["max_steps"] is not None:
        raise InvalidInput(
            f"max_steps should be None where training is given, but got {given['max_steps']!r}: set it in the plan, "
            "Training(max_steps=...)."
        )
    if schedule is not None and n_steps is not None:
        raise InvalidInput(
            f"n_steps should be None where schedule is given, but got {n_steps!r}: a schedule has its own, and "
            "schedule.respace gives one of fewer."
        )
    if fraction is not None and not (is_number(fraction) and 0.0 <= fraction <= 0.5):
        raise InvalidInput(
            f"validation_fraction should lie in [0, 0.5] or be None, but got {fraction!r}: None is usual."
        )
    for name, kind, text in (
        ("schedule", NoiseSchedule, "a NoiseSchedule"),
        ("denoiser", Architecture, "a Residual, a Textbook or a torch.nn.Module"),
        ("training", Training, "a Training"),
        ("sampler", Sampler, "a Sampler, a solver's name"),
    ):
        if given[name] is not None and not isinstance(given[name], kind):
            raise InvalidInput(
                f"{name} should be {text} or None, but got {given[name]!r}: leave it out, and it follows from the data."
            )
    verbose = given["verbose"]
    if not (isinstance(verbose, (bool, np.bool_)) or (is_whole(verbose) and verbose >= 0)):
        raise InvalidInput(
            f"verbose should be True, False or an integer >= 0, but got {verbose!r}: give False for silence."
        )
    for name in ("scale", "warm_start"):
        if not (isinstance(given[name], (bool, np.bool_)) or (is_whole(given[name]) and given[name] in (0, 1))):
            raise InvalidInput(f"{name} should be True or False, but got {given[name]!r}: give one of them.")
    if schedule is not None:
        _check_schedule(schedule)
    if not (isinstance(given["callbacks"], Sequence) and all(map(callable, given["callbacks"]))):
        raise InvalidInput(
            f"callbacks should be a list of functions, but got {given['callbacks']!r}: give one alone as [function]."
        )
    plain = {
        "n_steps": None if n_steps is None else int(n_steps),
        "max_time": None if given["max_time"] is None else float(given["max_time"]),
        "max_steps": None if given["max_steps"] is None else int(given["max_steps"]),
        "callbacks": tuple(given["callbacks"]),
        **{name: bool(given[name]) for name in ("scale", "verbose", "warm_start")},
    }
    return Settings(**{field.name: given[field.name] for field in fields(Settings)} | plain)


def _check_schedule(schedule: NoiseSchedule) -> None:
    if schedule.n_steps > MOST_STEPS:
        raise InvalidInput(
            f"schedule should have at most {MOST_STEPS} steps, but has {schedule.n_steps}: take fewer by respace."
        )
    if float(schedule.log_snr[1]) > LARGEST_LOG_SNR:
        raise InvalidInput(
            f"schedule should begin at a log-SNR of at most {LARGEST_LOG_SNR:g}, as less noise is lost in float32, but "
            f"begins at {float(schedule.log_snr[1]):g}: give a smaller log_snr_max, or a larger beta_min."
        )
    if float(schedule.noise_level[1]) >= GREATEST_LEVEL:
        raise InvalidInput(
            f"schedule should begin at a noise level below {GREATEST_LEVEL:g}, as nothing is learnt beyond, but begins "
            f"at {float(schedule.noise_level[1]):g}: give a larger log_snr_max, or a smaller beta_min."
        )


def check_budget(max_steps: Any, max_time: Any) -> None:
    """Raise InvalidInput unless both limits of a training, steps and seconds, are None or within what is accepted."""
    if max_steps is not None and not (is_whole(max_steps) and max_steps >= 1):
        raise InvalidInput(
            f"max_steps should be an integer >= 1 or None, but got {max_steps!r}: give 1 at least, or leave it out."
        )
    if max_time is not None and not (is_number(max_time) and 0 < max_time <= LONGEST_TIME):
        raise InvalidInput(
            f"max_time should be a number of seconds in (0, {LONGEST_TIME:.0e}] or None, but got {max_time!r}: leave "
            "it out where time does not matter."
        )


def check_length(training: Training, n: int) -> None:
    """Raise InvalidInput where training on n rows would record more losses than a model file may hold."""
    epochs = -(-training.steps_for(n) // training.steps_an_epoch(n))
    if training.levels == "chain" and epochs > HISTORY_LENGTH:
        raise InvalidInput(
            f"training should take at most {HISTORY_LENGTH} epochs, as a loss of each is kept, but would take "
            f"{epochs}: lower n_epochs or max_steps."
        )


def checked_checkpoint_options(
    checkpoint: str | Path | None, resume: bool, every: float, overwrite: bool = False
) -> CheckpointOptions | None:
    """Return what the arguments of `fit` say of its checkpoint, None where there is to be none."""
    if not (is_number(every) and every >= 0):
        raise InvalidInput(f"checkpoint_every should be a number of seconds >= 0, but got {every!r}: 30 is usual.")
    if checkpoint is None:
        if resume:
            raise InvalidInput(
                "checkpoint should name the file to resume from, but got None: give it, or resume=False."
            )
        return None
    if not isinstance(checkpoint, (str, Path)):
        raise InvalidInput(
            f"checkpoint should be a file's name or None, but got {checkpoint!r}: give a path, such as 'a.checkpoint'."
        )
    if resume and overwrite:
        raise InvalidInput("resume and overwrite should not both be True: the one goes on, the other begins anew.")
    path = Path(checkpoint)
    if not path.name or path.is_dir():
        raise InvalidInput(
            f"checkpoint should be a file's name, but got {str(checkpoint)!r}, a folder's: name a file in it."
        )
    refuse_foreign(path)
    if not (resume or overwrite):
        refuse_begun(path)  # it is looked at again, under a lock, when training begins
    return CheckpointOptions(path, bool(resume), float(every), bool(overwrite))


def stream_of(state: RandomState, checkpoint: CheckpointOptions | None) -> Stream:
    """Return the stream of a fit; where the state is not an integer, a resumed fit keeps the seed of its checkpoint."""
    is_random = state is None or isinstance(state, (np.random.Generator, np.random.RandomState))
    if is_random and checkpoint is not None and checkpoint.resume and checkpoint.path.exists():
        return Stream(checkpoint_seed(checkpoint.path))
    return as_stream(state)


def chosen_device(device: str) -> str:
    """Return the device that "auto" stands for, or the device itself. Raises InvalidInput where there is none such."""
    wanted = "cuda" if device == "auto" else device
    try:
        # Also fails on "meta", which holds no numbers, on Apple's "mps", which has no float64, and on a GPU that this
        # torch has no kernels for.
        torch.zeros(1, dtype=torch.float64, device=torch.device(wanted)).item()
    except (RuntimeError, AssertionError, TypeError) as error:  # what torch raises differs by its build
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error):
            # Not the CPU in its place: another day it would be another model.
            raise InvalidInput('The GPU should have memory left, but has none: wait for it, or give "cpu".') from error
        if device == "auto":
            return "cpu"
        raise InvalidInput(
            f'device should be "auto", "cpu" or one that torch finds here and that has float64, but got {device!r}: '
            'give "cpu".'
        ) from error
    return wanted
