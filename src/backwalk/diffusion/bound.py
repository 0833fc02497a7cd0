"""The variational bound on -log p_theta(x_0), term by term, and the simple loss of training.

E[-log p_theta(x_0)] <= L = L_N + sum_{t=2..N} L_{t-1} + L_0:

- L_N = KL(q(x_N | x_0) || N(0, I)), the prior term. Averaged over the data it is the mutual information of x_0 and x_N
  plus the prior mismatch, the divergence of the aggregate q(x_N) from N(0, I). Only the mismatch is a loss;
- L_{t-1} = E KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t)), the transitions;
- L_0 = E[-log p_theta(x_0 | x_1)], the reconstruction: a density of vectors, with its own decoder variance.

Both means in a transition have the same term in x_t, so their squared distance is c_t^2 |x_0 - x_0_hat|^2, with c_t
the factor of x_0 in mu_tilde. It is computed in this form, as the difference of two nearly equal means would lose its
digits in float32. Everything is in nats per row, summed over d, in encoded units. The bound of a conditional or a
marginal is that of a `ConditionalDenoiser` on the free coordinates; where they differ from row to row, they are
`counted`.

Source: Ho et al. 2020, Eq. 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from backwalk.diffusion.forward import q_sample, q_sample_at, variance_cost
from backwalk.diffusion.parameterization import Denoiser, check_schedule, denoise_at_time
from backwalk.diffusion.schedule import NoiseSchedule, at_time, in_float64
from backwalk.diffusion.terms import BoundTerms, collect_terms
from backwalk.errors import InvalidInput
from backwalk.limits import is_whole
from backwalk.streams import Stream
from backwalk.threads import Map

_ROWS_OF_A_CALL = 4096  # of the denoiser; with fewer rows, several steps share a call


def simple_loss(denoiser: Denoiser, x_0: Tensor, t: int | Tensor, eps: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the simple loss of training, the squared error of the noise.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_0 : Tensor of shape (n, d)
        The data points.
    t : int or LongTensor of shape (n,)
        The step, 1..n_steps, of all rows or of each.
    eps : Tensor of shape (n, d)
        Standard normal noise.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Tensor of shape (n,)
        `|eps_theta(x_t, t) - eps|^2` for `x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps`.

    See Also
    --------
    simple_loss_at : The same at given log-SNRs.
    variational_bound : The bound on -log p, of which this is a reweighted part.

    Notes
    -----
    Source: Ho et al. 2020, Eq. 14.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, simple_loss
    >>> standard = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> loss = simple_loss(standard, torch.ones(1, 1), 1, torch.zeros(1, 1), NoiseSchedule.from_beta([0.19, 0.5]))
    >>> loss.round(decimals=4)
    tensor([0.1539], dtype=torch.float64)
    """
    levels = at_time(schedule.log_snr, t, schedule.log_snr.to(x_0.device), least=1)
    return simple_loss_at(denoiser, x_0, levels.squeeze(-1), eps)


def simple_loss_at(denoiser: Denoiser, x_0: Tensor, log_snr: Tensor, eps: Tensor) -> Tensor:
    """Return the simple loss of training at given log-SNRs.

    Gradients flow.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_0 : Tensor of shape (n, d)
        The data points.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.
    eps : Tensor of shape (n, d)
        Standard normal noise.

    Returns
    -------
    Tensor of shape (n,)
        `|eps_theta(x_t) - eps|^2` for `x_t = a x_0 + b eps`, in float64 on the CPU.

    See Also
    --------
    simple_loss : The same at the steps of a schedule.

    Notes
    -----
    It is computed as the sum over the coordinates of `SNR (x_0 - x_0_hat)^2`. This is the same number where the SNR is
    finite, is 0 at zero SNR, and leaves out known coordinates, which have no noise to predict.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianDenoiser, simple_loss_at
    >>> standard = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> simple_loss_at(standard, torch.ones(1, 1), torch.tensor(0.0), torch.zeros(1, 1)).round(decimals=4)
    tensor([0.2500], dtype=torch.float64)
    """
    x_0_hat = denoiser(q_sample_at(x_0, log_snr, eps), log_snr)
    squares = in_float64(x_0 - x_0_hat).square()  # in float32 they may overflow
    snr = in_float64(log_snr.unsqueeze(-1) if log_snr.ndim == 1 else log_snr).exp()
    return (snr * squares).where(snr < math.inf, 0.0).sum(-1)


