"""The course notebook's model, training loop and sampler as written, in plain torch; nothing of this library is in it.

N = 100 steps with beta from 0.001 to 0.02, a network of 4 hidden layers of 100 tanh units on (x, t/N), Adam at 1e-3,
5,000 epochs of batches of 1,000 from a `DataLoader`, the last short one dropped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

N_EPOCHS, N_STEPS, BATCH = 5_000, 100, 1_000
N_POINTS = 10_000

Rows = np.ndarray
Made = TypeVar("Made")


def notebook_points(n: int = N_POINTS, seed: int = 10) -> Rows:
    """Return the points that the notebook trains on, or others made as they are: (n, 2)."""
    points, _ = make_moons(n, noise=0.05, random_state=seed)
    return np.asarray(points)


class Notebook:
    """The notebook's model."""

    def __init__(self, points: Rows, *, seed: int) -> None:
        self.points = torch.from_numpy(points).float()
        self.beta = torch.linspace(0.001, 0.02, N_STEPS)  # beta[t - 1] is beta_t
        self.alpha = 1.0 - self.beta
        self.alpha_bar = torch.cumprod(self.alpha, 0)
        self.network = seeded(lambda: perceptron(points.shape[1]), seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-3)

    def train(self, n_epochs: int, *, max_seconds: float | None = None) -> list[float]:
        """Train on for some epochs, or until the time is over; return the loss of the first batch of each."""
        began, losses = time.perf_counter(), []
        for _ in range(n_epochs):
            if max_seconds is not None and time.perf_counter() - began > max_seconds:
                break
            for i, x_0 in enumerate(self._batches()):
                loss = self._loss(x_0)
                self.optimiser.zero_grad()
                torch.autograd.backward(loss)
                self.optimiser.step()
                if i == 0:
                    losses.append(loss.item())
        return losses

    def sample(self, n: int, *, autograd: bool = False) -> Rows:
        """Return n rows by ancestral sampling with sigma_t^2 = beta_t and no noise in the last step.

        The notebook leaves `autograd` on, which records all 100 steps to no purpose; the rows are the same without.
        """
        with torch.set_grad_enabled(autograd):
            x = self._normal(n)
            for t in range(N_STEPS, 0, -1):
                beta, alpha, alpha_bar = self.beta[t - 1], self.alpha[t - 1], self.alpha_bar[t - 1]
                eps = self._predict(x, torch.full((n, 1), t))
                x = (x - beta / torch.sqrt(1.0 - alpha_bar) * eps) / torch.sqrt(alpha)
                if t > 1:
                    x = x + torch.sqrt(beta) * self._normal(n)
        return np.asarray(x.detach().double().numpy())

    def _batches(self) -> Iterator[Tensor]:
        rows = TensorDataset(self.points)
        for (x_0,) in DataLoader(rows, BATCH, shuffle=True, drop_last=True, generator=self.generator):
            yield x_0

    def _loss(self, x_0: Tensor) -> Tensor:
        t = torch.randint(1, N_STEPS + 1, (len(x_0), 1), generator=self.generator)
        eps = self._normal(len(x_0))
        alpha_bar = self.alpha_bar[t - 1]
        x_t = torch.sqrt(alpha_bar) * x_0 + torch.sqrt(1.0 - alpha_bar) * eps
        return (self._predict(x_t, t) - eps).square().sum(dim=1).mean()

    def _predict(self, x_t: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = self.network(torch.cat([x_t, t / N_STEPS], dim=1))
        return prediction

    def _normal(self, n: int) -> Tensor:
        return torch.randn(n, self.points.shape[1], generator=self.generator)


def perceptron(d: int) -> nn.Sequential:
    """Return the notebook's network: (x, t/N) -> four layers of 100 tanh units -> d."""
    layers: list[nn.Module] = []
    for n_in in (d + 1, 100, 100, 100):
        layers += [nn.Linear(n_in, 100), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(100, d))


def seeded(make: Callable[[], Made], seed: int) -> Made:
    """Return make(), with torch's global generator set for its length alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()
