"""The noise schedule: how much signal is left after t steps of the forward process.

A schedule is one array: `log_snr[t]`, the logarithm of the signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), for
t = 0..n_steps. It decreases from +inf (clean data, t = 0). All other arrays are computed from it without cancellation:
with `lost = 1 - SNR_t / SNR_{t-1}`, the share of the signal-to-noise ratio that step t destroys,
beta_t = (1 - alpha_bar_t) lost and beta_tilde_t = (1 - alpha_bar_{t-1}) lost, to full relative precision at both ends
of the chain. Every array is float64 and has length n_steps + 1; index 0 stands for clean data.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from backwalk.errors import InvalidInput
from backwalk.threads import on_one_thread
from backwalk.torch_state import in_initial_torch_state

_FARTHEST_LOG_SNR = 700.0


class _Array(cached_property[Tensor]):
    """An array that follows from a schedule's log-SNRs, computed at first use and on one thread."""

    def __init__(self, function: Callable[[Any], Tensor]) -> None:
        super().__init__(on_one_thread(function))


@dataclass(frozen=True, eq=False, repr=False)
class NoiseSchedule:
    """The noise levels of a chain of n_steps steps, as log signal-to-noise ratios.

    All other arrays, such as `alpha_bar` and `beta`, follow from `log_snr`. Each is float64, of shape (n_steps + 1,),
    and index 0 stands for clean data.

    Parameters
    ----------
    log_snr : Tensor of shape (n_steps + 1,)
        The logarithm of alpha_bar_t / (1 - alpha_bar_t) for t = 0..n_steps: strictly decreasing, with log_snr[0] = +inf
        and the others within 700 of 0. The last may also be -inf, where x_N is pure noise. The tensor is copied.

    Raises
    ------
    InvalidInput
        If the values are not such a sequence.

    See Also
    --------
    backwalk.Diffusion : The estimator, which takes a schedule as `schedule`.
    backwalk.diffusion.evenly_spaced : The steps of a chain that a shorter chain visits.

    Examples
    --------
    >>> from backwalk import NoiseSchedule
    >>> schedule = NoiseSchedule.linear(100)
    >>> schedule
    NoiseSchedule(100 steps, log-SNR 6.91 to -0.63)
    >>> round(float(schedule.alpha_bar[100]), 4)
    0.3475
    """

    log_snr: Tensor

    @in_initial_torch_state
    def __post_init__(self) -> None:
        log_snr = in_float64(torch.as_tensor(self.log_snr).detach()).clone()
        object.__setattr__(self, "log_snr", log_snr)
        if log_snr.ndim != 1 or len(log_snr) < 2:
            raise InvalidInput(
                f"log_snr should be one row of at least 2 values, but got shape {tuple(log_snr.shape)}: "
                "give +inf for t = 0 and then one value per step."
            )
        if log_snr[0] != math.inf:
            raise InvalidInput(
                f"log_snr[0] should be +inf, as x_0 is clean data, but got {log_snr[0]:g}: put +inf before the steps."
            )
        rising = torch.nonzero(~(log_snr[1:] < log_snr[:-1])).flatten()  # also true where a value is NaN
        if len(rising):
            t = int(rising[0]) + 1
            raise InvalidInput(
                f"log_snr should decrease strictly, but got {log_snr[t]:g} at t = {t} after {log_snr[t - 1]:g}: "
                "remove repeated steps, or use fewer steps."
            )
        far = torch.nonzero(log_snr[1:].abs().gt(_FARTHEST_LOG_SNR) & log_snr[1:].isfinite()).flatten()
        if len(far):
            t = int(far[0]) + 1
            raise InvalidInput(
                f"log_snr should lie within {_FARTHEST_LOG_SNR:g} of 0, or end at -inf, as its exponential would "
                f"overflow, but got {log_snr[t]:g} at t = {t}: use fewer steps or smaller betas."
            )

    @classmethod
    @in_initial_torch_state
    @on_one_thread
    def linear(cls, n_steps: int, beta_min: float = 1e-3, beta_max: float = 0.02) -> NoiseSchedule:
        """Return the schedule whose beta_t rises linearly.

        Parameters
        ----------
        n_steps : int
            The number of steps N.
        beta_min : float, default=1e-3
            The variance beta_1 of the first step. A single step has it too.
        beta_max : float, default=0.02
            The variance beta_N of the last step.

        Returns
        -------
        NoiseSchedule
            The schedule.

        Notes
        -----
        The betas do not depend on n_steps, so more steps destroy more of the signal. Ho et al. 2020 take 1e-4 to 0.02
        over 1,000 steps.
        """
        return cls.from_beta(torch.linspace(beta_min, beta_max, _checked_n_steps(n_steps), dtype=torch.float64))

    @classmethod
    @in_initial_torch_state
    @on_one_thread
    def cosine(cls, n_steps: int, *, offset: float = 0.008, beta_max: float = 0.999) -> NoiseSchedule:
        """Return the schedule whose alpha_bar_t follows a squared cosine from 1 to 0.

        Parameters
        ----------
        n_steps : int
            The number of steps N.
        offset : float, default=0.008
            The offset of the cosine's argument, >= 0. It makes the first steps larger.
        beta_max : float, default=0.999
            The largest beta_t. It changes the last steps only.

        Returns
        -------
        NoiseSchedule
            The schedule.

        Notes
        -----
        `alpha_bar_t = f(t) / f(0)` with `f(t) = cos^2((t / n_steps + offset) / (1 + offset) pi / 2)`.

        Source: Nichol & Dhariwal 2021.
        """
        if offset < 0:
            raise InvalidInput(f"offset should be >= 0, but got {offset:g}: the paper's value is 0.008.")
        grid = torch.arange(_checked_n_steps(n_steps) + 1, dtype=torch.float64) / n_steps
        angle = (grid + offset) / (1 + offset) * (math.pi / 2)
        before, after = angle[:-1], angle[1:]
        # 1 - cos^2(after) / cos^2(before), written as a product so that small betas keep their digits.
        beta = torch.sin(after + before) * torch.sin(after - before) / torch.cos(before) ** 2
        return cls.from_beta(beta.clamp(max=beta_max))

    @classmethod
    @in_initial_torch_state
    @on_one_thread
    def log_snr_uniform(cls, n_steps: int, *, log_snr_max: float, log_snr_min: float) -> NoiseSchedule:
        """Return the schedule whose log-SNR falls evenly.

        Parameters
        ----------
        n_steps : int
            The number of steps N, at least 2.
        log_snr_max : float
            The log-SNR at t = 1.
        log_snr_min : float
            The log-SNR at t = n_steps, below `log_snr_max`.

        Returns
        -------
        NoiseSchedule
            The schedule.

        Raises
        ------
        InvalidInput
            For fewer than 2 steps, or if the range is empty or infinite.
        """
        if _checked_n_steps(n_steps) < 2:
            raise InvalidInput(
                f"n_steps should be at least 2 to span a range of log-SNR, but got {n_steps}: add a step."
            )
        if not -math.inf < log_snr_min < log_snr_max < math.inf:
            raise InvalidInput(
                f"log_snr_min should lie below log_snr_max, both finite, but got {log_snr_min:g} and {log_snr_max:g}: "
                "swap them, or widen the range."
            )
        return cls._from_steps(torch.linspace(log_snr_max, log_snr_min, n_steps, dtype=torch.float64))

    @classmethod
    @in_initial_torch_state
    @on_one_thread
    def from_beta(cls, beta: Sequence[float] | Tensor) -> NoiseSchedule:
        """Return the schedule of given variances beta_1..beta_N.

        Parameters
        ----------
        beta : sequence of float or Tensor of shape (n_steps,)
            The variances that the steps add, each in (0, 1). The last may be 1, which is zero terminal SNR.

        Returns
        -------
        NoiseSchedule
            The schedule.

        Raises
        ------
        InvalidInput
            If a variance lies outside its range.

        Examples
        --------
        >>> from backwalk import NoiseSchedule
        >>> NoiseSchedule.from_beta([0.1, 0.5, 1.0])
        NoiseSchedule(3 steps, log-SNR 2.2 to -inf)
        """
        beta = torch.as_tensor(beta, dtype=torch.float64)
        if beta.ndim != 1 or not len(beta):
            raise InvalidInput(f"beta should be one row of variances, but got shape {tuple(beta.shape)}: flatten it.")
        inside = (beta > 0) & (beta < 1)
        inside[-1] |= beta[-1] == 1
        if not bool(inside.all()):
            t = int((~inside).nonzero()[0]) + 1
            raise InvalidInput(
                f"beta should lie in (0, 1), or be 1 at the last step, but got {beta[t - 1]:g} at t = {t}: give the "
                "share of the variance that becomes noise in this step, in `linear` by beta_min and beta_max."
            )
        log_alpha_bar = torch.log1p(-beta).cumsum(0)
        return cls._from_steps(log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar)))

    @classmethod
    @in_initial_torch_state
    @on_one_thread
    def from_noise_levels(cls, levels: Sequence[float] | Tensor) -> NoiseSchedule:
        """Return the schedule of given noise levels.

        Parameters
        ----------
        levels : sequence of float or Tensor of shape (n_steps,)
            Karras' sigma at t = 1..n_steps: the standard deviation of the noise on unscaled data. They are > 0 and
            increase.

        Returns
        -------
        NoiseSchedule
            The schedule, with `log_snr = -2 ln(level)`.

        Raises
        ------
        InvalidInput
            If the levels are not > 0 and increasing.

        Notes
        -----
        Source: Karras et al. 2022, for the notion of a noise level.
        """
        levels = torch.as_tensor(levels, dtype=torch.float64)
        if levels.ndim != 1 or not len(levels):
            raise InvalidInput(
                f"noise levels should be one row of numbers, but got shape {tuple(levels.shape)}: flatten it."
            )
        if not bool((levels > 0).all()):
            raise InvalidInput(f"noise levels should be > 0, but got {levels.min():g}: t = 0 is added by the schedule.")
        return cls._from_steps(-2.0 * levels.log())

    @classmethod
    def _from_steps(cls, log_snr: Tensor) -> NoiseSchedule:
        return cls(torch.cat([log_snr.new_tensor([math.inf]), log_snr]))

    @in_initial_torch_state
    def respace(self, times: Sequence[int] | Tensor) -> NoiseSchedule:
        """Return the shorter schedule that visits some steps of this one.

        As a short chain is a schedule too, the step before t is always t - 1.

        Parameters
        ----------
        times : sequence of int or LongTensor of shape (k,)
            The visited steps, increasing within 1..n_steps and ending at n_steps. 0, where every chain ends, is left
            out.

        Returns
        -------
        NoiseSchedule
            The schedule of k steps, whose t = 1 is times[0], and so on.

        Raises
        ------
        InvalidInput
            If `times` is not such a sequence.

        See Also
        --------
        backwalk.diffusion.evenly_spaced : Times that are spread evenly.

        Examples
        --------
        >>> from backwalk import NoiseSchedule
        >>> from backwalk.diffusion import evenly_spaced
        >>> NoiseSchedule.linear(100).respace(evenly_spaced(100, 3))
        NoiseSchedule(3 steps, log-SNR 1.94 to -0.63)
        """
        steps = [operator.index(t) for t in times]
        if not steps or steps[0] < 1 or steps[-1] != self.n_steps or any(t <= s for s, t in pairwise(steps)):
            raise InvalidInput(
                f"times should increase within 1..{self.n_steps} and end at {self.n_steps}, but got {steps}: "
                "evenly_spaced(n_steps, k) gives such times."
            )
        return self._from_steps(self.log_snr[steps])

    @property
    def n_steps(self) -> int:
        """The number N of steps of the chain."""
        return len(self.log_snr) - 1

    @_Array
    def alpha_bar(self) -> Tensor:
        """The signal's share of the variance of x_t, for data of unit variance: 1 at t = 0."""
        return torch.sigmoid(self.log_snr)

    @_Array
    def one_minus_alpha_bar(self) -> Tensor:
        """The variance of the noise in x_t: 0 at t = 0, to full relative precision everywhere."""
        return torch.sigmoid(-self.log_snr)

    @_Array
    def snr(self) -> Tensor:
        """The signal-to-noise ratio alpha_bar / (1 - alpha_bar): +inf at t = 0."""
        return self.log_snr.exp()

    @_Array
    def noise_level(self) -> Tensor:
        """Karras' sigma, sqrt((1 - alpha_bar) / alpha_bar): 0 at t = 0."""
        return torch.exp(-0.5 * self.log_snr)

    @_Array
    def alpha(self) -> Tensor:
        """The share of the signal's variance that step t keeps: alpha_bar_t / alpha_bar_{t-1} = 1 - beta_t."""
        log_alpha_bar = logsigmoid(self.log_snr)
        return _after_index_0(1.0, torch.exp(log_alpha_bar[1:] - log_alpha_bar[:-1]))

    @_Array
    def beta(self) -> Tensor:
        """The variance that step t of the forward process adds."""
        return _after_index_0(0.0, self.one_minus_alpha_bar[1:] * self._lost)

    @_Array
    def beta_tilde(self) -> Tensor:
        """The variance of q(x_{t-1} | x_t, x_0): beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t), so 0 at t = 1.

        Source: Ho et al. 2020, Eq. 7.
        """
        return _after_index_0(0.0, self.one_minus_alpha_bar[:-1] * self._lost)

    @_Array
    def snr_drop(self) -> Tensor:
        """SNR_{t-1} - SNR_t, the loss in step t: +inf at t = 1."""
        return _after_index_0(0.0, self.snr[:-1] * self._lost)

    @_Array
    def x_0_weight(self) -> Tensor:
        """The factor of x_0 in mu_tilde: sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t), so 1 at t = 1.

        Its square is snr_drop * beta_tilde. Source: Ho et al. 2020, Eq. 7.
        """
        return _after_index_0(0.0, self.alpha_bar[:-1].sqrt() * self._lost)

    @_Array
    def x_t_weight(self) -> Tensor:
        """The factor of x_t in mu_tilde: sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t), so 0 at t = 1.

        Source: Ho et al. 2020, Eq. 7.
        """
        noise = self.one_minus_alpha_bar
        return _after_index_0(1.0, self.alpha[1:].sqrt() * noise[:-1] / noise[1:])

    @_Array
    def _lost(self) -> Tensor:
        return -torch.expm1(self.log_snr[1:] - self.log_snr[:-1])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoiseSchedule) and torch.equal(self.log_snr, other.log_snr)

    def __hash__(self) -> int:
        return hash(tuple(self.log_snr.tolist()))

    def __repr__(self) -> str:
        return f"NoiseSchedule({self.n_steps} steps, log-SNR {self.log_snr[1]:.3g} to {self.log_snr[-1]:.3g})"