def denoising_error(
    denoiser: Denoiser,
    x_0: Tensor,
    schedule: NoiseSchedule,
    *,
    stream: Stream,
    n_draws: int = 1,
    counted: Tensor | None = None,
    parallel_map: Map = map,
) -> Tensor:
    """Return the mean squared error of x_0_hat at each step of a chain.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_0 : Tensor of shape (n, d)
        The data points.
    schedule : NoiseSchedule
        The noise levels of the chain.
    stream : Stream
        The random numbers: each (row, t, draw) has independent noise, from stream.child("denoising_error", t, draw).
    n_draws : int, default=1
        The number of draws of noise for each row and step.
    counted : Tensor of bool of shape (n, d), optional
        The coordinates over which the mean is taken, by default all.
    parallel_map : callable, default=map
        A function such as `map`, which is called for groups of steps.

    Returns
    -------
    Tensor of shape (n_steps + 1,)
        The mean m_t of the squares of `x_0 - x_0_hat` over rows and coordinates, float64. Entry 0 is 0.

    See Also
    --------
    optimal_variance : The reverse variances that follow from it.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, denoising_error
    >>> from backwalk.streams import Stream
    >>> standard = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> x_0 = Stream(0).normal(0, 5000, 1)
    >>> m = denoising_error(standard, x_0, NoiseSchedule.from_beta([0.1, 0.5]), stream=Stream(1))
    >>> m.round(decimals=2)  # 1 - alpha_bar = 0.1 and 0.55, up to the error of 5,000 rows
    tensor([0.0000, 0.1000, 0.5400], dtype=torch.float64)
    """
    noise = NoiseDraws(stream.child("denoising_error"), None, n_draws)
    check_schedule(denoiser, schedule)

    def over_rows(times: Tensor) -> Tensor:
        return _mean_squared_error(denoiser, x_0, times, schedule, noise, counted).mean(1)

    errors = parallel_map(over_rows, _taken_together(1, schedule, x_0))
    mean_counted = float(x_0.shape[1]) if counted is None else counted.double().sum(1).mean().item()
    return torch.cat([torch.zeros(1, dtype=torch.float64), *errors]) / mean_counted


