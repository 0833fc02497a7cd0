"""The `Denoiser` protocol, and conversions between the quantities that a network may predict.

With a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar), x_t = a x_0 + b eps. Given x_t and the noise level, any one of
x_0, eps, v = a eps - b x_0, the score -eps / b and the reverse mean mu_theta determines the others. A `Denoiser`
returns x_0_hat = E[x_0 | x_t], so samplers, bound and likelihood do not depend on what the network inside it predicts.

Every function takes the log-SNR in one of three shapes: () for all rows, (n,) for one level per row, or (n, d) for one
level per coordinate. In the last shape a and b are diagonal matrices, and their ends have a meaning: a coordinate at
+inf is known (a = 1, b = 0, so x_t is x_0), one at -inf is absent (a = 0, b = 1, so x_t carries no signal).

Conversions that divide by a (or b) raise InvalidInput where a = 0 (or b = 0). At zero SNR the noise says nothing about
x_0, so a network that predicts eps cannot be used there; one that predicts x_0 or v can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from backwalk.diffusion.schedule import NoiseSchedule, at_time, scales
from backwalk.errors import InvalidInput


class Denoiser(Protocol):
    """The posterior mean (x_t, log_snr) -> x_0_hat = E[x_0 | x_t], computed row by row.

    No row's result may depend on the other rows.
    """

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """The least and the greatest log-SNR of the noisy coordinates at which the denoiser is valid."""
        ...

    @property
    def device(self) -> torch.device:
        """The device on which x_t should lie."""
        ...

    def __call__(self, x_t: Tensor, log_snr: Tensor, /) -> Tensor:
        """Return x_0_hat, (n, d), in the dtype and on the device of x_t.

        `x_t` is (n, d), in variance-preserving scaling sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps. `log_snr` is (),
        (n,) or (n, d). At a known coordinate, +inf, x_0_hat is x_t; at an absent one, -inf, x_0_hat is the mean of x_0
        given the other coordinates, whatever x_t holds there. A denoiser that has one level per row raises InvalidInput
        for (n, d): see `refuse_levels_per_coordinate`.
        """
        ...


@dataclass(frozen=True, eq=False)
class WrappedDenoiser:
    """The base of denoisers that are made of another `denoiser`: its range and its device."""

    denoiser: Denoiser

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """The range of the wrapped denoiser."""
        return self.denoiser.log_snr_range

    @property
    def device(self) -> torch.device:
        """The device of the wrapped denoiser."""
        return self.denoiser.device


def refuse_levels_per_coordinate(log_snr: Tensor, x_t: Tensor) -> None:
    """Raise InvalidInput where log_snr is (n, d), for denoisers that were trained with one noise level per row."""
    if log_snr.ndim >= x_t.ndim:
        raise InvalidInput(
            f"log_snr should be () or (n,) for this denoiser, which has one noise level per row, but got shape "
            f"{tuple(log_snr.shape)}: use a denoiser in closed form, or condition on no columns."
        )


def denoise_at_time(denoiser: Denoiser, x_t: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return x_0_hat at step t of a schedule: (n, d)."""
    log_snr = at_time(schedule.log_snr, t, x_t)
    return denoiser(x_t, log_snr.squeeze(-1))


def check_log_snr_range(denoiser: Denoiser, log_snr_min: float, log_snr_max: float) -> None:
    """Raise InvalidInput unless the denoiser is valid from `log_snr_min` to `log_snr_max`."""
    low, high = denoiser.log_snr_range
    slack = 1e-5  # a range and a schedule that state the same level may differ by rounding to float32
    if log_snr_min < low - slack * abs(low) or log_snr_max > high + slack * abs(high):
        raise InvalidInput(
            f"log-SNR should stay within {low:g}..{high:g}, where this denoiser is valid, "
            f"but got {log_snr_min:g}..{log_snr_max:g}: choose a schedule or noise levels inside that range."
        )


def check_schedule(denoiser: Denoiser, schedule: NoiseSchedule) -> None:
    """Raise InvalidInput unless the denoiser is valid at every step of the schedule."""
    check_log_snr_range(denoiser, float(schedule.log_snr[-1]), float(schedule.log_snr[1]))


def x_0_from_eps(x_t: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Return x_0 = (x_t - b eps) / a. Source: Ho et al. 2020, Eq. 15."""
    a, b = scales(log_snr, x_t)
    return (x_t - b * eps) / refuse_no_signal(a)


def eps_from_x_0(x_t: Tensor, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Return eps = (x_t - a x_0) / b."""
    a, b = scales(log_snr, x_t)
    return (x_t - a * x_0) / _refuse_no_noise(b)


def x_0_from_v(x_t: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """Return x_0 = a x_t - b v. Source: Salimans & Ho 2022."""
    a, b = scales(log_snr, x_t)
    return a * x_t - b * v


def v_from_x_0(x_t: Tensor, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Return v = (a x_t - x_0) / b. Source: Salimans & Ho 2022."""
    a, b = scales(log_snr, x_t)
    return (a * x_t - x_0) / _refuse_no_noise(b)


def eps_from_v(x_t: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """Return eps = b x_t + a v. Source: Salimans & Ho 2022."""
    a, b = scales(log_snr, x_t)
    return b * x_t + a * v


def v_from_eps(x_t: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Return v = (eps - b x_t) / a. Source: Salimans & Ho 2022."""
    a, b = scales(log_snr, x_t)
    return (eps - b * x_t) / refuse_no_signal(a)


def score_from_eps(eps: Tensor, log_snr: Tensor) -> Tensor:
    """Return the gradient of ln q(x_t) by x_t, -eps / b. Source: Song et al. 2021 (SDE)."""
    _, b = scales(log_snr, eps)
    return -eps / _refuse_no_noise(b)


def score_from_x_0(x_t: Tensor, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Return the gradient of ln q(x_t) by x_t, (a x_0 - x_t) / b^2 (Tweedie's formula)."""
    a, b = scales(log_snr, x_t)
    return (a * x_0 - x_t) / _refuse_no_noise(b) ** 2


def refuse_no_signal(a: Tensor) -> Tensor:
    """Return the factor a of the signal. Raises InvalidInput where it is 0."""
    if bool((a == 0).any()):
        raise InvalidInput(
            "log-SNR should be above -inf to divide by the signal, but got zero SNR: predict x_0 or v, "
            "or end the schedule at a finite log-SNR."
        )
    return a


def _refuse_no_noise(b: Tensor) -> Tensor:
    if bool((b == 0).any()):
        raise InvalidInput("log-SNR should be below +inf to divide by the noise, but got no noise: use t >= 1.")
    return b
