"""Distillation: a student network learns the map of the probability-flow ODE, for one evaluation per row.

The ODE carries x_N, a draw of N(0, I), to x_0 without randomness. A student, a residual denoiser of one member, learns
this map from pairs (x_N, x_0) that the model makes. The usual training loop forms x_t = a x_0 + b eps, so that

    eps = (x_N - a_N x_0) / b_N

makes x_t the pair's x_N. Where the chain ends in noise alone, a_N = 0 and b_N = 1, and eps is x_N.

Source: Luhman & Luhman 2021, "Knowledge distillation in iterative generative models for improved sampling speed".
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import torch
from torch import Tensor

from backwalk.denoiser import Architecture, PreconditionedDenoiser, Residual, ResidualDenoiser, build_denoiser
from backwalk.diffusion import Denoiser, eps_from_x_0
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.fit.defaults import default_architecture, default_training
from backwalk.formatting import listed
from backwalk.model import DiffusionModel, Student, visited_times, walk
from backwalk.sampling import TILE_ROWS, Sampler, last_state, over_tiles
from backwalk.streams import Stream
from backwalk.threads import single_threads
from backwalk.torch_state import in_initial_torch_state
from backwalk.training import OneLevel, Progress, Trainer, Training, TrainingRows

TEACHER = Sampler("multistep", 25)  # close to the ODE
N_FRESH = 4 * TILE_ROWS  # pairs on which the error is measured
_LEAST_PAIRS_AT_ONCE, _MOST_PAIRS_AT_ONCE = 2 * TILE_ROWS, 8 * TILE_ROWS  # small at first, to watch the time
_SHARE_OF_PAIRS = 1 / 3  # of `max_time`
_STEPS, _BATCH_SIZE = 3000, 2000
_LEAST_STEP_SECONDS = 1e-3  # steps of usual networks take longer
_MOST_PAIRS, _MOST_NUMBERS = 200_000, 2**25  # 128 MiB each for x_N and x_0
_CPU = torch.device("cpu")


@in_initial_torch_state
def distil_model(
    model: DiffusionModel,
    architecture: Residual,
    training: Training,
    *,
    n_pairs: int,
    stream: Stream,
    max_time: float | None = None,
    watch: Callable[[Progress], object] = lambda _: None,
) -> DiffusionModel:
    """Return the model with a student of this architecture, trained on `n_pairs` pairs.

    `max_time` limits the seconds of pairs and training together. At most a third is for making pairs, at least 4,096 to
    learn from and 8,192 to measure the error; at least half is for training, whose rates follow the time. `watch` is
    called after every training step. The student starts from the weights of the model's first member where the sizes
    are the same.

    Raises InvalidInput for columns with levels, SamplingDiverged where the model's own x_0 are not finite, and
    TrainingDiverged.
    """
    began = time.perf_counter()
    if model.codec.date_columns:
        dates = listed(map(model.schema.label, model.codec.date_columns))
        raise InvalidInput(
            f"A student should learn numbers that are drawn together, but {dates} is drawn first: leave it out of the "
            "fit, or sample with fewer evaluations."
        )
    if model.codec.rules is not None:
        raise InvalidInput("A student should learn numbers without rules between them: fit with rules=None.")
    if model.codec.blocks:
        columns = listed(model.schema.label(block.column) for block in model.codec.blocks)
        raise InvalidInput(
            f"A student should learn numbers alone, but {columns} have levels: leave these out of the fit, or sample "
            "with fewer evaluations."
        )

    def late() -> bool:
        return max_time is not None and time.perf_counter() - began > _SHARE_OF_PAIRS * max_time

    schedule = model.schedule.respace([model.schedule.n_steps])
    fresh = stream.child("fresh")
    _, x_0_fresh = make_pairs(model, 0, N_FRESH, stream=fresh)
    x_N, x_0 = _make_pairs_in_time(model, n_pairs, late, stream.child("pairs"))
    teacher, d = model.denoiser, model.codec.n_encoded
    floor = teacher.floor if isinstance(teacher, PreconditionedDenoiser) else 0.0  # as in a model's file
    denoiser = build_denoiser(architecture, d, schedule=schedule, floor=floor, stream=stream.child("weights"))
    assert isinstance(denoiser, ResidualDenoiser)
    _start_from_a_member(denoiser, teacher)
    denoiser.to(x_0.device)
    trainer = Trainer(
        denoiser,
        TrainingRows(x_0=x_0, eps=eps_from_x_0(x_N, x_0, schedule.log_snr[-1])),
        OneLevel(float(schedule.log_snr[-1])),
        training,
        stream=stream.child("training"),
        max_seconds=math.inf if max_time is None else max(max_time - (time.perf_counter() - began), 0.5 * max_time),
    )
    with closing(trainer.run()) as steps:
        for progress in steps:
            watch(progress)
    student = Student(architecture, denoiser, math.nan)
    _, of_student = make_pairs(replace(model, student=student), 0, N_FRESH, stream=fresh, sampler=Sampler("distilled"))
    with single_threads():  # a sum whose bits do not depend on the number of threads
        error = float((of_student - x_0_fresh).double().square().mean().sqrt())
    taught = replace(model, student=replace(student, error=error))
    taught._fitted_times.update(model._fitted_times)  # of the same denoiser
    return taught


def make_pairs(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler = TEACHER
) -> tuple[Tensor, Tensor]:
    """Return x_N and the x_0 that a deterministic sampler maps it to for rows start..stop-1: (n, k), encoded units.

    Raises SamplingDiverged where an x_0 is not finite.
    """
    visited_times(model, sampler)  # fits them at first use, which the tiles' threads should not do

    @torch.inference_mode()
    def tile(first: int, last: int) -> Tensor:
        states = walk(model, first, last, stream=stream, sampler=sampler)
        return torch.cat([next(states).x_t, last_state(states).x_t], dim=1)

    tiles = over_tiles(tile, start, stop, TILE_ROWS, width=2 * model.codec.n_encoded, device=model.denoiser.device)
    both = torch.cat(list(tiles))
    if not bool(both.isfinite().all()):
        raise SamplingDiverged(
            f"Pairs should be finite, but some of {sampler.solver} are not: fit again with a `training` of lower "
            "learning_rate."
        )
    x_N, x_0 = both.chunk(2, dim=1)
    return x_N.contiguous(), x_0.contiguous()


def _make_pairs_in_time(
    model: DiffusionModel, n_pairs: int, late: Callable[[], bool], stream: Stream
) -> tuple[Tensor, Tensor]:
    """Return `n_pairs` pairs, or fewer if `late` returns True. The first pieces are small."""
    made: list[tuple[Tensor, Tensor]] = []
    first, piece = 0, _LEAST_PAIRS_AT_ONCE
    while first < n_pairs and not (made and late()):
        made.append(make_pairs(model, first, min(first + piece, n_pairs), stream=stream))
        first, piece = first + piece, min(2 * piece, _MOST_PAIRS_AT_ONCE)
    x_N, x_0 = (torch.cat(part) for part in zip(*made, strict=True))
    return x_N, x_0


def _start_from_a_member(student: ResidualDenoiser, teacher: Denoiser) -> None:
    if not isinstance(teacher, ResidualDenoiser):
        return
    first = {name: weights[:1] for name, weights in teacher.state_dict().items()}
    sizes = {name: weights.shape for name, weights in student.state_dict().items()}
    if {name: weights.shape for name, weights in first.items()} == sizes:
        student.load_state_dict(first)


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
