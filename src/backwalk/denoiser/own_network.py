"""Denoisers from any `torch.nn.Module` of the user.

The module is a function `network(x_t, level)` of noisy points x_t, (n, d), and their noise levels, (n,), both float32.
It returns F, (n, d), of the preconditioning in `preconditioning.py`,

    x_0_hat = a x_t + b g F(x_t, level),   level = ln(s^2 + floor^2) / 8,

so that an F of zero is already the best linear denoiser for data of unit variance. `level` is a quarter of the
logarithm of the noise level s, as in Karras et al. 2022, and lies in about -1..0.8 for the default schedule.

A network that is declared to predict eps, v = a eps - b x_0 or x_0 is a function `network(x_t, t / N)` of the step's
share of the schedule instead, as in a course notebook, and x_0_hat follows from what it returns (`NoiseDenoiser`).

Training needs the derivatives of `network` by its parameters, scoring those by x_t; both come from autograd.

`user_module.py` says what else it has to keep to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backwalk.denoiser.preconditioning import EnsembleDenoiser, NoiseDenoiser, PreconditionedDenoiser
from backwalk.denoiser.user_module import N_PROBES, Probes, checked_copy, random_probes
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.limits import Predicts


class NetworkDenoiser(PreconditionedDenoiser):
    """A denoiser of one member around a user's network of F, which `own_network.py` describes."""

    def __init__(self, network: nn.Module, floor: float, log_snr_range: tuple[float, float]) -> None:
        super().__init__(network, 1, floor, log_snr_range)

    def predict(self, x_t: Tensor, level: Tensor) -> Tensor:
        """Return F: x_t is (1, rows, d), level (1, rows, 1)."""
        return _of_rows(self.network, x_t, level)


class NetworkOnSchedule(NoiseDenoiser):
    """A denoiser of one member around a user's network of (x_t, t/N), which predicts eps, v or x_0."""

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, predicts: Predicts) -> None:
        super().__init__(network, 1, schedule, predicts)

    def predict(self, x_t: Tensor, share: Tensor) -> Tensor:
        """Return what the network predicts: x_t is (1, rows, d), t/N (1, rows, 1)."""
        return _of_rows(self.network, x_t, share)


def _of_rows(network: nn.Module, x_t: Tensor, level: Tensor) -> Tensor:
    found: Tensor = network(x_t.squeeze(0), level.reshape(-1))
    return found.unsqueeze(0)


def checked_network(network: nn.Module, d: int, predicts: Predicts) -> nn.Module:
    """Return a copy of a user's network, or raise InvalidInput where it cannot denoise rows in R^d."""
    if isinstance(network, EnsembleDenoiser):
        raise InvalidInput(
            f"denoiser should be a network, but got a {type(network).__name__}: pass its `network` instead."
        )
    return checked_copy(network, network_probes(d, predicts))


def network_probes(d: int, predicts: Predicts) -> Probes:
    """Return points in R^d and noise levels, or shares t/N, on which a network is checked and recognised."""
    first, last, words = (-1.0, 0.75, "levels") if predicts == "F" else (1.0 / N_PROBES, 1.0, "t / N")
    level = torch.linspace(first, last, N_PROBES, dtype=torch.float32, device="cpu")
    task = f"points {(N_PROBES, d)} and {words} {(N_PROBES,)}, which are real numbers, to {(N_PROBES, d)}"
    return Probes((random_probes(d), level), task, d)
