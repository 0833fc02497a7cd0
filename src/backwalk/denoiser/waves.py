"""Sines and cosines through which networks read tied numbers (`table/ties.py`), damped where these are noisy.

A network of smooth functions learns fine differences of its inputs slowly, a tree at once. From sin(c x) and cos(c x)
with large c it learns them soon. Where a number is noisy, it is known as far as the Gaussian start knows it, with mean
m and standard deviation e, and the network reads the expectations E sin(c x_0) = sin(c m) exp(-c^2 e^2 / 2) and
E cos(c x_0) = cos(c m) exp(-c^2 e^2 / 2): fine waves vanish in noise, and are whole where the number is given.

Source: Tancik et al. 2020, "Fourier features let networks learn high frequency functions in low dimensional domains";
Barron et al. 2021, "Mip-NeRF", for the expectation; Gorishniy et al. 2022, "On embeddings for numerical features in
tabular deep learning".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

N_FREQUENCIES = 8
"""c = 1, 2, 4, .., 128 radians per encoded unit: half of the last wave is .025 standard deviations of the number."""
WAVES_A_NUMBER = 2 * N_FREQUENCIES


class Waves(NamedTuple):
    """The waves of the numbers at some `places`, (..., n, `WAVES_A_NUMBER` i), and their derivatives by the means."""

    values: Tensor
    slopes: Tensor
    places: Tensor

    def push(self, by_mean: Tensor) -> Tensor:
        """Return the derivatives of the waves along tangents, of which those of all means are (..., n, I)."""
        return self.slopes * by_mean[..., self.places].repeat_interleave(WAVES_A_NUMBER, dim=-1)


def waves(mean: Tensor, deviation: Tensor, places: Tensor) -> Waves:
    """Return the waves of the numbers at `places`, (i,), of I numbers with means and standard deviations (..., n, I).

    See the module's docstring.
    """
    mean, deviation = mean[..., places], deviation.expand(mean.shape)[..., places]
    c = torch.arange(N_FREQUENCIES, dtype=mean.dtype, device=mean.device).exp2()
    damping = torch.exp(-0.5 * (c * deviation.unsqueeze(-1)).square())
    angle = c * mean.unsqueeze(-1)
    sine, cosine = damping * torch.sin(angle), damping * torch.cos(angle)
    values, slopes = torch.cat([sine, cosine], dim=-1), torch.cat([c * cosine, -c * sine], dim=-1)
    return Waves(values.flatten(-2), slopes.flatten(-2), places)
