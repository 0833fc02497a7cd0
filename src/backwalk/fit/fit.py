"""A fit, from a table to a model, in five steps: choose columns, encode rows, plan, train, finish the model.

`fit_model` takes them in this order. The functions of the steps follow in the same order, and then their helpers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser, TableDenoiser
from backwalk.errors import ColumnsSetAsideWarning, InvalidInput, ShortTrainingWarning, TrainingDiverged
from backwalk.fit.card import digest, make_card, split_of
from backwalk.fit.columns import ChosenColumns, choose_columns, refuse_other_columns
from backwalk.fit.plan import Plan, encode_rows, plan_fit
from backwalk.fit.run import enough_memory, measure_slowness, run_training, stopped_by
from backwalk.fit.settings import CheckpointOptions, Settings, choose_device, start_stream
from backwalk.fit.warnings import find_warnings
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
from backwalk.table import Codec, Table, tied_numbers
from backwalk.threads import single_threads
from backwalk.torch_state import initial_torch_state
from backwalk.training import History, Trainer
from backwalk.training.checkpoint import checkpoint_slowness

_FEW_LEVELS = 4  # noise levels at which denoising errors are measured where an estimate will do


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fit:
    """The arguments of `fit_model` and the chosen columns, with the fit's random numbers and the digest of its rows.

    `weights` are those of the chosen rows. `split` is the stream that draws the held-out rows: that of the fit, or that
    of the model `before` if it was fitted to the same rows, so that the same are held out.
    """

    settings: Settings
    options: CheckpointOptions | None
    before: DiffusionModel | None
    began: float
    chosen: ChosenColumns
    weights: NDArray[np.float64] | None
    stream: Stream
    data_sha256: str
    split: Stream


def fit_model(
    rows: Table | ChosenColumns,
    settings: Settings,
    *,
    before: DiffusionModel | None,
    options: CheckpointOptions | None,
    began: float,
    weights: NDArray[np.float64] | None = None,
    on_columns: Callable[[ChosenColumns], object] | None = None,
) -> tuple[DiffusionModel, TrainingDiverged | None]:
    """Fit a model to a table; if training diverged and left finite weights, return the error too.

    - `rows`: the table, or columns that the caller has chosen by the same settings and without weights. In the latter
      case the caller also warns of columns set aside.
    - `before`: the model from whose weights the network starts, if given.
    - `began`: the reading of `time.perf_counter` from which the time limit counts.
    - `weights`: those of the rows, (n,), of mean 1. They count in the codec and in the loss, and rows of weight 0 are
      left out.
    - `on_columns`: called with the chosen columns before training, instead of a warning of those set aside.
    """
    chosen, weights = (rows, None) if isinstance(rows, ChosenColumns) else _choose(rows, settings, weights)
    if before is not None:
        refuse_other_columns(before, chosen.table.schema, chosen.codec)
    if on_columns is not None:
        on_columns(chosen)
    elif chosen is not rows:
        warn_of_set_aside(chosen, stacklevel=4)
    stream = start_stream(settings.random_state, options)
    z = _encode(chosen, stream)
    with initial_torch_state():
        data_sha256 = digest(chosen.table.values)
        fit = _Fit(
            settings=settings,
            options=options,
            before=before,
            began=began,
            chosen=chosen,
            weights=weights,
            stream=stream,
            data_sha256=data_sha256,
            split=stream if before is None else split_of(before.card, data_sha256, stream),
        )
        plan, slowness = _plan(fit, z)
        del z  # frees memory: the plan has its own copy of the rows
        trainer, diverged = _train(fit, plan, slowness)
        return _finish(fit, plan, trainer), diverged


def warn_of_set_aside(chosen: ChosenColumns, *, stacklevel: int) -> None:
    """Warn of columns that are set aside."""
    if chosen.set_aside:
        named = listed(f"{name!r} ({reason})" for name, reason in chosen.set_aside.items())
        text = f"columns set aside: {named}. New rows will not have them; name a column in columns= to keep it."
        warnings.warn(text, ColumnsSetAsideWarning, stacklevel=stacklevel)


def _choose(
    table: Table, settings: Settings, weights: NDArray[np.float64] | None
) -> tuple[ChosenColumns, NDArray[np.float64] | None]:
    """Choose the columns, from the rows of positive weight. Return them, and the weights of these rows, of mean 1."""
    if weights is not None and not weights.all():
        has_weight = weights > 0.0
        table, weights = replace(table, values=table.values[has_weight]), weights[has_weight]
        weights = weights / weights.mean()
    return choose_columns(table, settings, weights), weights


def _encode(chosen: ChosenColumns, stream: Stream) -> NDArray[Any]:
    """Return the encoded rows, (n, k)."""
    z = encode_rows(chosen.codec, chosen.table.values, stream=stream.child("dequantisation"))
    farthest = float(max(np.fmax.reduce(z, axis=None), -np.fmin.reduce(z, axis=None)))
    if farthest > FARTHEST_TO_FIT:
        raise InvalidInput(
            f"X should stay within {FARTHEST_TO_FIT:g} where columns are not scaled, but got {farthest:g}: set "
            "scale=True (leave --ddpm out), or give smaller numbers."
        )
    return z


def _plan(fit: _Fit, z: NDArray[Any]) -> tuple[Plan, float]:
    """Return the plan and the slowness that it is made for (`_slowness`).

    Warn of rows and schedules that spoil a model.
    """
    settings, chosen, codec = fit.settings, fit.chosen, fit.chosen.codec
    with enough_memory(), single_threads():  # so that the bits of sums do not depend on the number of threads
        slowness = _slowness(settings, fit.options, *z.shape)
        has_patterns = bool(codec.blocks) or any(codec.columns[j].width for j in _columns_with_gaps(chosen))
        plan = plan_fit(
            z,
            settings,
            codec=codec,
            stream=fit.stream,
            split=fit.split,
            before=fit.before,
            slowness=slowness,
            conditions=settings.conditions_for(has_patterns=has_patterns, schema=chosen.table.schema),
            redraw=codec.redraw(chosen.table.values),
            weights=fit.weights,
            tied=partial(_tied_numbers, codec, chosen.table, fit.before),
        )
        found_warnings = list(find_warnings(plan, codec, chosen.table, z))
    for category, text in found_warnings:
        warnings.warn(text, category, stacklevel=4)  # at the caller of `Diffusion.fit`
    return plan, slowness


def _train(fit: _Fit, plan: Plan, slowness: float) -> tuple[Trainer, TrainingDiverged | None]:
    """Train the plan's network. Return the trainer, and the error where training diverged and left finite weights."""
    max_time, outside_training = fit.settings.max_time, 0.0
    # On one thread: a process can be forked after a fit only if no OpenMP threads have begun in it.
    with enough_memory(), single_threads():
        if max_time is not None:
            error_at = partial(_denoising_error, fit, plan, plan.denoiser)
            outside_training = seconds_outside_training(fit.began, error_at, plan.schedule.n_steps)
        trainer = Trainer(
            plan.denoiser,
            plan.rows.x_0,
            plan.levels,
            plan.training,
            stream=fit.stream.child("training"),
            x_validation=plan.rows.x_validation,
            redraw=plan.rows.redraw,
            patterns=plan.patterns,
            row_weight=plan.rows.weight,
            validation_weight=plan.rows.validation_weight,
            max_time=max_time,
            time_outside_training=outside_training,
            is_untrained=fit.before is None,
        )

    def model_so_far() -> DiffusionModel:
        denoiser = trainer.denoiser_so_far()
        return _make_model(
            fit, plan, denoiser, _denoising_error(fit, plan, denoiser, _FEW_LEVELS), trainer.history(), {}
        )

    return trainer, run_training(trainer, fit.settings, fit.options, slowness, model_so_far)


