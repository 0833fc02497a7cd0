"""Which parts of a training row are given, which are absent, and which are noisy.

A column has one part, its level or its number; a number with atoms has two, as its level is drawn before its number. A
denoiser of tables is trained for rows in which some parts are known (log-SNR +inf) and others absent (-inf). A batch is
divided into `N_SETS` sets of rows that follow each other. The rows of a set have the same noise level and, but for what
they lack and for the length of the prefix in "chain", the same parts given and absent: what the Gaussian start makes of
them is computed once a set, which would take a third of a step otherwise. Each set has one of five patterns:

- joint: all parts have the same noise level. This regularises: without such rows training overfits.
- numbers: all levels are given and the numbers are noisy, as when numbers are drawn after the levels. With conditions,
  some numbers are given in half of these sets.
- chain: the first levels are given and all other parts are absent, as when levels are drawn one after another.
- mixed: each part is given with a probability that is itself uniform; in half of the sets some of the others are
  absent; the rest are noisy.
- regression: each part is given with a probability that is itself uniform, and the others are absent.

Dates (`Codec.dates`) are drawn before all other parts: in "numbers" and "chain" they are given, and in a third of the
"joint" sets all other parts are absent.

Where there are rules between columns, parts that follow from others are absent in the end, and have no loss. In two
sets of three all columns that rules compute are absent, as if the table had only the others. In the third, half of
these others are absent, so that what rules compute is seen as well.

Whether cells are copies is drawn before all else. It is given wherever one of the two cells is given and the other is
not absent; where they are equal, one stands for both, and the other is absent without a loss.

A number with atoms is given only where its level is, and otherwise shares the level's state. A missing cell is absent
in all patterns, and has no loss. "mixed" and "regression" serve conditions on any columns; without conditions only the
first three occur.

Columns of more than `WIDE` levels are absent where they would be noisy, as rows are drawn level by level. The loss of
such a column is computed in every s-th row, with s times the weight, so that a batch has at most 2^20 probabilities of
its levels. Its expectation is the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backwalk.denoiser import WIDE
from backwalk.streams import Stream
from backwalk.table import Codec, RuleSystem

NOISY, GIVEN, ABSENT = range(3)
_JOINT, _NUMBERS, _CHAIN, _MIXED, _REGRESSION = range(5)  # the patterns, in the order of `Shares`
_MOST_PROBABILITIES = 2**20
N_SETS = 64  # of a batch
_DATES_ALONE = 1.0 / 3.0  # of the "joint" sets
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


@dataclass(frozen=True)
class Shares:
    """The shares of the five patterns in the rows of a batch."""

    joint: float
    numbers: float
    chain: float
    mixed: float = 0.0
    regression: float = 0.0

    @property
    def in_order(self) -> tuple[float, ...]:
        """The shares in the order of the module's docstring."""
        return (self.joint, self.numbers, self.chain, self.mixed, self.regression)


