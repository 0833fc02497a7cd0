"""The states of the chain in the user's units: backward from noise to new rows, forward from rows to noise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from backwalk.diffusion import q_step
from backwalk.model.fitted import DiffusionModel
from backwalk.model.generation import in_user_units, visited_times, walk
from backwalk.model.scoring import encode_for_scoring, refuse_impossible
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.torch_state import in_initial_torch_state


@dataclass(frozen=True, eq=False)
class WalkState:
    """The chain at step `t`: `rows`, (n, d), and the estimate of x_0 of the step before, in the user's units.

    `x_0_hat` is None at the start, and forward. `log_snr` is that of step t, inf at t = 0. Rows with 0 < t are
    sqrt(alpha_bar_t) x_0 plus noise, decoded as if they were data.
    """

    t: int
    log_snr: float
    rows: NDArray[np.float64] = field(repr=False)
    x_0_hat: NDArray[np.float64] | None = field(repr=False)

    @property
    def noise_level(self) -> float:
        """The standard deviation of the noise over the signal's scale, SNR^(-1/2)."""
        return math.exp(-0.5 * self.log_snr)

    @property
    def alpha_bar(self) -> float:
        """The share of the signal in the variance."""
        return 1.0 / (1.0 + math.exp(-self.log_snr))


@in_initial_torch_state
def walk_backward(model: DiffusionModel, n: int, *, stream: Stream, sampler: Sampler | str) -> Iterator[WalkState]:
    """Yield the states from noise to n new rows, which are those of `sample_rows` up to rounding."""
    for state in walk(model, 0, n, stream=stream, sampler=sampler):
        rows, estimate = (
            None if z is None else in_user_units(model, z.double().cpu().numpy(), new=state.t == 0)
            for z in (state.x_t, state.x_0_hat)
        )
        assert rows is not None
        yield WalkState(state.t, state.log_snr, rows, estimate)


def walk_forward(
    model: DiffusionModel, values: NDArray[np.float64], *, stream: Stream, sampler: Sampler
) -> Iterator[WalkState]:
    """Yield the states from rows, (n, d), to noise, at the steps that a sampler visits.

    Each state is drawn from q(x_t | x_s) given the previous one; levels stay as they are. Raises InvalidInput at once
    for rows that the model cannot make.
    """
    refuse_impossible(model, values, "start")
    times = visited_times(model, sampler)
    return _forward(model, values, times, stream)


@in_initial_torch_state
def _forward(
    model: DiffusionModel, values: NDArray[np.float64], times: list[int], stream: Stream
) -> Iterator[WalkState]:
    schedule = model.schedule.respace(times)
    yield WalkState(0, math.inf, np.array(values, dtype=np.float64), None)
    x_t = encode_for_scoring(model, values).cpu()
    numbers = torch.from_numpy(model.codec.numbers)
    for k, t in enumerate(times, start=1):
        eps = stream.child("eps", t).normal(0, len(x_t), len(numbers))
        x_t = x_t.clone()
        x_t[:, numbers] = q_step(x_t[:, numbers], k, schedule).sample(eps.to(torch.float64))
        yield WalkState(t, float(schedule.log_snr[k]), in_user_units(model, x_t.numpy()), None)
