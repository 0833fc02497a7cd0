"""The chain state by state: in the user's units, backward and forward, and step by step for a single row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import NoiseSchedule, q_step
from backwalk.errors import InvalidInput
from backwalk.model.chain import make_chain
from backwalk.model.copies import draw_copies
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import Given, encode_complete
from backwalk.model.levels import draw_levels
from backwalk.model.numbers import draw_dates, walk_numbers, with_numbers
from backwalk.model.possible import refuse_impossible
from backwalk.model.tiles import map_tiles
from backwalk.sampling import ChainState, RowNoise, Sampler, Visit, mean_weights
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
@torch.no_grad()  # as a decorator: a `with` block would hold for the caller, too, between two states
def walk(
    model: DiffusionModel, start: int, stop: int, *, stream: Stream, sampler: Sampler | str | None = None
) -> Iterator[ChainState]:
    """Yield the states of rows of a sample, from x_N to x_0.

    Dates and levels are drawn before the chain, which is that of the other numbers given these.

    Parameters
    ----------
    model : DiffusionModel
        The model, `model_` of an estimator.
    start : int
        The number of the first row.
    stop : int
        The number after the last one.
    stream : Stream
        The random numbers of the sample.
    sampler : Sampler or str, optional
        The sampler, or a solver's name: the model's own by default.

    Yields
    ------
    ChainState
        The states, in encoded units. Their `t` counts the steps of the model's chain, also if the sampler visits only
        some of them.

    Raises
    ------
    InvalidInput
        If all columns have levels.

    See Also
    --------
    sample_rows : The rows at the end.
    backwalk.sampling.walk_back : The chain of any denoiser.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.datasets import two_moons
    >>> from backwalk.model import walk
    >>> from backwalk.streams import Stream
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(two_moons().sample(100, random_state=0))
    >>> [state.t for state in walk(model.model_, 0, 5, stream=Stream(0))][-1]
    0
    """
    chain, noise = make_chain(model, sampler), RowNoise(stream, np.arange(start, stop))
    numbers = torch.from_numpy(model.codec.numbers).to(model.denoiser.device)
    if not len(numbers):
        raise InvalidInput("A chain should have numbers, but all columns have levels: sample() draws them at once.")
    nothing = Given.nothing(model).take(np.zeros(stop - start, dtype=np.intp))
    given = draw_levels(draw_dates(draw_copies(nothing, noise), chain, noise), noise)

    def whole(x: Tensor, others: Tensor) -> Tensor:
        """Return rows, (n, k), with the numbers x of the chain in the place of `others`."""
        return with_numbers(given, x, others, numbers).masked_fill(given.is_absent, math.nan)

    for state in walk_numbers(given, chain, noise, numbers):
        yield replace(
            state,
            t=chain.times[state.t],
            x_t=whole(state.x_t, given.rows),
            x_0_hat=None if state.x_0_hat is None else whole(state.x_0_hat, given.rows),
            eps=None if state.eps is None else whole(state.eps, torch.zeros_like(given.rows)),
        )


@in_initial_torch_state
def walk_backward(model: DiffusionModel, n: int, *, stream: Stream, sampler: Sampler | str) -> Iterator[WalkState]:
    """Yield the states from noise to n new rows, which are those of `sample_rows` up to rounding."""
    for state in walk(model, 0, n, stream=stream, sampler=sampler):
        estimate = None if state.x_0_hat is None else _decode(model, state.x_0_hat, is_new=state.t == 0)
        yield WalkState(state.t, state.log_snr, _decode(model, state.x_t, is_new=state.t == 0), estimate)


def _decode(model: DiffusionModel, z: Tensor, *, is_new: bool = False) -> NDArray[np.float64]:
    """Return encoded rows, (n, k), in the user's units, (n, d); new ones are within their columns' ranges."""
    encoded, d = z.double().cpu().numpy(), model.codec.n_columns
    if not is_new:
        return model.codec.decode(encoded)
    return model.schema.clipped(model.codec.decode_new(encoded, np.full((len(encoded), d), np.nan)))


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
        yield WalkState(t, float(schedule.log_snr[k]), _decode(model, x_t), None)


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
    chain = make_chain(model, sampler)
    schedule, solver = chain.schedule, chain.solver
    steps, visits = list[RowStep](), list[Visit]()
    for place, before, after in zip(range(schedule.n_steps, 0, -1), states, states[1:], strict=False):
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

    def tile(places: NDArray[np.intp]) -> Tensor:
        return model.denoiser(points[places], log_snr if log_snr.ndim == 0 else log_snr[places])

    return map_tiles(tile, len(points), width=width, device=points.device)