def variational_bound(
    denoiser: Denoiser,
    x_0: Tensor,
    schedule: NoiseSchedule,
    sigma_sq: Tensor,
    *,
    stream: Stream | None = None,
    eps: Tensor | None = None,
    n_draws: int = 1,
    first_row: int = 0,
    log_volume: Tensor | None = None,
    size: float | None = None,
    counted: Tensor | None = None,
) -> BoundTerms:
    """Return the bound L on E[-log p_theta(x_0)] of a chain, term by term.

    Every step t = 1..n_steps is evaluated for every row, which takes n_steps * n_draws evaluations of each.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_0 : Tensor of shape (n, d)
        The data points. Pass many rows in pieces, and join the results by `merge_terms`.
    schedule : NoiseSchedule
        The noise levels of the chain.
    sigma_sq : Tensor of shape (n_steps + 1,)
        The reverse variances. With a decoder variance sigma_sq[1] = 0 the bound is infinite.
    stream : Stream, optional
        The random noise: each (row, t, draw) has its own, from stream.child("bound", t, draw).
    eps : Tensor of shape (k, d), optional
        In place of `stream`, k points of equal weight for every row and step. For a linear denoiser the 2d points
        `+-sqrt(d) e_i` make every term exact.
    n_draws : int, default=1
        The number of draws of noise for each row and step.
    first_row : int, default=0
        The number of the first row of a piece, so that noise does not depend on the division into pieces.
    log_volume : Tensor of shape (n,), optional
        `ln |det dx/dx_0|` of each row, where x_0 is a point x in other units. It is added to the reconstruction term,
        and the bound is then on E[-log p_theta(x)].
    size : float, optional
        The size of the rows, which decides whether the first step's noise is lost in their rounding. By default it is
        the largest of the columns' median absolute values.
    counted : Tensor of bool of shape (n, d), optional
        The coordinates whose bound is wanted. The others should have no influence on their x_0_hat.

    Returns
    -------
    BoundTerms
        The terms, in nats per row.

    Raises
    ------
    InvalidInput
        Unless exactly one of `stream` and `eps` is given, the denoiser is valid on the schedule, and the first step's
        noise is larger than the rounding of x_0.

    See Also
    --------
    log_density : The log-density of the probability-flow ODE.

    Notes
    -----
    `E[-log p_theta(x_0)] <= L = L_N + sum_{t=2..N} L_{t-1} + L_0`, with the prior term `L_N = KL(q(x_N | x_0) || N(0,
    I))`, the transitions `L_{t-1} = E KL(q(x_{t-1} | x_t, x_0) || p_theta(x_{t-1} | x_t))` and the reconstruction `L_0
    = E[-log p_theta(x_0 | x_1)]`.

    Source: Ho et al. 2020, Eq. 5.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, beta_variance, variational_bound
    >>> denoiser, schedule = GaussianDenoiser(torch.zeros(1), torch.eye(1)), NoiseSchedule.linear(100)
    >>> x_0 = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    >>> terms = variational_bound(denoiser, x_0, schedule, beta_variance(schedule), eps=torch.tensor([[-1.0], [1.0]]))
    >>> round(terms.total, 4)  # the entropy of N(0, 1), which this chain generates exactly
    1.4189
    """
    if sigma_sq.shape != schedule.log_snr.shape or not bool((sigma_sq[1:] >= 0).all()):
        raise InvalidInput(
            f"sigma_sq should be {schedule.n_steps + 1} variances >= 0, but got shape {tuple(sigma_sq.shape)} "
            f"and least value {float(sigma_sq.min()):g}: make it from the same schedule, as beta_variance does."
        )
    noise = NoiseDraws(None if stream is None else stream.child("bound"), eps, n_draws, first_row)
    check_schedule(denoiser, schedule)
    refuse_lost_noise(x_0, schedule, size)

    variance = in_float64(sigma_sq)
    d = torch.tensor(x_0.shape[1]) if counted is None else counted.sum(-1).cpu()  # of each row

    def squared_error(times: Tensor) -> Tensor:
        return _mean_squared_error(denoiser, x_0, times, schedule, noise, counted)

    reconstruction = _reconstruction_cost(squared_error(torch.tensor([1]))[0], d, variance[1])
    transitions = (
        _transition_cost(squared_error(times), d, variance[times, None], times, schedule)
        for times in _taken_together(2, schedule, x_0)
    )
    return collect_terms(prior_term(x_0, schedule, counted), reconstruction, transitions, log_volume)


def prior_term(x_0: Tensor, schedule: NoiseSchedule, counted: Tensor | None = None) -> Tensor:
    """Return the bound's prior term L_N of each row.

    No training lowers it.

    Parameters
    ----------
    x_0 : Tensor of shape (n, d)
        The data points.
    schedule : NoiseSchedule
        The noise levels of the chain.
    counted : Tensor of bool of shape (n, d), optional
        The coordinates that count. All do by default.

    Returns
    -------
    Tensor of shape (n,)
        `KL(q(x_N | x_0) || N(0, I))`, in nats, float64.

    See Also
    --------
    prior_mismatch : The part of its mean that is a loss.
    variational_bound : The whole bound.

    Notes
    -----
    `L_N = (alpha_bar_N |x_0|^2 - d alpha_bar_N - d ln(1 - alpha_bar_N)) / 2`.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import prior_term
    >>> prior_term(torch.tensor([[0.0], [2.0]]), NoiseSchedule.linear(100)).round(decimals=4)
    tensor([0.0397, 0.7346], dtype=torch.float64)
    """
    alpha_bar = schedule.alpha_bar[-1]
    log_noise = logsigmoid(-schedule.log_snr[-1])  # ln(1 - alpha_bar_N), exact at both ends
    squares, d = in_float64(x_0.detach()).square(), torch.tensor(x_0.shape[1])
    if counted is not None:
        squares, d = squares.masked_fill(~counted, 0.0), counted.sum(-1).cpu()
    return 0.5 * (alpha_bar * squares.sum(-1) - d * (alpha_bar + log_noise))


