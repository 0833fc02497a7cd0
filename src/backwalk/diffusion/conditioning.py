"""Conditionals and marginals of a denoiser, which are denoisers again.

The coordinates of a row are divided into known, absent and free ones. The free coordinates of x_t, together with the
known values, have the posterior mean

    E[x_0,free | x_t,free, x_0,known],

which the denoiser of whole rows returns with the known coordinates at log-SNR +inf and the absent ones at -inf.
`RowwiseConditional` is this function of the free coordinates alone. It is an ordinary `Denoiser`, so samplers, the
probability-flow ODE and the bound work on p(free | known) as they do on p(x). Without known coordinates it is the
denoiser of a marginal, p(free).

`log_snr_by_coordinate` gives the log-SNRs of such a pattern, for a single evaluation of the denoiser itself: at an
absent coordinate x_0_hat is then the regression E[x_0 | known].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from backwalk.diffusion.derivatives import Push, linearize
from backwalk.diffusion.parameterization import WrappedDenoiser
from backwalk.diffusion.schedule import scales


def log_snr_by_coordinate(log_snr: Tensor, known: Tensor, absent: Tensor | None = None) -> Tensor:
    """Return a log-SNR for each coordinate: +inf where known, -inf where absent, `log_snr` elsewhere.

    `known` and `absent` are (d,) for one pattern or (n, d) for one per row; `log_snr` is () or (n,), or (n, d). The
    result is (n, d), with n = 1 where nothing depends on the row.

    >>> import torch
    >>> from backwalk.diffusion import log_snr_by_coordinate
    >>> log_snr_by_coordinate(torch.tensor(0.5), torch.tensor([True, False, False]), torch.tensor([False, False, True]))
    tensor([[   inf, 0.5000,   -inf]])
    """
    levels = log_snr if log_snr.ndim == 2 else log_snr.reshape(-1, 1)
    levels = torch.where(known, math.inf, levels)
    return levels if absent is None else torch.where(absent, -math.inf, levels)


@dataclass(frozen=True, eq=False)
class RowwiseConditional(WrappedDenoiser):
    """The denoiser of some coordinates of rows, of which each row may have other ones known or absent.

    `coordinates`, (i,), are those of the points x_t, (n, i). `rows`, (n, k), holds known values, and `known` and
    `absent`, (n, k), are the pattern of each row; all coordinates outside `coordinates` are known or absent. At a
    coordinate of x_t that is known or absent in its row, x_0_hat is a x_t: such a coordinate goes its own way as an
    independent draw of N(0, 1), so that rows of different patterns share a call, and its share of a log-density is
    that of N(0, 1), which `log_prob_of_rest` gives. With n rows, x_t may hold them several times, in the same order.

    >>> import torch
    >>> from backwalk.diffusion import RowwiseConditional
    >>> from backwalk.diffusion.closed_forms import GaussianDenoiser
    >>> joint = GaussianDenoiser(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    >>> rows, known = torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])
    >>> given = RowwiseConditional(joint, rows, known, torch.zeros_like(known), torch.tensor([1]))
    >>> given(torch.zeros(1, 1), torch.tensor(-torch.inf))  # E[x_2 | x_1 = 2]
    tensor([[1.6000]])
    """

    rows: Tensor
    known: Tensor
    absent: Tensor
    coordinates: Tensor

    @cached_property
    def fixed(self) -> Tensor:
        """Which coordinates of x_t are known or absent, (n, i)."""
        return (self.known | self.absent)[:, self.coordinates]

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, i), for x_t, (n, i), at log_snr, () or (n,)."""
        x_0_hat = self.denoiser(*self._whole(x_t, log_snr))[:, self.coordinates]
        a, _ = scales(log_snr, x_t)
        return torch.where(self._repeated(self.fixed, x_t), a * x_t, x_0_hat)

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return x_0_hat, and the map from tangents, (t, n, i), to its directional derivatives of this shape."""
        whole, levels = self._whole(x_t, log_snr)
        value, push = linearize(self.denoiser, whole, levels)
        fixed, (a, _) = self._repeated(self.fixed, x_t), scales(log_snr, x_t)

        def push_free(tangents: Tensor) -> Tensor:
            moved = tangents.new_zeros(*tangents.shape[:-1], whole.shape[1])
            moved[..., self.coordinates] = tangents.masked_fill(fixed, 0.0)
            return torch.where(fixed, a * tangents, push(moved)[..., self.coordinates])

        return torch.where(fixed, a * x_t, value[:, self.coordinates]), push_free

    def log_prob_of_rest(self, level_min: float) -> Tensor:
        """Return the log-density at 0 of the coordinates of x_t that are known or absent, (n,), float64.

        An independent N(0, 1) coordinate, blurred by noise of level s, has -ln(2 pi (1 + s^2)) / 2 at 0.
        """
        return self.fixed.sum(dim=1).double().cpu() * (-0.5 * math.log(2.0 * math.pi * (1.0 + level_min**2)))

    def _whole(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return whole rows, (n, k), and the log-SNR of each of their coordinates."""
        known, absent, rows = (self._repeated(part, x_t) for part in (self.known, self.absent, self.rows))
        whole = rows.to(x_t).clone()
        fixed = (known | absent)[:, self.coordinates]
        whole[:, self.coordinates] = torch.where(fixed, whole[:, self.coordinates], x_t)
        levels = log_snr_by_coordinate(log_snr.to(x_t), known, absent)
        return whole.nan_to_num(), levels.expand(whole.shape)

    @staticmethod
    def _repeated(of_rows: Tensor, x_t: Tensor) -> Tensor:
        copies = len(x_t) // max(len(of_rows), 1)
        return of_rows if copies <= 1 else of_rows.repeat(copies, 1)
