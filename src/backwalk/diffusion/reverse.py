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
    """Return the reverse mean mu_theta, which is mu_tilde with x_0_hat in the place of x_0."""
    return q_posterior(x_t, x_0, t, schedule).mean


def mu_from_eps(x_t: Tensor, eps: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return mu_theta = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t). Source: Ho et al. 2020, Eq. 11."""
    noise = at_time(schedule.beta / schedule.one_minus_alpha_bar.sqrt(), t, x_t, least=1) * eps
    return (x_t - noise) / refuse_no_signal(at_time(schedule.alpha, t, x_t).sqrt())


def p_transition(
    denoiser: Denoiser, x_t: Tensor, t: int | Tensor, schedule: NoiseSchedule, sigma_sq: Tensor
) -> Gaussian:
    """Return p_theta(x_{t-1} | x_t) = N(mu_theta(x_t, t), sigma_t^2 I), with x_t of shape (n, d).

    Source: Ho et al. 2020, Eq. 1.
    """
    x_0_hat = denoise_at_time(denoiser, x_t, t, schedule)
    return Gaussian(mu_from_x_0(x_t, x_0_hat, t, schedule), at_time(sigma_sq, t, x_t))


def beta_variance(schedule: NoiseSchedule, *, decoder_variance: float | None = None) -> Tensor:
    """Return sigma_t^2 = beta_t, right for data that are standard normal: (n_steps + 1,).

    `decoder_variance` replaces entry 1, which is beta_1 otherwise. Source: Ho et al. 2020.
    """
    return _with_decoder(schedule.beta, decoder_variance)


def beta_tilde_variance(schedule: NoiseSchedule, *, decoder_variance: float | None = None) -> Tensor:
    """Return sigma_t^2 = beta_tilde_t, right for data that are a single point: (n_steps + 1,).

    `decoder_variance` becomes entry 1, which is beta_1 otherwise, as beta_tilde_1 = 0. Source: Ho et al. 2020.

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
    """Return the scalar variances that minimise the bound: sigma_t^2 = beta_tilde_t + c_t^2 m_t, (n_steps + 1,).

    m_t is `denoising_error`, (n_steps + 1,), the mean of |x_0 - x_0_hat|^2 / d; c_t is the factor of x_0 in mu_tilde.
    At t = 1 this is m_1 unless `decoder_variance` is given. Unlike Analytic-DPM's estimate (Bao et al. 2022) it does
    not assume that the denoiser is exact. Measure m_t on other rows than those of the reported bound.
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
