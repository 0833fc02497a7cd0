"""Denoisers from any `torch.nn.Module` of the user.

The module is a function `network(x_t, level)` of noisy points x_t, (n, d), and their noise levels, (n,), both float32.
It returns F, (n, d), of the preconditioning in `preconditioning.py`,

    x_0_hat = a x_t + b g F(x_t, level),   level = ln(s^2 + floor^2) / 8,

so that an F of zero is already the best linear denoiser for data of unit variance. `level` is a quarter of the
logarithm of the noise level s, as in Karras et al. 2022, and lies in about -1..0.8 for the default schedule. Training
needs the derivatives of `network` by its parameters, scoring those by x_t; both come from autograd.

`user_module.py` says what else it has to keep to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backwalk.denoiser.preconditioning import EnsembleDenoiser, PreconditionedDenoiser
from backwalk.denoiser.user_module import N_PROBES, Probes, checked_copy, random_probes
from backwalk.errors import InvalidInput


class NetworkDenoiser(PreconditionedDenoiser):
    """A denoiser of one member around a user's network, which `own_network.py` describes."""

    def __init__(self, network: nn.Module, floor: float, log_snr_range: tuple[float, float]) -> None:
        super().__init__(network, 1, floor, log_snr_range)

    def predict(self, x_t: Tensor, level: Tensor) -> Tensor:
        """Return F: x_t is (1, rows, d), level (1, rows, 1)."""
        f: Tensor = self.network(x_t.squeeze(0), level.reshape(-1))
        return f.unsqueeze(0)


def checked_network(network: nn.Module, d: int) -> nn.Module:
    """Return a copy of a user's network, or raise InvalidInput where it cannot denoise rows in R^d."""
    if isinstance(network, EnsembleDenoiser):
        raise InvalidInput(
            f"denoiser should be a network, but got a {type(network).__name__}: pass its `network` instead."
        )
    return checked_copy(network, network_probes(d))


def network_probes(d: int) -> Probes:
    """Return points in R^d and noise levels on which a network is checked and recognised."""
    level = torch.linspace(-1.0, 0.75, N_PROBES, dtype=torch.float32, device="cpu")
    return Probes((random_probes(d), level), f"points {(N_PROBES, d)} and levels {(N_PROBES,)} to {(N_PROBES, d)}", d)
