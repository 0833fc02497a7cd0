"""What a table's denoiser computes of the numbers before its network: the Gaussian's estimates, and inputs.

The network's inputs are those of the levels (`layout.py`) and then, for all parts: the numbers as far as they are seen,
their means under the joint Gaussian, their surprises, the waves of some numbers, which parts are given and absent, and
the row's noise level.

The surprise of a noisy number is (x_t - a m) / sqrt(b^2 - a^2 e^2), with its mean m and standard deviation e given x_t.
Under the Gaussian it has variance 1, at least where rounding does not hide it. At low noise it is the number less what
the others make of it, in its own standard deviations. Where two numbers differ by little, a network of the numbers
alone cannot see by how much: of theta and theta plus noise of two sizes it learnt nothing in 1,500 steps, as the
Gaussian's linear part is right already and leaves no gradient towards the difference.

The waves are sines and cosines of tied numbers (`table/ties.py`) and of the phases of dates (`NumberColumn.periods`),
damped where these are noisy. A network of smooth functions learns fine differences of its inputs slowly, a tree at
once. From sin(c x) and cos(c x) with large c it learns them soon; with the frequency of a year it learns seasons.
Where a number is noisy, it is known as far as the Gaussian start knows it, with mean m and standard
deviation e, and the network reads the expectations E sin(c x_0) = sin(c m) exp(-c^2 e^2 / 2) and
E cos(c x_0) = cos(c m) exp(-c^2 e^2 / 2): fine waves vanish in noise, and are whole where the number is given.

Source: Tancik et al. 2020, "Fourier features let networks learn high frequency functions in low dimensional domains";
Barron et al. 2021, "Mip-NeRF", for the expectation; Gorishniy et al. 2022, "On embeddings for numerical features in
tabular deep learning".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.diffusion import GaussianPosterior, scales
from backwalk.limits import GREATEST_LEVEL

_LEAST_LEFT, _LEAST_VARIANCE = 1e-7, 1e-12  # of b^2, and in all: what rounding leaves of b^2 - a^2 e^2


class Waves(NamedTuple):
    """Waves of the numbers at `places`, (W,): sines and then cosines, (..., n, 2 W), and their derivatives by means."""

    values: Tensor
    slopes: Tensor
    places: Tensor

    def push(self, by_mean: Tensor) -> Tensor:
        """Return the derivatives of the waves along tangents, of which those of all means are (..., n, I)."""
        moved = by_mean[..., self.places]
        return self.slopes * torch.cat([moved, moved], dim=-1)


class NumbersStart(NamedTuple):
    """The start of I numbers at points of shape (..., n, k).

    `inputs` are the network's without those of the levels, (..., n, .), of which those that depend on x_t come first.
    `mean`, `scale`, which is e g, and `a` are of the numbers. `known` marks numbers that are given, `free` those whose
    level is given as an atom, and `seen` those that are neither absent nor free. `surprise_scale` is the factor of the
    surprises, 0 for numbers that are given, absent or free, and `waves` are those of some numbers.
    """

    inputs: Tensor
    a: Tensor
    seen: Tensor
    mean: Tensor
    scale: Tensor
    known: Tensor
    free: Tensor
    posterior: GaussianPosterior
    surprise_scale: Tensor
    waves: Waves

    def moved(self, tangents: Tensor, by_mean: Tensor) -> Tensor:
        """Return the derivatives of the inputs that depend on x_t, along tangents of x_t and of the means, (..., I)."""
        surprises = self.surprise_scale * (tangents - self.a * by_mean)
        return torch.cat([tangents * self.seen, by_mean, surprises, self.waves.push(by_mean)], dim=-1)

    def x_0_hat(self, x_t: Tensor, f: Tensor) -> Tensor:
        """Return x_0_hat of the numbers, (..., I), from their x_t and the network's outputs for them."""
        return self.with_fixed(self.mean + self.scale * f, x_t)

    def with_fixed(self, x_0_hat: Tensor, x_t: Tensor) -> Tensor:
        """Return x_0_hat of the numbers, which is x_t for given ones, and a x_t for those at an atom.

        The same holds for the derivatives of both along tangents.
        """
        return torch.where(self.known, x_t, torch.where(self.free, self.a * x_t, x_0_hat))


