"""Adapters that turn the output of a network into x_0_hat = E[x_0 | x_t].

Each adapter hides one parametrisation: samplers, bound, likelihood and training see a `Denoiser`. With
a = sqrt(alpha_bar), b = sqrt(1 - alpha_bar) and the noise level s = b / a:

- `NoiseDenoiser`: the network gets (x_t, t/N) and predicts eps, so x_0_hat = (x_t - b eps) / a. The notebook's choice.
  A user's may predict v, with x_0_hat = a x_t - b v, or x_0 itself.
- `PreconditionedDenoiser`: x_0_hat = a x_t + b g F(x_t, ln q / 4). Here a x_t is the best estimate for data of unit
  variance, and the network F learns the rest. Without g this is Karras' preconditioning and F = -v. g = s / q with
  q = sqrt(s^2 + floor^2), where `floor` is the finest structure that the data can show. At noise levels far below the
  floor the posterior mean is x_t plus s^2 times a score that no longer changes with s. b g F has this form there, so
  that one function F serves all those levels, and does not fit their noise. `ResidualDenoiser` is this for the default
  network, `own_network.NetworkDenoiser` for a user's.

Source: Ho et al. 2020, Eq. 15; Karras et al. 2022, Eq. 7; the floor is this library's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn

from backwalk.denoiser.network import ResidualNetwork
from backwalk.denoiser.passes import backward_pass, forward_pass, pushed
from backwalk.diffusion import NoiseSchedule, refuse_levels_per_coordinate, scales
from backwalk.diffusion.derivatives import Push
from backwalk.errors import InvalidInput
from backwalk.limits import GREATEST_LEVEL, LEAST_LOG_SNR, Predicts


class EnsembleDenoiser(nn.Module, ABC):
    """A trainable denoiser whose output is the mean over its members.

    The training loss, and the bound for given reverse variances, are convex in x_0_hat, so that the mean is never worse
    than the members on average. A subclass defines `by_member`.
    """

    def __init__(self, network: nn.Module, n_members: int, log_snr_range: tuple[float, float]) -> None:
        super().__init__()
        self.network = network
        self.n_members = n_members
        self.log_snr_range = log_snr_range

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @abstractmethod
    def by_member(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat of each member: x_t is (members, rows, d), log_snr (members, rows)."""

    def loss(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False) -> Tensor:
        """Return the sum over rows and members of `weight |x_0 - x_0_hat|^2`, which autograd differentiates.

        x_0 and eps are (members, rows, d), log_snr and weight (members, rows). `bfloat16` allows matrix products in
        bfloat16, for denoisers that have them.
        """
        del bfloat16
        a, b = scales(log_snr.unsqueeze(-1), x_0)
        error = x_0 - self.by_member(a * x_0 + b * eps, log_snr)
        return (weight.unsqueeze(-1) * error.square()).sum()

    def loss_and_gradients(
        self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return `loss` and its gradient by every parameter; that by a frozen one is 0."""
        parameters = list(self.parameters())
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        with torch.enable_grad():
            loss = self.loss(x_0, eps, log_snr, weight, bfloat16=bfloat16)
            gradients = iter(torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True))
        return loss.detach(), [next(gradients) if p.requires_grad else torch.zeros_like(p) for p in parameters]

    def losses(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor) -> Tensor:
        """Return `weight |x_0 - x_0_hat|^2` of each row for the members' mean: (n,).

        x_0 and eps are (n, d), log_snr and weight (n,).
        """
        a, b = scales(log_snr, x_0)
        error: Tensor = x_0 - self(a * x_0 + b * eps, log_snr)
        return weight * error.square().sum(-1)

    def hidden_matrices(self) -> list[Tensor]:
        """Return the square matrices, (members, width, width) each, that Muon trains: a `Residual` network's."""
        return self.network.hidden_matrices() if isinstance(self.network, ResidualNetwork) else []

    def input_matrices(self) -> list[Tensor]:
        """Return the matrices, (members, n_in, width) each, of a `Residual` network's first layer."""
        return self.network.input_matrices() if isinstance(self.network, ResidualNetwork) else []

    def embedding_matrices(self) -> list[Tensor]:
        """Return the weights of an embedding, without biases; none by default."""
        return []

    def member(self, number: int) -> Self:
        """Return a copy of one member as a denoiser, with weights of its own."""
        if self.n_members == 1:
            return deepcopy(self)
        parts = {id(p): nn.Parameter(p.detach()[number : number + 1].clone()) for p in self.parameters()}
        return self._with_parameters(parts, 1)

    @staticmethod
    def joined(denoisers: Sequence[EnsembleDenoiser]) -> EnsembleDenoiser:
        """Return the denoiser whose members are those of these denoisers of one architecture, in order.

        It has copies of their weights; of a single denoiser it is that denoiser.
        """
        first = denoisers[0]
        if len(denoisers) == 1:
            return first
        rows = zip(*(denoiser.parameters() for denoiser in denoisers), strict=True)
        parameters = {id(of_all[0]): nn.Parameter(torch.cat([p.detach() for p in of_all])) for of_all in rows}
        return first._with_parameters(parameters, sum(denoiser.n_members for denoiser in denoisers))

    def _with_parameters(self, parameters: dict[int, nn.Parameter], n_members: int) -> Self:
        """Return a copy with other parameters in the place of its own, which are named by their ids."""
        part = deepcopy(self, dict(parameters))
        part.n_members = n_members
        return part

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, d), for x_t, (n, d), at log_snr, () or (n,)."""
        return self.by_member(*self._for_members(x_t, log_snr)).mean(dim=0)

    def _for_members(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        refuse_levels_per_coordinate(log_snr, x_t)
        rows = x_t.expand(self.n_members, *x_t.shape)
        return rows, log_snr.to(x_t).expand(rows.shape[:-1])


class NoiseDenoiser(EnsembleDenoiser):
    """A network of (x_t, t/N) that predicts eps, v or x_0, as a denoiser on the log-SNRs of its schedule.

    Between two steps of the schedule t is interpolated linearly in the log-SNR.
    """

    def __init__(self, network: nn.Module, n_members: int, schedule: NoiseSchedule, predicts: Predicts = "eps") -> None:
        super().__init__(network, n_members, (float(schedule.log_snr[-1]), float(schedule.log_snr[1])))
        self.predicts: Predicts = predicts
        # below, x_t has no signal in float32
        if predicts == "eps" and float(schedule.log_snr[-1]) < LEAST_LOG_SNR:
            raise InvalidInput(
                f"log-SNR should be at least {LEAST_LOG_SNR:g} for a network that predicts eps, but got "
                f"{float(schedule.log_snr[-1]):g} at t = {schedule.n_steps}: end the schedule at a larger one, or use "
                "Residual, or a network that predicts v."
            )
        # Increasing, as searchsorted requires, and in float32, as the network's inputs are.
        self.register_buffer("_grid", schedule.log_snr[1:].flip(0).float(), persistent=False)
        self._grid: Tensor

    def by_member(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat of each member."""
        found = self.predict(x_t, time_share(log_snr, self._grid).unsqueeze(-1).to(x_t))
        a, b = scales(log_snr.unsqueeze(-1), x_t)
        if self.predicts == "eps":
            return (x_t - b * found) / a  # a > 0 on the schedule
        return found if self.predicts == "x_0" else a * x_t - b * found

    def predict(self, x_t: Tensor, share: Tensor) -> Tensor:
        """Return what the network predicts, (members, rows, d): x_t is (members, rows, d), t/N (members, rows, 1)."""
        found: Tensor = self.network(x_t, share)
        return found


