"""The data of the lessons: two moons, whose density and whose best possible network are known in closed form.

A point lies beside one of 200 centres on two half circles, with normal noise of standard deviation `NOISE` in both
coordinates. Centres are scaled so that each coordinate of the data has mean 0 and variance about 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

NOISE = 0.1


def moon_centres() -> Tensor:
    """Return the centres of the two moons.

    Returns
    -------
    Tensor of shape (200, 2)
        First those of the upper moon, then those of the lower one.

    See Also
    --------
    draw_moons : Points around them.

    Examples
    --------
    >>> from backwalk.course import moon_centres
    >>> moon_centres().shape
    torch.Size([200, 2])
    """
    angle = torch.linspace(0.0, math.pi, 100)
    upper = torch.stack([angle.cos(), angle.sin()], dim=1)
    centres = torch.cat([upper, torch.tensor([1.0, 0.5]) - upper])
    return (centres - centres.mean(0)) / centres.std(0)


def draw_moons(n: int, *, seed: int = 0) -> Tensor:
    """Draw points of the two moons.

    Parameters
    ----------
    n : int
        The number of points.
    seed : int, default=0
        The same seed gives the same points.

    Returns
    -------
    Tensor of shape (n, 2)
        The points.

    See Also
    --------
    moons_log_density : Their log-density.
    best_eps : The best prediction of their noise.

    Examples
    --------
    >>> from backwalk.course import draw_moons
    >>> draw_moons(5).shape
    torch.Size([5, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    centres = moon_centres()
    chosen = centres[torch.randint(len(centres), (n,), generator=generator)]
    return chosen + NOISE * torch.randn(n, 2, generator=generator)


def moons_log_density(x: Tensor, alpha_bar_t: float = 1.0) -> Tensor:
    """Return the log-density ln q(x_t) of the two moons at step t of a chain.

    Parameters
    ----------
    x : Tensor of shape (n, 2)
        Points x_t.
    alpha_bar_t : float, default=1.0
        The default is alpha_bar_0: the density of the data.

    Returns
    -------
    Tensor of shape (n,)
        The log-densities, in nats.

    See Also
    --------
    draw_moons : Points of the two moons.

    Examples
    --------
    >>> from backwalk.course import draw_moons, moons_log_density
    >>> moons_log_density(draw_moons(5)).shape
    torch.Size([5])
    """
    variance = alpha_bar_t * NOISE**2 + 1.0 - alpha_bar_t
    squared = _squared_distances(x, math.sqrt(alpha_bar_t))
    log_densities = -squared / (2.0 * variance) - math.log(2.0 * math.pi * variance)
    return torch.logsumexp(log_densities, dim=1) - math.log(squared.shape[1])


def best_eps(x_t: Tensor, t: int, alpha_bar: Tensor) -> Tensor:
    """Return E[eps | x_t] of the two moons, the best answer of any network at step t.

    Parameters
    ----------
    x_t : Tensor of shape (n, 2)
        Noisy points.
    t : int
        A step, of all rows.
    alpha_bar : Tensor of shape (n_steps + 1,)
        The schedule.

    Returns
    -------
    Tensor of shape (n, 2)
        The mean of the noise.

    See Also
    --------
    train_network : A network that learns it.

    Notes
    -----
    With a = sqrt(alpha_bar_t) and b = sqrt(1 - alpha_bar_t), x_t is a mixture of normal distributions around a m, for
    centres m, with variance v = a^2 NOISE^2 + b^2. A point weighs the centres by their probabilities w_m given x_t:
    `E[eps | x_t] = b (x_t - a sum_m w_m m) / v`.

    Examples
    --------
    >>> import torch
    >>> from backwalk.course import best_eps
    >>> best_eps(torch.zeros(3, 2), 1, torch.tensor([1.0, 0.5])).shape
    torch.Size([3, 2])
    """
    a, variance = float(alpha_bar[t].sqrt()), float(alpha_bar[t] * NOISE**2 + (1.0 - alpha_bar[t]))
    weights = torch.softmax(-_squared_distances(x_t, a) / (2.0 * variance), dim=1)
    return float((1.0 - alpha_bar[t]).sqrt()) * (x_t - a * weights @ moon_centres()) / variance


def _squared_distances(x: Tensor, scale: float) -> Tensor:
    """Return the squared distances of points from the scaled centres, (n, 200)."""
    return torch.cdist(x, scale * moon_centres()).square()
