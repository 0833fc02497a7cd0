"""A fit: the plan is carried out, and what sampling and bounds want to know of the result is measured."""

from __future__ import annotations

import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput, PriorMismatchWarning, RepeatedValueWarning, TrainingDiverged
from backwalk.fitting.card import digest, model_card, split_of
from backwalk.fitting.plan import planned
from backwalk.fitting.settings import CheckpointOptions, Settings
from backwalk.formatting import listed
from backwalk.model import (
    N_MEASURED_LEVELS,
    DiffusionModel,
    default_decoder_variance,
    measured_denoising_error,
    mismatch_warning,
)
from backwalk.progress import progress_bar
from backwalk.sampling import default_sampler
from backwalk.streams import Stream
from backwalk.table import Codec, Table
from backwalk.threads import single_threads
from backwalk.torch_state import initial_torch_state
from backwalk.training import Progress, Trainer, checkpointed


def fitted(
    z: NDArray[np.float64],
    table: Table,
    codec: Codec,
    settings: Settings,
    *,
    stream: Stream,
    before: DiffusionModel | None,
    keeping: CheckpointOptions | None,
    began: float,
) -> tuple[DiffusionModel, TrainingDiverged | None]:
    """Return a fitted model, and where training diverged, so that it has the last good weights, the error.

    z, (n, k), are the encoded rows of `table`. The weights start from those of the model `before`, where there is one;
    the time of `max_time` runs from `began`, a reading of `time.perf_counter`.
    """
    with initial_torch_state():
        data_sha256 = digest(table.values)
        split = stream if before is None else split_of(before.card, data_sha256, stream)
        with _enough_memory(), single_threads():  # sums whose bits do not depend on the number of threads
            plan = planned(z, settings, stream, before, split)
        warning = mismatch_warning(plan.prior_mismatch, plan.schedule)
        if warning:
            warnings.warn(warning, PriorMismatchWarning, stacklevel=3)  # at the caller of `fit`
        repeated = _repeated_words(codec, table, float(plan.schedule.noise_level[1]))
        if repeated:
            warnings.warn(repeated, RepeatedValueWarning, stacklevel=3)
        denoising_error = partial(
            measured_denoising_error,
            plan.denoiser,
            plan.measured,
            plan.schedule,
            stream=stream.child("denoising error"),
        )
        # Whoever forks after a fit has no team of OpenMP's threads to wait for, if none ever began here.
        with _enough_memory(), single_threads():
            trainer = Trainer(
                plan.denoiser,
                plan.x_0,
                plan.levels,
                plan.training,
                stream=stream.child("training"),
                x_validation=plan.x_validation,
                max_time=settings.max_time,
                elsewhere=0.0
                if settings.max_time is None
                else _seconds_elsewhere(began, denoising_error, plan.schedule.n_steps),
            )
        diverged = _run(trainer, settings, keeping)
        with _enough_memory():
            error, history = denoising_error(), trainer.history()
        seconds = trainer.seconds_before + time.perf_counter() - began
        model = DiffusionModel(
            schedule=plan.schedule,
            architecture=plan.architecture,
            denoiser=plan.denoiser,
            codec=codec,
            schema=table.schema,
            reverse_variance=settings.reverse_variance,
            denoising_error=error,
            decoder_variance=default_decoder_variance(settings.reverse_variance, plan.schedule, error),
            sampler=settings.sampler or default_sampler(plan.schedule),
            prior_mismatch=plan.prior_mismatch,
            history=history,
            card=model_card(settings, table, plan, history, data_sha256, split, seed=stream.seed, seconds=seconds),
        )
    return model, diverged


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


def _seconds_elsewhere(began: float, denoising_error: Callable[..., Tensor], n_steps: int) -> float:
    """Return the seconds that a fit takes before and after training: what comes after is measured, in part."""
    denoising_error(n_levels=2)  # what the first call sets up is not needed again afterwards
    before_trial = time.perf_counter()
    denoising_error(n_levels=4)
    afterwards = min(N_MEASURED_LEVELS, n_steps) / min(4, n_steps) * (time.perf_counter() - before_trial)
    return time.perf_counter() - began + afterwards


def _run(trainer: Trainer, settings: Settings, keeping: CheckpointOptions | None) -> TrainingDiverged | None:
    """Train to the end, and return the error where training diverged and the trainer has the last good weights."""
    steps: Generator[Progress] = (
        trainer.run()
        if keeping is None
        else checkpointed(
            trainer, keeping.path, resume=keeping.resume, overwrite=keeping.overwrite, every=keeping.every
        )
    )
    try:
        with progress_bar(settings.verbose) as show, closing(_with_memory_told(steps)) as told:
            for progress in told:
                for callback in (show, *settings.callbacks):
                    callback(progress)
    except TrainingDiverged as stopped:
        if trainer.give_up() is None:
            raise
        with _enough_memory():
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


def _with_memory_told(steps: Generator[Progress]) -> Generator[Progress]:
    """Yield the steps. Where memory runs out in one, that is told; what a caller raises between two passes through."""
    with closing(steps):
        while True:
            with _enough_memory():
                progress = next(steps, None)
            if progress is None:
                return
            yield progress


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Say in our own words where memory does not do, which NumPy and torch tell by several errors."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("can't allocate|out of memory|bad_alloc", str(error)):
            raise
        raise InvalidInput(
            "A fit should find the memory that it takes, but there is too little: give fewer rows, or a `denoiser` of "
            "smaller width and a `training` of smaller batch_size."
        ) from error
