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
from typing import Any, Protocol

import torch
from torch import Tensor

from backwalk.diffusion.schedule import NoiseSchedule, at_time, refuse_steps, scales
from backwalk.errors import InvalidInput


class Denoiser(Protocol):
    """The posterior mean (x_t, log_snr) -> x_0_hat = E[x_0 | x_t], computed row by row.

    Any object with these two properties and this call can be sampled and scored. The result of a row may not depend on
    the other rows.

    See Also
    --------
    GaussianDenoiser : The exact denoiser of Gaussian data.
    GaussianMixtureDenoiser : The exact denoiser of a mixture.

    Examples
    --------
    >>> import torch
    >>> class OfZeros:  # of data that are 0 everywhere
    ...     log_snr_range = (-torch.inf, torch.inf)
    ...     device = torch.device("cpu")
    ...
    ...     def __call__(self, x_t, log_snr):
    ...         return torch.zeros_like(x_t)
    >>> from backwalk.diffusion import integrate_ode
    >>> x, error = integrate_ode(OfZeros(), torch.ones(1, 1), 20.0, 0.002, 8)
    >>> round(float(x), 3)
    0.002
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
        """Return the estimates of x_0.

        At a known coordinate, of log-SNR +inf, x_0_hat is x_t. At an absent one, -inf, it is the mean of x_0 given the
        other coordinates, whatever x_t holds there.

        Parameters
        ----------
        x_t : Tensor of shape (n, d)
            Noisy points, in the scaling sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.
        log_snr : Tensor of shape (), (n,) or (n, d)
            The log-SNR of all rows, of each row or of each coordinate.

        Returns
        -------
        Tensor of shape (n, d)
            The estimates x_0_hat, in the dtype and on the device of x_t.

        Raises
        ------
        InvalidInput
            For a log-SNR of each coordinate, if the denoiser has one noise level per row.
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
    refuse_steps(log_snr)
    if log_snr.ndim >= x_t.ndim:
        raise InvalidInput(
            f"log_snr should be () or (n,) for this denoiser, which has one noise level per row, but got shape "
            f"{tuple(log_snr.shape)}: use a denoiser in closed form, or condition on no columns."
        )


def denoise_at_time(denoiser: Denoiser, x_t: Tensor, t: int | Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the estimates of x_0 at a step of a schedule.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser.
    x_t : Tensor of shape (n, d)
        The noisy points.
    t : int or LongTensor of shape (n,)
        The step, of all rows or of each.
    schedule : NoiseSchedule
        The noise levels of the chain.

    Returns
    -------
    Tensor of shape (n, d)
        The estimates x_0_hat.

    See Also
    --------
    Denoiser : The interface, which takes a log-SNR.

    Examples
    --------
    >>> import torch
    >>> from backwalk import NoiseSchedule
    >>> from backwalk.diffusion import GaussianDenoiser, denoise_at_time
    >>> standard = GaussianDenoiser(torch.zeros(1), torch.eye(1))
    >>> denoise_at_time(standard, torch.ones(1, 1), 1, NoiseSchedule.from_beta([0.19, 0.5]))
    tensor([[0.9000]])
    """
    log_snr = at_time(schedule.log_snr, t, x_t)
    return denoiser(x_t, log_snr.squeeze(-1))


def check_denoiser(denoiser: Any) -> None:
    """Raise InvalidInput unless an object has what `Denoiser` asks for."""
    missing = [name for name in ("log_snr_range", "device") if not hasattr(denoiser, name)]
    if isinstance(denoiser, type) or not callable(denoiser) or missing:
        lacks = "be an instance" if isinstance(denoiser, type) else f"have {' and '.join(missing) or 'a __call__'}"
        raise InvalidInput(
            f"denoiser should be a function (x_t, log_snr) -> x_0_hat with a log_snr_range and a device, but got "
            f"{denoiser!r}: it should {lacks}, as the docstring of backwalk.diffusion.Denoiser shows."
        )


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
    """Raise InvalidInput unless the denoiser is one, and valid at every step of the schedule."""
    check_denoiser(denoiser)
    check_log_snr_range(denoiser, float(schedule.log_snr[-1]), float(schedule.log_snr[1]))


def x_0_from_eps(x_t: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Return the x_0 that x_t and the noise eps determine.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    eps : Tensor of shape (n, d)
        The noise.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `x_0 = (x_t - b eps) / a` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar).

    Raises
    ------
    InvalidInput
        At zero SNR, a = 0, where the noise says nothing about x_0.

    See Also
    --------
    eps_from_x_0 : The inverse.
    x_0_from_v : The x_0 that x_t and v determine.

    Notes
    -----
    Source: Ho et al. 2020, Eq. 15.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import x_0_from_eps
    >>> x_0_from_eps(torch.tensor([[2.2]]), torch.tensor([[1.0]]), torch.tensor(0.36 / 0.64).log().neg())
    tensor([[2.]])
    """
    a, b = scales(log_snr, x_t)
    return (x_t - b * eps) / refuse_no_signal(a)


def eps_from_x_0(x_t: Tensor, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Return the noise eps that x_t and x_0 determine.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    x_0 : Tensor of shape (n, d)
        The data points.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `eps = (x_t - a x_0) / b` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar).

    Raises
    ------
    InvalidInput
        Without noise, b = 0.

    See Also
    --------
    x_0_from_eps : The inverse.
    v_from_x_0 : The v that x_t and x_0 determine.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import eps_from_x_0
    >>> eps_from_x_0(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor(0.0))
    tensor([[1.8284]])
    """
    a, b = scales(log_snr, x_t)
    return (x_t - a * x_0) / _refuse_no_noise(b)


def x_0_from_v(x_t: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """Return the x_0 that x_t and v determine.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    v : Tensor of shape (n, d)
        `v = a eps - b x_0`.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `x_0 = a x_t - b v` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar).

    See Also
    --------
    v_from_x_0 : The inverse.
    x_0_from_eps : The x_0 that x_t and eps determine.

    Notes
    -----
    Source: Salimans & Ho 2022.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import x_0_from_v
    >>> x_0_from_v(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor(0.0))
    tensor([[0.7071]])
    """
    a, b = scales(log_snr, x_t)
    return a * x_t - b * v


def v_from_x_0(x_t: Tensor, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Return the v that x_t and x_0 determine.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    x_0 : Tensor of shape (n, d)
        The data points.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `v = (a x_t - x_0) / b` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar).

    Raises
    ------
    InvalidInput
        Without noise, b = 0.

    See Also
    --------
    x_0_from_v : The inverse.
    v_from_eps : The v that x_t and eps determine.

    Notes
    -----
    Source: Salimans & Ho 2022.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import v_from_x_0
    >>> v_from_x_0(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor(0.0))
    tensor([[0.5858]])
    """
    a, b = scales(log_snr, x_t)
    return (a * x_t - x_0) / _refuse_no_noise(b)