def numbers_start(layout: TableLayout, floor: float, x_t: Tensor, log_snr: Tensor, free: Tensor) -> NumbersStart:
    """Return the start for x_t and log_snr, (..., n, k), with numbers `free` of their levels, (..., n, I)."""
    numbers, places = layout.numbers, layout.part_of_number
    log_snr = log_snr[..., layout.first_of_part]  # all coordinates of a part share it
    a, b = scales(log_snr, x_t)
    of_numbers = a[..., places]
    known, absent, seen, noise_sq = b == 0.0, a == 0.0, a, b.square()
    given = known[..., places] & ~free
    if bool(free.any()):
        seen, noise_sq = a.clone(), noise_sq.clone()
        known[..., places], absent[..., places] = given, absent[..., places] | free
        seen[..., places] = of_numbers.masked_fill(free, 0.0)
        noise_sq[..., places] = noise_sq[..., places].masked_fill(free, 1.0)
    posterior = _posterior(layout, seen, noise_sq)
    mean, deviation = posterior.mean(x_t), posterior.deviation()
    of_some = waves(mean, deviation, layout.waving, layout.frequencies)
    level_sq = torch.exp(-log_snr).clamp(max=GREATEST_LEVEL**2)  # s^2: 0 where given, the greatest where absent
    number_sq = level_sq[..., places]
    scale = deviation * torch.sqrt(number_sq / (number_sq + floor**2))
    of_row = level_sq.masked_fill(known | absent, 0.0).amax(-1, keepdim=True)
    of_row = torch.where(of_row > 0.0, of_row, GREATEST_LEVEL**2)  # where no part has noise
    is_seen = seen[..., places] > 0.0
    level = 0.125 * torch.log(of_row + floor**2)
    own_noise_sq, is_noisy = noise_sq[..., places], is_seen & ~given
    left_sq = (own_noise_sq - (of_numbers * deviation).square()).maximum(_LEAST_LEFT * own_noise_sq)
    left_sq = left_sq.clamp(min=_LEAST_VARIANCE)
    surprise_scale = torch.where(is_noisy, left_sq.masked_fill(~is_noisy, 1.0).rsqrt(), 0.0)
    surprises = surprise_scale * (x_t[..., numbers] - of_numbers * mean)
    moving = [x_t[..., numbers] * is_seen, mean, surprises, of_some.values]
    inputs = torch.cat([*moving, known.to(x_t), absent.to(x_t), level], dim=-1)
    inputs *= layout.input_scale[layout.n_levels :]
    return NumbersStart(inputs, of_numbers, is_seen, mean, scale, given, free, posterior, surprise_scale, of_some)


def _posterior(layout: TableLayout, a: Tensor, b_sq: Tensor) -> GaussianPosterior:
    """Return the Gaussian's posterior of the numbers for a and b_sq of parts, (..., n, J), once for equal rows."""
    numbers, part, n = layout.numbers, layout.part, a.shape[-2]
    if not layout.n_numbers:  # then one row will do
        a, b_sq, n = a[..., :1, :], b_sq[..., :1, :], 1
    if a.shape[:-2].numel() == 1 and n > 1:
        first, of_row = equal_rows(torch.cat([a.flatten(0, -2), b_sq.flatten(0, -2)], dim=1))
        if len(first) < n:
            a, b_sq = a[..., first, :], b_sq[..., first, :]
            posterior = layout.gaussian.posterior(a[..., part], b_sq[..., part], numbers)
            return posterior if len(first) == 1 else posterior.of_rows(of_row)
    return layout.gaussian.posterior(a[..., part], b_sq[..., part], numbers)


def equal_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of one row of each set of equal ones, (u,), and the set of each row, (n,).

    Rows are compared by their products with a fixed vector, whose collisions are looked for.
    """
    device = rows.device
    key = rows.double() @ torch.sin(torch.arange(1.0, rows.shape[1] + 1.0, dtype=torch.float64, device=device))
    _, first, which = np.unique(key.cpu().numpy(), return_index=True, return_inverse=True)
    of_set, of_row = torch.from_numpy(first).to(device), torch.from_numpy(which.reshape(-1)).to(device)
    if not torch.equal(rows[of_set][of_row], rows):
        everyone = torch.arange(len(rows), device=device)
        return everyone, everyone
    return of_set, of_row


def waves(mean: Tensor, deviation: Tensor, places: Tensor, frequencies: Tensor) -> Waves:
    """Return waves of I numbers with means and standard deviations (..., n, I): E sin(c x_0) and E cos(c x_0).

    Wave w is that of the number at places[w] and of the frequency c = frequencies[w], both (W,).
    """
    c = frequencies.to(mean)
    damping = torch.exp(-0.5 * (c * deviation.expand(mean.shape)[..., places]).square())
    angle = c * mean[..., places]
    sine, cosine = damping * torch.sin(angle), damping * torch.cos(angle)
    return Waves(torch.cat([sine, cosine], dim=-1), torch.cat([c * cosine, -c * sine], dim=-1), places)
