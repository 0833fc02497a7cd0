"""What a table's denoiser computes of the numbers before its network: the Gaussian's estimates, and inputs.

The network's inputs are those of the levels (`layout.py`) and then, for all parts: the numbers as far as they are seen,
their means under the joint Gaussian, their surprises, the waves of some numbers, which parts are given and absent, and
the row's noise level.

The surprise of a noisy number is (x_t - a m) / sqrt(b^2 - a^2 e^2), with its mean m and standard deviation e given x_t.
Under the Gaussian it has variance 1, at least where rounding does not hide it. At low noise it is the number less what
the others make of it, in its own standard deviations. Where two numbers differ by little, a network of the numbers
alone cannot see by how much: of theta and theta plus noise of two sizes it learnt nothing in 1,500 steps, as the
Gaussian's linear part is right already and leaves no gradient towards the difference.

The waves are sines and cosines of the phases of dates (`NumberColumn.periods`): with the frequency of a year a network
learns seasons. Where a date is noisy, it is known as far as the Gaussian start knows it, with mean m and standard
deviation e, and the network reads the expectations E sin(c x_0) = sin(c m) exp(-c^2 e^2 / 2) and
E cos(c x_0) = cos(c m) exp(-c^2 e^2 / 2): fine waves vanish in noise, and are whole where the date is given.

Source: Tancik et al. 2020, "Fourier features let networks learn high frequency functions in low dimensional domains";
Barron et al. 2021, "Mip-NeRF", for the expectation; Gorishniy et al. 2022, "On embeddings for numerical features in
tabular deep learning".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from backwalk.denoiser.layout import TableLayout
from backwalk.diffusion import GaussianPosterior, scales
from backwalk.diffusion.posteriors import RowSets, equal_rows
from backwalk.limits import GREATEST_LEVEL

_INFINITE = 1e4  # of log-SNRs
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
    `mean`, `scale`, which is e g, and `a` are of the numbers. `known` marks numbers that are given, `at_atom` those
    whose level is given as an atom, and `seen` those that are neither absent nor at an atom. `surprise_scale` is the
    factor of the surprises, 0 for numbers that are given, absent or at an atom, and `waves` are those of some numbers.
    """

    inputs: Tensor
    a: Tensor
    seen: Tensor
    mean: Tensor
    scale: Tensor
    known: Tensor
    at_atom: Tensor
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
        return torch.where(self.known, x_t, torch.where(self.at_atom, self.a * x_t, x_0_hat))


def numbers_start(layout: TableLayout, floor: float, x_t: Tensor, log_snr: Tensor, at_atom: Tensor) -> NumbersStart:
    """Return the start for x_t and log_snr, (..., n, k), of which numbers `at_atom`, (..., n, I), do not apply.

    What depends on the noise levels alone is computed once for the rows that share them.
    """
    rows, places = x_t.shape[:-1], layout.part_of_number
    of_parts = log_snr.flatten(0, -2).index_select(1, layout.first_of_part)  # all coordinates of a part share it
    at_atom = at_atom.flatten(0, -2)
    first, of_row = equal_rows(torch.cat([of_parts.clamp(-_INFINITE, _INFINITE), at_atom.to(of_parts)], dim=1))
    of_sets, at_atom, sets = of_parts[first], at_atom[first], RowSets(len(first), of_row)

    a, b = scales(of_sets, x_t)
    of_numbers, known, absent, seen, noise_sq = a[:, places], b == 0.0, a == 0.0, a.clone(), b.square()
    given = known[:, places] & ~at_atom
    known[:, places], absent[:, places] = given, absent[:, places] | at_atom
    seen[:, places] = of_numbers.masked_fill(at_atom, 0.0)
    noise_sq[:, places] = noise_sq[:, places].masked_fill(at_atom, 1.0)
    posterior = _posterior(layout, seen, noise_sq, sets)
    deviation = posterior.deviation().expand(len(first), -1)  # without numbers it is of one set
    level_sq = torch.exp(-of_sets).clamp(max=GREATEST_LEVEL**2)  # s^2: 0 where given, the greatest where absent
    number_sq = level_sq[:, places]
    scale = deviation * torch.sqrt(number_sq / (number_sq + floor**2))
    greatest = level_sq.masked_fill(known | absent, 0.0).amax(1, keepdim=True)
    greatest = torch.where(greatest > 0.0, greatest, GREATEST_LEVEL**2)  # where no part has noise
    level = 0.125 * torch.log(greatest + floor**2)
    own_noise_sq, is_seen = noise_sq[:, places], seen[:, places] > 0.0
    left_sq = (own_noise_sq - (of_numbers * deviation).square()).maximum(_LEAST_LEFT * own_noise_sq)
    surprise_scale = left_sq.clamp(min=_LEAST_VARIANCE).rsqrt().masked_fill(~is_seen | given, 0.0)
    states = torch.cat([known.to(x_t), absent.to(x_t), level], dim=1)

    def by_row(values: Tensor) -> Tensor:
        return sets.by_row(values).expand(len(of_row), -1).reshape(*rows, -1)

    of_numbers, is_seen, surprise_scale = by_row(of_numbers), by_row(is_seen), by_row(surprise_scale)
    x_of_numbers, mean = x_t.index_select(-1, layout.numbers), posterior.mean(x_t.flatten(0, -2)).reshape(*rows, -1)
    of_some = waves(mean, by_row(deviation), layout.waving, layout.frequencies)
    moving = [x_of_numbers * is_seen, mean, surprise_scale * (x_of_numbers - of_numbers * mean), of_some.values]
    inputs = torch.cat([*moving, by_row(states)], dim=-1)
    inputs *= layout.input_scale[layout.n_features :]
    fixed = by_row(given), by_row(at_atom)
    return NumbersStart(inputs, of_numbers, is_seen, mean, by_row(scale), *fixed, posterior, surprise_scale, of_some)


def _posterior(layout: TableLayout, a: Tensor, b_sq: Tensor, sets: RowSets) -> GaussianPosterior:
    """Return the Gaussian's posterior of the numbers of rows of p sets, at a and b_sq of parts, (p, J)."""
    if not layout.n_numbers:  # then one set will do
        a, b_sq, sets = a[:1], b_sq[:1], RowSets(1)
    return layout.gaussian.posterior(a[:, layout.part], b_sq[:, layout.part], layout.numbers, sets)


def waves(mean: Tensor, deviation: Tensor, places: Tensor, frequencies: Tensor) -> Waves:
    """Return waves of I numbers with means and standard deviations (..., n, I): E sin(c x_0) and E cos(c x_0).

    Wave w is that of the number at places[w] and of the frequency c = frequencies[w], both (W,).
    """
    c = frequencies.to(mean)
    damping = torch.exp(-0.5 * (c * deviation.expand(mean.shape)[..., places]).square())
    angle = c * mean[..., places]
    sine, cosine = damping * torch.sin(angle), damping * torch.cos(angle)
    return Waves(torch.cat([sine, cosine], dim=-1), torch.cat([c * cosine, -c * sine], dim=-1), places)