def eps_from_v(x_t: Tensor, v: Tensor, log_snr: Tensor) -> Tensor:
    """Return the noise eps that x_t and v determine.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    v : Tensor of shape (n, d)
        `v = a eps - b x_0`.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `eps = b x_t + a v` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar).

    See Also
    --------
    v_from_eps : The inverse.
    eps_from_x_0 : The eps that x_t and x_0 determine.

    Notes
    -----
    Source: Salimans & Ho 2022.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import eps_from_v
    >>> eps_from_v(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor(0.0))
    tensor([[2.1213]])
    """
    a, b = scales(log_snr, x_t)
    return b * x_t + a * v


def v_from_eps(x_t: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """Return the v that x_t and the noise eps determine.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    eps : Tensor of shape (n, d)
        The noise.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `v = (eps - b x_t) / a` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar).

    Raises
    ------
    InvalidInput
        At zero SNR, a = 0.

    See Also
    --------
    eps_from_v : The inverse.
    v_from_x_0 : The v that x_t and x_0 determine.

    Notes
    -----
    Source: Salimans & Ho 2022.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import v_from_eps
    >>> v_from_eps(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor(0.0))
    tensor([[-0.5858]])
    """
    a, b = scales(log_snr, x_t)
    return (eps - b * x_t) / refuse_no_signal(a)


def score_from_eps(eps: Tensor, log_snr: Tensor) -> Tensor:
    """Return the score, the gradient of ln q(x_t) by x_t, from the noise.

    Parameters
    ----------
    eps : Tensor of shape (n, d)
        The noise, or its estimate.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `-eps / b` with b = sqrt(1 - alpha_bar).

    Raises
    ------
    InvalidInput
        Without noise, b = 0.

    See Also
    --------
    score_from_x_0 : The score from x_0.

    Notes
    -----
    Source: Song et al. 2021 (SDE).

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import score_from_eps
    >>> score_from_eps(torch.tensor([[1.0]]), torch.tensor(0.0))
    tensor([[-1.4142]])
    """
    _, b = scales(log_snr, eps)
    return -eps / _refuse_no_noise(b)


def score_from_x_0(x_t: Tensor, x_0: Tensor, log_snr: Tensor) -> Tensor:
    """Return the score, the gradient of ln q(x_t) by x_t, from x_0.

    Parameters
    ----------
    x_t : Tensor of shape (n, d)
        The noisy points.
    x_0 : Tensor of shape (n, d)
        The data points, or their estimates.
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of all rows, of each row or of each coordinate.

    Returns
    -------
    Tensor of shape (n, d)
        `(a x_0 - x_t) / b^2` with a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar) (Tweedie's formula).

    Raises
    ------
    InvalidInput
        Without noise, b = 0.

    See Also
    --------
    score_from_eps : The score from the noise.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import score_from_x_0
    >>> score_from_x_0(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor(0.0))
    tensor([[-2.5858]])
    """
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
