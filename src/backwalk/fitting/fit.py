"""A fit: plan, warn, train, and measure the denoising errors that sampling and bounds need."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser, TableDenoiser
from backwalk.errors import (
    ColumnsSetAsideWarning,
    InvalidInput,
    ShortTrainingWarning,
    TrainingDiverged,
)
from backwalk.fitting.card import digest, model_card, split_of
from backwalk.fitting.column_choice import ChosenColumns, chosen_columns, refuse_other_columns
from backwalk.fitting.plan import encoded_in_pieces, planned
from backwalk.fitting.settings import CheckpointOptions, Settings, chosen_device, stream_of
from backwalk.fitting.speed import measured_slowness
from backwalk.fitting.training_run import enough_memory, trained
from backwalk.fitting.warnings import warnings_of
from backwalk.formatting import listed
from backwalk.limits import FARTHEST_TO_FIT
from backwalk.model import (
    N_MEASURED_LEVELS,
    DiffusionModel,
    default_decoder_variance,
    measure_denoising_error,
    time_limit_words,
)
from backwalk.streams import Stream
from backwalk.table import Codec, Table
from backwalk.threads import single_threads
from backwalk.torch_state import initial_torch_state
from backwalk.training import History, Trainer
from backwalk.training.checkpoint import checkpoint_slowness


def fitted(
    rows: Table | ChosenColumns,
    settings: Settings,
    *,
    before: DiffusionModel | None,
    options: CheckpointOptions | None,
    began: float,
    weights: NDArray[np.float64] | None = None,
) -> tuple[DiffusionModel, TrainingDiverged | None]:
    """Fit a model to a table; if training diverged and left finite weights, return the error too.

    Columns may have been chosen before, by the same settings and without weights; their message is then the caller's.
    The network starts from the weights of the model `before`, if given. `weights`, (n,), are those of the rows, of mean
    1: they count in the codec and in the loss, and rows of weight 0 are left out. The time limit
    counts from `began`, a reading of `time.perf_counter`.
    """
    chosen, weights = (rows, None) if isinstance(rows, ChosenColumns) else _chosen(rows, settings, weights)
    table, codec = chosen.table, chosen.codec
    if before is not None:
        refuse_other_columns(before, table.schema, codec)
    if chosen is not rows:
        warn_of_set_aside(chosen, stacklevel=4)
    stream = Stream(stream_of(settings.random_state, options).seed)
    z = encoded_in_pieces(codec, table.values, stream=stream.child("dequantisation"))
    farthest = float(max(np.fmax.reduce(z, axis=None), -np.fmin.reduce(z, axis=None)))
    if farthest > FARTHEST_TO_FIT:
        raise InvalidInput(
            f"X should stay within {FARTHEST_TO_FIT:g} where columns are not scaled, but got {farthest:g}: set "
            "scale=True (leave --ddpm out), or give smaller numbers."
        )
    with initial_torch_state():
        data_sha256 = digest(table.values)
        split = stream if before is None else split_of(before.card, data_sha256, stream)
        with enough_memory(), single_threads():  # sums whose bits do not depend on the number of threads
            slowness = _slowness(settings, *z.shape, options=options)
            gaps = [j for j, n_gaps in enumerate(chosen.gaps) if n_gaps]
            has_patterns = bool(codec.blocks) or any(codec.columns[j].width for j in gaps)
            plan = planned(
                z,
                settings,
                stream,
                before,
                split,
                slowness,
                codec=codec,
                conditions=settings.conditions_for(has_patterns=has_patterns, schema=table.schema),
                redraw=codec.redraw(table.values),
                weights=weights,
                tied=partial(_tied_numbers, codec, table, before),
            )
            found = list(warnings_of(plan, codec, table, z))
            del z  # whose rows the plan holds in another order
        for category, text in found:
            warnings.warn(text, category, stacklevel=3)  # at the caller of `fit`

        def denoising_error(n_levels: int = N_MEASURED_LEVELS) -> Tensor:
            denoiser, rows = plan.measured  # with the network's present weights
            own = stream.child("denoising error")
            return measure_denoising_error(denoiser, rows, plan.schedule, stream=own, n_levels=n_levels)

        def made(denoiser: EnsembleDenoiser, error: Tensor, history: History, card: dict[str, Any]) -> DiffusionModel:
            return DiffusionModel(
                schedule=plan.schedule,
                architecture=plan.architecture,
                denoiser=denoiser,
                codec=codec,
                schema=table.schema,
                conditions=plan.conditions,
                gaps=tuple(
                    j for j in gaps if j not in codec.missing_levels and (plan.patterns or not codec.columns[j].width)
                ),
                reverse_variance=settings.reverse_variance,
                denoising_error=error,
                decoder_variance=default_decoder_variance(settings.reverse_variance, plan.schedule, error),
                sampler=settings.sampler or plan.sampler,
                prior_mismatch=plan.prior_mismatch,
                history=history,
                card=card,
            )

        # A process can be forked after a fit only if no OpenMP threads have begun in it.
        with enough_memory(), single_threads():
            trainer = Trainer(
                plan.denoiser,
                plan.x_0,
                plan.levels,
                plan.training,
                stream=stream.child("training"),
                x_validation=plan.x_validation,
                redraw=plan.redraw,
                patterns=plan.patterns,
                row_weight=plan.row_weight,
                validation_weight=plan.validation_weight,
                max_time=settings.max_time,
                time_outside_training=0.0
                if settings.max_time is None
                else _seconds_outside_training(began, denoising_error, plan.schedule.n_steps),
                is_untrained=before is None,
            )

        def model_so_far() -> DiffusionModel:
            copied = trainer.denoiser_so_far()
            of_copy = replace(plan, denoiser=copied).measured
            error = measure_denoising_error(*of_copy, plan.schedule, stream=stream.child("denoising error"), n_levels=4)
            return made(copied, error, trainer.history(), {})

        diverged = trained(trainer, settings, options, slowness, model_so_far)
        with enough_memory():
            error, history = denoising_error(), trainer.history()
        seconds = trainer.seconds_before + time.perf_counter() - began
        stopped_by = (
            "divergence"
            if trainer.diverged
            else "steps"
            if trainer.step == trainer.max_steps
            else "callback"
            if trainer.stopped
            else "overfitting"
            if trainer.overfits
            else "time limit"
        )
        if stopped_by == "time limit" and trainer.step < min(plan.usual_steps // 2, plan.sound_steps):
            warnings.warn(
                f"training was {time_limit_words(trainer.step, plan.usual_steps)}, which is too few: give a longer "
                "max_time, or leave it out.",
                ShortTrainingWarning,
                stacklevel=3,
            )
        card = model_card(
            settings,
            chosen,
            plan,
            history,
            data_sha256,
            split,
            seed=stream.seed,
            seconds=seconds,
            stopped_by=stopped_by,
        )
    return made(plan.denoiser, error, history, card), diverged


def warn_of_set_aside(chosen: ChosenColumns, *, stacklevel: int) -> None:
    """Warn of columns that are set aside."""
    if chosen.set_aside:
        named = listed(f"{name!r} ({reason})" for name, reason in chosen.set_aside.items())
        text = f"columns set aside: {named}. New rows will not have them; name a column in columns= to keep it."
        warnings.warn(text, ColumnsSetAsideWarning, stacklevel=stacklevel)


def _chosen(
    table: Table, settings: Settings, weights: NDArray[np.float64] | None
) -> tuple[ChosenColumns, NDArray[np.float64] | None]:
    """Return the columns of the rows that have a weight, and their weights, of mean 1."""
    if weights is not None and not weights.all():
        counted = weights > 0.0
        table, weights = replace(table, values=table.values[counted]), weights[counted] / weights[counted].mean()
    return chosen_columns(table, settings, weights), weights


def _tied_numbers(codec: Codec, table: Table, before: DiffusionModel | None) -> tuple[int, ...]:
    """Return the coordinates of tied numbers: those of the model `before`, whose weights read them, or of the table."""
    if before is None:
        return codec.tied_numbers(table.values)
    return before.denoiser.layout.tied if isinstance(before.denoiser, TableDenoiser) else ()


def _slowness(settings: Settings, n: int, k: int, *, options: CheckpointOptions | None) -> float:
    """Return the slowness for the plan of a fit to n rows in R^k; a resumed fit takes it from its checkpoint."""
    if settings.max_time is None or (settings.denoiser is not None and settings.training is not None):
        return 1.0  # nothing depends on it
    if options is not None and options.resume and options.path.exists():
        return checkpoint_slowness(options.path)
    return measured_slowness(n, k, settings.max_time, torch.device(chosen_device(settings.device)))


def _seconds_outside_training(began: float, denoising_error: Callable[..., Tensor], n_steps: int) -> float:
    """Return the seconds that a fit takes before and after training; those after are estimated from a few levels."""
    denoising_error(n_levels=2)  # the first call sets up what later ones reuse
    before_trial = time.perf_counter()
    denoising_error(n_levels=4)
    afterwards = min(N_MEASURED_LEVELS, n_steps) / min(4, n_steps) * (time.perf_counter() - before_trial)
    return time.perf_counter() - began + afterwards
