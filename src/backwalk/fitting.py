"""From encoded rows to a fitted model: what follows from the data, the training, and what is measured after it.

`settings` are a `Diffusion`'s parameters, which `backwalk.settings` has checked.
"""

from __future__ import annotations

import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.accepted import GREATEST_LEVEL
from backwalk.card import model_card
from backwalk.defaults import (
    default_architecture,
    default_schedule,
    default_training,
    default_validation_fraction,
    finest_scale,
)
from backwalk.denoiser import Architecture, EnsembleDenoiser, build_denoiser
from backwalk.diffusion import NoiseSchedule, moments, prior_mismatch
from backwalk.errors import InvalidInput, PriorMismatchWarning, RepeatedValueWarning, TrainingDiverged
from backwalk.model import (
    N_MEASURED_LEVELS,
    DiffusionModel,
    default_decoder_variance,
    measured_denoising_error,
    mismatch_warning,
)
from backwalk.plain import listed
from backwalk.progress import progress_bar
from backwalk.sampling import default_sampler
from backwalk.settings import Keeping, check_length, chosen_device
from backwalk.streams import Stream
from backwalk.table import Codec, Table
from backwalk.training import (
    ChainLevels,
    LogNormalLevels,
    NoiseLevels,
    Progress,
    Trainer,
    Training,
    checkpointed,
    split_rows,
)


