"""The condition under which rows are drawn and scored.

Each coordinate of an encoded row is *given*, *free* or *absent*. Free ones are drawn or scored, and absent ones are
integrated out. A missing cell is absent, and so are, where there are rules between columns, cells that follow from
others.

Rows are drawn in the order in which their probability is computed: dates first, then the levels one column after the
other, then the other numbers together.

    ln p(free | given) = ln p(dates | given) + sum_j ln P(l_j | given, dates, l_1..l_{j-1})
                         + ln p(numbers | given, dates, levels)

Before them all it is drawn which cells are copies of others (`copies.py`).

Dates come first, as seasons are fine structure of a date: numbers that are drawn together with it settle before its
phase does, and would hardly follow the seasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backwalk.diffusion import LogDensity
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.formatting import listed
from backwalk.limits import FARTHEST_TO_SCORE
from backwalk.model.chain import ReverseChain
from backwalk.model.copies import log_prob_of_copies
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.integers import N_PLACES, log_prob_of_integers
from backwalk.model.levels import draw_levels, log_prob_of_levels
from backwalk.model.numbers import Ode, draw_dates, draw_numbers, log_prob_of_numbers
from backwalk.model.terms import user_terms
from backwalk.model.unseen import settle_given
from backwalk.sampling import RowNoise
from backwalk.table import Codec, Schema, Table, complete, nearest_index
from backwalk.threads import on_one_thread

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Allowed:
    """The values that a column may have: those within a range, or those of a set, which are `levels`."""

    column: int
    low: float = -math.inf
    high: float = math.inf
    levels: tuple[float, ...] | None = None

    def holds(self, rows: Array) -> NDArray[np.bool_]:
        """Return which rows, (..., d), meet the condition."""
        return self.contains(rows[..., self.column])

    def contains(self, values: Array) -> NDArray[np.bool_]:
        """Return which values of the column are allowed."""
        if self.levels is not None:
            return np.asarray(np.isin(values, self.levels))
        return np.asarray((values >= self.low) & (values <= self.high))

    def words(self, schema: Schema) -> str:
        """Return the condition in the user's terms."""
        if self.levels is not None:
            return (
                f"{schema.label(self.column)} in {{{listed(user_terms(schema, self.column, x) for x in self.levels)}}}"
            )
        low, high = (user_terms(schema, self.column, end) for end in (self.low, self.high))
        return f"{schema.label(self.column)} in {low}..{high}"

    def nearest(self, values: Array) -> Array:
        """Return the nearest allowed values."""
        if self.levels is not None:
            return np.array(self.levels)[nearest_index(values, np.array(self.levels))]
        return np.clip(values, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Given:
    """Encoded rows, (n, k), of which some coordinates are given and some free; the others are absent.

    Parameters
    ----------
    model : DiffusionModel
        The model that draws and scores.
    values : ndarray, (n, d)
        The given values in the user's units, and NaN elsewhere.
    cells : ndarray, (n, D)
        The free cells of rows that are scored, in the user's units, and NaN elsewhere (`Codec.cells`).
    rows : Tensor, (n, k)
        The encoded rows. They are NaN where a cell has no value, and where a number does not apply at its atom.
    is_given : Tensor of bool, (n, k)
        The coordinates that are conditioned on.
    is_free : Tensor of bool, (n, k)
        The coordinates that are drawn or scored.
    allowed : tuple of Allowed, default=()
        Ranges and sets in which drawn values lie.

    See Also
    --------
    read_given : Reads conditions in the user's terms.
    sample_rows : Draws rows under a condition.
    log_density : Scores rows.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> from backwalk.model import Given
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> model = Diffusion(max_steps=20, conditions="any", random_state=0, verbose=False).fit(X).model_
    >>> given = Given.to_draw(model, np.array([[1.5, np.nan]]))
    >>> given.is_given, given.is_free, given.is_absent
    (tensor([[ True, False]]), tensor([[False,  True]]), tensor([[False, False]]))
    """

    model: DiffusionModel
    values: Array
    cells: Array
    rows: Tensor
    is_given: Tensor
    is_free: Tensor
    allowed: tuple[Allowed, ...] = ()

    @classmethod
    def nothing(cls, model: DiffusionModel) -> Given:
        """Return the condition of one row of which nothing is given."""
        return cls.to_draw(model, np.full((1, model.codec.n_columns), np.nan))

    @classmethod
    def to_draw(
        cls,
        model: DiffusionModel,
        values: Array,
        is_given: NDArray[np.bool_] | None = None,
        *,
        allowed: tuple[Allowed, ...] = (),
    ) -> Given:
        """Encode rows, (n, d), of which some cells are given, by default all without NaN, to draw the others.

        Cells that follow from others by rules are absent, and computed from drawn rows. Given values that the fit did
        not see are settled (`unseen.py`). Raises InvalidInput for patterns for which the model was not trained, and for
        rows beyond the network's range.
        """
        values, is_given = settle_given(model, values, ~np.isnan(values) if is_given is None else is_given)
        for pattern in np.unique(is_given, axis=0) if model.conditions != "any" else ():
            model.check_pattern(np.flatnonzero(pattern).tolist())
        given, drawn = _encode(model, np.where(is_given, values, np.nan), is_given, ~is_given)
        is_free = torch.from_numpy(model.codec.expand_mask(drawn)).to(given.rows.device)
        return replace(given, is_free=is_free, allowed=allowed)

    @classmethod
    def to_score(
        cls,
        model: DiffusionModel,
        values: Array,
        given: Sequence[int] = (),
        columns: Sequence[int] | None = None,
    ) -> Given:
        """Encode rows, (n, d), with NaN for missing cells, to score some columns given others.

        `given` are the numbers of the given columns, and `columns` those of the free ones, by default all others. It
        raises as `to_draw` does.
        """
        of_given, of_free = np.isin(np.arange(model.codec.n_columns), given), free_columns(model, given, columns)
        values, is_given = settle_given(model, values, of_given)
        missing = (of_given & ~is_given) | ((of_given | of_free) & ~_has_value(model.codec, values))
        left_out = ~(of_given | of_free)
        model.check_pattern(
            given, left_out=np.flatnonzero(left_out).tolist(), missing=np.flatnonzero(missing.any(axis=0)).tolist()
        )
        is_free = np.broadcast_to(of_free, values.shape)
        return _encode(model, np.where(is_given | is_free, values, np.nan), is_given, is_free)[0]

    @property
    def is_absent(self) -> Tensor:
        """The coordinates that are neither given nor free, (n, k)."""
        return ~(self.is_given | self.is_free)

    @property
    def n_rows(self) -> int:
        """The number of rows, n."""
        return len(self.values)

    def given_columns(self) -> NDArray[np.bool_]:
        """Return which columns are given, (n, d)."""
        codec, is_given = self.model.codec, ~np.isnan(self.values)
        for j in codec.missing_levels:
            is_given[:, j] = self.is_given[:, codec.slices[j].start].cpu().numpy()
        return is_given

    def free_cells(self) -> NDArray[np.bool_]:
        """Return which cells are free, (n, D); constant ones are not."""
        codec = self.model.codec
        is_free = np.zeros((self.n_rows, len(codec.all_columns)), dtype=bool)
        for j, (column, coordinates) in enumerate(zip(codec.all_columns, codec.slices, strict=True)):
            if column.width:
                is_free[:, j] = self.is_free[:, coordinates.start].cpu().numpy()
        return is_free

    @on_one_thread
    def take(self, places: NDArray[np.intp]) -> Given:
        """Return the rows at some places; places beyond the ends are those of the ends."""
        places = places.clip(0, self.n_rows - 1)
        at = torch.from_numpy(places).to(self.rows.device)
        parts = self.values[places], self.cells[places], self.rows[at], self.is_given[at], self.is_free[at]
        return Given(self.model, *parts, self.allowed)

    def only(self, columns: Sequence[int]) -> Given:
        """Return the rows with no other columns free: the others that are not given are absent."""
        of_columns, coordinates = self._of_columns(columns)
        return replace(self, cells=np.where(of_columns, self.cells, np.nan), is_free=self.is_free & coordinates)

    def then(self, columns: Sequence[int]) -> Given:
        """Return the rows with what is free in some columns given."""
        of_columns, coordinates = self._of_columns(columns)
        return replace(
            self,
            cells=np.where(of_columns, np.nan, self.cells),
            is_given=self.is_given | (self.is_free & coordinates),
            is_free=self.is_free & ~coordinates,
        )

    def knowing(self, cells: Array) -> tuple[Given, Array]:
        """Return rows to draw of which more cells are known, (n, D), with what follows from these, and all of them."""
        codec = self.model.codec
        cells = codec.with_computed(cells)
        is_given = self.given_columns() | ~np.isnan(cells[:, : codec.n_columns])
        given, drawn = _encode(self.model, cells, is_given, ~is_given)
        is_free = torch.from_numpy(codec.expand_mask(drawn)).to(given.rows.device)
        return replace(given, values=self.values, is_free=is_free, allowed=self.allowed), cells

    def then_levels(self) -> Given:
        """Return the rows with all free levels given."""
        of_levels = torch.ones_like(self.is_free)
        of_levels[:, torch.from_numpy(self.model.codec.numbers).to(of_levels.device)] = False
        return replace(self, is_given=self.is_given | (self.is_free & of_levels), is_free=self.is_free & ~of_levels)

    def one_number(self, column: int) -> Given:
        """Return the rows with the number of a column alone free, and the level "other" given of one with atoms."""
        rows, is_given, codec = self.rows.clone(), self.is_given.clone(), self.model.codec
        if (block := codec.block_of(column)) is not None:
            rows[:, block.coordinates] = torch.as_tensor(block.codes[block.other]).to(rows)
            is_given[:, block.coordinates] = True
        is_free = torch.zeros_like(is_given)
        is_free[:, codec.slices[column].stop - 1] = True
        return replace(self, rows=rows, is_given=is_given, is_free=is_free)

    def at(self, cells: Array) -> Given:
        """Return the rows with other values of the free cells, (n, D)."""
        z = torch.from_numpy(encode_in_range(self.model.codec, cells)).to(self.rows)
        return replace(self, cells=cells, rows=torch.where(self.is_free, z, self.rows))

    def draw(self, chain: ReverseChain, noise: RowNoise) -> Tensor:
        """Return encoded rows, (n, k), with all that is free drawn. Absent coordinates are NaN.

        Which cells are copies has been drawn (`draw_copies`).
        """
        given = draw_levels(draw_dates(self, chain, noise), noise)
        rows = draw_numbers(given, chain, noise)
        rows = rows.where(~(self.is_given & rows.isnan()), 0.0)  # a given number at one of its atoms
        return rows.masked_fill(self.is_absent, math.nan)

    def decode(self, z: Tensor, numbers: NDArray[np.intp]) -> Array:
        """Return new rows, (n, d), of encoded ones, (n, k), with the given values and within the columns' ranges.

        What rules determine follows from given values. Raises SamplingDiverged, by the rows' `numbers`, (n,).
        """
        encoded = z.cpu().numpy()
        broken = np.flatnonzero(~(np.isfinite(encoded) | self.is_absent.cpu().numpy()).all(axis=1))
        if len(broken):
            raise SamplingDiverged(
                f"Samples should be finite, but row {numbers[broken[0]]} (rows count from 0) is not: take more "
                "evaluations or another sampler; if that does not help, fit again with a `training` of lower "
                "learning_rate."
            )
        rows = self.model.schema.clipped(self.model.codec.decode_new(encoded, self.values))
        return np.where(np.isnan(self.values), rows, self.values)

    def holds(self, rows: Array) -> NDArray[np.bool_]:
        """Return which rows, (..., d), have allowed values."""
        holds = np.ones(rows.shape[:-1], dtype=bool)
        for allowed in self.allowed:
            holds &= allowed.holds(rows)
        return holds

    def log_prob(
        self, ode: Ode, *, n_places: int = N_PLACES, watch: Callable[[int], object] = lambda _: None
    ) -> LogDensity:
        """Return ln p(free | given) of each row, (n,), with its errors.

        `watch` is called with the number of rows of each tile.
        """
        codec = self.model.codec
        of_copies = log_prob_of_copies(self)
        parts = [(self.then(codec.date_columns), watch)]
        if codec.date_columns:
            parts.insert(0, (self.only(codec.date_columns), lambda _: None))
        of_numbers = [
            log_prob_of_integers(part, ode, n_places, watched)
            if codec.n_uniforms
            else log_prob_of_numbers(part.then_levels(), ode, watch=watched)
            for part, watched in parts
        ]
        of_levels = log_prob_of_levels(parts[-1][0]) if codec.blocks else 0.0
        return LogDensity(
            sum((part.log_prob for part in of_numbers[1:]), start=of_numbers[0].log_prob) + of_levels + of_copies,
            sum((part.solver_error for part in of_numbers[1:]), start=of_numbers[0].solver_error),
            torch.stack([part.standard_error for part in of_numbers]).square().sum(dim=0).sqrt(),
        )

    def _of_columns(self, columns: Sequence[int]) -> tuple[NDArray[np.bool_], Tensor]:
        """Return which cells, (D,), and which coordinates, (k,), are those of some columns."""
        cells = np.isin(np.arange(len(self.model.codec.all_columns)), columns)
        return cells, torch.from_numpy(self.model.codec.expand_mask(cells[None])[0]).to(self.rows.device)


def free_columns(
    model: DiffusionModel, given: Sequence[int] = (), columns: Sequence[int] | None = None
) -> NDArray[np.bool_]:
    """Return which columns are free, (d,): some, or by default all that are not given."""
    every = np.arange(model.codec.n_columns)
    return ~np.isin(every, given) & (True if columns is None else np.isin(every, columns))


def encode_complete(model: DiffusionModel, values: Array) -> Tensor:
    """Return encoded rows without missing values, not dequantised: (n, k), float64, on the network's device.

    Raises InvalidInput for rows beyond the network's range, and for missing values.
    """
    z = encode_in_range(model.codec, complete(Table(values, model.schema)).values)
    return torch.from_numpy(z).to(model.denoiser.device)


def encode_in_range(codec: Codec, values: ArrayLike) -> Array:
    """Return rows, (n, d), encoded: (n, k). Raises InvalidInput for rows beyond the network's range."""
    z = codec.encode(values)
    far = np.flatnonzero((np.abs(z) > FARTHEST_TO_SCORE).any(axis=1))
    if len(far):
        raise InvalidInput(
            f"Rows should lie within {FARTHEST_TO_SCORE:.0e} scales of the fitted ones, but row {far[0]} (rows count "
            "from 0) does not: drop it."
        )
    return z


def _encode(
    model: DiffusionModel, values: Array, is_given: NDArray[np.bool_], is_free: NDArray[np.bool_]
) -> tuple[Given, NDArray[np.bool_]]:
    """Encode rows, (n, d), or their cells, (n, D), of which columns, (n, d), are given and free, and NaN if neither.

    Return also which cells, (n, D), are scored or drawn, whether they have a value or not.
    """
    codec, device = model.codec, model.denoiser.device
    cells = values if values.shape[1] > codec.n_columns else codec.cells(values)
    z, has_value = encode_in_range(codec, cells), _has_value(codec, cells)
    of_given, of_free = codec.cell_masks(is_given, is_free, has_value, cells)
    given = Given(
        model,
        np.where(is_given, values[:, : codec.n_columns], np.nan),
        np.where(of_free, cells, np.nan),
        torch.from_numpy(z.astype(np.float32)).to(device),
        torch.from_numpy(codec.expand_mask(has_value & of_given)).to(device),
        torch.from_numpy(codec.expand_mask(has_value & of_free) & ~np.isnan(z)).to(device),
    )
    return given, of_free


def _has_value(codec: Codec, cells: Array) -> NDArray[np.bool_]:
    """Return which cells of rows, (n, d) or (n, D), are not missing; a missing value that is generated is a level."""
    return np.asarray(~np.isnan(cells) | np.isin(np.arange(cells.shape[1]), codec.missing_levels))
