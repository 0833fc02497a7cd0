"""How the coordinates of an encoded table are divided: blocks of levels, numbers, and columns.

`TableLayout` has no learned weights, only the exact answers from which a `TableDenoiser` starts: the posterior of a
column of levels alone, and a joint Gaussian for the numbers, with its discriminants for the levels. What belongs to the
levels of all blocks, block after block, is (M, n), one row of memory for each level: the blocks of a table have many
sizes, and sums over the levels of all of them are then sums of whole rows.

A network reads and writes a block by its *features*, F of all blocks: those of a block with a basis phi, (L, K), are
E_q phi, and its logits are phi f. Elsewhere phi is the identity, and the features are the levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from backwalk.denoiser.partners import Partner
from backwalk.diffusion import Discriminants, JointGaussian, level_log_posterior, variates_of
from backwalk.diffusion.posteriors import LEAST_LOG_PROBABILITY, LEAST_NOISE_SQ
from backwalk.table import Block, Codec

WIDE = 1024
"""Columns of more levels than this are trained on fewer rows, and their levels come last."""
_MOST_DISCRIMINATED = 64  # levels of a block that starts from a discriminant
_LIKE = 8  # codes on either side whose first numbers are compared with that of a known code
_LEAST_VARIANCE = 0.05  # of a column of levels, by which inputs are divided


class BlockSoftmax(NamedTuple):
    """A softmax within each block: logits, (M, n), of which the greatest of each block is 0, and their `powers`, exp.

    `totals`, (B, n), are the sums of the powers. `block`, (M,), is that of each level; blocks follow each other.
    """

    logits: Tensor
    powers: Tensor
    totals: Tensor
    block: Tensor

    @classmethod
    def of(cls, logits: Tensor, block: Tensor, n_blocks: int) -> BlockSoftmax:
        """Return that of logits, which are overwritten."""
        shape = n_blocks, logits.shape[1]
        index = block.unsqueeze(1).expand_as(logits)
        greatest = logits.new_full(shape, -torch.inf).scatter_reduce_(0, index, logits.detach(), "amax")
        # exp, and products of its results, are slow where it nearly underflows.
        logits = logits.sub_(greatest.index_select(0, block)).clamp_(min=LEAST_LOG_PROBABILITY)
        powers = logits.exp()
        return cls(logits, powers, logits.new_zeros(shape).index_add(0, block, powers), block)

    @property
    def p(self) -> Tensor:
        """The softmax within each block, (M, n)."""
        return self.powers * self.totals.reciprocal().index_select(0, self.block)

    def log_p(self, places: Tensor) -> Tensor:
        """Return ln p of a level of each block, (B, n): `places`, (B, n), are their numbers among all levels."""
        return self.logits.gather(0, places) - self.totals.log()


class Variates(NamedTuple):
    """The variates of a block, R of them, as a slice, and codes: g_l (`diffusion/discriminant.py`) and g_l^2, (L, 2 R).

    `weighted` are these times the factor of the block's discriminant.
    """

    places: slice
    codes: Tensor
    weighted: Tensor


class TableLayout(nn.Module):
    """The layout of the encoded rows of a codec, (n, k), with B blocks of M levels in all, I numbers and J parts.

    A part is a code of levels or a number (`Codec.first_of_part`).

    `gaussian` is that of the encoded rows; by default, before saved ones are loaded, it is N(0, I). `factors`, (B,), in
    the codec's order, are those of the blocks' discriminants, by default 1, and `partners` are blocks that tell of
    others, one of each (`levels_start.py`). Dates, which have periods, are read through waves as well.

    A block is *wide* if it has more than `WIDE` levels, *tilted* if it has a basis, and *plain* otherwise; it is
    *narrow* if it is not wide. `order` has the plain blocks first, then the tilted and the wide ones. Lists by block
    are in the codec's order, tensors by block in this one. Training calls what takes all levels for the plain blocks
    alone, as it has other code for tilted and wide ones; then M and B are those of the plain blocks.
    """

    numbers: Tensor  # the coordinates of the numbers, (I,)
    first_of_part: Tensor  # the first coordinate of each part, (J,)
    part: Tensor  # of each coordinate, (k,)
    part_of_number: Tensor  # of each number, (I,)
    part_of_block: Tensor  # of each block, (B,)
    log_prior: Tensor  # of every level, (M,)
    block_of_level: Tensor  # of every level, (M,)
    first_levels: Tensor  # the place of each block's first level, (B,)
    discriminant_factors: Tensor  # of every level of narrow blocks
    input_scale: Tensor  # the factors of a network's inputs, (n_inputs + 1,)
    waving: Tensor  # for each wave the place of its number among the numbers, (W,)
    frequencies: Tensor  # of the waves, radians per encoded unit, (W,)
    _one_hot_coordinates: Tensor
    _one_hot_levels: Tensor
    _line_coordinates_of_levels: Tensor
    _line_codes: Tensor
    _lines: Tensor
    _line_coordinates: Tensor
    _between: Tensor
    _by_code: Tensor
    other_levels: Tensor
    blocks_of_atoms: Tensor  # the place in `order` of each block of atoms, (A,), in the codec's order
    others: Tensor  # the level at which the number of each applies, (A,)
    _numbers_with_atoms: Tensor
    k: int
    n_parts: int
    n_blocks: int
    n_numbers: int
    n_narrow: int
    n_narrow_blocks: int
    n_plain: int
    n_plain_blocks: int
    n_features: int
    n_narrow_features: int
    n_moving: int
    n_inputs: int
    n_outputs: int
    order: list[int]
    wide: list[int]
    tilted: list[int]
    levels: list[slice]
    features: list[slice]
    coordinates: list[slice]
    variates: dict[int, slice]
    partners: list[tuple[int, int]]
    partner_factors: Tensor
    atoms: dict[int, tuple[int, int]]

    def __init__(
        self,
        codec: Codec,
        gaussian: JointGaussian | None = None,
        factors: np.ndarray | None = None,
        partners: Sequence[Partner] = (),
    ) -> None:
        super().__init__()
        self._tables = dict[int, Tensor]()
        self._variates = dict[int, Variates]()
        self.k, self.n_parts = codec.n_encoded, len(codec.first_of_part)
        self.n_blocks, self.n_numbers = len(codec.blocks), len(codec.numbers)
        self._keep("first_of_part", codec.first_of_part)
        part = np.searchsorted(codec.first_of_part, np.arange(self.k), side="right") - 1
        self._keep("part", part)
        self._keep("numbers", codec.numbers)
        self._keep("part_of_number", part[codec.numbers])
        in_order = self._keep_blocks(codec.blocks)
        firsts = np.array([block.coordinates.start for block in in_order], dtype=np.intp)
        self._keep("part_of_block", part[firsts])
        self._keep_codes(in_order)
        place_of_number = {int(coordinate): place for place, coordinate in enumerate(codec.numbers)}
        self._keep_atoms(codec.blocks, place_of_number)
        n_waves = self._keep_waves(codec, place_of_number)
        self.n_moving = 3 * self.n_numbers + 2 * n_waves
        """The number of inputs that change with the noisy numbers, which follow those of the levels."""
        self.n_inputs = self.n_features + self.n_moving + 2 * self.n_parts
        """The number of a network's inputs without the noise level, and of its outputs."""
        self.n_outputs = self.n_features + self.n_numbers
        self._keep("input_scale", self._input_scales(in_order))
        start = JointGaussian.standard(self.k) if gaussian is None else gaussian
        for name in ("mean", "directions", "rest"):
            self.register_buffer(f"gaussian_{name}", getattr(start, name))
        self._keep_discriminants(codec.blocks, start, np.ones(self.n_blocks) if factors is None else factors)
        self.partners = [(each.of, each.known) for each in partners]
        """For each partner the number of the absent block, in the codec's order, and its own."""
        for each in partners:
            self.register_buffer(f"partner_{each.of}_{each.known}", torch.from_numpy(each.log_ratios).float())
        self.register_buffer("partner_factors", torch.tensor([each.factor for each in partners]))

    def _keep_blocks(self, blocks: Sequence[Block]) -> list[Block]:
        """Put blocks in an order and keep the places of their levels and features; return them in this order.

        Of the plain blocks those of one-hot codes come first, and then those of codes of one coordinate, so that each
        kind is one slice.
        """

        def kind(i: int) -> tuple[bool, int]:
            block, is_tilted = blocks[i], blocks[i].basis is not None
            rank = 3 if is_tilted else 0 if block.is_one_hot else 1 if block.width == 1 else 2
            return block.n_levels > WIDE, rank

        self.order = sorted(range(len(blocks)), key=kind)
        in_order = [blocks[i] for i in self.order]
        stops = np.cumsum([0, *(block.n_levels for block in in_order)]).tolist()
        ends = np.cumsum([0, *(block.n_features for block in in_order)]).tolist()
        narrow = sum(block.n_levels <= WIDE for block in in_order)
        plain = sum(block.n_levels <= WIDE and block.basis is None for block in in_order)
        self.n_features, self.n_narrow_blocks = ends[-1], narrow
        self.n_plain_blocks, self.n_plain = plain, stops[plain]
        self.n_narrow, self.n_narrow_features = stops[narrow], ends[narrow]
        """The numbers of levels and features of all blocks but the wide ones, which come first."""
        place = {i: p for p, i in enumerate(self.order)}
        self.levels = [slice(stops[place[i]], stops[place[i] + 1]) for i in range(len(blocks))]
        """The slice of the levels, M of all blocks, that belongs to each block."""
        self.features = [slice(ends[place[i]], ends[place[i] + 1]) for i in range(len(blocks))]
        """The slice of a row of features that belongs to each block."""
        self.coordinates = [block.coordinates for block in blocks]
        """The coordinates of each block's codes."""
        self.wide = self.order[narrow:]
        self.tilted = self.order[plain:narrow]
        """The blocks with a basis, in the order of their features."""
        frequencies = np.concatenate([np.zeros(0), *(block.frequencies for block in in_order)])
        self._keep("log_prior", np.log(frequencies).astype(np.float32))
        self._keep("block_of_level", np.repeat(np.arange(len(in_order)), [block.n_levels for block in in_order]))
        self._keep("first_levels", np.array(stops[:-1], dtype=np.intp))
        return in_order

    def _keep_codes(self, in_order: Sequence[Block]) -> None:
        """Keep codes and bases, what `posterior` reads of plain blocks, and what `levels_of` reads of narrow ones.

        The number of a one-hot level is a product; a code of one coordinate lies between the middles of its neighbours.
        """
        plain, narrow = in_order[: self.n_plain_blocks], in_order[: self.n_narrow_blocks]
        one_hot = [block for block in plain if block.is_one_hot]
        ordered = [block for block in plain if not block.is_one_hot and block.width == 1]
        for i, block in zip(self.order, in_order, strict=True):
            codes = np.zeros(0) if block.is_one_hot else block.codes
            self._keep(f"codes_{i}", codes.astype(np.float32))
            self._keep(f"basis_{i}", (np.zeros(0) if block.basis is None else block.basis).astype(np.float32))
        self._n_one_hot, self._n_ordered = len(one_hot), len(ordered)
        spans = [np.arange(block.coordinates.start, block.coordinates.stop) for block in one_hot]
        levels = np.zeros((len(one_hot), sum(map(len, spans))))
        column = 0
        for row, block in enumerate(one_hot):
            levels[row, column : column + block.n_levels] = np.arange(block.n_levels)
            column += block.n_levels
        self._keep("_one_hot_coordinates", np.concatenate([np.zeros(0, dtype=np.intp), *spans]))
        self._keep("_one_hot_levels", levels.astype(np.float32))
        # Levels are looked up for all blocks of one coordinate, those with a basis among them.
        lines = [(place, block) for place, block in enumerate(narrow) if not block.is_one_hot and block.width == 1]
        most = max((block.n_levels for _, block in lines), default=1)
        between, places = np.full((len(lines), most - 1), np.inf), np.zeros((len(lines), most), dtype=np.intp)
        for row, (_, block) in enumerate(lines):
            codes = block.codes[:, 0].astype(np.float32)
            order = codes.argsort(kind="stable")
            middle = (0.5 * (codes[order][1:].astype(float) + codes[order][:-1])).astype(np.float32)
            between[row, : len(order) - 1] = np.minimum(middle, np.nextafter(codes[order][1:], -np.float32(np.inf)))
            places[row, : len(order)], places[row, len(order) :] = order, order[-1]
        self._keep("_lines", np.array([place for place, _ in lines], dtype=np.intp))
        self._of_more_coordinates = [p for p, b in enumerate(narrow) if not b.is_one_hot and b.width > 1]
        self._keep("_line_coordinates", np.array([block.coordinates.start for _, block in lines], dtype=np.intp))
        of_levels = np.repeat([b.coordinates.start for b in ordered], [b.n_levels for b in ordered])
        self._keep("_line_coordinates_of_levels", of_levels.astype(np.intp))
        codes = np.concatenate([np.zeros(0), *(block.codes[:, 0] for block in ordered)])
        self._keep("_line_codes", codes.astype(np.float32)[:, None])
        self._keep("_between", between.astype(np.float32))
        self._keep("_by_code", places)

    def _keep_discriminants(self, blocks: Sequence[Block], gaussian: JointGaussian, factors: np.ndarray) -> None:
        """Keep the discriminants of the blocks that start from them, and the factor of each level of narrow blocks."""
        start = [i for i, b in enumerate(blocks) if b.n_levels <= _MOST_DISCRIMINATED or b.basis is not None]
        self.variates = dict(zip(start, variates_of([blocks[i].codes.shape for i in start]), strict=True))
        """The variates of each block, in the codec's order, that starts from a discriminant."""
        of_blocks = [(blocks[i].coordinates, blocks[i].codes, self.levels[i]) for i in start]
        for name, part in Discriminants.of(gaussian, of_blocks, self.n_narrow)._asdict().items():
            self.register_buffer(f"discriminant_{name}", part)
        of_levels = torch.zeros(self.n_narrow)
        for i in start:
            of_levels[self.levels[i]] = float(factors[i])
        self.register_buffer("discriminant_factors", of_levels)

    def _keep_atoms(self, blocks: Sequence[Block], place_of_number: Mapping[int, int]) -> None:
        """Keep which blocks are the levels of numbers with atoms."""
        self.atoms = {
            i: (place_of_number[block.number], block.other)
            for i, block in enumerate(blocks)
            if block.number is not None
        }
        """For each block of a number with atoms, the place of the number and the level at which it applies."""
        applies_at = [self.levels[i].start + other for i, (_, other) in self.atoms.items()]
        self._keep("others", np.array([other for _, other in self.atoms.values()], dtype=np.intp))
        self._keep("blocks_of_atoms", np.array([self.order.index(i) for i in self.atoms], dtype=np.intp))
        self._keep("other_levels", np.array(applies_at, dtype=np.intp))
        self._keep("_numbers_with_atoms", np.array([number for number, _ in self.atoms.values()], dtype=np.intp))

    def _keep_waves(self, codec: Codec, place_of_number: Mapping[int, int]) -> int:
        """Keep the waves of numbers that have periods, and return how many there are."""
        columns = ((place, codec.all_columns[codec.column_of(i)].number_column) for i, place in place_of_number.items())
        of_periods = [(place, c) for place, column in columns if column is not None for c in column.frequencies]
        places, frequencies = zip(*of_periods, strict=True) if of_periods else ((), ())
        self._keep("waving", np.array(places, dtype=np.intp))
        self._keep("frequencies", np.array(frequencies, dtype=np.float32))
        return len(places)

    def _input_scales(self, in_order: list[Block]) -> np.ndarray:
        """Return the factors of the network's inputs, by which each column has a variance of about 1.

        The weights of a first layer begin with a variance of 1 / n_in, for inputs of variance 1. Those of a column of
        levels have a variance of 1 - sum pi^2 together, those of a basis 1 (`table/basis.py`), so all are multiplied by
        a common factor as well.
        """
        of_blocks = [
            np.full(b.n_features, 1.0 - np.square(b.frequencies).sum() if b.basis is None else 1.0) for b in in_order
        ]
        features = np.maximum(np.concatenate([np.zeros(0), *of_blocks]), _LEAST_VARIANCE) ** -0.5
        n_inputs = self.n_inputs + 1
        energy = self.n_blocks + 3.0 * self.n_numbers + len(self.waving) + 0.5 * self.n_parts + 1.0
        scale = np.concatenate([features, np.ones(n_inputs - self.n_features)]) * (n_inputs / energy) ** 0.5
        return np.asarray(scale, dtype=np.float32)

    @property
    def gaussian(self) -> JointGaussian:
        """The joint Gaussian of the encoded rows."""
        return JointGaussian(self.gaussian_mean, self.gaussian_directions, self.gaussian_rest)  # type: ignore[arg-type]

    @property
    def discriminants(self) -> Discriminants:
        """Those of the blocks that start from them."""
        return Discriminants(*(getattr(self, f"discriminant_{name}") for name in Discriminants._fields))

    def blank_partners(self) -> list[Partner]:
        """Return partners of the same blocks that tell nothing, in whose place saved ones are loaded."""
        return [Partner(*pair, np.zeros(self.partner(*pair)[0].shape)) for pair in self.partners]

    def partner(self, of: int, known: int) -> tuple[Tensor, Tensor]:
        """Return ln P(l | l') / pi_l of a block given the level of its partner, (L', L), and the factor beside it."""
        return getattr(self, f"partner_{of}_{known}"), self.partner_factors[self.partners.index((of, known))]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Forget what was computed from tensors that move to another device or dtype."""
        self._forget()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        """Forget what was computed from tensors in whose place others are loaded."""
        self._forget()
        super()._load_from_state_dict(*args, **options)

    def _forget(self) -> None:
        self._tables.clear()
        self._variates.clear()

    def posterior(self, x_t: Tensor, a: Tensor, b_sq: Tensor) -> tuple[Tensor, Tensor]:
        """Return ln q + constant and q of every level, (M, n), for x_t, (k, n), and a and b_sq of blocks, (B, n).

        Its blocks are those of a and b_sq.
        """
        of_level, n_one_hot = self.block_of_level, len(self._one_hot_coordinates)
        of_ordered = of_level[n_one_hot : n_one_hot + len(self._line_codes)]
        b_sq = b_sq.clamp(min=LEAST_NOISE_SQ)
        one_hot = x_t.index_select(0, self._one_hot_coordinates)
        off = x_t.index_select(0, self._line_coordinates_of_levels)
        off = off.sub_(a.index_select(0, of_ordered).mul_(self._line_codes))
        others = enumerate(self.order[: len(a)])
        parts = [
            one_hot.mul_((a / b_sq).index_select(0, of_level[:n_one_hot])),
            off.square().mul_((-0.5 / b_sq).index_select(0, of_ordered)),
            *(
                self.fit_of(i, x_t[self.coordinates[i]], a[place], b_sq[place])
                for place, i in others
                if place >= self._n_one_hot + self._n_ordered
            ),
        ]
        fit = _stacked(parts)
        fit += self.log_prior[: len(fit), None]
        sums = self.softmax(fit)
        return sums.logits, sums.p

    def fit_of(self, block: int, x_t: Tensor, a: Tensor, b_sq: Tensor) -> Tensor:
        """Return ln N(x_t | a c_l, b^2) + constant of a block's levels, (L, n), for its x_t, (w, n), a and b_sq, (n,).

        Its codes are not one-hot.
        """
        codes, b_sq = self.codes_of(block), b_sq.clamp(min=LEAST_NOISE_SQ)
        assert codes is not None
        if codes.shape[1] == 1:  # differences are exact where known values are close to each other
            return (x_t - a * codes).square_().mul_(-0.5 / b_sq)
        return (codes @ x_t).sub_(0.5 * codes.square().sum(1, keepdim=True) * a).mul_(a / b_sq)

    def log_posterior_of(self, block: int, x_t: Tensor, a: Tensor, b_sq: Tensor) -> Tensor:
        """Return ln q of the levels of one block, (..., L), for x_t, (..., k), and a and b_sq, (...)."""
        x, level = x_t[..., self.coordinates[block]].unsqueeze(-2), (a[..., None, None], b_sq[..., None, None])
        codes = self.codes_of(block)
        of_block = None if codes is None else codes.unsqueeze(0)
        return level_log_posterior(x, *level, of_block, self.log_prior_of(block).unsqueeze(0)).squeeze(-2)

    def softmax(self, logits: Tensor) -> BlockSoftmax:
        """Return the softmax of logits, (M, n), within each block."""
        n_blocks = self.n_plain_blocks if len(logits) == self.n_plain else self.n_blocks
        return BlockSoftmax.of(logits, self.block_of_level[: len(logits)], n_blocks)

    def features_of(self, q: Tensor) -> Tensor:
        """Return what a network reads of probabilities q, (M, n): E_q phi less its mean, scaled, (F, n)."""
        parts = [self._offset(q, slice(self.n_plain), slice(self.n_plain))]
        if len(q) > self.n_plain:
            parts += [self.inputs_of_levels(i).T @ q[self.levels[i]] for i in self.tilted]
            parts.append(self._offset(q, slice(self.n_narrow, None), slice(self.n_narrow_features, self.n_features)))
        return _stacked(parts)

    def _offset(self, q: Tensor, levels: slice, features: slice) -> Tensor:
        return (q[levels] - self.log_prior[levels, None].exp()).mul_(self.input_scale[features, None])

    def logits(self, f: Tensor, log_q: Tensor) -> Tensor:
        """Return log_q, (M, n), and what a network's outputs, (F or more, n), add to it."""
        if len(log_q) == self.n_plain:
            return log_q + f[: self.n_plain]
        of_tilted = [getattr(self, f"basis_{i}") @ f[self.features[i]] for i in self.tilted]
        return torch.cat([f[: self.n_plain], *of_tilted, f[self.n_narrow_features : self.n_features]]) + log_q

    def inputs_of_levels(self, block: int) -> Tensor:
        """Return what a network reads of each level of a block with a basis, (L, K)."""
        if block not in self._tables:
            basis, prior = self.basis_of(block), self.log_prior_of(block).exp()
            assert basis is not None
            self._tables[block] = (basis - prior @ basis) * self.input_scale[self.features[block]]
        return self._tables[block]

    def variates_of(self, block: int) -> Variates | None:
        """Return the variates of a block, or None if it does not start from a discriminant."""
        if block not in self.variates:
            return None
        if block not in self._variates:
            codes = self.discriminants.codes[self.variates[block], self.levels[block]].T
            both = torch.cat([codes, codes.square()], dim=1)
            factors = self.discriminant_factors[self.levels[block], None]
            self._variates[block] = Variates(self.variates[block], both, factors * both)
        return self._variates[block]

    def levels_of(self, x_0: Tensor) -> Tensor:
        """Return the level of each narrow block, (B, n): x_0 is (k, n).

        It is that of the nearest code. Where one-hot coordinates are no code, it is any level.
        """
        levels = x_0.new_empty(self.n_narrow_blocks, x_0.shape[1], dtype=torch.long)
        if self._n_one_hot:
            found = self._one_hot_levels @ x_0.index_select(0, self._one_hot_coordinates)
            last = self._one_hot_levels.amax(1, keepdim=True)
            levels[: self._n_one_hot] = found.round().clamp_(min=0.0).minimum(last).long()
        if len(self._lines):
            x = x_0.index_select(0, self._line_coordinates)
            levels[self._lines] = self._by_code.gather(1, torch.searchsorted(self._between, x))
        for place in self._of_more_coordinates:
            i = self.order[place]
            levels[place] = _nearest(x_0[self.coordinates[i]].T, self.codes_of(i))
        return levels

    def level_of(self, block: int, x_0: Tensor) -> Tensor:
        """Return the level of the nearest code of one block, in the codec's order, (...)."""
        return _nearest(x_0[..., self.coordinates[block]], self.codes_of(block))

    def codes_of(self, block: int) -> Tensor | None:
        """Return the codes of one block, (L, w), or None for one-hot codes."""
        codes: Tensor = getattr(self, f"codes_{block}")
        return codes if codes.numel() else None

    def code(self, block: int, level: Tensor) -> Tensor:
        """Return the codes of levels of one block, (n, w)."""
        codes = self.codes_of(block)
        return nn.functional.one_hot(level, len(self.log_prior_of(block))) if codes is None else codes[level]

    def basis_of(self, block: int) -> Tensor | None:
        """Return the basis of one block, (L, K), or None where its features are its levels."""
        basis: Tensor = getattr(self, f"basis_{block}")
        return basis if basis.numel() else None

    def log_prior_of(self, block: int) -> Tensor:
        """Return the logarithms of the frequencies of one block's levels, (L,)."""
        return self.log_prior[self.levels[block]]

    def expected_codes(self, p: Tensor) -> Tensor:
        """Return sum_l p_l c_l, (n, k), for probabilities p, (M, n); numbers are 0."""
        x = p.new_zeros(p.shape[1], self.k)
        for i, at in enumerate(self.coordinates):
            of_block, codes = p[self.levels[i]].T, self.codes_of(i)
            x[:, at] = of_block if codes is None else of_block @ codes
        return x

    def at_an_atom(self, is_other: Tensor, is_known: Tensor) -> Tensor:
        """Return which numbers do not apply, (n, I), as their level is known to be an atom.

        `is_other` says of the blocks of atoms, (A, n), whether their level is the one at which the number applies, and
        `is_known` of blocks, (B, n).
        """
        is_at_atom = torch.zeros((is_known.shape[1], self.n_numbers), dtype=torch.bool, device=is_known.device)
        is_at_atom[:, self._numbers_with_atoms] = (is_known[self.blocks_of_atoms] & ~is_other).T
        return is_at_atom

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    """Return parts, (., n), one after the other; it may be one of them, if the others are empty."""
    filled = [part for part in parts if len(part)]
    return filled[0] if len(filled) == 1 else torch.cat(list(parts))


def _nearest(x: Tensor, codes: Tensor | None) -> Tensor:
    """Return the level of the code nearest to x, (..., w), among codes, (L, w), or one-hot ones: (...)."""
    if codes is None:
        return x.argmax(-1)
    if codes.shape[1] == 1:
        return (x - codes[:, 0]).abs().argmin(-1)
    if len(codes) <= WIDE:
        return (x @ codes.T - 0.5 * codes.square().sum(1)).argmax(-1)
    first, order = codes[:, 0].sort()
    place = torch.searchsorted(first, x[..., 0].contiguous()).unsqueeze(-1)
    near = order[(place + torch.arange(-_LIKE, _LIKE, device=x.device)).clamp(0, len(codes) - 1)]
    closest = (x.unsqueeze(-2) - codes[near]).square().sum(-1).argmin(-1, keepdim=True)
    return near.gather(-1, closest).squeeze(-1)
