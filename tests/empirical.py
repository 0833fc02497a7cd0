"""The denoiser of a finite set of points: what a network that memorises its training rows would learn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from backwalk.diffusion.closed_forms import ClosedForm, signal_and_noise, tile_by_tile
from backwalk.diffusion.schedule import in_float64

_LEAST_NOISE = 1e-200  # squares divided by this variance do not overflow


@dataclass(frozen=True, eq=False)
class EmpiricalDenoiser(ClosedForm):
    """E[x_0 | x_t] for data that are exactly these points, (m, d), each equally probable.

    x_0_hat = sum_i x_i softmax_i(-sum_j (x_t,j - a_j x_ij)^2 / (2 b_j^2)). Without noise it is the nearest point. With
    known coordinates the sum is over the points that are nearest in these, and the known values are returned.
    """

    points: Tensor

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return E[x_0 | x_t], (n, d), for x_t (n, d) and log_snr (), (n,), (1, d) or (n, d)."""
        if log_snr.ndim == 2:
            return tile_by_tile(self._at_levels_of_coordinates, x_t, log_snr, entries_a_row=self.points.numel())
        return tile_by_tile(self._at_levels_of_rows, x_t, log_snr, entries_a_row=len(self.points))

    def _at_levels_of_rows(self, x: Tensor, log_snr: Tensor) -> Tensor:
        given = in_float64(self.points)
        centre = given.mean(0)  # only distances matter, and products of centred points keep more digits
        alpha_bar, noise = torch.sigmoid(log_snr)[:, None], torch.sigmoid(-log_snr)[:, None]
        points, x = given - centre, x - alpha_bar.sqrt() * centre
        # -|x - a p|^2 / 2 without |x|^2 / 2, which is the same for all points and cancels in the softmax.
        closeness = alpha_bar.sqrt() * (x @ points.T) - 0.5 * alpha_bar * points.square().sum(1)
        behind_best = closeness - closeness.amax(dim=1, keepdim=True)
        tiny = torch.finfo(torch.float64).tiny  # without noise: 0 for the nearest point, -inf for the others
        return torch.softmax(behind_best / noise.clamp(min=tiny), dim=1) @ given

    def _at_levels_of_coordinates(self, x: Tensor, log_snr: Tensor) -> Tensor:
        points = in_float64(self.points)
        a, variance = signal_and_noise(log_snr)
        known = log_snr == math.inf
        squares = (x[:, None] - a[:, None] * points).square()  # (n, m, d)
        in_known = squares.where(known[:, None], 0.0).sum(-1)
        in_noisy = (squares / variance.clamp(min=_LEAST_NOISE)[:, None]).where(~known[:, None], 0.0).sum(-1)
        impossible = in_known > in_known.amin(dim=1, keepdim=True)
        x_0_hat = torch.softmax((-0.5 * in_noisy).where(~impossible, -math.inf), dim=1) @ points
        return torch.where(known, x, x_0_hat)