def fitted(
    z: NDArray[np.float64],
    table: Table,
    codec: Codec,
    settings: Mapping[str, Any],
    *,
    stream: Stream,
    before: DiffusionModel | None,
    keeping: Keeping | None,
    began: float,
) -> tuple[DiffusionModel, TrainingDiverged | None]:
    """Return a fitted model, and where training diverged, so that it has the last good weights, the error.

    z, (n, k), are the encoded rows of `table`. The weights start from those of the model `before`, where there is one;
    the time of `max_time` runs from `began`, a reading of `time.perf_counter`.
    """
    with torch.inference_mode(False), _enough_memory():  # whatever the caller set: threads move what is made here
        plan = _planned(z, settings, stream, before)
        warning = mismatch_warning(plan.prior_mismatch, plan.schedule)
        if warning:
            warnings.warn(warning, PriorMismatchWarning, stacklevel=3)  # at the caller of `fit`
        repeated = _repeated_words(codec, table, float(plan.schedule.noise_level[1]))
        if repeated:
            warnings.warn(repeated, RepeatedValueWarning, stacklevel=3)
        trainer = _trainer(plan, settings["max_time"], stream, began)
        diverged = _run(trainer, settings, keeping)
        error = plan.denoising_error()
        schedule, history = plan.schedule, trainer.history()
        n_validation = 0 if plan.x_validation is None else len(plan.x_validation)
        card = model_card(
            settings,
            table,
            plan.architecture,
            plan.training,
            history,
            plan.denoiser,
            stream,
            len(plan.x_0),
            n_validation,
        )
        card["fit_seconds"] = round(trainer.seconds_before + time.perf_counter() - began, 3)
        model = DiffusionModel(
            schedule=schedule,
            architecture=plan.architecture,
            denoiser=plan.denoiser,
            codec=codec,
            schema=table.schema,
            reverse_variance=settings["reverse_variance"],
            denoising_error=error,
            decoder_variance=default_decoder_variance(settings["reverse_variance"], schedule, error),
            sampler=settings["sampler"] or default_sampler(schedule),
            prior_mismatch=plan.prior_mismatch,
            history=history,
            card=card,
        )
    return model, diverged


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a fit goes by: the rows to train on and to choose by, the chain, the network and how it is trained."""

    x_0: Tensor
    x_validation: Tensor | None
    levels: NoiseLevels
    schedule: NoiseSchedule
    architecture: Architecture
    training: Training
    denoiser: EnsembleDenoiser
    prior_mismatch: float
    denoising_error: Callable[..., Tensor]


def _planned(
    z: NDArray[np.float64], settings: Mapping[str, Any], stream: Stream, before: DiffusionModel | None
) -> _Plan:
    """Return the plan of a fit: what the settings leave open follows from the rows. Raises before any long work."""
    n, k = z.shape
    fraction, max_time = settings["validation_fraction"], settings["max_time"]
    n_validation = round((default_validation_fraction(n) if fraction is None else fraction) * n)
    device = torch.device(chosen_device(settings["device"]))
    x_validation, x_0 = (
        torch.from_numpy(z[rows]).float().to(device) for rows in split_rows(n, n_validation, stream=stream)
    )
    max_steps = None if settings["max_steps"] is None else int(settings["max_steps"])
    floor = finest_scale(z, stream=stream.child("floor"))
    schedule = settings["schedule"] or default_schedule(z, floor, settings["n_steps"])
    if not settings["scale"]:
        _refuse_narrow(z, float(schedule.noise_level[1]))
    of_before = None if before is None else before.architecture
    architecture = settings["denoiser"] or of_before or default_architecture(len(x_0), k, max_time)
    training = settings["training"] or default_training(len(x_0), k, max_steps, max_time, architecture, device)
    check_length(training, len(x_0))
    denoiser = build_denoiser(architecture, k, schedule=schedule, floor=floor, stream=stream.child("weights"))
    if before is not None:
        _start_from(denoiser, before)
    denoiser.to(device)
    error_rows = (x_validation if n_validation else x_0)[:1000]
    return _Plan(
        x_0,
        x_validation if n_validation else None,
        _noise_levels(training, schedule, floor),
        schedule,
        architecture,
        training,
        denoiser,
        prior_mismatch(*moments(torch.from_numpy(z)), schedule),
        partial(measured_denoising_error, denoiser, error_rows, schedule, stream=stream.child("denoising error")),
    )


def _refuse_narrow(z: NDArray[np.float64], level: float) -> None:
    spread = z.std(axis=0)
    if spread.min() < level:
        raise InvalidInput(
            f"Columns should spread more widely than the noise of the chain's first step, {level:.2g}, but the "
            f"narrowest has a standard deviation of {spread.min():.2g}: set scale=True, or give larger numbers."
        )


def _repeated_words(codec: Codec, table: Table, blur: float) -> str | None:
    """Return which columns hold a number again and again that no density gives back, in words, or None."""
    repeated = codec.repeated_values(table.values, blur)
    if not repeated:
        return None
    columns = [f"{table.schema.label(j)} ({value:g} in {share:.0%})" for j, (value, share) in repeated.items()]
    return (
        f"one number in many rows: {listed(columns)}. A density cannot hold such a point mass: new rows will scatter "
        "around the number, and nats will mainly tell how narrow that spike is. Fit the rows that hold other numbers "
        "in a model of their own; or, if the column holds small counts, give it as integers of a DataFrame or a file."
    )


def _trainer(plan: _Plan, max_time: float | None, stream: Stream, began: float) -> Trainer:
    """Return the run, with the time that what comes before and after it leaves."""
    time_to_train = None
    if max_time is not None:  # what training must leave of it: the share of the levels that is measured here
        plan.denoising_error(n_levels=2)  # what the first call sets up is not needed again afterwards
        before_trial = time.perf_counter()
        plan.denoising_error(n_levels=4)
        afterwards = N_MEASURED_LEVELS / 4 * (time.perf_counter() - before_trial)
        time_to_train = max(max_time - (time.perf_counter() - began) - afterwards, 0.5 * max_time)
    return Trainer(
        plan.denoiser,
        plan.x_0,
        plan.levels,
        plan.training,
        stream=stream.child("training"),
        x_validation=plan.x_validation,
        max_time=time_to_train,
    )


def _run(trainer: Trainer, settings: Mapping[str, Any], keeping: Keeping | None) -> TrainingDiverged | None:
    """Train to the end, and return the error where training diverged and the trainer has the last good weights."""
    steps: Generator[Progress] = (
        trainer.run()
        if keeping is None
        else checkpointed(
            trainer, keeping.path, resume=keeping.resume, overwrite=keeping.overwrite, every=keeping.every
        )
    )
    try:
        with progress_bar(settings["verbose"]) as show, closing(steps):
            for progress in steps:
                for callback in (show, *settings["callbacks"]):
                    callback(progress)
    except TrainingDiverged as stopped:
        if trainer.give_up() is None:
            raise
        deque(trainer.run(), maxlen=0)  # takes no step, but puts the weights in their place
        return stopped
    if trainer.diverged:
        warnings.warn(
            f"Training diverged at step {trainer.step}: these are its last good weights, of step "
            f"{trainer.history().chosen_step}.",
            RuntimeWarning,
            stacklevel=4,
        )
    return None


def _noise_levels(training: Training, schedule: NoiseSchedule, floor: float) -> NoiseLevels:
    if training.levels == "chain":
        return ChainLevels(schedule)
    level = schedule.noise_level.clamp(max=GREATEST_LEVEL)
    # Half-way in ln s between the finest scale and a little above the data's own: where most is to be learnt.
    centre = 0.5 * (float(np.log(floor)) + 0.3)
    return LogNormalLevels(float(level[1]), float(level[-1]), centre)


def _start_from(denoiser: torch.nn.Module, before: DiffusionModel) -> None:
    try:
        assert isinstance(before.denoiser, EnsembleDenoiser)  # of a fit
        denoiser.load_state_dict(before.denoiser.state_dict())
    except RuntimeError as error:
        raise InvalidInput(
            "warm_start should go on with the same network and columns, but the sizes differ: give the same denoiser "
            "and columns, or set warm_start=False."
        ) from error


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Say in our own words where memory does not do, which NumPy and torch tell by several errors."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("can't allocate|out of memory|bad_alloc", str(error)):
            raise
        raise InvalidInput(
            "A fit should find the memory that it takes, but there is too little: give a smaller batch_size, a "
            "narrower denoiser, or fewer rows."
        ) from error