def time_share(log_snr: Tensor, grid: Tensor) -> Tensor:
    """Return t/N of log-SNRs, of their shape. `grid`, (N,), holds those of t = N..1, which increase.

    t is interpolated linearly between two steps and constant beyond the first and the last.
    """
    n = grid.shape[0]
    position = log_snr.to(grid)
    if n == 1:
        return torch.ones_like(position)
    above = torch.searchsorted(grid, position.contiguous()).clamp(1, n - 1)
    low, high = grid[above - 1], grid[above]
    steps_from_end = above - 1 + ((position - low) / (high - low)).clamp(0.0, 1.0)
    return (n - steps_from_end) / n


class PreconditionedDenoiser(EnsembleDenoiser):
    """A network F that predicts the residual of the best linear denoiser; see the module's docstring."""

    def __init__(self, network: nn.Module, n_members: int, floor: float, log_snr_range: tuple[float, float]) -> None:
        super().__init__(network, n_members, log_snr_range)
        self.floor = floor

    def predict(self, x_t: Tensor, level: Tensor) -> Tensor:
        """Return F, (members, rows, d): x_t is (members, rows, d), level = ln q / 4 (members, rows, 1)."""
        f: Tensor = self.network(x_t, level)
        return f

    def by_member(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat of each member."""
        a, _, share, level = self._parts(x_t, log_snr)
        return a * x_t + share * self.predict(x_t, level)

    def _parts(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return a, b, b g and ln q / 4, each of log_snr's shape with one axis more."""
        log_snr = log_snr.unsqueeze(-1)
        a, b = scales(log_snr, x_t)
        level_sq = torch.exp(-log_snr).clamp(max=GREATEST_LEVEL**2)  # beyond, x_t is noise alone
        smoothed_sq = level_sq + self.floor**2
        return a, b, b * torch.sqrt(level_sq / smoothed_sq), 0.125 * torch.log(smoothed_sq)


class ResidualDenoiser(PreconditionedDenoiser):
    """The default denoiser: a preconditioned `ResidualNetwork`, with passes written by hand (`passes.py`)."""

    network: ResidualNetwork

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return x_0_hat, and the map from tangents, (k, n, d), to its directional derivatives, (k, n, d)."""
        x_t, log_snr = self._for_members(x_t, log_snr)
        a, _, share, level = self._parts(x_t, log_snr)
        parameters = [parameter.detach() for parameter in self.network.in_order]  # the passes work in place
        passed = forward_pass(torch.cat([x_t, level], dim=-1), parameters)

        def push(tangents: Tensor) -> Tensor:
            of_members = tangents.expand(self.n_members, *tangents.shape)
            by_f = pushed(of_members, passed.slopes, parameters)
            return (a.unsqueeze(1) * of_members + share.unsqueeze(1) * by_f).mean(dim=0)

        return (a * x_t + share * passed.f).mean(dim=0), push

    def loss_and_gradients(
        self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the loss and its gradients, without autograd, which would take 1.25 times as long."""
        with torch.no_grad():
            a, b, share, level = self._parts(x_0, log_snr)
            x_t = a * x_0 + b * eps
            points, parameters = torch.cat([x_t, level], dim=-1), self.network.in_order
            passed = forward_pass(points, parameters, bfloat16)
            error = x_0 - a * x_t - share * passed.f
            weighted = weight.unsqueeze(-1) * error
            gradients, _ = backward_pass(-2.0 * share * weighted, None, points, passed, parameters, bfloat16)
            return (weighted * error).sum(), self.network.by_parameter(gradients)
