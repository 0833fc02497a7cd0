"""How the coordinates of an encoded table are divided: levels in groups of equal size, numbers, and columns.

`TableLayout` has no learned weights, only the exact answers from which a `TableDenoiser` starts: the posterior of a
column of levels alone, and a joint Gaussian for the numbers, with its discriminants for the levels. Blocks of the same
number of levels form a group, whose operations run together. A row of logits, (M,), holds the levels of all blocks,
group after group.

A network reads and writes a block by its *features*, (F,) of all blocks: those of a block with a basis phi, (L, K), are
E_q phi, and its logits are phi f. Elsewhere phi is the identity, and the features are the levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from backwalk.denoiser.partners import Partner
from backwalk.diffusion import Discriminants, JointGaussian, level_log_posterior, variates_of
from backwalk.table import Block, Codec

WIDE = 1024
"""Columns of more levels than this are trained on fewer rows, and their levels come last."""
_MOST_DISCRIMINATED = 64  # levels of a block that starts from a discriminant
_LIKE = 8  # codes on either side whose first numbers are compared with that of a known code
_LEAST_VARIANCE = 0.05  # of a column of levels, by which inputs are divided


class Group(NamedTuple):
    """G blocks with L levels each and codes of one width w.

    `coordinates`, (G, w), are those of the codes, `outputs` is the group's slice of a row of logits, and `features`
    that of a row of features. `codes` is (G, L, w), or None for one-hot codes; `log_prior` is (G, L); `basis` is
    (G, L, K), or None where the features are the levels.
    """

    coordinates: Tensor
    outputs: slice
    codes: Tensor | None
    log_prior: Tensor
    features: slice
    basis: Tensor | None = None


class TableLayout(nn.Module):
    """The layout of the encoded rows of a codec, (n, k), with B blocks of M levels in all, I numbers and J parts.

    A part is a code of levels or a number (`Codec.first_of_part`).

    `gaussian` is that of the encoded rows; by default, before saved ones are loaded, it is N(0, I). `factors`, (B,), in
    the codec's order, are those of the blocks' discriminants, by default 1, and `partners` are blocks that tell of
    others, one of each (`levels_start.py`). Dates, which have periods, are read through waves as well. Tensors by block
    are in the order of the groups.
    """

    numbers: Tensor  # the coordinates of the numbers, (I,)
    first_of_part: Tensor  # the first coordinate of each part, (J,)
    part: Tensor  # of each coordinate, (k,)
    part_of_number: Tensor  # of each number, (I,)
    prior: Tensor  # of every level, (M,)
    block_of_level: Tensor  # of every level, (M,)
    block_coordinates: Tensor  # the first coordinate of each block, (B,)
    discriminant_factors: Tensor  # of every level of narrow blocks
    input_scale: Tensor  # the factors of a network's inputs, (n_inputs + 1,)
    _other_levels: Tensor
    _numbers_with_atoms: Tensor
    _codes_of_atoms: Tensor
    waving: Tensor  # for each wave the place of its number among the numbers, (W,)
    frequencies: Tensor  # of the waves, radians per encoded unit, (W,)
    k: int
    n_parts: int
    n_blocks: int
    n_numbers: int
    n_levels: int
    n_narrow: int
    n_features: int
    n_narrow_features: int
    n_plain: int
    n_moving: int
    n_inputs: int
    n_outputs: int
    wide: list[int]
    tilted: list[int]
    outputs: list[slice]
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
        self._groups: list[Group] | None = None
        self._tables = dict[int, Tensor]()
        self.k, self.n_parts = codec.n_encoded, len(codec.first_of_part)
        self.n_blocks, self.n_numbers = len(codec.blocks), len(codec.numbers)
        self._keep("first_of_part", codec.first_of_part)
        self._keep("part", np.searchsorted(codec.first_of_part, np.arange(self.k), side="right") - 1)
        self._keep("numbers", codec.numbers)
        self._keep("part_of_number", np.searchsorted(codec.first_of_part, codec.numbers, side="right") - 1)
        in_order = self._keep_groups(codec.blocks)
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

    def _keep_groups(self, blocks: Sequence[Block]) -> list[Block]:
        """Divide blocks into groups of equal codes' shapes, those of wide blocks last; return the blocks in order."""
        of_shape: dict[tuple[int, int, bool, int], list[int]] = {}
        for i, block in enumerate(blocks):
            n_functions = 0 if block.basis is None else block.n_features
            of_shape.setdefault((block.n_levels, block.width, block.is_one_hot, n_functions), []).append(i)
        # Blocks without a basis come first, and wide ones last; the sort is stable.
        groups = sorted(of_shape.values(), key=lambda g: (blocks[g[0]].n_levels > WIDE, blocks[g[0]].basis is not None))
        order = [i for group in groups for i in group]
        in_order = [blocks[i] for i in order]
        stops = np.cumsum([block.n_levels for block in in_order]).tolist()
        self.n_levels = stops[-1] if stops else 0
        self.n_narrow = sum(block.n_levels for block in in_order if block.n_levels <= WIDE)
        """The number of levels of all blocks but the wide ones, which come first in a row of logits."""
        ends = np.cumsum([block.n_features for block in in_order]).tolist()
        self.n_features = ends[-1] if ends else 0
        self.n_narrow_features = sum(block.n_features for block in in_order if block.n_levels <= WIDE)
        of_features = {i: slice(end - blocks[i].n_features, end) for i, end in zip(order, ends, strict=True)}
        self.features = [of_features[i] for i in range(len(blocks))]
        """The slice of a row of features that belongs to each block, in the codec's order."""
        self.wide = [i for i in order if blocks[i].n_levels > WIDE]
        self.tilted = [i for i in order if blocks[i].basis is not None]
        """The blocks with a basis, in the codec's numbers and in the order of their features."""
        spans = {i: slice(stop - blocks[i].n_levels, stop) for i, stop in zip(order, stops, strict=True)}
        self.outputs = [spans[i] for i in range(len(blocks))]
        """The slice of a row of logits that belongs to each block, in the codec's order."""
        self.coordinates = [block.coordinates for block in blocks]
        """The coordinates of each block's codes, in the codec's order."""
        self._in_group = {i: (number, j) for number, group in enumerate(groups) for j, i in enumerate(group)}
        self._group_outputs = [slice(spans[group[0]].start, spans[group[-1]].stop) for group in groups]
        self._group_features = [slice(of_features[g[0]].start, of_features[g[-1]].stop) for g in groups]
        self.n_plain = sum(block.n_levels for block in in_order if block.n_levels <= WIDE and block.basis is None)
        self._n_narrow_groups = sum(blocks[group[0]].n_levels <= WIDE for group in groups)
        for number, group in enumerate(groups):
            members = [blocks[i] for i in group]
            codes = np.zeros(0) if members[0].is_one_hot else np.stack([block.codes for block in members])
            coordinates = [np.arange(block.coordinates.start, block.coordinates.stop) for block in members]
            self._keep(f"coordinates_{number}", np.stack(coordinates))
            self._keep(f"codes_{number}", codes.astype(np.float32))
            bases = [block.basis for block in members if block.basis is not None]
            self._keep(f"basis_{number}", (np.stack(bases) if bases else np.zeros(0)).astype(np.float32))
            self._keep(f"log_prior_{number}", np.log([block.frequencies for block in members]).astype(np.float32))
        self._keep("prior", np.concatenate([np.zeros(0), *(b.frequencies for b in in_order)]).astype(np.float32))
        self._keep("block_of_level", np.repeat(np.arange(len(in_order)), [block.n_levels for block in in_order]))
        self._keep("block_coordinates", np.array([block.coordinates.start for block in in_order], dtype=np.intp))
        return in_order

    def _keep_discriminants(self, blocks: Sequence[Block], gaussian: JointGaussian, factors: np.ndarray) -> None:
        """Keep the discriminants of the blocks that start from them, and the factor of each level of narrow blocks."""
        start = [i for i, b in enumerate(blocks) if b.n_levels <= _MOST_DISCRIMINATED or b.basis is not None]
        self.variates = dict(zip(start, variates_of([blocks[i].codes.shape for i in start]), strict=True))
        """The variates of each block, in the codec's order, that starts from a discriminant."""
        of_blocks = [(blocks[i].coordinates, blocks[i].codes, self.outputs[i]) for i in start]
        for name, part in Discriminants.of(gaussian, of_blocks, self.n_narrow)._asdict().items():
            self.register_buffer(f"discriminant_{name}", part)
        of_levels = torch.zeros(self.n_narrow)
        for i in start:
            of_levels[self.outputs[i]] = float(factors[i])
        self.register_buffer("discriminant_factors", of_levels)

    def _keep_atoms(self, blocks: Sequence[Block], place_of_number: Mapping[int, int]) -> None:
        """Keep which blocks are the levels of numbers with atoms."""
        self.atoms = {
            i: (place_of_number[block.number], block.other)
            for i, block in enumerate(blocks)
            if block.number is not None
        }
        """For each block of a number with atoms, the place of the number and the level at which it applies."""
        applies_at = [self.outputs[i].start + other for i, (_, other) in self.atoms.items()]
        self._keep("_other_levels", np.array(applies_at, dtype=np.intp))
        self._keep("_numbers_with_atoms", np.array([number for number, _ in self.atoms.values()], dtype=np.intp))
        self._keep("_codes_of_atoms", np.array([blocks[i].coordinates.start for i in self.atoms], dtype=np.intp))

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

    @property
    def groups(self) -> list[Group]:
        """The groups of blocks; their outputs follow each other."""
        if self._groups is None:
            self._groups = [self._group(i) for i in range(len(self._group_outputs))]
        return self._groups

    def _group(self, i: int) -> Group:
        codes, log_prior, basis = (getattr(self, f"{name}_{i}") for name in ("codes", "log_prior", "basis"))
        return Group(
            getattr(self, f"coordinates_{i}"),
            self._group_outputs[i],
            codes if codes.numel() else None,
            log_prior,
            self._group_features[i],
            basis if basis.numel() else None,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Forget the groups, whose tensors move to another device or dtype."""
        self._groups = None
        self._tables.clear()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    @property
    def narrow(self) -> list[Group]:
        """The groups of blocks that are not wide."""
        return self.groups[: self._n_narrow_groups]

    @property
    def plain(self) -> list[Group]:
        """The groups of narrow blocks without a basis, which come first."""
        return [group for group in self.narrow if group.basis is None]

    def codes_of(self, block: int) -> Tensor | None:
        """Return the codes of one block, (1, L, w), or None for one-hot codes."""
        number, place = self._in_group[block]
        codes = self.groups[number].codes
        return None if codes is None else codes[place : place + 1]

    def log_posterior(self, x_t: Tensor, a: Tensor, b_sq: Tensor, groups: Sequence[Group] | None = None) -> Tensor:
        """Return ln q of every level, (..., M), for x_t, a and b_sq, (..., k); `groups` are all by default."""
        parts = [x_t.new_empty((*x_t.shape[:-1], 0))]
        for group in self.groups if groups is None else groups:
            first = group.coordinates[:, 0]
            level = a[..., first].unsqueeze(-1), b_sq[..., first].unsqueeze(-1)
            log_q = level_log_posterior(x_t[..., group.coordinates], *level, group.codes, group.log_prior)
            parts.append(log_q.flatten(-2))
        return torch.cat(parts, dim=-1)

    def features_of(self, offset: Tensor) -> Tensor:
        """Return the features, (..., F), of q less the prior, (..., M), of all levels or of those of narrow blocks."""
        parts = [offset[..., : self.n_plain]]
        for group in self._with_features(offset.shape[-1]):
            grouped = _grouped(offset, group)
            parts.append(grouped if group.basis is None else torch.einsum("...gl,glk->...gk", grouped, group.basis))
        return torch.cat([parts[0], *(part.flatten(-2) for part in parts[1:])], dim=-1)

    def logits(self, features: Tensor, n_levels: int) -> Tensor:
        """Return logits, (..., `n_levels`), of all or of the narrow blocks, from outputs, (..., F or more)."""
        parts = [features[..., : self.n_plain]]
        for group in self._with_features(n_levels):
            of_group = features[..., group.features].reshape(*features.shape[:-1], len(group.coordinates), -1)
            by_level = of_group if group.basis is None else torch.einsum("...gk,glk->...gl", of_group, group.basis)
            parts.append(by_level.flatten(-2))
        return torch.cat(parts, dim=-1)

    def _with_features(self, n_levels: int) -> list[Group]:
        """Return the groups behind those of narrow blocks without a basis, all or only of the first levels."""
        return [each for each in self.groups if self.n_plain < each.outputs.stop <= n_levels]

    def read_of(self, block: int) -> Tensor:
        """Return what a network reads of each level of a block with a basis, (L, K): phi less its mean, scaled."""
        if block not in self._tables:
            basis, prior = self.basis_of(block), self.log_prior_of(block).exp()
            assert basis is not None
            self._tables[block] = (basis - prior @ basis) * self.input_scale[self.features[block]]
        return self._tables[block]

    def basis_of(self, block: int) -> Tensor | None:
        """Return the basis of one block, (L, K), or None where its features are its levels."""
        number, place = self._in_group[block]
        basis: Tensor = getattr(self, f"basis_{number}")
        return basis[place] if basis.numel() else None

    def normalised(self, logits: Tensor, groups: Sequence[Group] | None = None) -> Tensor:
        """Return the log-softmax of logits, (..., M), within each block; `groups` are all by default."""
        parts = [logits.new_empty((*logits.shape[:-1], 0))]
        for group in self.groups if groups is None else groups:
            grouped = _grouped(logits, group)
            parts.append(torch.log_softmax(grouped, dim=-1).flatten(-2))
        return torch.cat(parts, dim=-1)

    def levels_of(self, x_0: Tensor, groups: Sequence[Group] | None = None) -> Tensor:
        """Return the place of each block's level in a row of logits, (..., B): the level of the nearest code.

        `groups` are all by default.
        """
        parts = [x_0.new_empty((*x_0.shape[:-1], 0), dtype=torch.long)]
        for group in self.groups if groups is None else groups:
            n_blocks, n_levels = group.log_prior.shape
            starts = group.outputs.start + n_levels * torch.arange(n_blocks, device=x_0.device)
            parts.append(_nearest(x_0[..., group.coordinates], group.codes) + starts)
        return torch.cat(parts, dim=-1)

    def level_of(self, block: int, x_0: Tensor) -> Tensor:
        """Return the level of the nearest code of one block, in the codec's order, (...)."""
        number, place = self._in_group[block]
        group = self.groups[number]
        codes = None if group.codes is None else group.codes[place : place + 1]
        return _nearest(x_0[..., group.coordinates[place : place + 1]], codes).squeeze(-1)

    def code(self, block: int, level: Tensor) -> Tensor:
        """Return the codes of levels of one block, (n, w)."""
        number, place = self._in_group[block]
        codes = self.groups[number].codes
        if codes is None:
            return nn.functional.one_hot(level, len(self.log_prior_of(block)))
        return codes[place][level]

    def log_prior_of(self, block: int) -> Tensor:
        """Return the logarithms of the frequencies of one block's levels, (L,)."""
        number, place = self._in_group[block]
        log_prior: Tensor = getattr(self, f"log_prior_{number}")[place]
        return log_prior

    def expected_codes(self, p: Tensor) -> Tensor:
        """Return sum_l p_l c_l, (..., k), for probabilities p, (..., M); numbers are 0."""
        x = p.new_zeros((*p.shape[:-1], self.k))
        for group in self.groups:
            grouped = _grouped(p, group)
            codes = grouped if group.codes is None else torch.einsum("...gl,glw->...gw", grouped, group.codes)
            x[..., group.coordinates.reshape(-1)] = codes.flatten(-2)
        return x

    def at_known_atoms(self, x_0: Tensor, known: Tensor) -> Tensor:
        """Return which numbers do not apply, (..., I), by the levels of rows x_0 that are known, (..., k) each."""
        is_at_atom = torch.zeros((*x_0.shape[:-1], self.n_numbers), dtype=torch.bool, device=x_0.device)
        for block, (number, other) in self.atoms.items():
            is_known = known[..., self.coordinates[block].start]
            is_at_atom[..., number] = is_known & (self.level_of(block, x_0) != other)
        return is_at_atom

    def at_an_atom(self, q: Tensor, known: Tensor) -> Tensor:
        """Return which numbers do not apply, (..., I), as their level is known to be an atom.

        q is (..., M), known (..., k).
        """
        is_at_atom = torch.zeros((*q.shape[:-1], self.n_numbers), dtype=torch.bool, device=q.device)
        of_those_with_atoms = known[..., self._codes_of_atoms] & (q[..., self._other_levels] < 0.5)
        is_at_atom[..., self._numbers_with_atoms] = of_those_with_atoms
        return is_at_atom

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)