def moments(x_0: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the covariance of rows.

    Parameters
    ----------
    x_0 : Tensor of shape (n, d)
        The rows.

    Returns
    -------
    mean : Tensor of shape (d,)
        The mean.
    covariance : Tensor of shape (d, d)
        The covariance, with the divisor n.

    See Also
    --------
    prior_mismatch : What they are for.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import moments
    >>> moments(torch.tensor([[0.0, 1.0], [2.0, 1.0]]))
    (tensor([1., 1.]), tensor([[1., 0.],
            [0., 0.]]))
    """
    mean = x_0.mean(dim=0)
    around = x_0 - mean
    return mean, around.T @ around / len(x_0)


def prior_mismatch(mean: Tensor, covariance: Tensor, schedule: NoiseSchedule) -> float:
    """Return how far the data at the chain's end are from N(0, I).

    It can be computed before training. Whatever the network, the bound exceeds the entropy of the data by at least this
    much, and so does the mean -log p of a perfect denoiser's probability-flow ODE.

    Parameters
    ----------
    mean : Tensor of shape (d,)
        The mean of the data.
    covariance : Tensor of shape (d, d)
        The covariance of the data.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    float
        `KL(N(sqrt(alpha_bar_N) m, alpha_bar_N S + (1 - alpha_bar_N) I) || N(0, I))` for the mean m and the covariance
        S, in nats per row.

    Raises
    ------
    InvalidInput
        If the shapes do not go together.

    See Also
    --------
    moments : The mean and the covariance of rows.
    prior_term : The bound's prior term, whose mean is larger by the mutual information of x_0 and x_N.

    Notes
    -----
    Samples of a chain start from the wrong distribution too, but the noise of later steps reduces their error.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import prior_mismatch
    >>> round(prior_mismatch(torch.zeros(1), 4 * torch.eye(1), NoiseSchedule.linear(100)), 4)
    0.1641
    """
    mean, covariance = in_float64(mean.detach()), in_float64(covariance.detach())
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
        raise InvalidInput(
            f"mean and covariance should be (d,) and (d, d), but got {tuple(mean.shape)} and "
            f"{tuple(covariance.shape)}: pass the moments of the encoded data."
        )
    return mismatch_along_axes(mean, torch.linalg.eigvalsh(covariance), schedule)


def mismatch_along_axes(mean: Tensor, variances: Tensor, schedule: NoiseSchedule) -> float:
    """Return `prior_mismatch` from the covariance's eigenvalues, (d,); only the mean's length matters."""
    alpha_bar = schedule.alpha_bar[-1]
    gap = alpha_bar * (variances - 1.0)
    log_ratio = torch.log(alpha_bar * variances.clamp(min=0.0) + schedule.one_minus_alpha_bar[-1])
    return float(variance_cost(gap, log_ratio).sum() + 0.5 * alpha_bar * mean.square().sum())


def refuse_lost_noise(x_0: Tensor, schedule: NoiseSchedule, size: float | None = None) -> None:
    """Raise InvalidInput where the first step's noise is lost in the rounding of rows, (n, d), in their dtype.

    There x_t = x_0, the denoising error is 0, and the result would not be a bound. The rows' `size` is the largest of
    the columns' median absolute values, unless it is given. NaN is left out.
    """
    if size is None:
        sizes = x_0.detach().abs().nanmedian(dim=0).values.nan_to_num(nan=0.0) if len(x_0) else x_0.new_zeros(0)
        size = float(sizes.max()) if len(sizes) else 0.0
    least = 4.0 * torch.finfo(x_0.dtype).eps * max(1.0, size)
    if float(schedule.noise_level[1]) < least:
        raise InvalidInput(
            f"The first step's noise level should be at least {least:.2g}, as less is lost in the rounding of "
            f"{x_0.dtype} rows of size {size:.2g}, but is {float(schedule.noise_level[1]):.2g}: begin the schedule "
            "with more noise, or scale the columns."
        )


@dataclass(frozen=True, eq=False)
class NoiseDraws:
    """The noise for an expectation over eps: random draws, or given points of equal weight.

    Random draws are those of the rows from `first_row` on, so that they do not depend on the division into pieces.
    """

    stream: Stream | None
    points: Tensor | None
    n_draws: int
    first_row: int = 0

    def __post_init__(self) -> None:
        if (self.stream is None) == (self.points is None):
            got = "neither" if self.stream is None else "both"
            raise InvalidInput(
                f"Exactly one of stream and eps should be given, but got {got}: stream draws noise, eps gives points."
            )
        if self.points is not None and not len(self.points):
            raise InvalidInput("eps should hold at least one point, but is empty: give the points of the mean.")
        if not is_whole(self.n_draws) or self.n_draws < 1:
            raise InvalidInput(
                f"n_draws should be an integer >= 1, but got {self.n_draws!r}: 1 draw per row and step is usual."
            )

    def at(self, t: int, x_0: Tensor) -> Iterator[Tensor]:
        """Yield the draws for step t, each (n, d) like x_0."""
        if self.points is not None:
            for point in self.points.to(x_0):
                yield point.expand_as(x_0)
        elif self.stream is not None:
            first, last = self.first_row, self.first_row + len(x_0)
            for draw in range(self.n_draws):
                yield self.stream.child(t, draw).normal(first, last, x_0.shape[1], x_0.dtype).to(x_0.device)


def _taken_together(first: int, schedule: NoiseSchedule, x_0: Tensor) -> tuple[Tensor, ...]:
    """Return the steps from `first` to the last, in groups that share a call of the denoiser."""
    times = torch.arange(first, schedule.n_steps + 1)
    return torch.split(times, max(1, _ROWS_OF_A_CALL // max(1, len(x_0)))) if len(times) else ()


def _mean_squared_error(
    denoiser: Denoiser,
    x_0: Tensor,
    times: Tensor,
    schedule: NoiseSchedule,
    noise: NoiseDraws,
    counted: Tensor | None = None,
) -> Tensor:
    """Return the mean over the draws of |x_0 - x_0_hat|^2 at each of k steps, `times`: (k, n), float64.

    With `counted`, (n, d), the sum is over the coordinates that are marked.
    """
    rows, t = x_0.repeat(len(times), 1), times.repeat_interleave(len(x_0)).to(x_0.device)
    total, draws = torch.zeros(len(times), len(x_0), dtype=torch.float64), 0
    with torch.no_grad():
        for of_steps in zip(*(noise.at(step, x_0) for step in times.tolist()), strict=True):
            x_0_hat = denoise_at_time(denoiser, q_sample(rows, t, torch.cat(of_steps), schedule), t, schedule)
            squares = in_float64(rows - x_0_hat).square()
            if counted is not None:
                squares = squares.masked_fill(~counted.repeat(len(times), 1), 0.0)
            total += squares.sum(-1).view_as(total)
            draws += 1
    return total / draws


def _transition_cost(squared_error: Tensor, d: Tensor, variance: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return L_{t-1} at k steps t, (k,), from squared errors (k, n) and reverse variances (k, 1): (k, n).

    d, () or (n,), is the number of coordinates.
    """
    beta_tilde = schedule.beta_tilde[t, None]
    gap = (beta_tilde - variance) / variance
    log_ratio = torch.log(beta_tilde) - torch.log(variance)
    cost = d * variance_cost(gap, log_ratio) + schedule.x_0_weight[t, None] ** 2 * squared_error / (2.0 * variance)
    return cost.where(variance > 0, math.inf)


def _reconstruction_cost(squared_error: Tensor, d: Tensor, variance: Tensor) -> Tensor:
    if variance == 0:
        return torch.full_like(squared_error, math.inf)
    # mu_theta(x_1, 1) is x_0_hat itself.
    return 0.5 * d * torch.log(2.0 * math.pi * variance) + squared_error / (2.0 * variance)
