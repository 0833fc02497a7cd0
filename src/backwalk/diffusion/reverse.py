"""The reverse process p_theta: Gaussian steps from noise back to data.

Its mean follows from the denoiser. Its variance is a choice, passed as a float64 tensor `sigma_sq` of length
n_steps + 1, whose entry t is the variance of p_theta(x_{t-1} | x_t). Entry 1 is the variance of the decoder
p_theta(x_0 | x_1). Only the bound needs it, and it is a free choice: beta_tilde_1 is 0, and a decoder of variance 0
makes every bound infinite. Samplers add no noise in that last step.
"""

from __future__ import annotations

from torch import Tensor

from backwalk.diffusion.forward import Gaussian, q_posterior
from backwalk.diffusion.parameterization import Denoiser, denoise_at_time, refuse_no_signal
from backwalk.diffusion.schedule import NoiseSchedule, at_time
from backwalk.errors import InvalidInput


def mu_from_x_0(x_t: Tensor, x_0: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the mean mu_theta of a reverse step from an estimate of x_0.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    x_0 : Tensor of shape (n, d)
        The estimates x_0_hat.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Tensor of shape (n, d)
        The mean: mu_tilde with x_0_hat in the place of x_0.

    See Also
    --------
    mu_from_eps : The same from an estimate of the noise.
    q_posterior : The distribution whose mean is mu_tilde.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import mu_from_x_0
    >>> mu_from_x_0(torch.zeros(1, 1), torch.ones(1, 1), 2, NoiseSchedule.from_beta([0.19, 0.5]))
    tensor([[0.7563]])
    """
    return q_posterior(x_t, x_0, t, schedule).mean


def mu_from_eps(x_t: Tensor, eps: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the mean mu_theta of a reverse step from an estimate of the noise.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    eps : Tensor of shape (n, d)
        The estimates eps_theta.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Tensor of shape (n, d)
        `mu_theta = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps_theta) / sqrt(alpha_t)`.

    Raises
    ------
    InvalidInput
        If alpha_t is 0, as at zero terminal SNR.

    See Also
    --------
    mu_from_x_0 : The same from an estimate of x_0.

    Notes
    -----
    Source: Ho et al. 2020, Eq. 11.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import mu_from_eps
    >>> mu_from_eps(torch.zeros(1, 1), torch.ones(1, 1), 1, NoiseSchedule.from_beta([0.19, 0.5]))
    tensor([[-0.4843]])
    """
    noise = at_time(schedule.beta / schedule.one_minus_alpha_bar.sqrt(), t, x_t, least=1) * eps
    return (x_t - noise) / refuse_no_signal(at_time(schedule.alpha, t, x_t).sqrt())


def p_transition(
    denoiser: Denoiser, x_t: Tensor, t: int | Tensor, schedule: NoiseSchedule, sigma_sq: Tensor
) -> Gaussian:
    """Return the distribution of x_{t-1} given x_t in the reverse process.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser, which gives mu_theta.
    x_t : Tensor of shape (n, d)
        The noisy points.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    schedule : NoiseSchedule
        The noise levels of the chain.
    sigma_sq : Tensor of shape (n_steps + 1,)
        The reverse variances sigma_t^2.

    Returns
    -------
    Gaussian
        `p_theta(x_{t-1} | x_t) = N(mu_theta(x_t, t), sigma_t^2 I)`.

    See Also
    --------
    q_posterior : What it approximates.
    beta_variance : Reverse variances.

    Notes
    -----
    Source: Ho et al. 2020, Eq. 1.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, beta_variance, p_transition
    >>> schedule, standard = NoiseSchedule.from_beta([0.19, 0.5]), GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> p_transition(standard, torch.ones(1, 1), 2, schedule, beta_variance(schedule)).mean
    tensor([[0.7071]])
    """
    x_0_hat = denoise_at_time(denoiser, x_t, t, schedule)
    return Gaussian(mu_from_x_0(x_t, x_0_hat, t, schedule), at_time(sigma_sq, t, x_t))


def beta_variance(schedule: NoiseSchedule, *, decoder_variance: float | None = None) -> Tensor:
    """Return the reverse variances sigma_t^2 = beta_t.

    They are right for data that are standard normal.

    Parameters
    ----------
    schedule : NoiseSchedule
        The noise levels of the chain.
    decoder_variance : float, optional
        The variance of p_theta(x_0 | x_1), entry 1. It is beta_1 by default.

    Returns
    -------
    Tensor of shape (n_steps + 1,)
        The variances; entry t is that of p_theta(x_{t-1} | x_t).

    Raises
    ------
    InvalidInput
        If `decoder_variance` is negative.

    See Also
    --------
    beta_tilde_variance : The lower limit.
    optimal_variance : The variances that minimise the bound.

    Notes
    -----
    Source: Ho et al. 2020.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import beta_variance
    >>> beta_variance(NoiseSchedule.from_beta([0.1, 0.2]))
    tensor([0.0000, 0.1000, 0.2000], dtype=torch.float64)
    """
    return _with_decoder(schedule.beta, decoder_variance)


def beta_tilde_variance(schedule: NoiseSchedule, *, decoder_variance: float | None = None) -> Tensor:
    """Return the reverse variances sigma_t^2 = beta_tilde_t.

    They are right for data that are a single point.

    Parameters
    ----------
    schedule : NoiseSchedule
        The noise levels of the chain.
    decoder_variance : float, optional
        The variance of p_theta(x_0 | x_1), entry 1. It is beta_1 by default, as beta_tilde_1 = 0.

    Returns
    -------
    Tensor of shape (n_steps + 1,)
        The variances; entry t is that of p_theta(x_{t-1} | x_t).

    Raises
    ------
    InvalidInput
        If `decoder_variance` is negative.

    See Also
    --------
    beta_variance : The upper limit.
    optimal_variance : The variances that minimise the bound.

    Notes
    -----
    Source: Ho et al. 2020.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import beta_tilde_variance
    >>> beta_tilde_variance(NoiseSchedule.linear(3)).round(decimals=4)
    tensor([0.0000, 0.0010, 0.0009, 0.0074], dtype=torch.float64)
    """
    default = float(schedule.beta[1]) if decoder_variance is None else decoder_variance
    return _with_decoder(schedule.beta_tilde, default)


def optimal_variance(
    schedule: NoiseSchedule, denoising_error: Tensor, *, decoder_variance: float | None = None
) -> Tensor:
    """Return the scalar reverse variances that minimise the bound.

    Parameters
    ----------
    schedule : NoiseSchedule
        The noise levels of the chain.
    denoising_error : Tensor of shape (n_steps + 1,)
        The mean m_t of `|x_0 - x_0_hat|^2 / d` at each step. Measure it on other rows than those of the reported
        bound.
    decoder_variance : float, optional
        The variance of p_theta(x_0 | x_1), entry 1. It is m_1 by default.

    Returns
    -------
    Tensor of shape (n_steps + 1,)
        `sigma_t^2 = beta_tilde_t + c_t^2 m_t`, with c_t the factor of x_0 in mu_tilde.

    Raises
    ------
    InvalidInput
        If the errors are not n_steps + 1 numbers >= 0, or `decoder_variance` is negative.

    See Also
    --------
    denoising_error : The function that measures m_t.
    beta_variance : The upper limit for data of unit variance.

    Notes
    -----
    Unlike the estimate of Analytic-DPM (Bao et al. 2022), it does not assume that the denoiser is exact.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import optimal_variance
    >>> optimal_variance(NoiseSchedule.from_beta([0.1, 0.2]), torch.tensor([0.0, 0.1, 0.2])).round(decimals=4)
    tensor([0.0000, 0.1000, 0.1633], dtype=torch.float64)
    """
    if denoising_error.shape != schedule.log_snr.shape or not bool((denoising_error >= 0).all()):
        raise InvalidInput(
            f"denoising_error should be {schedule.n_steps + 1} numbers >= 0, but got shape "
            f"{tuple(denoising_error.shape)} and least value {float(denoising_error.min()):g}: "
            "measure it on the same schedule."
        )
    best = schedule.beta_tilde + schedule.x_0_weight**2 * denoising_error.to(schedule.beta_tilde)
    return _with_decoder(best, decoder_variance)


def _with_decoder(sigma_sq: Tensor, decoder_variance: float | None) -> Tensor:
    sigma_sq = sigma_sq.clone()
    if decoder_variance is not None:
        if not decoder_variance >= 0:
            raise InvalidInput(
                f"decoder_variance should be >= 0, but got {decoder_variance:g}: beta_1 is a usual choice."
            )
        sigma_sq[1] = decoder_variance
    return sigma_sq