def _nearest(x: Tensor, codes: Tensor | None) -> Tensor:
    """Return the level of the code nearest to x, (..., G, w), among codes, (G, L, w), or one-hot ones: (..., G)."""
    if codes is None:
        return x.argmax(-1)
    if codes.shape[-1] == 1:
        return (x - codes[..., 0]).abs().argmin(-1)
    if codes.shape[1] <= WIDE:
        return (torch.einsum("...gw,glw->...gl", x, codes) - 0.5 * codes.square().sum(-1)).argmax(-1)
    return torch.stack([_nearest_of_many(x[..., g, :], codes[g]) for g in range(len(codes))], dim=-1)


def _nearest_of_many(x: Tensor, codes: Tensor) -> Tensor:
    """Return the level of a code x, (..., w), among many, (L, w): the nearest of those with a like first number."""
    first, order = codes[:, 0].sort()
    place = torch.searchsorted(first, x[..., 0].contiguous()).unsqueeze(-1)
    near = order[(place + torch.arange(-_LIKE, _LIKE, device=x.device)).clamp(0, len(codes) - 1)]
    closest = (x.unsqueeze(-2) - codes[near]).square().sum(-1).argmin(-1, keepdim=True)
    return near.gather(-1, closest).squeeze(-1)


def _grouped(of_levels: Tensor, group: Group) -> Tensor:
    """Return the levels of a group, (..., G, L), out of (..., M)."""
    return of_levels[..., group.outputs].reshape(*of_levels.shape[:-1], *group.log_prior.shape)
