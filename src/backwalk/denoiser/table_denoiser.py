"""The denoiser of tables: levels and numbers, any of them known or absent.

Each part of an encoded row, the level of a column or a number, has its own log-SNR: +inf where it is given, -inf where
it is absent, and the noise level of the chain elsewhere. The network F starts from answers that are exact for simple
tables, and adds corrections:

- levels: p(l | x_t) = softmax_l(ln q(l | x_t) + F_l), where q is the posterior of the column alone, and for absent
  columns also the linear discriminant of what is given, or the level of a partner (`levels_start.py`). With F = 0 the
  model has the fitted frequencies of every column, and knows of levels about what logistic regression knows.
  x_0_hat = sum_l p(l | x_t) c_l.
- numbers: x_0_hat = m + e g F, where m and e are the mean and the standard deviation of the number given x_t under the
  joint Gaussian of the encoded rows (`diffusion/posteriors.py`), and g = s / sqrt(s^2 + floor^2) as in
  `preconditioning.py`. For data of unit variance without correlation, m = a x_t and e = b. The Gaussian's error is an
  upper bound of the best denoiser's, so F is of order 1 at most.

The network reads q without discriminants (one-hot where a level is given, the frequencies where it is absent), the
numbers and m, some numbers through waves as well (`numbers_start.py`), the noise level, and which parts are given and
absent. A number with atoms does not apply at its atoms: once its level is given as an atom, the number is absent for
the rest, and x_0_hat = a x_t, as for an independent N(0, 1) coordinate.

Training minimises the cross-entropy -ln p(l_0 | x_t) of levels and the weighted squared error of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from backwalk.denoiser.given_levels import GivenLevels
from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.levels_start import LevelsEvidence
from backwalk.denoiser.network import ResidualNetwork
from backwalk.denoiser.numbers_start import NumbersStart, numbers_start
from backwalk.denoiser.passes import network_pass
from backwalk.denoiser.preconditioning import EnsembleDenoiser
from backwalk.denoiser.tilted_levels import TiltedHead, TiltedRows, tilted_levels
from backwalk.denoiser.wide_levels import WideHead, WideInputs, wide_heads
from backwalk.diffusion import refuse_steps, scales


class _Start(NamedTuple):
    """What the denoiser computes before the network, (..., n, .): see the module's docstring.

    `inputs` are the network's, the features of the levels first. `noise_sq`, b^2, is of all coordinates, `log_q` of all
    levels. `numbers_start` is the start of the numbers.
    """

    inputs: Tensor
    noise_sq: Tensor
    log_q: Tensor
    numbers_start: NumbersStart
    levels_known: bool


class _Points(NamedTuple):
    """Noisy rows and what a loss compares their predictions with; all but `numbers_0` at x_t, (members, rows, k).

    `levels`, (members, rows, B), are the places of the true levels of the plain blocks, `tilted` are the blocks with a
    basis, and `heads` the wide ones. `numbers_0` are those of x_0.
    """

    x_t: Tensor
    start: _Start
    inputs: WideInputs
    heads: list[WideHead]
    tilted: list[TiltedHead]
    levels: Tensor
    weight_of_levels: Tensor
    numbers_0: Tensor
    weight_of_numbers: Tensor

    @classmethod
    def of(cls, denoiser: TableDenoiser, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor) -> _Points:
        """Return the noisy rows of x_0; all tensors are (members, rows, k)."""
        layout = denoiser.layout
        a, b = scales(log_snr, x_0)
        x_t = a * x_0 + b * eps
        start, tilted = denoiser._training_start(x_0, x_t, log_snr, weight)
        n_plain_blocks = layout.n_blocks - len(layout.wide) - len(tilted)
        return cls(
            x_t=x_t,
            start=start,
            inputs=WideInputs(layout, x_t, a, start.noise_sq),
            heads=list(wide_heads(layout, x_0, x_t, a, start.noise_sq, weight)),
            tilted=tilted,
            levels=layout.levels_of(x_0, layout.plain),
            weight_of_levels=weight[..., layout.block_coordinates[:n_plain_blocks]],
            numbers_0=x_0[..., layout.numbers],
            weight_of_numbers=weight[..., layout.numbers],
        )


class TableDenoiser(EnsembleDenoiser):
    """See the module's docstring. `layout` says how many inputs and outputs the `network` has."""

    network: ResidualNetwork

    def __init__(
        self,
        network: ResidualNetwork,
        n_members: int,
        floor: float,
        log_snr_range: tuple[float, float],
        layout: TableLayout,
    ) -> None:
        super().__init__(network, n_members, log_snr_range)
        self.floor, self.layout = floor, layout

    def by_member(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat of each member: x_t is (members, rows, k), log_snr (members, rows) or of x_t's shape."""
        start = self._start(x_t, log_snr)
        f, _ = network_pass(start.inputs, self.network.in_order)
        of_numbers = self._numbers_hat(start, x_t, f[..., self.layout.n_features :])
        return self._assembled(self._log_p(start, f).exp(), of_numbers)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, k), for x_t, (n, k), at log_snr, (), (n,) or (n, k)."""
        of_members = [self.network.of_member(k) for k in range(self.n_members)]
        return self._assembled(*self._means(x_t, log_snr, of_members))

    def given_levels(self, rows: Tensor, is_given: Tensor) -> GivenLevels:
        """Return the denoiser at rows, (n, k), of which some coordinates are given.

        It gives the probabilities of levels, and the derivatives of numbers.
        """
        return GivenLevels(self, rows, is_given)

    def loss(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False) -> Tensor:
        """Return the sum over members and rows of each member's loss.

        All tensors are (members, rows, k).
        """
        return self._loss(self._points(x_0, eps, log_snr, weight), self.network.in_order, bfloat16)

    def _loss(self, points: _Points, in_order: list[Tensor], bfloat16: bool) -> Tensor:
        f, last = self._outputs(points, in_order, bfloat16)
        total: Tensor = _NarrowLoss.apply(f, self, points)  # type: ignore[no-untyped-call]
        for head in points.heads:
            log_p = head.log_p(last, *in_order[-2:]).gather(-1, head.level)
            total = total - (head.weight * log_p).sum()
        return total

    def _narrow_loss(self, points: _Points, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of numbers and narrow blocks, and its derivative by the network's outputs f."""
        layout, start, n_plain = self.layout, points.start, self.layout.n_plain
        numbers = slice(layout.n_narrow_features, None)
        by_f = torch.empty_like(f)
        error = points.numbers_0 - self._numbers_hat(start, points.x_t, f[..., numbers])
        weighted = points.weight_of_numbers * error
        total = (weighted * error).sum()
        of_numbers = start.numbers_start
        by_f[..., numbers] = -2.0 * weighted * of_numbers.with_fixed(of_numbers.scale, torch.zeros_like(error))
        log_p = layout.normalised(start.log_q + f[..., :n_plain], layout.plain)
        total -= (points.weight_of_levels * log_p.gather(-1, points.levels)).sum()
        by_level = log_p.exp_().mul_(points.weight_of_levels[..., layout.block_of_level[:n_plain]])
        by_f[..., :n_plain] = by_level.scatter_add_(-1, points.levels, -points.weight_of_levels)
        by_row = by_f.flatten(0, 1)
        for head in points.tilted:
            log_p = head.log_p(f)
            total -= (head.weight * log_p.gather(1, head.level)).sum()
            by_level = log_p.exp_().mul_(head.weight).scatter_add_(1, head.level, -head.weight)
            by_row[:, head.features] = 0.0
            by_row[:, head.features].index_copy_(0, head.rows, by_level @ head.basis)
        return total, by_f

    def losses(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of each row, (n,), for the members' mean; all arguments are (n, k).

        It is the sum of weight (x_0 - x_0_hat)^2 over numbers and of -weight ln p(l_0 | x_t) over blocks of levels,
        whose weight is that of their first coordinate.
        """
        points = self._points(*(part.unsqueeze(0) for part in (x_0, eps, log_snr, weight)))
        return self._losses(points, [self.network.of_member(k) for k in range(self.n_members)])

    def _losses(self, points: _Points, of_members: list[list[Tensor]]) -> Tensor:
        """Return the loss of each row for the mean of members with these parameters."""
        predictions = [self._predictions(points, in_order) for in_order in of_members]
        log_p, log_p_tilted, log_p_wide, x_0_hats = zip(*predictions, strict=True)
        x_0_hat = sum(x_0_hats[1:], start=x_0_hats[0]) / self.n_members
        losses: Tensor = (points.weight_of_numbers * (points.numbers_0 - x_0_hat).square()).sum(-1)[0]
        losses -= (points.weight_of_levels * _log_mean(log_p)).sum(-1)[0]
        for tilted, log_p_of_head in zip(points.tilted, zip(*log_p_tilted, strict=True), strict=True):
            losses.index_add_(0, tilted.rows, (tilted.weight * _log_mean(log_p_of_head))[:, 0], alpha=-1)
        for head, log_p_of_head in zip(points.heads, zip(*log_p_wide, strict=True), strict=True):
            losses.index_add_(0, head.rows, (head.weight * _log_mean(log_p_of_head))[0, :, 0], alpha=-1)
        return losses

    def _points(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor) -> _Points:
        return _Points.of(self, x_0, eps, log_snr, weight)

    def _outputs(self, points: _Points, in_order: list[Tensor], bfloat16: bool = False) -> tuple[Tensor, Tensor]:
        """Return the network's outputs, without those of wide blocks, and its last hidden units."""
        parameters = points.inputs.narrow_parameters(in_order, points.x_t.shape[1])
        return network_pass(points.start.inputs, parameters, bfloat16)

    def _predictions(
        self, points: _Points, in_order: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """Return ln p of the true levels, those of tilted and of wide blocks, and x_0_hat of the numbers.

        They are those of some members, with the parameters `in_order`. ln p is (members, rows, B) for the plain blocks,
        (u, 1) for each of `points.tilted`, and (members, u, 1) for each of `points.heads`.
        """
        start, layout = points.start, self.layout
        f, last = self._outputs(points, in_order)
        log_p = layout.normalised(start.log_q + f[..., : layout.n_plain], layout.plain).gather(-1, points.levels)
        tilted = [head.log_p(f).gather(1, head.level) for head in points.tilted]
        of_heads = [head.log_p(last, *in_order[-2:]).gather(-1, head.level) for head in points.heads]
        return log_p, tilted, of_heads, self._numbers_hat(start, points.x_t, f[..., layout.n_narrow_features :])

    def _training_start(
        self, x_0: Tensor, x_t: Tensor, log_snr: Tensor, weight: Tensor
    ) -> tuple[_Start, list[TiltedHead]]:
        """Return the start of noisy rows of x_0, whose `log_q` has the plain blocks alone, and those with a basis.

        All tensors are (members, rows, k).
        """
        layout = self.layout
        a, b = scales(log_snr, x_t)
        known, noise_sq = b == 0.0, b.square()
        log_q = layout.log_posterior(x_t, a, noise_sq, layout.plain)
        of_plain = (log_q.exp() - layout.prior[: layout.n_plain]) * layout.input_scale[: layout.n_plain]
        numbers = numbers_start(layout, self.floor, x_t, log_snr, layout.at_known_atoms(x_0, known))
        known[..., layout.numbers] = numbers.known
        absent = (a[..., layout.block_coordinates] == 0.0).flatten(0, -2)
        rows, place, evidence = absent.any(-1).nonzero()[:, 0], absent.new_zeros(len(absent), dtype=torch.long), None
        if len(rows):
            place[rows] = torch.arange(len(rows), device=rows.device)
            evidence = LevelsEvidence(layout, x_t.flatten(0, -2)[rows], known.flatten(0, -2)[rows])
            self._add_evidence(log_q, evidence, absent[rows], rows)
        of_rows = TiltedRows(
            x_0.flatten(0, 1), x_t.flatten(0, 1), a.flatten(0, 1), noise_sq.flatten(0, 1), weight.flatten(0, 1), place
        )
        features, heads = tilted_levels(layout, of_rows, evidence)
        of_tilted = [part.reshape(*x_0.shape[:2], -1) for part in features]
        return _Start(torch.cat([of_plain, *of_tilted, numbers.inputs], dim=-1), noise_sq, log_q, numbers, False), heads

    def _start(self, x_t: Tensor, log_snr: Tensor) -> _Start:
        """Return the start for x_t, (members, rows, k), and log_snr of the same shape or (members, rows)."""
        layout = self.layout
        if log_snr.ndim < x_t.ndim:
            log_snr = log_snr.unsqueeze(-1)
        log_snr = log_snr.to(x_t).expand(x_t.shape)
        a, b = scales(log_snr, x_t)
        known = b == 0.0
        noise_sq = b.square()
        log_q = layout.log_posterior(x_t, a, noise_sq)
        q = log_q.exp()
        numbers = numbers_start(layout, self.floor, x_t, log_snr, layout.at_an_atom(q, known))
        known[..., layout.numbers] = numbers.known
        self._add_discriminants(log_q, x_t, a, known)
        of_levels = layout.features_of(q - layout.prior) * layout.input_scale[: layout.n_features]
        levels_known = bool(known[..., layout.block_coordinates].all())
        return _Start(torch.cat([of_levels, numbers.inputs], dim=-1), noise_sq, log_q, numbers, levels_known)

    def _add_discriminants(self, log_q: Tensor, x_t: Tensor, a: Tensor, known: Tensor) -> None:
        """Add to ln q, (..., n, M), of absent blocks what the known coordinates tell of their levels."""
        absent = (a[..., self.layout.block_coordinates] == 0.0).flatten(0, -2)
        rows = absent.any(-1).nonzero()[:, 0]
        if len(rows):
            evidence = LevelsEvidence(self.layout, x_t.flatten(0, -2)[rows], known.flatten(0, -2)[rows])
            self._add_evidence(log_q, evidence, absent[rows], rows)

    def _add_evidence(self, log_q: Tensor, evidence: LevelsEvidence, absent: Tensor, rows: Tensor) -> None:
        """Add what is known of `absent` blocks, (u, B), in some rows, (u,), to their ln q, (..., n, M)."""
        n_levels = min(self.layout.n_narrow, log_q.shape[-1])
        ratios = evidence.of_first(n_levels) * absent[:, self.layout.block_of_level[:n_levels]]
        log_q.flatten(0, -2)[:, :n_levels].index_add_(0, rows, ratios)

    def _means(self, x_t: Tensor, log_snr: Tensor, of_members: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the members' mean probabilities, (n, M), and mean x_0_hat of the numbers, (n, I)."""
        x, n_features = x_t.unsqueeze(0), self.layout.n_features
        start = self._start(x, _log_snr_of_one_member(x_t, log_snr))
        if start.levels_known:  # then q is one-hot, and the network has nothing to add
            outputs = _outputs_of_members(start, of_members, slice(n_features, None))
            of_numbers = [self._numbers_hat(start, x, f) for f in outputs]
            return start.log_q[0].exp(), sum(of_numbers[1:], start=of_numbers[0])[0] / self.n_members
        parts = [
            (self._log_p(start, f).exp(), self._numbers_hat(start, x, f[..., n_features:]))
            for f in _outputs_of_members(start, of_members, slice(None))
        ]
        p, x_0_hat = (sum(each[1:], start=each[0])[0] / self.n_members for each in zip(*parts, strict=True))
        return p, x_0_hat

    def _log_p(self, start: _Start, f: Tensor) -> Tensor:
        return self.layout.normalised(start.log_q + self.layout.logits(f, start.log_q.shape[-1]))

    def _numbers_hat(self, start: _Start, x_t: Tensor, f: Tensor) -> Tensor:
        """Return x_0_hat of the numbers from the network's outputs for them, (..., I)."""
        return start.numbers_start.x_0_hat(x_t[..., self.layout.numbers], f)

    def _assembled(self, p: Tensor, numbers: Tensor) -> Tensor:
        """Return x_0_hat, (..., k), from probabilities, (..., M), and the numbers, (..., I)."""
        x_0_hat = self.layout.expected_codes(p)
        x_0_hat[..., self.layout.numbers] = numbers.expand(*x_0_hat.shape[:-1], -1)
        return x_0_hat


def _outputs_of_members(start: _Start, of_members: list[list[Tensor]], outputs: slice) -> Iterator[Tensor]:
    """Yield the network's outputs, (1, n, .), for each member's parameters."""
    for in_order in of_members:
        # the last two are the output layer's weight and bias
        last = [parameter[..., outputs].contiguous() for parameter in in_order[-2:]]
        yield network_pass(start.inputs, [*in_order[:-2], *last])[0]


class _NarrowLoss(torch.autograd.Function):
    """`TableDenoiser._narrow_loss` as an operation of autograd: its derivative is computed with it."""

    @staticmethod
    def forward(ctx: Any, f: Tensor, denoiser: TableDenoiser, points: _Points) -> Tensor:
        loss, by_f = denoiser._narrow_loss(points, f)
        ctx.save_for_backward(by_f)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor | None, ...]:
        (by_f,) = ctx.saved_tensors
        return by_f * by_loss, None, None


def _log_mean(log_p: Sequence[Tensor]) -> Tensor:
    """Return ln of the members' mean probability."""
    return torch.logsumexp(torch.stack(list(log_p)), dim=0) - math.log(len(log_p))


def _log_snr_of_one_member(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return log-SNRs of x_t, (n, k), for one member: (1, n) or (1, n, k)."""
    refuse_steps(log_snr)
    return log_snr.unsqueeze(0) if log_snr.ndim == 2 else log_snr.expand(1, len(x_t))
