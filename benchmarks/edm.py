"""A diffusion peer tuned as its field recommends: EDM (Karras et al. 2022) built from azula's parts.

Preconditioning, loss and Heun's sampler are azula's; noise levels are log-normal, the network is a residual perceptron,
and the weights are averaged (Karras et al. 2024, a power function). azula has no likelihood, so it has no gap.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backwalk.denoiser import is_low
from benchmarks.methods import Clock, Fitted, Rows, Scale, batches, split
from benchmarks.notebook import seeded

LEVEL_MIN, LEVEL_MAX, RHO = 0.002, 80.0, 7.0  # EDM's levels; columns have variance 1
BATCH = 1024
EMA_POWER = 6.94  # sigma_rel = 0.1: the average reaches back over a tenth of the training
SAMPLED_AT_ONCE = 4096
N_HELD_OUT_LEVELS = 32


@dataclass(frozen=True)
class Setting:
    """Hidden units, residual blocks, Adam's first learning rate, and mean and deviation of the logarithmic level."""

    width: int
    blocks: int
    rate: float
    log_level: tuple[float, float]


class KarrasLevels:
    """EDM's schedule: alpha = 1, and levels even in their seventh root, so that azula's even times visit them."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t."""
        low, high = LEVEL_MIN ** (1.0 / RHO), LEVEL_MAX ** (1.0 / RHO)
        return torch.ones_like(t), (low + t * (high - low)) ** RHO

    def time(self, level: Tensor) -> Tensor:
        """Return the t of a level."""
        low, high = LEVEL_MIN ** (1.0 / RHO), LEVEL_MAX ** (1.0 / RHO)
        return (level.clamp(LEVEL_MIN, LEVEL_MAX) ** (1.0 / RHO) - low) / (high - low)


class ResidualPerceptron(nn.Module):
    """(x, log sigma) -> output: pre-normalised residual blocks of two layers, with 16 Fourier features of the level."""

    def __init__(self, d: int, width: int, blocks: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2.0 ** torch.linspace(-3.0, 2.0, 8))
        self.first = nn.Linear(d + 17, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(blocks)
        )
        self.levels = nn.ModuleList(nn.Linear(17, width) for _ in range(blocks))
        self.last = nn.Linear(width, d)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, log_level: Tensor) -> Tensor:
        """Return the output at x, (n, d), and log_level, () or (n,)."""
        c = log_level.expand(len(x))[:, None]
        waves = c * self.frequencies
        level = torch.cat([c / 4.0, waves.sin(), waves.cos()], dim=1)
        h = self.first(torch.cat([x, level], dim=1))
        for block, of_level in zip(self.blocks, self.levels, strict=True):
            h = h + block(h + of_level(level))
        output: Tensor = self.last(nn.functional.silu(h))
        return output


@dataclass(frozen=True)
class Edm:
    """azula's `KarrasDenoiser` with EDM's loss and `HeunSampler`, 32 steps (64 evaluations); standardised columns.

    Residual perceptrons, log-normal noise levels, batches of 1,024, Adam, the rate falling to 0 along a half cosine by
    the clock, averaged weights. The settings share the first quarter of the budget; the one with the lowest bound on
    held-out rows, which integrates the weighted error over all levels alike, is trained anew for the rest.
    """

    name: str = "azula EDM"
    n_steps: int = 32
    settings: tuple[Setting, ...] = (
        Setting(64, 3, 1e-2, (-0.5, 1.2)),
        Setting(64, 3, 1e-2, (-1.5, 1.5)),
        Setting(128, 3, 5e-3, (-1.5, 1.5)),
    )
    settings_beyond: tuple[Setting, ...] = (Setting(128, 4, 3e-3, (-0.5, 1.2)), Setting(256, 4, 2e-3, (-0.5, 1.2)))

    def fit(self, X: Rows, budget: float, seed: int) -> Fitted:
        """Fit within `budget` seconds."""
        from azula.denoise import KarrasDenoiser
        from azula.sample import HeunSampler

        clock, scale, levels = Clock(budget), Scale.of(X), KarrasLevels()
        rows, held_out = (torch.from_numpy(scale.encode(part)).float() for part in split(X, seed, most=1000))

        def trained(setting: Setting, seconds: float) -> tuple[float, Any]:
            backbone = seeded(lambda: ResidualPerceptron(X.shape[1], setting.width, setting.blocks), seed)
            denoiser = KarrasDenoiser(backbone, levels)
            seeded(lambda: _train(denoiser, levels, rows, setting, Clock(min(seconds, clock.left())), seed), seed)
            return _held_out_bound(denoiser, levels, held_out, seed), denoiser.eval()

        settings = self.settings if is_low(X.shape[1]) else self.settings_beyond
        bounds = [trained(setting, budget / (4.0 * len(settings)))[0] for setting in settings]
        chosen = settings[int(np.argmin(bounds))]
        _, denoiser = trained(chosen, clock.left())
        sampler = HeunSampler(denoiser, steps=self.n_steps, silent=True)

        def drawn(n: int) -> Tensor:
            return torch.cat(
                [
                    sampler(sampler.init((min(n - first, SAMPLED_AT_ONCE), X.shape[1])))
                    for first in range(0, n, SAMPLED_AT_ONCE)
                ]
            )

        def sample(n: int, seed: int) -> Rows:
            return scale.decode(seeded(lambda: drawn(n), seed).numpy())

        (mean, deviation), size = chosen.log_level, f"{chosen.blocks} blocks of {chosen.width}"
        return Fitted(sample, None, f"{size}, rate {chosen.rate:g}, log-levels N({mean:g}, {deviation:g}²)")


def _train(denoiser: Any, levels: KarrasLevels, rows: Tensor, setting: Setting, clock: Clock, seed: int) -> None:
    """Train until the time is over, and leave the averaged weights in the denoiser."""
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=setting.rate, betas=(0.9, 0.99))
    average, mean, deviation = copy.deepcopy(denoiser), *setting.log_level
    for step, x in enumerate(batches(rows, min(BATCH, len(rows)), seed), start=1):
        left = clock.left()
        if left <= 0.0:
            break
        optimiser.param_groups[0]["lr"] = setting.rate * 0.5 * (1.0 - math.cos(math.pi * left / clock.budget))
        t = levels.time((mean + deviation * torch.randn(len(x))).exp())
        optimiser.zero_grad()
        torch.autograd.backward(denoiser.loss(x, t))
        optimiser.step()
        with torch.no_grad():
            for kept, weight in zip(average.parameters(), denoiser.parameters(), strict=True):
                kept.lerp_(weight, 1.0 - (1.0 - 1.0 / step) ** (EMA_POWER + 1.0))
    denoiser.load_state_dict(average.state_dict())


@torch.no_grad()
def _held_out_bound(denoiser: Any, levels: KarrasLevels, held_out: Tensor, seed: int) -> float:
    """Return the integral of E|x - x_hat|^2 / sigma^2 over ln sigma: the bound but for what no denoiser changes."""
    generator, total = torch.Generator().manual_seed(seed), 0.0
    for log_level in torch.linspace(math.log(0.02), math.log(10.0), N_HELD_OUT_LEVELS):
        level = log_level.exp()
        noisy = held_out + level * torch.randn(held_out.shape, generator=generator)
        error = (denoiser(noisy, levels.time(level)).mean - held_out).square().sum(dim=1).mean()
        total += float(error / level**2)
    return total / N_HELD_OUT_LEVELS