@dataclass(frozen=True)
class Patterns:
    """The patterns of the rows of a table with J parts.

    `part`, (k,), is the part of each coordinate of an encoded row; `is_code`, (k,), says whether the coordinate
    belongs to a code of levels. `level`, (J,), is for a number with atoms the part of its level, and for any other part
    the part itself. Levels are drawn in the order of the columns, those of copies first. `level_weight` is the weight
    of the cross-entropy of a column of levels, beside the v-loss of a number.
    """

    part: tuple[int, ...]
    is_code: tuple[bool, ...]
    level: tuple[int, ...]
    shares: Shares
    level_weight: float = 1.0
    given: tuple[tuple[int, ...], ...] | None = None
    """Sets of parts, of which one is given in "mixed" and "regression"; None is any parts."""
    wide: tuple[tuple[int, int], ...] = ()
    """The part, and the number of levels, of each column of more than `WIDE` levels."""
    dates: tuple[int, ...] = ()
    """The parts of dates."""
    rules: RuleSystem | None = None
    always_given: bool = False
    """Whether the only set of `given` parts is given in all rows, as an embedding reads it."""
    parts_of_cells: tuple[tuple[int, int], ...] = ()
    """The parts of the level and of the number of each cell; one part counts as both, and -1 for a constant cell."""
    is_copy: tuple[tuple[int, int], ...] = ()
    """The part of each copy, and its coordinate that is 1 where a row has one."""

    @classmethod
    def of(
        cls,
        codec: Codec,
        shares: Shares,
        given: Literal["any"] | Sequence[Sequence[int]] | None = None,
        *,
        always_given: bool = False,
    ) -> Patterns:
        """Return the patterns of a codec's encoded rows; `given` are sets of the user's columns."""
        first = codec.first_of_part
        is_code = np.ones(codec.n_encoded, dtype=bool)
        is_code[codec.numbers] = False
        part = np.searchsorted(first, np.arange(codec.n_encoded), side="right") - 1
        level = np.arange(len(first))
        for block in codec.blocks:
            if block.number is not None:
                level[part[block.number]] = part[block.coordinates.start]
        sets = None
        if given is not None and given != "any":
            sets = tuple(tuple(int(i) for j in columns for i in np.unique(part[codec.slices[j]])) for columns in given)
        wide = tuple((int(part[b.coordinates.start]), b.n_levels) for b in codec.blocks if b.n_levels > WIDE)
        of_parts = tuple(part.tolist()), tuple(is_code.tolist()), tuple(level.tolist())
        parts_of_cells = tuple(
            (int(part[s.start]), int(part[s.stop - 1])) if s.stop > s.start else (-1, -1) for s in codec.slices
        )
        copies = () if codec.rules is None else codec.rules.active_copies.values()
        return cls(
            *of_parts,
            shares,
            is_copy=tuple((parts_of_cells[cell][0], codec.slices[cell].stop - 1) for _, _, cell in copies),
            given=sets,
            wide=wide,
            dates=tuple(part[codec.dates].tolist()),
            rules=codec.rules,
            always_given=always_given,
            parts_of_cells=parts_of_cells,
        )

    def draw(self, rows: int, *, stream: Stream, together: int = 1) -> Tensor:
        """Return the state of each part, NOISY, GIVEN or ABSENT, in the rows of a batch: (rows, J), int8.

        A set has `together` rows; those of "chain" have prefixes of their own lengths.
        """
        levels, n_parts, of_level, n = self._has_levels, len(self._first), list(self.level), -(-rows // together)
        n_ruled = len(self._ruled_parts)
        # The columns of v: the patterns' shift, how many are given, how many are absent; each part, given and absent;
        # each cell that rules bind.
        v = stream.uniform(0, n, 3 + 2 * n_parts + n_ruled).numpy()
        # Shares of a batch are exact, and each pattern meets all noise levels, which are sorted within a batch.
        place = (np.arange(n) * _GOLDEN + v[0, 0]) % 1.0
        kind = np.searchsorted(np.cumsum(self.shares.in_order)[:-1], place, side="right")[:, None]
        is_given = v[:, 3 : 3 + n_parts] < v[:, 1, None]
        if self.given is not None:
            sets = np.zeros((len(self.given), n_parts), dtype=bool)
            for i, parts in enumerate(self.given):
                sets[i, list(parts)] = True
            is_given = sets[np.floor(v[:, 1] * len(sets)).astype(int)]
        is_given = is_given & is_given[:, of_level]
        is_absent = v[:, 3 + n_parts : 3 + 2 * n_parts] < np.maximum(2.0 * v[:, 2, None] - 1.0, 0.0)
        is_absent = np.where(is_given[:, of_level], is_absent, is_absent[:, of_level])
        is_half = v[:, 2, None] < 0.5
        added = np.zeros((n, n_parts), dtype=bool)  # given in whole rows as well
        if self.given is not None:
            is_absent[:] = False
            added = is_given & is_half & ((kind == _NUMBERS) | (kind == _CHAIN))
        elif self.shares.mixed > 0.0:  # as when numbers are drawn given some of them
            added = is_given & is_half & (kind == _NUMBERS)
        states = np.where((kind == _NUMBERS) & levels, GIVEN, NOISY)
        states = np.where(kind == _MIXED, np.where(is_given, GIVEN, np.where(is_absent, ABSENT, NOISY)), states)
        states = np.where(kind == _REGRESSION, np.where(is_given, GIVEN, ABSENT), states)
        if self.dates:
            dates = np.isin(np.arange(n_parts), self.dates)
            added |= dates & ((kind == _NUMBERS) | (kind == _CHAIN))
            states[~dates & (kind == _JOINT) & (v[:, 1, None] < _DATES_ALONE)] = ABSENT
            of_copies = np.isin(np.arange(n_parts), [part for part, _ in self.is_copy])
            states[of_copies & (kind == _JOINT) & (v[:, 1, None] < _DATES_ALONE)] = GIVEN
        states[added] = GIVEN
        for part, _ in self.wide:
            states[states[:, part] == NOISY, part] = ABSENT
        left_out = self._left_out(v[:, 3 + 2 * n_parts :])
        states, kind, added, left_out = (
            each.repeat(together, axis=0)[:rows] for each in (states, kind, added, left_out)
        )
        chain = np.flatnonzero(kind == _CHAIN)
        length = np.floor(stream.child("prefix").uniform(0, rows, 1).numpy()[chain, 0] * levels.sum())
        known = added[chain]
        known[:, list(self.dates)] &= length[:, None] >= len(self.is_copy)
        states[chain] = np.where(known, GIVEN, self._prefix(length))
        states[left_out] = ABSENT
        if self.always_given and self.given is not None:
            states[:, list(self.given[0])] = GIVEN
        return torch.from_numpy(states.astype(np.int8))

    def _left_out(self, v: np.ndarray) -> np.ndarray:
        """Return the parts that rules compute or that leave room for these, (n, J), from uniform numbers (n, .)."""
        left_out, is_usual = np.zeros((len(v), len(self._first)), dtype=bool), np.arange(len(v)) % 3 > 0
        for (cell, parts), of_cell in zip(self._ruled_parts.items(), v.T, strict=True):
            is_left_out = is_usual if cell in self._computed else ~is_usual & (of_cell < 0.5)
            if cell in self._without_computed:
                is_left_out = np.full(len(v), cell in self._computed)
            left_out[:, list(parts)] |= is_left_out[:, None]
        return left_out

    def chain(self, place: Tensor) -> Tensor:
        """Return the states of rows in which the first `place` columns of levels, (rows,), are given: (rows, J)."""
        return torch.from_numpy(self._prefix(place.numpy()).astype(np.int8))

    def is_next(self, states: Tensor) -> Tensor:
        """Return the coordinates of the first column of levels that is absent, (rows, k), given states of `chain`."""
        place = (states == GIVEN).sum(dim=1, keepdim=True)
        rank = torch.from_numpy(self._rank)
        is_next = torch.from_numpy(self._has_levels) & (rank == place)
        return is_next[:, torch.tensor(self.part)]

    def levels_given(self, rows: int) -> Tensor:
        """Return the states of rows in which all levels are given and the numbers are noisy: (rows, J)."""
        return torch.from_numpy(np.tile(np.where(self._has_levels, GIVEN, NOISY).astype(np.int8), (rows, 1)))

    @property
    def n_levels(self) -> int:
        """The number of columns that have levels."""
        return int(self._has_levels.sum())

    def by_coordinate(self, x_0: Tensor, log_snr: Tensor, weight: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-SNR and the weight in the loss of every coordinate: (..., rows, k) each.

        x_0, (..., rows, k), is NaN where there is no value; `log_snr` and `weight` are those of the noise, (..., rows);
        `states`, (..., rows, J), those of the parts. A number that does not apply at its atom has the state of any
        other number, and no weight.
        """
        device = x_0.device
        seen, part = ~x_0.isnan(), torch.tensor(self.part, device=device)
        first_of_level = torch.tensor([self._first[i] for i in self.level], device=device)
        states, determined = states.to(device).masked_fill(~seen[..., first_of_level], ABSENT), None
        if self._ruled_parts:
            states, determined = self._obeying_rules(states)
        if self.is_copy:
            states, of_copies = self._with_copies(states, x_0)
            determined = of_copies if determined is None else determined | of_copies
        is_given, is_absent = states == GIVEN, states == ABSENT
        levels = log_snr.unsqueeze(-1).masked_fill(is_given, math.inf).masked_fill(is_absent, -math.inf)
        weights = weight.unsqueeze(-1).masked_fill(is_absent, 1.0)  # the v-loss's at SNR 0
        weights = weights.masked_fill(torch.tensor(self.is_code, device=device)[self._first], self.level_weight)
        weights = weights.masked_fill(is_given if determined is None else is_given | determined, 0.0)
        levels, weights = levels[..., part], weights[..., part].masked_fill_(~seen, 0.0)
        for place, n_levels in self.wide:
            every = -(-weights.shape[-2] * n_levels // _MOST_PROBABILITIES)
            of_column = part == place
            weights[..., ::every, of_column] *= every
            counted = torch.arange(weights.shape[-2], device=device) % every == 0
            weights = weights.masked_fill(of_column & ~counted[:, None], 0.0)
        return levels, weights

    def is_noisy_number(self, log_snr: Tensor) -> Tensor:
        """Return which coordinates are numbers that are noisy, of the shape of their log-SNRs, (..., k)."""
        return log_snr.isfinite() & ~torch.tensor(self.is_code, device=log_snr.device)

    def _obeying_rules(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of parts, with those absent that follow from others by rules, and these: (..., J) each.

        So a network never sees a number, given or noisy, beside all that determines it (`RuleSystem.basis`).
        """
        assert self.rules is not None
        of_cells, members = np.array(self.parts_of_cells), np.array(list(self._ruled_parts))
        level, number = of_cells[members].T
        flat: np.ndarray = states.cpu().numpy().reshape(-1, states.shape[-1]).copy()
        of_numbers, of_levels = flat[:, number], flat[:, level]
        known, asked = np.zeros((2, len(flat), self.rules.n_cells), dtype=bool)
        asked[:, of_cells[:, 0] < 0] = True  # constants, which are drawn as they are
        known[:, members], asked[:, members] = of_numbers == GIVEN, of_numbers == NOISY
        known, asked = (mask[:, members] for mask in self.rules.basis(known, asked, only_asked=True))
        after = np.where(known, GIVEN, np.where(asked, NOISY, ABSENT))
        is_dropped = (after == ABSENT) & (of_numbers != ABSENT)
        # The level of a number with atoms is given before its number is drawn, if it is drawn at all.
        is_level_alone = (of_numbers == ABSENT) & (of_levels == GIVEN) & self.rules.drawn[members] & (after == ABSENT)
        is_first = asked & (of_levels == GIVEN)
        flat[:, level] = np.where(is_level_alone | is_first, GIVEN, after)
        flat[:, number] = after
        determined = np.zeros_like(flat, dtype=bool)
        determined[:, level] |= is_dropped
        determined[:, number] |= is_dropped
        back = (torch.from_numpy(part.reshape(states.shape)).to(states.device) for part in (flat, determined))
        return next(back), next(back)

    def _with_copies(self, states: Tensor, x_0: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states of parts, with those absent that are copies, and these: (..., J) each."""
        assert self.rules is not None
        states, determined = states.clone(), torch.zeros_like(states, dtype=torch.bool)
        copies = zip(self.rules.active_copies.values(), self.is_copy, strict=True)
        for (source, target, _), (part, coordinate) in reversed(list(copies)):
            of_source, of_target = self.parts_of_cells[source], self.parts_of_cells[target]
            one, other = states[..., of_source[1]], states[..., of_target[1]]
            is_known = ((one == GIVEN) & (other != ABSENT)) | ((other == GIVEN) & (one != ABSENT))
            states[..., part] = states[..., part].masked_fill(is_known & ~x_0[..., coordinate].isnan(), GIVEN)
            is_equal = (states[..., part] == GIVEN) & (x_0[..., coordinate] == 1.0)
            for i, j in zip(of_source, of_target, strict=True):
                states[..., i] = states[..., i].masked_fill(is_equal & (states[..., j] == GIVEN), GIVEN)
            for j in set(of_target):
                states[..., j] = states[..., j].masked_fill(is_equal, ABSENT)
                determined[..., j] |= is_equal
        return states, determined

    def _prefix(self, n_given: np.ndarray) -> np.ndarray:
        return np.where(self._has_levels & (self._rank < n_given[:, None]), GIVEN, ABSENT)

    @cached_property
    def _rank(self) -> np.ndarray:
        """The place in the order of drawing of each part that has levels, (J,)."""
        first, parts = [part for part, _ in self.is_copy], np.flatnonzero(self._has_levels)
        order = [*first, *(part for part in parts.tolist() if part not in first)]
        rank = np.zeros(len(self._has_levels), dtype=np.intp)
        rank[order] = np.arange(len(order))
        return rank

    @cached_property
    def _first(self) -> list[int]:
        """The first coordinate of each part."""
        return [int(i) for i in np.unique(np.array(self.part), return_index=True)[1]]

    @cached_property
    def _computed(self) -> frozenset[int]:
        """The cells that rules compute where nothing is known."""
        return frozenset() if self.rules is None else frozenset(np.flatnonzero(~self.rules.drawn).tolist())

    @cached_property
    def _ruled_parts(self) -> dict[int, tuple[int, int]]:
        """The parts of each cell, but constants, between which there are rules of numbers."""
        members = () if self.rules is None else self.rules.preference
        return {j: self.parts_of_cells[j] for j in members if self.parts_of_cells[j][0] >= 0}

    @cached_property
    def _without_computed(self) -> frozenset[int]:
        """The cells beside which no network needs to see what rules compute: it stands for nothing."""
        return frozenset() if self.rules is None else self.rules.alone

    @cached_property
    def _has_levels(self) -> np.ndarray:
        has_levels = np.array(self.is_code)[self._first]
        if self.rules is not None:  # levels of numbers that rules compute are not drawn
            has_levels[[self.parts_of_cells[j][0] for j in self._computed if j in self._ruled_parts]] = False
        return has_levels


def filled(x_0: Tensor, eps: Tensor) -> Tensor:
    """Return rows, (..., rows, k), with the noise of another row where there is no value: x_t is then N(0, 1) there."""
    return torch.where(x_0.isnan(), eps.roll(1, dims=-2), x_0)
