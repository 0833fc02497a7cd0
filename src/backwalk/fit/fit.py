"""A fit, from a table to a model.

`fit_model` takes eight steps: choose columns, encode rows, split them, plan network and training, warn, train, measure
the errors of the network, and make the model. The functions of the steps follow in this order, and then their helpers.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import EnsembleDenoiser
from backwalk.errors import ColumnsSetAsideWarning, InvalidInput, ShortTrainingWarning, TrainingDiverged
from backwalk.fit.card import digest, make_card, split_of
from backwalk.fit.columns import ChosenColumns, choose_columns, refuse_other_columns
from backwalk.fit.plan import FEW_LEVELS, Plan, encode_rows, plan_fit, split_encoded
from backwalk.fit.progress import Display, FitProgress
from backwalk.fit.settings import Settings
from backwalk.fit.warnings import find_warnings
from backwalk.formatting import listed
from backwalk.limits import FARTHEST_TO_FIT
from backwalk.model import (
    MOST_HELD_OUT,
    N_MEASURED_LEVELS,
    DiffusionModel,
    default_decoder_variance,
    measure_accepted_share,
    measure_distances,
    short_training,
)
from backwalk.streams import Stream, as_stream
from backwalk.table import Table
from backwalk.threads import single_threads
from backwalk.torch_state import initial_torch_state
from backwalk.training import EnsembleTrainer, History, Progress

_TOLERANCE = 0.1  # of a time limit; training has as much even where nothing is left


def fit_model(
    rows: Table | ChosenColumns,
    settings: Settings,
    *,
    previous_model: DiffusionModel | None,
    began: float,
    row_weights: NDArray[np.float64] | None = None,
    on_columns: Callable[[ChosenColumns], object] | None = None,
) -> tuple[DiffusionModel, TrainingDiverged | None]:
    """Fit a model to a table; if training diverged and left finite weights, return the error too.

    - `rows`: the table, or columns that the caller has chosen by the same settings and without weights. In the latter
      case the caller also warns of columns set aside.
    - `previous_model`: the model from whose weights the network starts, if given.
    - `began`: the reading of `time.perf_counter` from which the time limit counts.
    - `row_weights`: (n,), of mean 1. They count in the codec and in the loss, and rows of weight 0 are left out.
    - `on_columns`: called with the chosen columns before training, instead of a warning of those set aside.
    """
    chosen, row_weights = (rows, None) if isinstance(rows, ChosenColumns) else _choose(rows, settings, row_weights)
    if previous_model is not None:
        refuse_other_columns(previous_model, chosen.table.schema, chosen.codec)
    if on_columns is not None:
        on_columns(chosen)
    elif chosen is not rows:
        warn_of_set_aside(chosen, stacklevel=4)
    stream = as_stream(settings.random_state)
    z = _encode(chosen, stream)
    with initial_torch_state():
        data_sha256 = digest(chosen.table.values)
        of_split = stream if previous_model is None else split_of(previous_model.card, data_sha256, stream)
        # On one thread, so that the bits of sums do not depend on the number of threads.
        with out_of_memory_as_invalid_input(), single_threads():
            split = split_encoded(z, settings, of_split)
            plan = plan_fit(
                chosen, z, split, settings, stream=stream, previous_model=previous_model, row_weights=row_weights
            )
            found_warnings = list(find_warnings(plan, z))
        for category, text in found_warnings:
            warnings.warn(text, category, stacklevel=3)  # at the caller of `Diffusion.fit`
        del z  # frees memory: the plan has its own copy of the rows
        before = time.perf_counter() - began
        trainer, diverged = _train(plan, began)
        with out_of_memory_as_invalid_input():
            denoiser = trainer.denoiser
            card = make_card(plan, denoiser, trainer, data_sha256=data_sha256)
            model = _make_model(plan, denoiser, plan.denoising_error(denoiser), trainer.history(), card)
            distances = tuple(_held_out_distances(model, chosen.table.values[split.held_out]))
            model = replace(model, held_out_distances=distances, accepted_share=measure_accepted_share(model))
    seconds, max_time = time.perf_counter() - began, settings.max_time
    if max_time is not None and seconds > (1.0 + _TOLERANCE) * max_time:
        text = (
            f"the fit took {seconds:.1f} s, not {max_time:g}: reading and preparing the rows took {before:.1f}, and "
            f"measuring the network's errors {seconds - before - trainer.seconds:.1f}. Give a longer max_time."
        )
        warnings.warn(text, ShortTrainingWarning, stacklevel=3)
    return replace(model, fit_seconds=seconds), diverged


def warn_of_set_aside(chosen: ChosenColumns, *, stacklevel: int) -> None:
    """Warn of columns that are set aside."""
    if chosen.set_aside:
        named = listed(f"{name!r} ({reason})" for name, reason in chosen.set_aside.items())
        text = f"columns set aside: {named}. New rows will not have them; name a column in columns= to keep it."
        warnings.warn(text, ColumnsSetAsideWarning, stacklevel=stacklevel)


def _choose(
    table: Table, settings: Settings, row_weights: NDArray[np.float64] | None
) -> tuple[ChosenColumns, NDArray[np.float64] | None]:
    """Choose the columns, from the rows of positive weight. Return them, and the weights of these rows, of mean 1."""
    if row_weights is not None and not row_weights.all():
        has_weight = row_weights > 0.0
        table, row_weights = replace(table, values=table.values[has_weight]), row_weights[has_weight]
        row_weights = row_weights / row_weights.mean()
    return choose_columns(table, settings, row_weights), row_weights


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


def _train(plan: Plan, began: float) -> tuple[EnsembleTrainer, TrainingDiverged | None]:
    """Train until the end, Ctrl-C, or a callback that returns True.

    Return the error too if training diverged with weights to keep.
    """
    # On one thread: a process can be forked after a fit only if no OpenMP threads have begun in it.
    with out_of_memory_as_invalid_input(), single_threads():
        trainer = EnsembleTrainer(
            plan.new_member,
            plan.rows,
            plan.noise_levels,
            plan.training,
            n_members=getattr(plan.architecture, "n_members", 1),
            stream=plan.stream.child("training"),
            patterns=plan.patterns,
            n_started=plan.n_started,
        )
        if (max_time := plan.settings.max_time) is not None:
            seconds_after = _seconds_to_measure(plan, trainer.denoiser_so_far())
            trainer.limit(max_time - (time.perf_counter() - began), seconds_after, _TOLERANCE * max_time)

    def model_so_far() -> DiffusionModel:
        denoiser = trainer.denoiser_so_far()
        return _make_model(plan, denoiser, plan.denoising_error(denoiser, FEW_LEVELS), trainer.history(), {})

    is_stopped = False
    try:
        with Display(verbose=plan.settings.verbose) as display, closing(_memory_checked(trainer.run())) as steps:
            callbacks = (display.training(), *plan.settings.callbacks)
            for progress in steps:
                fit_progress = FitProgress(**vars(progress), model=model_so_far)
                answers = [callback(fit_progress) for callback in callbacks]
                is_stopped = any(answer is True for answer in answers)
                if is_stopped:
                    break
    except TrainingDiverged as error:
        if not trainer.give_up():
            raise
        return trainer, error
    except KeyboardInterrupt:
        if not trainer.step:
            raise
        is_stopped = True
        text = f"training was interrupted at step {trainer.step:,}: the model has the best weights so far."
        warnings.warn(text, ShortTrainingWarning, stacklevel=4)
    if is_stopped:
        with out_of_memory_as_invalid_input():
            trainer.stop()
    elif short := short_training(trainer.step, trainer.stopped_by, trainer.last_gain):
        text = f"training was {short}: give a longer max_time, or leave it out."
        warnings.warn(text, ShortTrainingWarning, stacklevel=4)
    return trainer, None


def _seconds_to_measure(plan: Plan, denoiser: EnsembleDenoiser) -> float:
    """Return about how long it takes to measure the errors of a network, from a few noise levels."""
    began = time.perf_counter()
    plan.denoising_error(denoiser, FEW_LEVELS)
    return (time.perf_counter() - began) * N_MEASURED_LEVELS / FEW_LEVELS


def _held_out_distances(model: DiffusionModel, held_out: NDArray[np.float64]) -> Iterator[tuple[float, ...]]:
    """Yield the distances of the first held-out rows, (m, d), without gaps in each set of conditions."""
    for given in model.conditions if isinstance(model.conditions, tuple) and not model.has_embedding else ():
        rows = held_out[~np.isnan(held_out[:, list(given)]).any(axis=1)][:MOST_HELD_OUT]
        distances = measure_distances(model, rows, given)
        yield tuple(np.sort(distances[np.isfinite(distances)]).tolist())


def _make_model(
    plan: Plan, denoiser: EnsembleDenoiser, error: Tensor, history: History, card: dict[str, Any]
) -> DiffusionModel:
    reverse_variance = plan.settings.reverse_variance
    return DiffusionModel(
        schedule=plan.schedule,
        architecture=plan.architecture_of(denoiser),
        denoiser=denoiser,
        codec=plan.codec,
        schema=plan.chosen.table.schema,
        conditions=plan.conditions,
        embedding=plan.settings.embedding,
        gaps=plan.gaps,
        reverse_variance=reverse_variance,
        denoising_error=error,
        decoder_variance=default_decoder_variance(reverse_variance, plan.schedule, error),
        sampler=plan.sampler,
        prior_mismatch=plan.prior_mismatch,
        history=history,
        card=card,
    )


def _memory_checked(steps: Generator[Progress]) -> Generator[Progress]:
    """Turn running out of memory in a step into InvalidInput; exceptions of callbacks propagate."""
    with closing(steps):
        while True:
            with out_of_memory_as_invalid_input():
                progress = next(steps, None)
            if progress is None:
                return
            yield progress


@contextmanager
def out_of_memory_as_invalid_input() -> Iterator[None]:
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