def evenly_spaced(n_steps: int, k: int) -> list[int]:
    """Return k times of a chain that are spread evenly.

    Parameters
    ----------
    n_steps : int
        The number of steps of the chain.
    k : int
        The number of times, 1..n_steps.

    Returns
    -------
    list of int
        `round(i n_steps / k)` for i = 1..k.

    Raises
    ------
    InvalidInput
        If k lies outside 1..n_steps.

    See Also
    --------
    NoiseSchedule.respace : The chain that visits them.
    backwalk.NoiseSchedule.respace : The schedule of these times.

    Examples
    --------
    >>> from backwalk.diffusion import evenly_spaced
    >>> evenly_spaced(100, 3)
    [33, 67, 100]
    """
    if not 1 <= k <= n_steps:
        raise InvalidInput(f"k should lie in 1..{n_steps}, but got {k}: a chain has no more steps than its schedule.")
    return [(2 * i * n_steps + k) // (2 * k) for i in range(1, k + 1)]


def scales(log_snr: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a = sqrt(alpha_bar) and b = sqrt(1 - alpha_bar), shaped to multiply x, (n, d), in its dtype and device.

    Neither is computed as a difference from 1, so both are exact at both ends. `log_snr` is (), (n,) or (n, d).

    >>> import torch
    >>> from backwalk.diffusion import scales
    >>> scales(torch.tensor([-100.0, 0.0, 100.0], dtype=torch.float64), torch.zeros(3, 1))[1].flatten()
    tensor([1.0000e+00, 7.0711e-01, 1.9287e-22])
    """
    refuse_steps(log_snr)
    column = log_snr.unsqueeze(-1) if log_snr.ndim == 1 else log_snr
    return torch.sigmoid(column).sqrt().to(x), torch.sigmoid(-column).sqrt().to(x)


def refuse_steps(log_snr: Any) -> None:
    """Raise InvalidInput where a step t, or another number, stands in place of a tensor of log-SNRs."""
    if not isinstance(log_snr, Tensor) or not log_snr.is_floating_point():
        raise InvalidInput(
            f"log_snr should be a tensor of log-SNRs, but got {log_snr!r}: for a step t give schedule.log_snr[t]."
        )


def at_time(array: Tensor, t: int | Tensor, x: Tensor, *, least: int = 0) -> Tensor:
    """Return array[t] in the dtype and on the device of x, shaped to multiply x.

    `array` is (n_steps + 1,), x is (n, d). An integer t gives shape (); a LongTensor t of shape (n,) gives (n, 1).

    Raises InvalidInput unless every t lies in `least`..n_steps, as a negative index would count from the end.
    """
    n_steps = len(array) - 1
    first, last = (int(t.min()), int(t.max())) if isinstance(t, Tensor) else (t, t)
    if first < least or last > n_steps:
        raise InvalidInput(
            f"t should lie in {least}..{n_steps}, but got {first if first < least else last}: use the chain's steps."
        )
    if not isinstance(t, Tensor):
        return array[t].to(x)
    values = array.to(x)[t]
    return values.unsqueeze(-1) if values.ndim == 1 else values


def in_float64(x: Tensor) -> Tensor:
    """Return x in float64 on the CPU: moved first, as some accelerators have no float64."""
    return x.to("cpu").to(torch.float64)


def _after_index_0(first: float, steps: Tensor) -> Tensor:
    return torch.cat([steps.new_tensor([first]), steps])


def _checked_n_steps(n_steps: int) -> int:
    if operator.index(n_steps) < 1:
        raise InvalidInput(f"n_steps should be at least 1, but got {n_steps}: a chain needs a step.")
    return n_steps
