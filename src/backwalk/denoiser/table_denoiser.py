"""The denoiser of tables: levels and numbers, any of them known or absent.

Each part of an encoded row, the level of a column or a number, has its own log-SNR: +inf where it is given, -inf where
it is absent, and the noise level of the chain elsewhere. The network F starts from answers that are exact for simple
tables, and adds corrections:

- levels: p(l | x_t) = softmax_l(ln q(l | x_t) + F_l), where q is the posterior of the column alone, and for absent
  columns also the linear discriminant of what is given, and the level of a partner (`levels_start.py`). With F = 0 the
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

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from backwalk.denoiser.given_levels import GivenLevels, log_mean
from backwalk.denoiser.layout import BlockSoftmax, TableLayout
from backwalk.denoiser.levels_start import LevelsEvidence
from backwalk.denoiser.network import ResidualNetwork
from backwalk.denoiser.numbers_start import NumbersStart, numbers_start
from backwalk.denoiser.passes import network_pass
from backwalk.denoiser.preconditioning import EnsembleDenoiser
from backwalk.denoiser.tilted_levels import TiltedHead, TiltedRows, tilted_levels
from backwalk.denoiser.wide_levels import WideHead, WideInputs, wide_heads
from backwalk.diffusion import refuse_steps, scales


class _Start(NamedTuple):
    """What the denoiser computes before the network of n rows of each member: see the module's docstring.

    `inputs`, (members, n, .), are the network's, the features of the levels first. `log_q`, (M, members n), is
    ln q + constant of all levels or of those of plain blocks. `numbers` is the start of the numbers, which are
    `x_numbers` at x_t.
    """

    inputs: Tensor
    log_q: Tensor
    numbers: NumbersStart
    x_numbers: Tensor
    levels_known: bool

    def numbers_hat(self, f: Tensor) -> Tensor:
        """Return x_0_hat of the numbers from the network's outputs for them, (members, n, I)."""
        return self.numbers.x_0_hat(self.x_numbers, f)


