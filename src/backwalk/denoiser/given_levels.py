"""A table's denoiser at rows whose levels are given or absent: what rows are drawn and scored by.

A given level adds one row of the first layer's weights to the hidden units, and an absent one nothing. These sums are
kept, so that to give one more column of levels costs one row of weights, and the noise levels of a chain of numbers
share them. Rows in which the same values are given have the same probabilities, which are computed once: the first
columns of a table have few different beginnings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backwalk.denoiser.levels_start import LevelsEvidence
from backwalk.denoiser.numbers_start import NumbersStart, numbers_start
from backwalk.denoiser.passes import forward_pass, network_pass, pushed
from backwalk.diffusion import log_snr_by_coordinate
from backwalk.diffusion.derivatives import Push
from backwalk.diffusion.posteriors import equal_rows

if TYPE_CHECKING:
    from backwalk.denoiser.table_denoiser import TableDenoiser

_MULTIPLE = 64  # to which the number of rows is filled up, as products of odd shapes are slow


def log_mean(log_p: Iterable[Tensor], n: int) -> Tensor:
    """Return ln of the mean of n probabilities, whose sum float32 may round to 0, as it does exp(-104)."""
    return reduce(torch.logaddexp, log_p) - math.log(n)


class GivenLevels:
    """Rows, (n, k), of which some coordinates are given; all other levels are absent.

    It is a denoiser of such rows as well, at log-SNRs that are finite for numbers alone: x_0_hat of a code is x_t. The
    rows may be repeated, all in the same order. `added`, (members, n, width), is added to the first hidden units; it is
    the same in rows of the same number `which`, (n,).
    """

    def __init__(
        self,
        denoiser: TableDenoiser,
        rows: Tensor,
        is_given: Tensor,
        added: Tensor | None = None,
        which: Tensor | None = None,
    ) -> None:
        self._denoiser, self._layout = denoiser, denoiser.layout
        self._rows, self._is_given = rows.masked_fill(~is_given, 0.0), is_given.clone()
        self._parameters = [parameter.detach() for parameter in denoiser.network.in_order]
        weight, bias = self._parameters[:2]
        self._parameters[0] = weight[:, self._layout.n_features :].contiguous()
        self._entered = bias.expand(-1, len(rows), -1).clone() if added is None else bias + added
        self._at_atom = torch.zeros(len(rows), self._layout.n_numbers, dtype=torch.bool, device=rows.device)
        for block, coordinates in enumerate(self._layout.coordinates):
            given = is_given[:, coordinates.start]
            if bool(given.any()):
                self._enter(block, self._layout.level_of(block, self._rows), given)
        self._sets = torch.zeros(0, dtype=torch.long)
        if self._layout.n_blocks:
            of_rows = [self._rows, is_given.to(rows)] + ([] if which is None else [which[:, None].to(rows)])
            self._sets = equal_rows(torch.cat(of_rows, dim=1))[1]

    @property
    def log_snr_range(self) -> tuple[float, float]:
        """The log-SNRs of numbers for which the denoiser is valid."""
        return self._denoiser.log_snr_range

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._denoiser.device

    def give(self, block: int, level: Tensor, rows: Tensor) -> None:
        """Give the levels of a block, (n,), in the rows in which they were absent, (n,) boolean."""
        place, codes = self._layout.coordinates[block], self._layout.code(block, level).to(self._rows)
        self._rows[:, place] = torch.where(rows[:, None], codes, self._rows[:, place])
        self._is_given[:, place] |= rows[:, None]
        self._enter(block, level, rows)
        n_levels = len(self._layout.log_prior_of(block))
        divided = self._sets * (n_levels + 1) + torch.where(rows, level, n_levels)
        self._sets = torch.unique(divided, return_inverse=True)[1]

    def level_log_probs(self, block: int, piece: slice = slice(None)) -> Tensor:
        """Return ln P(level | given) of a block that is absent, (n, L), in some of the rows."""
        rows, back = self._different(piece)
        is_given, outputs = self._is_given[rows], self._layout.features[block]
        basis = self._layout.basis_of(block)
        log_snr = log_snr_by_coordinate(torch.tensor(-math.inf).to(self._rows), is_given)
        start = numbers_start(
            self._layout, self._denoiser.floor, self._rows[rows][None], log_snr[None], self._at_atom[rows][None]
        )
        evidence = is_given.clone()
        evidence[:, self._layout.numbers] = start.known[0]
        log_q = LevelsEvidence(self._layout, self._rows[rows], evidence, block).of_block(block).T

        def of_member(k: int) -> Tensor:
            f = self._prediction(start, k, self._entered[k : k + 1, rows], outputs)[0]
            return torch.log_softmax((f if basis is None else f @ basis.T) + log_q, dim=-1)

        n_members = self._denoiser.n_members
        return log_mean(map(of_member, range(n_members)), n_members)[back]

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (c n, k), for the rows with noisy numbers, (c n, k), c times, at log_snr of this shape."""
        start, entered = self._numbers(x_t, log_snr)
        numbers, outputs = self._layout.numbers, slice(self._layout.n_features, None)
        x_0_hat = x_t.clone()
        hats = [
            start.x_0_hat(x_t[:, numbers], self._prediction(start, k, entered[k : k + 1], outputs))
            for k in range(self._denoiser.n_members)
        ]
        x_0_hat[:, numbers] = sum(hats[1:], start=hats[0])[0] / self._denoiser.n_members
        return x_0_hat

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return x_0_hat, and the map from tangents of the numbers, (t, c n, k), to its directional derivatives."""
        start, entered = self._numbers(x_t, log_snr)
        numbers, members, n_features = self._layout.numbers, self._denoiser.n_members, self._layout.n_features
        parameters = [self._parameters[0], entered, *self._parameters[2:]]
        parameters[-2:] = [parameter[..., n_features:].contiguous() for parameter in parameters[-2:]]
        inputs = start.inputs.expand(members, -1, -1).contiguous()
        passed = forward_pass(inputs, parameters)
        x_0_hat = x_t.clone()
        x_0_hat[:, numbers] = start.x_0_hat(x_t[:, numbers], passed.f).mean(dim=0)
        scale = self._layout.input_scale[n_features : n_features + self._layout.n_moving]

        def push(tangents: Tensor) -> Tensor:
            by_mean, of_numbers = start.posterior.push(tangents), tangents[..., numbers]
            moved = (start.moved(of_numbers, by_mean) * scale).expand(members, -1, -1, -1)
            by_f = pushed(moved, passed.slopes, parameters)
            pushed_rows = tangents.clone()
            hat = by_mean + start.scale.unsqueeze(1) * by_f
            pushed_rows[..., numbers] = start.with_fixed(hat, of_numbers).mean(dim=0)
            return pushed_rows

        return x_0_hat, push

    def _numbers(self, x_t: Tensor, log_snr: Tensor) -> tuple[NumbersStart, Tensor]:
        """Return the start of numbers at x_t, and what their rows' levels add to the hidden units."""
        copies = len(x_t) // max(len(self._rows), 1)
        at_atom = self._at_atom.repeat(copies, 1)[None]
        start = numbers_start(self._layout, self._denoiser.floor, x_t[None], log_snr.to(x_t)[None], at_atom)
        return start, self._entered if copies == 1 else self._entered.repeat(1, copies, 1)

    def _prediction(self, start: NumbersStart, k: int, entered: Tensor, outputs: slice) -> Tensor:
        """Return the outputs of member k, (1, n, .)."""
        parameters = [parameter[k : k + 1] for parameter in self._parameters]
        parameters[1] = entered
        parameters[-2:] = [parameter[..., outputs].contiguous() for parameter in parameters[-2:]]
        return network_pass(start.inputs, parameters)[0]

    def _enter(self, block: int, level: Tensor, rows: Tensor) -> None:
        """Add what given levels of a block, (n,), are to the hidden units of some rows, (n,) boolean."""
        inputs, everywhere = self._layout.features[block], bool(rows.all())
        scale = self._layout.input_scale[inputs.start]  # the same for all features of a block
        prior, basis = self._layout.log_prior_of(block).exp(), self._layout.basis_of(block)
        for k, of_features in enumerate(self._denoiser.network.in_order[0].detach()[:, inputs]):
            weight = of_features if basis is None else basis @ of_features
            absent = prior @ weight
            if len(prior) < len(level):
                added = ((weight - absent) * scale)[level]
            else:
                added = (weight[level] - absent) * scale
            self._entered[k] += added if everywhere else added.masked_fill(~rows[:, None], 0.0)
        if block in self._layout.atoms:
            number, other = self._layout.atoms[block]
            self._at_atom[:, number] |= rows & (level != other)

    def _different(self, piece: slice) -> tuple[Tensor, Tensor | slice]:
        """Return rows of a piece without repetition, and the place among them of each row of the piece."""
        sets = self._sets[piece]
        everyone = torch.arange(len(self._rows), device=sets.device)[piece]
        different, which = torch.unique(sets, return_inverse=True)
        n = -(-len(different) // _MULTIPLE) * _MULTIPLE
        if n >= len(sets):
            return everyone, slice(None)
        one_of_each = torch.zeros(n, dtype=torch.long, device=sets.device)
        return one_of_each.scatter_reduce(0, which, everyone, "amax"), which
