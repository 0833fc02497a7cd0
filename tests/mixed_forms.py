"""The posterior of levels and numbers in closed form: levels from a table, numbers that are Gaussian given the levels.

Blocks 1..B have L_1, ..., L_B levels. A row draws its levels l = (l_1, ..., l_B) from a table pi, has the code
c_b(l_b) in the coordinates of block b, and its m numbers from N(mu_l, S_l). With A = diag(a), B^2 = diag(b^2) and
M_l = A S_l A + B^2 for the numbers' coordinates,

    P(l | x_t) = softmax_l(ln pi_l - sum_codes (x_t - a c(l))^2 / (2 b^2) - ln |M_l| / 2 - r_l M_l^-1 r_l / 2),
    r_l = x_t - A mu_l,     E[numbers | l, x_t] = mu_l + S_l A M_l^-1 r_l,

and E[x_0 | x_t] is the mean over l. A known coordinate (a = 1, b = 0) keeps the levels with the nearest code alone and
is returned as it is. An absent one (a = 0, b = 1) has no part in the sums, whatever x_t holds there.

All joint levels are enumerated, in float64 on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backwalk.diffusion.closed_forms import ClosedForm, softmax_mean_slope, tile_by_tile
from backwalk.diffusion.derivatives import Push
from backwalk.diffusion.schedule import in_float64

_IMPOSSIBLE = -1e300  # ln P of what cannot be; finite, so that a row at which nothing is possible has no NaN


@dataclass(frozen=True, eq=False)
class ConditionalGaussianDenoiser(ClosedForm):
    """E[x_0 | x_t] and P(level | x_t) for levels from a table and numbers that are Gaussian given the levels.

    `codes` holds (L_b, w_b) for each block and `coordinates` the slice of each block's w_b coordinates. `probabilities`
    is the table pi, (L_1, ..., L_B); it is scaled to sum to 1. `numbers` holds the m coordinates of the numbers, (m,).
    `means` is (L_1, ..., L_B, m) and `covariances` (L_1, ..., L_B, m, m), positive definite.

    >>> denoiser = ConditionalGaussianDenoiser(
    ...     codes=(torch.eye(2),), coordinates=(slice(0, 2),), probabilities=torch.tensor([0.25, 0.75]),
    ...     numbers=torch.tensor([2]), means=torch.tensor([[-1.0], [1.0]]), covariances=torch.ones(2, 1, 1))
    >>> denoiser(torch.zeros(1, 3), torch.tensor(-torch.inf))
    tensor([[0.2500, 0.7500, 0.5000]])
    """

    codes: tuple[Tensor, ...]
    coordinates: tuple[slice, ...]
    probabilities: Tensor
    numbers: Tensor
    means: Tensor
    covariances: Tensor

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return E[x_0 | x_t], (n, d), for x_t (n, d) and log_snr (), (n,), (1, d) or (n, d)."""
        return self._tile_by_tile(lambda x, levels: self._posterior(x, levels)[0], x_t, log_snr)

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return E[x_0 | x_t] and the map from tangents, (k, n, d), to its directional derivatives, (k, n, d)."""
        value, _, push = self._posterior(in_float64(x_t), _by_coordinate(x_t, log_snr))
        return value.to(x_t), lambda tangents: push(in_float64(tangents)).to(tangents)

    def level_log_probs(self, x_t: Tensor, log_snr: Tensor, block: int, /) -> Tensor:
        """Return ln P(l_block | x_t), (n, L_block), for x_t (n, d) and log_snr (), (n,), (1, d) or (n, d)."""
        return self._tile_by_tile(lambda x, levels: self._level_log_probs(x, levels, block), x_t, log_snr)

    def _level_log_probs(self, x: Tensor, log_snr: Tensor, block: int) -> Tensor:
        joint = torch.log_softmax(self._posterior(x, log_snr)[1], dim=1)
        others = [1 + b for b in range(len(self.codes)) if b != block]
        by_block = joint.reshape(len(x), *self.probabilities.shape)
        marginal = by_block.logsumexp(dim=others) if others else by_block
        return marginal.where(marginal > _IMPOSSIBLE / 2, -math.inf)

    def _posterior(self, x: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor, Push]:
        """Return E[x_0 | x_t], the log-weights of the K joint levels, (n, K), and the map of tangents."""
        known, absent = log_snr == math.inf, log_snr == -math.inf
        a, b_sq = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr)
        x = x.where(~absent, 0.0)
        mean, covariance = self._means, self._covariances
        a_num = a[:, None, self.numbers]
        residual = x[:, None, self.numbers] - a_num * mean  # (n, K, m)
        factor, row = self._factors(log_snr)
        u = _solved(residual, factor[row])
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)[row]
        log_weight = self._log_table + self._log_fit_of_codes(x, a, b_sq, known) - log_det
        log_weight = (log_weight - 0.5 * (residual * u).sum(-1)).clamp(min=_IMPOSSIBLE)
        weight = torch.softmax(log_weight, dim=1)
        of_joint = self._codes_of_joint[None].repeat(len(x), 1, 1)  # (n, K, d)
        of_joint[..., self.numbers] = mean + torch.einsum("nkd,kde->nke", a_num * u, covariance)
        value = torch.einsum("nk,nkd->nd", weight, of_joint)
        noisy = (~known & ~absent).to(x)
        gain = noisy * a / b_sq.where(noisy > 0, 1.0)

        def push(tangents: Tensor) -> Tensor:
            moved = tangents.where(~absent, 0.0)
            along = moved[:, :, None, self.numbers].expand(-1, -1, len(mean), -1)
            slope_u = _solved(along, factor[row])
            slopes = torch.zeros(len(tangents), *of_joint.shape, dtype=x.dtype)
            slopes[..., self.numbers] = torch.einsum("tnkd,kde->tnke", a_num * slope_u, covariance)
            log_slopes = torch.einsum("tnd,kd->tnk", moved * gain, self._codes_of_joint) - (along * u).sum(-1)
            return torch.where(known, tangents, softmax_mean_slope(of_joint, slopes, weight, log_slopes))

        return torch.where(known, x, value), log_weight, push

    def _factors(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Cholesky factors of M for each distinct row of log_snr, (rows, K, m, m), and each row's place."""
        levels, row = torch.unique(log_snr, dim=0, return_inverse=True)
        levels = levels[:, self.numbers]
        a, b_sq = torch.sigmoid(levels).sqrt()[:, None, :, None], torch.sigmoid(-levels)[:, None]
        marginal = a * self._covariances * a.mT + torch.diag_embed(b_sq)
        return torch.linalg.cholesky(marginal), row

    def _log_fit_of_codes(self, x: Tensor, a: Tensor, b_sq: Tensor, known: Tensor) -> Tensor:
        """Return ln p(x_t | codes of the joint levels), (n, K), up to a constant of the row."""
        total = torch.zeros(len(x), *(1 for _ in self.codes), dtype=x.dtype)
        for b, (codes, where) in enumerate(zip(self.codes, self.coordinates, strict=True)):
            squares = (x[:, None, where] - a[:, None, where] * in_float64(codes)).square()  # (n, L, w)
            exact = known[:, None, where]
            in_noisy = (squares / b_sq[:, None, where].where(~exact, 1.0)).where(~exact, 0.0).sum(-1)
            in_known = squares.where(exact, 0.0).sum(-1)
            impossible = in_known > in_known.amin(dim=1, keepdim=True)
            fit = (-0.5 * in_noisy).where(~impossible, _IMPOSSIBLE)
            total = total + fit.reshape(len(x), *(fit.shape[1] if i == b else 1 for i in range(len(self.codes))))
        return total.expand(-1, *self.probabilities.shape).reshape(len(x), -1)

    @cached_property
    def _codes_of_joint(self) -> Tensor:
        """The codes of the joint levels, (K, d), with 0 in the numbers' coordinates."""
        levels = torch.cartesian_prod(*(torch.arange(len(codes)) for codes in self.codes))
        levels = levels.reshape(-1, len(self.codes))
        of_joint = torch.zeros(len(levels), sum(codes.shape[1] for codes in self.codes) + len(self.numbers))
        of_joint = in_float64(of_joint)
        for b, (codes, where) in enumerate(zip(self.codes, self.coordinates, strict=True)):
            of_joint[:, where] = in_float64(codes)[levels[:, b]]
        return of_joint

    @cached_property
    def _log_table(self) -> Tensor:
        table = in_float64(self.probabilities).reshape(-1)
        return (table / table.sum()).log().clamp(min=_IMPOSSIBLE)

    @cached_property
    def _means(self) -> Tensor:
        return in_float64(self.means).flatten(0, -2)

    @cached_property
    def _covariances(self) -> Tensor:
        return in_float64(self.covariances).flatten(0, -3)

    def _tile_by_tile(self, function: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, log_snr: Tensor) -> Tensor:
        entries = self.probabilities.numel() * (self._codes_of_joint.shape[1] + len(self.numbers) ** 2)
        return tile_by_tile(function, x_t, _by_coordinate(x_t, log_snr), entries_a_row=entries)


def _by_coordinate(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return the log-SNR of each coordinate, (n, d), in float64."""
    levels = in_float64(log_snr)
    return (levels[:, None] if levels.ndim == 1 else levels).expand(x_t.shape)


def _solved(residual: Tensor, factor: Tensor) -> Tensor:
    """Return M^-1 residual, (..., m), from the Cholesky factor of M."""
    return torch.cholesky_solve(residual[..., None], factor)[..., 0]