class _Points(NamedTuple):
    """Noisy rows of each member, and what a loss compares their predictions with.

    `places`, (B, members rows), are those of the levels of plain blocks in a row of logits, and `weight_of_levels` is
    of this shape; `tilted` are the heads of blocks with a basis, and `wide` those of wide blocks. `numbers_0` are the
    numbers at x_0, (members, rows, I).
    """

    start: _Start
    inputs_of_wide: WideInputs
    wide: list[WideHead]
    tilted: list[TiltedHead]
    places: Tensor
    weight_of_levels: Tensor
    numbers_0: Tensor
    weight_of_numbers: Tensor


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
        of_numbers = start.numbers_hat(f[..., self.layout.n_features :])
        x_0_hat = self.layout.expected_codes(self._softmax(start, f).p).view(x_t.shape)
        return self._with_numbers(x_0_hat, of_numbers)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, k), for x_t, (n, k), at log_snr, (), (n,) or (n, k)."""
        of_members = [self.network.of_member(k) for k in range(self.n_members)]
        p, of_numbers = self._means(x_t, log_snr, of_members)
        return self._with_numbers(self.layout.expected_codes(p), of_numbers)

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
        for head in points.wide:
            log_p = head.log_p(last, *in_order[-2:]).gather(-1, head.level)
            total = total - (head.weight * log_p).sum()
        return total

    def _narrow_loss(self, points: _Points, f: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss of numbers and narrow blocks, and its derivative by the network's outputs f."""
        start, layout = points.start, self.layout
        error = points.numbers_0 - start.numbers_hat(f[..., layout.n_narrow_features :])
        weighted = points.weight_of_numbers * error
        by_numbers = -2.0 * weighted * start.numbers.with_fixed(start.numbers.scale, torch.zeros_like(error))
        f_t = f.permute(2, 0, 1).flatten(1)
        by_f = torch.empty_like(f_t)  # plain blocks, tilted ones, numbers
        by_f[layout.n_narrow_features :] = by_numbers.flatten(0, 1).T
        sums, weight = layout.softmax(layout.logits(f_t, start.log_q)), points.weight_of_levels
        total = (weighted * error).sum() - (weight * sums.log_p(points.places)).sum()
        by_level = torch.mul(
            sums.powers, (weight / sums.totals).index_select(0, sums.block), out=by_f[: layout.n_plain]
        )
        by_level.scatter_add_(0, points.places, -weight)
        for head in points.tilted:
            total += head.loss(f_t, by_f)
        return total, _of_members(by_f, len(f))

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
        losses -= (points.weight_of_levels * log_mean(log_p, self.n_members)).sum(0)
        for tilted, log_p_of_head in zip(points.tilted, zip(*log_p_tilted, strict=True), strict=True):
            losses.index_add_(0, tilted.rows, (tilted.weight * log_mean(log_p_of_head, self.n_members))[0], alpha=-1)
        for head, log_p_of_head in zip(points.wide, zip(*log_p_wide, strict=True), strict=True):
            losses.index_add_(0, head.rows, (head.weight * log_mean(log_p_of_head, self.n_members))[0, :, 0], alpha=-1)
        return losses

    def _points(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor) -> _Points:
        """Return the noisy rows of x_0; all tensors are (members, rows, k).

        Its start is that of the plain blocks, beside the heads of tilted and of wide ones.
        """
        layout, (members, n, k) = self.layout, x_0.shape
        blocks, n_narrow, n_plain = layout.part_of_block, layout.n_narrow_blocks, layout.n_plain_blocks
        of_parts = scales(log_snr.flatten(0, 1).index_select(1, layout.first_of_part).T.contiguous(), x_0)
        x_0_t = x_0.flatten(0, 1).T.contiguous()
        x_t = of_parts[0].index_select(0, layout.part).mul_(x_0_t)
        x_t += of_parts[1].index_select(0, layout.part).mul_(eps.flatten(0, 1).T)
        rows = x_t.T.contiguous().view(members, n, k)
        a, b = (part.index_select(0, blocks) for part in of_parts)
        b_sq, is_known = b.square(), b == 0.0
        firsts = layout.first_of_part.index_select(0, blocks[:n_narrow])
        weight_of_levels = weight.flatten(0, 1).index_select(1, firsts).T.contiguous()
        level = layout.levels_of(x_0_t)
        is_other = level[layout.blocks_of_atoms] == layout.others[:, None]
        is_at_atom = layout.at_an_atom(is_other, is_known).view(members, n, -1)
        numbers = numbers_start(layout, self.floor, rows, log_snr, is_at_atom)
        log_q, q = layout.posterior(x_t, a[:n_plain], b_sq[:n_plain])
        asked = (a[:n_narrow] == 0.0) & (weight_of_levels > 0.0)
        place, evidence = self._add_known(log_q, rows.flatten(0, 1), of_parts[1] == 0.0, numbers, asked, n_plain)
        of_rows = TiltedRows(x_t, a, b_sq, level, weight_of_levels, place)
        features, heads = tilted_levels(layout, of_rows, evidence)
        inputs = torch.cat([layout.features_of(q), *features, numbers.inputs.flatten(0, 1).T])
        numbers_0, x_numbers = (part.index_select(-1, layout.numbers) for part in (x_0, rows))
        a_of_members, b_sq_of_members = (part.view(-1, members, n).movedim(1, 0) for part in (a, b_sq))
        return _Points(
            start=_Start(_of_members(inputs, members), log_q, numbers, x_numbers, False),
            inputs_of_wide=WideInputs(layout, rows, a_of_members, b_sq_of_members),
            wide=list(wide_heads(layout, x_0, rows, a_of_members, b_sq_of_members, weight)),
            tilted=heads,
            places=level[:n_plain] + layout.first_levels[:n_plain, None],
            weight_of_levels=weight_of_levels[:n_plain],
            numbers_0=numbers_0,
            weight_of_numbers=weight.index_select(-1, layout.numbers),
        )

    def _outputs(self, points: _Points, in_order: list[Tensor], bfloat16: bool = False) -> tuple[Tensor, Tensor]:
        """Return the network's outputs, without those of wide blocks, and its last hidden units."""
        inputs = points.start.inputs
        return network_pass(inputs, points.inputs_of_wide.narrow_parameters(in_order, inputs.shape[1]), bfloat16)

    def _predictions(
        self, points: _Points, in_order: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """Return ln p of the true levels, those of tilted and of wide blocks, and x_0_hat of the numbers.

        They are those of some members, with the parameters `in_order`. ln p is (B, members rows) for the plain blocks,
        (1, u) for each of `points.tilted`, and (members, u, 1) for each of `points.wide`.
        """
        f, last = self._outputs(points, in_order)
        f_t, layout = f.permute(2, 0, 1).flatten(1), self.layout
        log_p = layout.softmax(layout.logits(f_t, points.start.log_q)).log_p(points.places)
        tilted = [head.log_p(f_t) for head in points.tilted]
        wide = [head.log_p(last, *in_order[-2:]).gather(-1, head.level) for head in points.wide]
        return log_p, tilted, wide, points.start.numbers_hat(f[..., layout.n_narrow_features :])

    def _start(self, x_t: Tensor, log_snr: Tensor) -> _Start:
        """Return the start for x_t, (members, rows, k), and log_snr of the same shape or (members, rows)."""
        layout = self.layout
        if log_snr.ndim < x_t.ndim:
            log_snr = log_snr.unsqueeze(-1)
        log_snr, x = log_snr.to(x_t).expand(x_t.shape), x_t.flatten(0, 1)
        of_parts = scales(log_snr.flatten(0, 1).index_select(1, layout.first_of_part).T.contiguous(), x_t)
        a, b = (part.index_select(0, layout.part_of_block) for part in of_parts)
        log_q, q = layout.posterior(x.T.contiguous(), a, b.square())
        is_at_atom = layout.at_an_atom(q[layout.other_levels] >= 0.5, b == 0.0).view(*x_t.shape[:2], -1)
        numbers = numbers_start(layout, self.floor, x_t, log_snr, is_at_atom)
        n_narrow = layout.n_narrow_blocks
        self._add_known(log_q, x, of_parts[1] == 0.0, numbers, (a == 0.0)[:n_narrow], n_narrow)
        inputs = torch.cat([layout.features_of(q), numbers.inputs.flatten(0, 1).T])
        x_numbers = x_t.index_select(-1, layout.numbers)
        return _Start(_of_members(inputs, len(x_t)), log_q, numbers, x_numbers, bool((b == 0.0).all()))

    def _add_known(
        self, log_q: Tensor, x: Tensor, is_known: Tensor, numbers: NumbersStart, asked: Tensor, n_blocks: int
    ) -> tuple[Tensor, LevelsEvidence | None]:
        """Write into ln q of the first blocks what is known of those that are `asked` for, (B, n).

        x is (n, k), and `is_known` of parts, (J, n). Return the number of each row among those in which a block is
        asked for, (n,), and what is known in these; None if there is none.
        """
        layout, rows = self.layout, asked.any(0).nonzero()[:, 0]
        place = torch.zeros(len(x), dtype=torch.long, device=x.device)
        if not len(rows):
            return place, None
        place[rows] = torch.arange(len(rows), device=x.device)
        known = is_known.index_select(0, layout.part)[:, rows].T.contiguous()
        known[:, layout.numbers] = numbers.known.flatten(0, 1)[rows]
        evidence = LevelsEvidence(layout, x[rows], known)
        told = evidence.of_all(n_blocks)
        is_told = asked[:, rows].index_select(0, layout.block_of_level[: len(told)])
        log_q[: len(told), rows] = torch.where(is_told, told, log_q[: len(told), rows])
        return place, evidence

    def _means(self, x_t: Tensor, log_snr: Tensor, of_members: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """Return the members' mean probabilities, (M, n), and mean x_0_hat of the numbers, (n, I)."""
        n_features = self.layout.n_features
        start = self._start(x_t.unsqueeze(0), _log_snr_of_one_member(x_t, log_snr))
        if start.levels_known:  # then q is one-hot, and the network has nothing to add
            outputs = _outputs_of_members(start, of_members, slice(n_features, None))
            of_numbers = [start.numbers_hat(f) for f in outputs]
            return self.layout.softmax(start.log_q).p, sum(of_numbers[1:], start=of_numbers[0])[0] / self.n_members
        parts = [
            (self._softmax(start, f).p, start.numbers_hat(f[..., n_features:]))
            for f in _outputs_of_members(start, of_members, slice(None))
        ]
        p, x_0_hat = (sum(each[1:], start=each[0]) / self.n_members for each in zip(*parts, strict=True))
        return p, x_0_hat[0]

    def _softmax(self, start: _Start, f: Tensor) -> BlockSoftmax:
        """Return the softmax of the levels by the network's outputs, (members, n, .)."""
        return self.layout.softmax(self.layout.logits(f.permute(2, 0, 1).flatten(1), start.log_q))

    def _with_numbers(self, x_0_hat: Tensor, numbers: Tensor) -> Tensor:
        """Return x_0_hat, (..., k), with the numbers, (..., I)."""
        x_0_hat[..., self.layout.numbers] = numbers
        return x_0_hat


def _of_members(by_row: Tensor, members: int) -> Tensor:
    """Return values (k, members n), as (members, n, k)."""
    return by_row.view(len(by_row), members, by_row.shape[1] // members).permute(1, 2, 0)


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


def _log_snr_of_one_member(x_t: Tensor, log_snr: Tensor) -> Tensor:
    """Return log-SNRs of x_t, (n, k), for one member: (1, n) or (1, n, k)."""
    refuse_steps(log_snr)
    return log_snr.unsqueeze(0) if log_snr.ndim == 2 else log_snr.expand(1, len(x_t))
