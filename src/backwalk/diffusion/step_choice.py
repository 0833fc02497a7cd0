"""The choice of the k of a chain's N steps whose shorter chain has the least bound.

With the best scalar variances, a step that jumps from t down to s costs (d/2) ln(1 + (SNR_s - SNR_t) m_t) nats, and the
last one, from t to 0, (d/2) ln(2 pi e m_t), where m_t is the denoising error at t. The costs add up along the chain and
the prior term is the same for all, so the best chain is a shortest path from N to 0 with k edges.

Source: Bao et al. 2022 (Analytic-DPM), with their estimate of the costs replaced by a measured one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from backwalk.diffusion.schedule import NoiseSchedule, evenly_spaced, in_float64
from backwalk.errors import InvalidInput
from backwalk.threads import on_one_thread

_MOST_STEPS = 2000  # for matrices of 32 MiB


@on_one_thread
def optimal_step_cost(
    schedule: NoiseSchedule, denoising_error: Tensor, *, decoder_variance: float | None = None
) -> Tensor:
    """Return the bound's cost of one step from any t to any earlier s.

    Parameters
    ----------
    schedule : NoiseSchedule
        The noise levels of the chain of N steps.
    denoising_error : Tensor of shape (N + 1,)
        The mean m_t of `|x_0 - x_0_hat|^2 / d` at each step, > 0 from t = 1 on.
    decoder_variance : float, optional
        The variance v of the last step. It is the best, m_t, by default.

    Returns
    -------
    Tensor of shape (N + 1, N + 1)
        F[s, t], the cost of the step from t to s in nats per dimension, and +inf where s >= t.

    Raises
    ------
    InvalidInput
        If the errors are not N + 1 numbers > 0, or the decoder's variance is not > 0.

    See Also
    --------
    best_steps : The steps whose costs have the least sum.

    Notes
    -----
    `F[s, t] = ln(1 + (SNR_s - SNR_t) m_t) / 2` for s >= 1, and `F[0, t] = ln(2 pi e m_t) / 2`. With a given v,
    `F[0, t] = (ln(2 pi v) + m_t / v) / 2`.

    Source: Bao et al. 2022 (Analytic-DPM), with a measured m_t in the place of their estimate.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import optimal_step_cost
    >>> schedule = NoiseSchedule.log_snr_uniform(2, log_snr_max=2.0, log_snr_min=-2.0)
    >>> optimal_step_cost(schedule, 1 / (1 + schedule.snr).nan_to_num(posinf=1e9)).round(decimals=4)
    tensor([[   inf, 0.3555, 1.3555],
            [   inf,    inf, 1.0000],
            [   inf,    inf,    inf]], dtype=torch.float64)
    """
    m = _checked(schedule, denoising_error, decoder_variance)
    log_snr, snr = schedule.log_snr, schedule.snr
    lost = -torch.expm1(log_snr[None, :] - log_snr[1:, None])  # for s >= 1, as row 0 has another form
    cost = 0.5 * torch.log1p((snr[1:, None] * lost * m).clamp(min=0.0))
    if decoder_variance is None:
        decoder = 0.5 * (math.log(2.0 * math.pi * math.e) + m.log())
    else:
        decoder = 0.5 * (math.log(2.0 * math.pi * decoder_variance) + m / decoder_variance)
    allowed = torch.ones(len(m), len(m), dtype=torch.bool).triu(diagonal=1)
    return torch.where(allowed, torch.cat([decoder[None, :], cost]), math.inf)


@on_one_thread
def best_steps(
    schedule: NoiseSchedule, denoising_error: Tensor, k: int, *, decoder_variance: float | None = None
) -> list[int]:
    """Return the k steps of a chain whose shorter chain has the least bound.

    Parameters
    ----------
    schedule : NoiseSchedule
        The noise levels of the chain of N steps.
    denoising_error : Tensor of shape (N + 1,)
        The mean m_t of `|x_0 - x_0_hat|^2 / d` at each step, > 0 from t = 1 on.
    k : int
        The number of steps, 1..N.
    decoder_variance : float, optional
        The variance of the last step. It is the best, m_t, by default.

    Returns
    -------
    list of int
        Times for `NoiseSchedule.respace`, increasing and ending at N.

    Raises
    ------
    InvalidInput
        If k lies outside 1..N, or for errors or a variance out of range.

    See Also
    --------
    denoising_error : The function that measures m_t.
    evenly_spaced : Times that are spread evenly.
    optimal_variance : The reverse variances for which these times are best.

    Notes
    -----
    The best chain is a shortest path from N to 0 with k edges. It is exact for these m_t and the best scalar variances,
    in O(k N^2) operations and O(N^2) memory. Of a chain with more than 2,000 steps only 2,000 evenly spaced ones are
    considered; from k = 2,000 on, k evenly spaced ones are returned.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import best_steps
    >>> schedule = NoiseSchedule.log_snr_uniform(8, log_snr_max=8.0, log_snr_min=-6.0)
    >>> best_steps(schedule, 1 / (1 + schedule.snr), 4)
    [1, 3, 4, 8]
    """
    n_steps = schedule.n_steps
    if not 1 <= k <= n_steps:
        raise InvalidInput(f"k should lie in 1..{n_steps}, but got {k}: a chain has no more steps than its schedule.")
    if n_steps > _MOST_STEPS:
        _checked(schedule, denoising_error, decoder_variance)
        if k >= _MOST_STEPS:
            return evenly_spaced(n_steps, k)
        times = evenly_spaced(n_steps, _MOST_STEPS)
        chosen = best_steps(schedule.respace(times), denoising_error[[0, *times]], k, decoder_variance=decoder_variance)
        return [times[t - 1] for t in chosen]
    cost = optimal_step_cost(schedule, denoising_error, decoder_variance=decoder_variance)
    least = torch.full((n_steps + 1,), math.inf, dtype=torch.float64)  # of a path from each t to 0
    least[0] = 0.0
    came_from = []
    for _ in range(k):
        least, previous = (least[:, None] + cost).min(dim=0)
        came_from.append(previous)
    times = [n_steps]
    for previous in reversed(came_from[1:]):
        times.append(int(previous[times[-1]]))
    return times[::-1]


def _checked(schedule: NoiseSchedule, denoising_error: Tensor, decoder_variance: float | None) -> Tensor:
    m = in_float64(denoising_error)
    if m.shape != schedule.log_snr.shape or not bool((m[1:] > 0).all()):
        raise InvalidInput(
            f"denoising_error should be {schedule.n_steps + 1} numbers, > 0 from t = 1 on, but got shape "
            f"{tuple(m.shape)} and least value {float(m[1:].min()):g}: measure it on the same schedule."
        )
    if decoder_variance is not None and not decoder_variance > 0:
        raise InvalidInput(f"decoder_variance should be > 0, but got {decoder_variance:g}: m_1 is the best for t = 1.")
    return m
