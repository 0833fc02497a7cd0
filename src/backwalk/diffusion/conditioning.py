"""Conditionals and marginals of a denoiser, which are denoisers again.

The coordinates of a row are divided into given, absent and free ones. The free coordinates of x_t, together with the
given values, have the posterior mean

    E[x_0,free | x_t,free, x_0,given],

which the denoiser of whole rows returns with the given coordinates at log-SNR +inf and the absent ones at -inf.
`ConditionalDenoiser` is this function of the free coordinates alone. It is an ordinary `Denoiser`, so samplers, the
probability-flow ODE and the bound work on p(free | given) as they do on p(x). Without given coordinates it is the
denoiser of a marginal, p(free).

`log_snr_by_coordinate` gives the log-SNRs of such a pattern, for a single evaluation of the denoiser itself: at an
absent coordinate x_0_hat is then the regression E[x_0 | given].
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


def log_snr_by_coordinate(log_snr: Tensor, given: Tensor, absent: Tensor | None = None) -> Tensor:
    """Return a log-SNR for each coordinate, by which of them are given and absent.

    Parameters
    ----------
    log_snr : Tensor of shape (), (n,) or (n, d)
        The log-SNR of the free coordinates.
    given : Tensor of bool of shape (d,) or (n, d)
        The given coordinates, of all rows or of each.
    absent : Tensor of bool of shape (d,) or (n, d), optional
        The absent coordinates. None are by default.

    Returns
    -------
    Tensor of shape (n, d)
        +inf at given coordinates, -inf at absent ones, `log_snr` at the others. n is 1 where nothing depends on the
        row.

    See Also
    --------
    ConditionalDenoiser : The denoiser of a conditional.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import log_snr_by_coordinate
    >>> log_snr_by_coordinate(torch.tensor(0.5), torch.tensor([True, False, False]), torch.tensor([False, False, True]))
    tensor([[   inf, 0.5000,   -inf]])
    """
    of_free = log_snr if log_snr.ndim == 2 else log_snr.reshape(-1, 1)
    log_snrs = torch.where(given, math.inf, of_free)
    return log_snrs if absent is None else torch.where(absent, -math.inf, log_snrs)


@dataclass(frozen=True, eq=False)
class ConditionalDenoiser(WrappedDenoiser):
    """The denoiser of some coordinates of rows, given their other ones.

    It is sampled and scored as any denoiser, and so gives draws and log-densities of a conditional or a marginal. Each
    row may have other coordinates given or absent.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser of all k coordinates, which takes a log-SNR for each.
    rows : Tensor of shape (n, k)
        The rows, with the given values. Points x_t may hold them several times, in the same order.
    given : Tensor of bool of shape (n, k)
        The coordinates of each row that are given.
    absent : Tensor of bool of shape (n, k)
        The coordinates of each row that are absent. All coordinates outside `coordinates` should be given or absent.
    coordinates : LongTensor of shape (i,)
        The coordinates that the points x_t have.

    See Also
    --------
    log_snr_by_coordinate : The log-SNRs that it gives to the denoiser.
    log_density : The log-density of its coordinates.

    Notes
    -----
    At a coordinate of x_t that is given or absent in its row, x_0_hat is a x_t. Such a coordinate moves as an
    independent draw of N(0, 1), so that rows of different patterns share a call. Its share of a log-density is given by
    `log_prob_of_rest`.

    Examples
    --------
    >>> import torch
    >>> from backwalk.diffusion import GaussianDenoiser, ConditionalDenoiser
    >>> joint = GaussianDenoiser(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    >>> rows, given = torch.tensor([[2.0, 0.0]]), torch.tensor([[True, False]])
    >>> conditional = ConditionalDenoiser(joint, rows, given, torch.zeros_like(given), torch.tensor([1]))
    >>> conditional(torch.zeros(1, 1), torch.tensor(-torch.inf))  # E[x_2 | x_1 = 2]
    tensor([[1.6000]])
    """

    rows: Tensor
    given: Tensor
    absent: Tensor
    coordinates: Tensor

    @cached_property
    def fixed(self) -> Tensor:
        """Which coordinates of x_t are given or absent, (n, i)."""
        return (self.given | self.absent)[:, self.coordinates]

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, i), for x_t, (n, i), at log_snr, () or (n,)."""
        x_0_hat = self.denoiser(*self._whole(x_t, log_snr))[:, self.coordinates]
        a, _ = scales(log_snr, x_t)
        return torch.where(self._repeated(self.fixed, x_t), a * x_t, x_0_hat)

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return the estimates of x_0 and their derivative by x_t.

        Parameters
        ----------
        x_t : Tensor of shape (n, i)
            The noisy points.
        log_snr : Tensor of shape () or (n,)
            The log-SNR.

        Returns
        -------
        x_0_hat : Tensor of shape (n, i)
            The estimates.
        push : callable
            The map from tangents of shape (t, n, i) to directional derivatives of that shape.
        """
        whole, log_snrs = self._whole(x_t, log_snr)
        value, push = linearize(self.denoiser, whole, log_snrs)
        fixed, (a, _) = self._repeated(self.fixed, x_t), scales(log_snr, x_t)

        def push_free(tangents: Tensor) -> Tensor:
            moved = tangents.new_zeros(*tangents.shape[:-1], whole.shape[1])
            moved[..., self.coordinates] = tangents.masked_fill(fixed, 0.0)
            return torch.where(fixed, a * tangents, push(moved)[..., self.coordinates])

        return torch.where(fixed, a * x_t, value[:, self.coordinates]), push_free

    def log_prob_of_rest(self, level_min: float) -> Tensor:
        """Return the log-density at 0 of the coordinates of x_t that are given or absent.

        Subtract it from the log-density of whole points.

        Parameters
        ----------
        level_min : float
            The least noise level s of the log-density.

        Returns
        -------
        Tensor of shape (n,)
            The sum over these coordinates of `-ln(2 pi (1 + s^2)) / 2`, in nats, float64.
        """
        return self.fixed.sum(dim=1).double().cpu() * (-0.5 * math.log(2.0 * math.pi * (1.0 + level_min**2)))

    def _whole(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return whole rows, (n, k), and the log-SNR of each of their coordinates."""
        given, absent, rows = (self._repeated(part, x_t) for part in (self.given, self.absent, self.rows))
        whole = rows.to(x_t).clone()
        fixed = (given | absent)[:, self.coordinates]
        whole[:, self.coordinates] = torch.where(fixed, whole[:, self.coordinates], x_t)
        log_snrs = log_snr_by_coordinate(log_snr.to(x_t), given, absent)
        return whole.nan_to_num(), log_snrs.expand(whole.shape)

    @staticmethod
    def _repeated(of_rows: Tensor, x_t: Tensor) -> Tensor:
        copies = len(x_t) // max(len(of_rows), 1)
        return of_rows if copies <= 1 else of_rows.repeat(copies, 1)