def _finish(fit: _Fit, plan: Plan, trainer: Trainer) -> DiffusionModel:
    """Return the model of the trained network. Warn if the time limit was too short."""
    with enough_memory():
        error, history = _denoising_error(fit, plan, plan.denoiser), trainer.history()
    reason = stopped_by(trainer)
    if reason == "time limit" and trainer.step < min(plan.usual_steps // 2, plan.sound_steps):
        warnings.warn(
            f"training was {time_limit_words(trainer.step, plan.usual_steps)}, which is too few: give a longer "
            "max_time, or leave it out.",
            ShortTrainingWarning,
            stacklevel=4,
        )
    card = make_card(
        fit.settings,
        fit.chosen,
        plan,
        history,
        fit.data_sha256,
        fit.split,
        seed=fit.stream.seed,
        stopped_by=reason,
    )
    seconds = trainer.seconds_before + time.perf_counter() - fit.began
    return replace(_make_model(fit, plan, plan.denoiser, error, history, card), fit_seconds=seconds)


def _slowness(settings: Settings, options: CheckpointOptions | None, n: int, k: int) -> float:
    """Return the time of a training step here, relative to the reference machine, for a fit to n rows in R^k.

    The plan of a fit with a time limit depends on it. A resumed fit takes it from its checkpoint.
    """
    if settings.max_time is None or (settings.denoiser is not None and settings.training is not None):
        return 1.0  # nothing depends on it
    if options is not None and options.resume and options.path.exists():
        return checkpoint_slowness(options.path)
    return measure_slowness(n, k, settings.max_time, torch.device(choose_device(settings.device)))


def _columns_with_gaps(chosen: ChosenColumns) -> list[int]:
    return [j for j, n_gaps in enumerate(chosen.gaps) if n_gaps]


def _tied_numbers(codec: Codec, table: Table, before: DiffusionModel | None) -> tuple[int, ...]:
    """Return the coordinates of tied numbers: those of the model `before`, whose weights read them, or of the table."""
    if before is None:
        return tied_numbers(codec, table.values)
    return before.denoiser.layout.tied if isinstance(before.denoiser, TableDenoiser) else ()


def seconds_outside_training(began: float, denoising_error: Callable[[int], Tensor], n_steps: int) -> float:
    """Return the seconds that a fit takes before and after training.

    After training, a fit measures the denoising errors. A trial at a few noise levels shows how long this will take.
    """
    denoising_error(2)  # the first call sets up what later ones reuse
    trial_began = time.perf_counter()
    denoising_error(_FEW_LEVELS)
    trial_seconds = time.perf_counter() - trial_began
    afterwards = min(N_MEASURED_LEVELS, n_steps) / min(_FEW_LEVELS, n_steps) * trial_seconds
    return time.perf_counter() - began + afterwards


def _denoising_error(fit: _Fit, plan: Plan, denoiser: EnsembleDenoiser, n_levels: int = N_MEASURED_LEVELS) -> Tensor:
    """Return m_t, (n_steps + 1,), of a network with its present weights, measured at `n_levels` noise levels."""
    stream = fit.stream.child("denoising error")
    return measure_denoising_error(*plan.measured(denoiser), plan.schedule, stream=stream, n_levels=n_levels)


def _make_model(
    fit: _Fit, plan: Plan, denoiser: EnsembleDenoiser, error: Tensor, history: History, card: dict[str, Any]
) -> DiffusionModel:
    codec = plan.codec
    return DiffusionModel(
        schedule=plan.schedule,
        architecture=plan.architecture,
        denoiser=denoiser,
        codec=codec,
        schema=fit.chosen.table.schema,
        conditions=plan.conditions,
        gaps=tuple(
            j
            for j in _columns_with_gaps(fit.chosen)
            if j not in codec.missing_levels and (plan.patterns or not codec.columns[j].width)
        ),
        reverse_variance=fit.settings.reverse_variance,
        denoising_error=error,
        decoder_variance=default_decoder_variance(fit.settings.reverse_variance, plan.schedule, error),
        sampler=fit.settings.sampler or plan.sampler,
        prior_mismatch=plan.prior_mismatch,
        history=history,
        card=card,
    )
