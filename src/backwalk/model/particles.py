"""The chain of single rows, number by number, in encoded units: what a step reads, predicts and adds.

Rows are computed in the tiles of `sample_rows`, so that the states of a row are the ones it has in any sample, bit for
bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import is_whole
from backwalk.model.fitted import DiffusionModel, reverse_variances
from backwalk.model.generation import visited_times, walk
from backwalk.sampling import TILE_ROWS, ChainState, Sampler, Visit, mean_weights
from backwalk.streams import Stream
from backwalk.threads import single_threads


def walk_tiles(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler | str | None = None
) -> Iterator[ChainState]:
    """Yield the states of rows start..stop-1 of a sample, from x_N to x_0, in encoded units.

    Unlike those of `walk`, they have the bits of `sample_rows`: each tile of 2,048 rows is computed whole, on one
    thread, so that the states of a row do not depend on the range. A few rows take as long as a tile. Raises
    InvalidInput where all columns have levels.
    """
    firsts = range(start - start % TILE_ROWS, stop, TILE_ROWS)
    tiles = [walk(model, first, first + TILE_ROWS, stream=stream, sampler=sampler) for first in firsts]
    kept = slice(start - firsts[0], stop - firsts[0])

    def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.cat(there)[kept] if there else None

    while True:
        with single_threads(model.denoiser.device.type == "cpu") as parallel_map:
            states = list(parallel_map(lambda tile: next(tile, None), tiles))
        if states[0] is None:
            return
        x_t, x_0_hat, eps = (joined([getattr(state, name) for state in states]) for name in ("x_t", "x_0_hat", "eps"))
        assert x_t is not None
        yield replace(states[0], x_t=x_t, x_0_hat=x_0_hat, eps=eps)


@dataclass(frozen=True, eq=False)
class RowStep:
    """A step of one row from t to t_next: x_next = mean + sigma noise, in encoded units.

    `x_t`, `x_0_hat`, `noise` and `x_next`, (k,), are those of the chain, bit for bit; `noise` is 0 where the step adds
    none. `mean`, float64, is a weighted sum of the visited points and of the estimates there, whose `weights` are two
    lists, newest first; for the ancestral sampler it is mu_theta. `eps_theta` = (x_t - a x_0_hat) / b. `schedule` has
    the visited steps alone, and `place` is the number of this step in it: its beta is that of the whole step from t to
    t_next.
    """

    t: int
    t_next: int
    place: int
    schedule: NoiseSchedule
    x_t: Tensor
    x_0_hat: Tensor
    eps_theta: Tensor
    mean: Tensor
    sigma: float
    noise: Tensor
    x_next: Tensor
    weights: tuple[list[float], list[float]]


def row_steps(
    model: DiffusionModel,
    row: int,
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
    walked: Sequence[ChainState] | None = None,
) -> list[RowStep]:
    """Return the steps of row number `row` of a sample, from x_N to x_0.

    `walked` are the states of the row's whole tile by `walk_tiles`, if the caller has them. Raises InvalidInput for a
    row number below 0, and where all columns have levels.
    """
    if not is_whole(row) or row < 0:
        raise InvalidInput(f"row should be an integer >= 0, but got {row!r}: rows count from 0.")
    chosen = Sampler(sampler) if isinstance(sampler, str) else sampler or model.sampler
    times = visited_times(model, chosen)
    schedule = model.schedule.respace(times)
    solver = chosen.solver_class.make(reverse_variances(model, times), chosen.eta)
    states = list(walk_tiles(model, row, row + 1, stream=stream, sampler=chosen)) if walked is None else walked
    own = 0 if walked is None else row % TILE_ROWS
    steps, visits = list[RowStep](), list[Visit]()
    for place, before, after in zip(range(len(times), 0, -1), states, states[1:], strict=False):
        assert after.x_0_hat is not None
        x_t, x_0_hat, x_next = before.x_t[own], after.x_0_hat[own], after.x_t[own]
        visits = [Visit(x_t.double(), x_0_hat.double()), *visits][: solver.n_visits]
        mean, sigma = solver.step(visits, place, schedule)
        a, b = (math.sqrt(float(part[place])) for part in (schedule.alpha_bar, schedule.one_minus_alpha_bar))
        steps.append(
            RowStep(
                t=before.t,
                t_next=after.t,
                place=place,
                schedule=schedule,
                x_t=x_t,
                x_0_hat=x_0_hat,
                eps_theta=(x_t.double() - a * x_0_hat.double()) / b,
                mean=mean,
                sigma=sigma,
                noise=torch.zeros_like(x_t) if after.eps is None else after.eps[own],
                x_next=x_next,
                weights=mean_weights(solver, place, schedule, len(visits)),
            )
        )
    return steps
