"""The chain state by state: in the user's units, backward and forward, and step by step for a single row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import NoiseSchedule, q_step
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.draw import decode_rows, make_solver, walk
from backwalk.model.possible import refuse_impossible
from backwalk.model.rows import encode_complete, map_tiles
from backwalk.sampling import ChainState, Sampler, Visit, choose_sampler, mean_weights
from backwalk.streams import Stream
from backwalk.torch_state import in_initial_torch_state


@dataclass(frozen=True, eq=False)
class WalkState:
    """The chain at one step, in the user's units; `Diffusion.walk` yields them.

    Rows with t > 0 are sqrt(alpha_bar_t) x_0 plus noise, decoded as if they were data.

    Parameters
    ----------
    t : int
        Step of the chain: N is noise, 0 are rows.
    log_snr : float
        Logarithm of the signal-to-noise ratio at this step; inf at t = 0.
    rows : ndarray, (n, d)
        The rows.
    x_0_hat : ndarray, (n, d), or None
        The network's estimate of the final rows at the step before; None at the start, and forward.

    See Also
    --------
    backwalk.Diffusion.walk : Yields them.
    backwalk.sampling.walk_back : The chain of any denoiser, in encoded units.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(X)
    >>> first, *_, last = model.walk(5, random_state=1)
    >>> first.t, last.t, last.rows.shape, last.alpha_bar
    (1000, 0, (5, 2), 1.0)
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
            None if z is None else decode_rows(model, z.double().cpu().numpy(), new=state.t == 0)
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
    return _walk_forward(model, values, sampler.times(model.schedule), stream)


@in_initial_torch_state
def _walk_forward(
    model: DiffusionModel, values: NDArray[np.float64], times: list[int], stream: Stream
) -> Iterator[WalkState]:
    schedule = model.schedule.respace(times)
    yield WalkState(0, math.inf, np.array(values, dtype=np.float64), None)
    x_t = encode_complete(model, values).cpu()
    numbers = torch.from_numpy(model.codec.numbers)
    for k, t in enumerate(times, start=1):
        eps = stream.child("eps", t).normal(0, len(x_t), len(numbers))
        x_t = x_t.clone()
        x_t[:, numbers] = q_step(x_t[:, numbers], k, schedule).sample(eps.to(torch.float64))
        yield WalkState(t, float(schedule.log_snr[k]), decode_rows(model, x_t.numpy()), None)


@dataclass(frozen=True, eq=False)
class RowStep:
    """A step of one row from t to t_next: x_next = mean + sigma noise, in encoded units.

    `x_t`, `x_0_hat`, `noise` and `x_next`, (k,), are those of the chain; `noise` is 0 where the step adds none. `mean`,
    float64, is a weighted sum of the visited points and of the estimates there, whose `weights` are two lists, newest
    first; for the ancestral sampler it is mu_theta. `eps_theta` = (x_t - a x_0_hat) / b. `schedule` has the visited
    steps alone, and `place` is the number of this step in it: its beta is that of the whole step from t to t_next.
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
    model: DiffusionModel, states: Sequence[ChainState], row: int = 0, *, sampler: Sampler | str | None = None
) -> list[RowStep]:
    """Return the steps from x_N to x_0 of one of the rows whose `states` a `walk` with this sampler has yielded."""
    chosen = choose_sampler(model.sampler, model.schedule, sampler, None)
    times = chosen.times(model.schedule)
    schedule, solver = model.schedule.respace(times), make_solver(model, chosen, times)
    steps, visits = list[RowStep](), list[Visit]()
    for place, before, after in zip(range(len(times), 0, -1), states, states[1:], strict=False):
        assert after.x_0_hat is not None
        x_t, x_0_hat, x_next = (each[row] for each in (before.x_t, after.x_0_hat, after.x_t))
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
                noise=torch.zeros_like(x_t) if after.eps is None else after.eps[row],
                x_next=x_next,
                weights=mean_weights(solver, place, schedule, len(visits)),
            )
        )
    return steps


@in_initial_torch_state
def denoise(model: DiffusionModel, x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return x_0_hat of encoded points, (n, k), at log-SNRs (), (n,) or (n, k), tile by tile.

    Raises InvalidInput for levels of single coordinates where the denoiser does not take them.
    """
    points, log_snr = x_t.to(model.denoiser.device), log_snr.to(x_t).to(model.denoiser.device)
    width = points.shape[1]
    if log_snr.ndim == 0:
        return map_tiles(lambda rows: model.denoiser(rows, log_snr), points, width=width)
    by_row = log_snr.reshape(len(points), -1)
    return map_tiles(
        lambda rows, levels: model.denoiser(rows, levels.reshape(-1, *log_snr.shape[1:])), points, by_row, width=width
    )
