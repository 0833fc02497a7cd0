"""The chain on Gaussian data with a perfect denoiser, in closed form.

For x_0 ~ N(m, S) every x_t is Gaussian with covariance C_t = alpha_bar_t S + (1 - alpha_bar_t) I, the best denoiser
is linear, so each reverse step is x_{t-1} = A_t x_t + b_t + noise, and the generated density, the bound and each of
its terms follow by matrix algebra. Simulations of the same quantities are tested against them. They also show the
errors that training cannot remove: those of the schedule, the number of steps and the reverse variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from backwalk.diffusion.schedule import NoiseSchedule, in_float64


@dataclass(frozen=True, eq=False)
class GaussianChain:
    """The chain on `schedule` for data N(mean, covariance), (d,) and (d, d), with reverse variances `sigma_sq`.

    Everything is float64 and in nats per row.

    >>> from backwalk.diffusion.reverse import beta_variance
    >>> schedule = NoiseSchedule.linear(100)
    >>> chain = GaussianChain(torch.zeros(1), torch.eye(1), schedule, beta_variance(schedule))
    >>> round(chain.expected_bound(), 4)  # N(0, 1) is generated exactly, so this is its entropy
    1.4189
    """

    mean: Tensor
    covariance: Tensor
    schedule: NoiseSchedule
    sigma_sq: Tensor

    def __post_init__(self) -> None:
        for name in ("mean", "covariance", "sigma_sq"):
            object.__setattr__(self, name, in_float64(getattr(self, name).detach()))

    @property
    def d(self) -> int:
        """The number of dimensions."""
        return len(self.mean)

    def generated_marginal(self, *, noise_at_last_step: bool = False) -> tuple[Tensor, Tensor]:
        """Return the mean (d,) and covariance (d, d) of the x_0 that ancestral sampling generates from N(0, I).

        Without noise in the step to t = 0 that is the sampler's density; with it, of variance sigma_sq[1], it is
        p_theta(x_0), the density that the bound is about. M <- A_t M + b_t, P <- A_t P A_t' + sigma_t^2 I.
        """
        mean, covariance = torch.zeros_like(self.mean), self._identity
        for t in range(self.schedule.n_steps, 0, -1):
            slope, offset = self._reverse_mean(t)
            mean = slope @ mean + offset
            covariance = slope @ covariance @ slope.T
            if t > 1 or noise_at_last_step:
                covariance = covariance + self.sigma_sq[t] * self._identity
        return mean, covariance

    def ddim_marginal(self) -> tuple[Tensor, Tensor]:
        """Return the mean (d,) and covariance (d, d) of what DDIM with eta = 0 generates from N(0, I), to t = 0.

        With ab for alpha_bar and s = t - 1, K = [sqrt(ab_s ab_t) S + sqrt((1 - ab_s)(1 - ab_t)) I] C_t^-1;
        M <- sqrt(ab_s) m + K (M - sqrt(ab_t) m); P <- K P K'.

        Source: Song, Meng & Ermon 2021 (DDIM), for the sampler.
        """
        signal, noise = self.schedule.alpha_bar, self.schedule.one_minus_alpha_bar
        mean, covariance = torch.zeros_like(self.mean), self._identity
        for t in range(self.schedule.n_steps, 0, -1):
            kept = (signal[t - 1] * signal[t]).sqrt() * self.covariance
            kept = kept + (noise[t - 1] * noise[t]).sqrt() * self._identity
            slope = torch.linalg.solve(self._marginal_covariance(t), kept)  # the two matrices commute
            mean = signal[t - 1].sqrt() * self.mean + slope @ (mean - signal[t].sqrt() * self.mean)
            covariance = slope @ covariance @ slope.T
        return mean, covariance

    def prior_term(self, x_0: Tensor) -> Tensor:
        """Return L_N of each row of x_0, (n, d): (n,)."""
        signal = self.schedule.alpha_bar[-1]
        log_noise = torch.log(self.schedule.one_minus_alpha_bar[-1])
        return 0.5 * (signal * x_0.double().square().sum(1) - self.d * signal - self.d * log_noise)

    def transition_term(self, x_0: Tensor, t: int) -> Tensor:
        """Return L_{t-1} of each row of x_0, (n, d), for t >= 2, averaged over the noise: (n,).

        (d/2) (beta_tilde_t / sigma_t^2 - 1 + ln(sigma_t^2 / beta_tilde_t))
        + beta_t^2 G_t / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)), with G_t the loss that `simple_loss` returns.
        """
        variance, beta_tilde = self.sigma_sq[t], self.schedule.beta_tilde[t]
        constant = 0.5 * self.d * (beta_tilde / variance - 1.0 + torch.log(variance / beta_tilde))
        # G_t / alpha_t is written as alpha_bar_{t-1} G_t / alpha_bar_t, which is defined at zero SNR too.
        weight = self.schedule.beta[t] ** 2 * self.schedule.alpha_bar[t - 1] / self.schedule.one_minus_alpha_bar[t]
        return constant + weight * self._loss_over_signal(x_0, t) / (2.0 * variance)

    def reconstruction_term(self, x_0: Tensor) -> Tensor:
        """Return L_0 of each row of x_0, (n, d), averaged over the noise: (n,).

        (d/2) ln(2 pi sigma_1^2) + beta_1 G_1 / (2 sigma_1^2 alpha_1).
        """
        variance = self.sigma_sq[1]
        squares = self.schedule.beta[1] * self._loss_over_signal(x_0, 1) / (2.0 * variance)
        return 0.5 * self.d * torch.log(2.0 * math.pi * variance) + squares

    def simple_loss(self, x_0: Tensor, t: int) -> Tensor:
        """Return G_t = E|eps - eps*|^2 of each row of x_0, (n, d), averaged over the noise: (n,).

        G_t = alpha_bar_t^2 tr(S^2 C_t^-2) + alpha_bar_t (1 - alpha_bar_t) (x_0 - m)' C_t^-2 (x_0 - m).
        """
        return self.schedule.alpha_bar[t] * self._loss_over_signal(x_0, t)

    def least_simple_loss(self, t: int) -> float:
        """Return the least mean of `simple_loss` at t that any denoiser reaches: alpha_bar_t tr(S C_t^-1)."""
        solved = torch.linalg.solve(self._marginal_covariance(t), self.covariance)
        return float(self.schedule.alpha_bar[t] * solved.trace())

    def expected_bound(self) -> float:
        """Return E[L] over x_0 ~ N(m, S), from covariances alone.

        Half of ln det(2 pi e S) + [alpha_bar_N |m|^2 + tr C_N - d - ln det C_N]
        + sum_t [tr V_t / sigma_t^2 - d - ln det(V_t / sigma_t^2)], with V_t = beta_t C_{t-1} C_t^-1 the true reverse
        covariance: the data's entropy, the prior mismatch, and an excess for every step. The determinants cancel, from
        C_0 = S to C_N, but for those of beta_t I: so S may be singular.
        """
        last = self._marginal_covariance(self.schedule.n_steps)
        total = self.schedule.alpha_bar[-1] * self.mean.square().sum() + last.trace()
        total = total + self.d * (math.log(2.0 * math.pi * math.e) - 1.0)
        for t in range(1, self.schedule.n_steps + 1):
            scale = self.schedule.beta[t] / self.sigma_sq[t]
            ratio = scale * torch.linalg.solve(self._marginal_covariance(t), self._marginal_covariance(t - 1))
            total = total + ratio.trace() - self.d - self.d * torch.log(scale)
        return 0.5 * float(total)

    @property
    def _identity(self) -> Tensor:
        return torch.eye(self.d, dtype=torch.float64)

    def _marginal_covariance(self, t: int) -> Tensor:
        signal, noise = self.schedule.alpha_bar[t], self.schedule.one_minus_alpha_bar[t]
        return signal * self.covariance + noise * self._identity

    def _reverse_mean(self, t: int) -> tuple[Tensor, Tensor]:
        """Return A_t = [sqrt(alpha_t) C_{t-1}] C_t^-1 and b_t = beta_t sqrt(alpha_bar_{t-1}) C_t^-1 m.

        A_t is (I - beta_t C_t^-1) / sqrt(alpha_t) without the division by alpha_t, which is 0 at zero terminal SNR.
        """
        marginal = self._marginal_covariance(t)
        slope = torch.linalg.solve(marginal, self.schedule.alpha[t].sqrt() * self._marginal_covariance(t - 1))
        offset = self.schedule.beta[t] * self.schedule.alpha_bar[t - 1].sqrt() * torch.linalg.solve(marginal, self.mean)
        return slope, offset

    def _loss_over_signal(self, x_0: Tensor, t: int) -> Tensor:
        marginal = self._marginal_covariance(t)
        gain: Tensor = torch.linalg.solve(marginal, self.covariance)
        offset: Tensor = torch.linalg.solve(marginal, (x_0.double() - self.mean).T)
        from_noise = self.schedule.alpha_bar[t] * gain.square().sum()
        return from_noise + self.schedule.one_minus_alpha_bar[t] * offset.square().sum(0)
