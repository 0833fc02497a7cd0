"""From a network to a denoiser: adapters that turn what a network predicts into x_0_hat = E[x_0 | x_t].

Each adapter knows one parametrisation and hides it: samplers, bound, likelihood and training see a `Denoiser`. With
a = sqrt(alpha_bar), b = sqrt(1 - alpha_bar) and the noise level s = b / a:

- `NoiseDenoiser`: the network sees (x_t, t/N) and predicts eps, so x_0_hat = (x_t - b eps) / a. The notebook's choice.
- `ResidualDenoiser`: x_0_hat = a x_t + b g F(x_t, ln q / 4), where a x_t is the best guess for data of unit variance
  and F, the network, learns the rest. Without g this is Karras' preconditioning and F = -v. Here g = s / q and
  q = sqrt(s^2 + floor^2), with `floor` the finest structure that the data can show. At noise levels far below the
  floor the posterior mean is x_t plus s^2 times a score that no longer changes with s; then b g F has just that form,
  one function serves all those levels, and the network need not learn from noise alone that there is nothing to remove.

Source: Ho et al. 2020, Eq. 15; Karras et al. 2022, Eq. 7; the floor is this library's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from backwalk.denoiser.network import Network, ResidualNetwork, TextbookNetwork
from backwalk.denoiser.passes import loss_and_gradients, residual_mean, residual_parts
from backwalk.denoiser.textbook_passes import noise_loss_and_gradients, time_share
from backwalk.diffusion import NoiseSchedule, x_0_from_eps
from backwalk.diffusion.derivatives import Push
from backwalk.errors import InvalidInput
from backwalk.limits import LEAST_LOG_SNR
from backwalk.threads import scripted


class EnsembleDenoiser(nn.Module, ABC):
    """A denoiser whose members' mean is its answer.

    The training loss, and the bound for given reverse variances, are convex in x_0_hat, so that in them the mean is
    never worse than the members are on average.
    """

    def __init__(self, network: Network, n_members: int, log_snr_range: tuple[float, float]) -> None:
        super().__init__()
        self.network = network
        self.n_members = n_members
        self.log_snr_range = log_snr_range

    @abstractmethod
    def by_member(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return each member's own x_0_hat: x_t is (members, rows, d), log_snr (members, rows)."""

    @abstractmethod
    def loss_and_gradients(
        self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the sum over rows of weight |x_0 - x_0_hat|^2, and its gradients by every parameter, for training.

        x_0 and eps are (members, rows, d), log_snr and weight (members, rows). `bfloat16` allows products of
        numbers rounded to bfloat16 where a denoiser has them.
        """

    def member(self, k: int) -> Self:
        """Return the denoiser of member k alone, which shares its weights: a change of either changes both.

        So it is until one of the two goes to another device or type.
        """
        shared = {id(parameter): nn.Parameter(parameter.detach()[k : k + 1]) for parameter in self.parameters()}
        alone = deepcopy(self, shared)  # which takes these for the copies
        alone.n_members = 1
        return alone

    @abstractmethod
    def linearize_members(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return each member's x_0_hat, and the map from tangents, (members, k, rows, d), to its derivatives."""

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, d), for x_t, (n, d), at log_snr, () or (n,)."""
        return self.by_member(*self._for_members(x_t, log_snr)).mean(dim=0)

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return x_0_hat, and the map from tangents, (k, n, d), to its directional derivatives, (k, n, d)."""
        value, push = self.linearize_members(*self._for_members(x_t, log_snr))
        return value.mean(dim=0), lambda tangents: push(tangents.expand(self.n_members, *tangents.shape)).mean(dim=0)

    def _for_members(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        rows = x_t.expand(self.n_members, *x_t.shape)
        return rows, log_snr.to(x_t).expand(rows.shape[:-1])


class NoiseDenoiser(EnsembleDenoiser):
    """A network of (x_t, t/N) that predicts eps, as a denoiser on the log-SNRs of its schedule.

    Between two steps of the schedule t is interpolated linearly in the log-SNR.
    """

    network: TextbookNetwork

    def __init__(self, network: TextbookNetwork, n_members: int, schedule: NoiseSchedule) -> None:
        super().__init__(network, n_members, (float(schedule.log_snr[-1]), float(schedule.log_snr[1])))
        if float(schedule.log_snr[-1]) < LEAST_LOG_SNR:  # there float32 has no signal left
            raise InvalidInput(
                f"log-SNR should be at least {LEAST_LOG_SNR:g} for a network that predicts eps, as noise alone says "
                f"nothing of x_0, but got {float(schedule.log_snr[-1]):g} at t = {schedule.n_steps}: end the schedule "
                "at a larger one, or use Residual."
            )
        # Increasing, as searchsorted wants it, and in float32, as the network's inputs are.
        self.register_buffer("_grid", schedule.log_snr[1:].flip(0).float(), persistent=False)
        self._grid: Tensor

    def by_member(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return each member's x_0_hat."""
        eps = self.network(x_t, time_share(log_snr, self._grid).unsqueeze(-1).to(x_t))
        return x_0_from_eps(x_t, eps, log_snr.unsqueeze(-1))

    def linearize_members(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return each member's x_0_hat, and its derivative: x_0_hat is linear in (x_t, eps)."""
        log_snr = log_snr.unsqueeze(-1)
        eps, push = self.network.linearize(x_t, time_share(log_snr, self._grid).to(x_t))
        per_tangent = log_snr.unsqueeze(1)
        return (
            x_0_from_eps(x_t, eps, log_snr),
            lambda tangents: x_0_from_eps(tangents, push(tangents), per_tangent),
        )

    def loss_and_gradients(
        self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return what every denoiser's does, by passes that are written by hand, and without half products."""
        del bfloat16
        with torch.no_grad():
            loss, *gradients = scripted(noise_loss_and_gradients, x_0.device)(
                x_0, eps, log_snr.unsqueeze(-1), weight.unsqueeze(-1), self._grid, self.network.in_order
            )
        return loss, gradients


class ResidualDenoiser(EnsembleDenoiser):
    """A network that predicts what the best linear denoiser leaves over; see the module's docstring."""

    network: ResidualNetwork

    def __init__(
        self, network: ResidualNetwork, n_members: int, floor: float, log_snr_range: tuple[float, float]
    ) -> None:
        super().__init__(network, n_members, log_snr_range)
        self.floor = floor

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, d), for x_t, (n, d), at log_snr, () or (n,)."""
        if not torch.is_grad_enabled():  # so that the passes may write over what has served
            passes = scripted(residual_mean, x_t.device)
            mean: Tensor = passes(x_t, log_snr.to(x_t), self.floor, self.network.in_order)
            return mean
        return super().forward(x_t, log_snr)

    def by_member(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return each member's x_0_hat."""
        a, share, level = self._parts(x_t, log_snr)
        left_over: Tensor = self.network(x_t, level)
        return a * x_t + share * left_over

    def linearize_members(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return each member's x_0_hat, and its derivative: x_0_hat is linear in (x_t, F)."""
        a, share, level = self._parts(x_t, log_snr)
        left_over, push = self.network.linearize(x_t, level)
        return (
            a * x_t + share * left_over,
            lambda tangents: a.unsqueeze(1) * tangents + share.unsqueeze(1) * push(tangents),
        )

    def loss_and_gradients(
        self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return what every denoiser's does, by passes that are written by hand."""
        with torch.no_grad():
            loss, *gradients = scripted(loss_and_gradients, x_0.device)(
                x_0,
                eps,
                log_snr.unsqueeze(-1),
                weight.unsqueeze(-1),
                self.floor,
                self.network.in_order,
                bfloat16,
            )
        return loss, [gradients[i] for i in self._places]

    @cached_property
    def _places(self) -> list[int]:
        """Where the gradient by each parameter stands among those in the order in which they are passed."""
        places = {id(parameter): i for i, parameter in enumerate(self.network.in_order)}
        return [places[id(parameter)] for parameter in self.parameters()]

    def _parts(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return a, b g and the network's ln q / 4, each of log_snr's shape and one axis more."""
        a, _, share, level = residual_parts(log_snr.unsqueeze(-1), x_t, self.floor)
        return a, share, level
