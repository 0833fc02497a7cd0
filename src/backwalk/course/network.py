"""The small network of the lessons and its training, as lesson 2 builds them, for the lessons after it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def train_network(
    points: Tensor, alpha_bar: Tensor, *, n_training_steps: int = 2_000, seed: int = 0
) -> Callable[[Tensor, int], Tensor]:
    """Train the small network of lesson 2 on points, by L_simple.

    Parameters
    ----------
    points : Tensor of shape (n, d)
        The data.
    alpha_bar : Tensor of shape (n_steps + 1,)
        The schedule.
    n_training_steps : int, default=2000
        The number of training steps.
    seed : int, default=0
        The seed of weights and batches.

    Returns
    -------
    callable
        `eps_theta(x_t, t)`, which returns the predicted noise, (n, d), of points x_t, (n, d), at a step t of all rows.

    See Also
    --------
    best_eps : The best answer for the two moons.

    Examples
    --------
    >>> import torch
    >>> from backwalk.course import draw_moons, train_network
    >>> alpha_bar = torch.cumprod(1 - torch.linspace(0, 0.1, 101), 0)
    >>> eps_theta = train_network(draw_moons(1_000), alpha_bar, n_training_steps=10)
    >>> eps_theta(torch.zeros(3, 2), 50).shape
    torch.Size([3, 2])
    """
    n_steps, d = len(alpha_bar) - 1, points.shape[1]
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(d + 1, 100), nn.SiLU(), nn.Linear(100, 100), nn.SiLU(), nn.Linear(100, 100), nn.SiLU()]
        network = nn.Sequential(*layers, nn.Linear(100, d))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, n_training_steps)
    for _ in range(n_training_steps):
        x_0 = points[torch.randint(len(points), (1_000,), generator=generator)]
        t = torch.randint(1, n_steps + 1, (len(x_0), 1), generator=generator)
        eps = torch.randn(x_0.shape, generator=generator)
        x_t = alpha_bar[t].sqrt() * x_0 + (1.0 - alpha_bar[t]).sqrt() * eps
        loss = (network(torch.cat([x_t, t / n_steps], dim=1)) - eps).square().sum(dim=1).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        scheduler.step()

    @torch.no_grad()
    def eps_theta(x_t: Tensor, t: int) -> Tensor:
        answer: Tensor = network(torch.cat([x_t, torch.full((len(x_t), 1), t / n_steps)], dim=1))
        return answer

    return eps_theta
