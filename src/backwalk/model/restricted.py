"""Draws of one column from its allowed values, given what is known, and the probability of these values.

Of levels, those that are allowed keep their probabilities P(l | known), up to a factor. A number has one coordinate z,
to which the probability-flow ODE given what is known carries N(0, 1): a monotone map of one variable. So its allowed
values are intervals [a_i, b_i] of the noise, of the probability

    P(allowed | known) = sum_i Phi(b_i) - Phi(a_i),

and noise from N(0, 1) within them is carried to draws from p(z | known, allowed), however rare these values are. A
number with atoms has those that are allowed, and "other" with the probability P(other | known) P(allowed | known,
other). Where the same is known in all rows, the map is computed once, at 128 points of each interval, and interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from backwalk.diffusion import integrate_ode
from backwalk.errors import InvalidInput
from backwalk.model.copies import apart_from_copies
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import Allowed, Given
from backwalk.model.levels import probabilities_of_levels
from backwalk.model.numbers import denoiser_of_numbers
from backwalk.model.tiles import map_tiles
from backwalk.sampling import RowNoise
from backwalk.table import NumberColumn
from backwalk.table.codec_rules import ends_by_rules
from backwalk.torch_state import in_initial_torch_state

Array = NDArray[np.float64]
_N_INTERVALS = 16  # of the ODE
_N_POINTS = 128  # of the map, in each interval of the noise
_FARTHEST = 8.5  # of the noise: float64 has no normal draws beyond
_FARTHEST_NUMBER = 1e3  # encoded, which the ODE carries
_NARROWEST = 1e-9  # an interval of the noise whose map is computed
_MOST_ROWS = 256  # of a tile


@dataclass(frozen=True, eq=False)
class Restriction:
    """The allowed values of a column that is free, given one row for all or each of some rows.

    They are drawn in a `cell`, that of the column or, where a single rule gives the column from what is given and
    another cell, this other one.

    - `low`, `high`: the ends of the cell's allowed values in each row, (n,).
    - `shares`: P(level | given) of each level, 0 where it is not allowed, and last the probability of the allowed
      numbers, if the cell has any: (n, L). Behind them are those that the cell is a copy of an allowed value.
    - `copied`: the values of these, (n, C).
    - `ends`: the intervals of the noise that the ODE carries to the allowed numbers, (n, K, 2).
    - `possible`: the probability of the values of the cell that rules leave, (n,).
    """

    allowed: Allowed
    given: Given
    cell: int
    low: Array
    high: Array
    shares: Array
    ends: Array
    possible: Array
    copied: Array

    @property
    def probability(self) -> Array:
        """P(allowed | given) of each row, (n,); 0 where rules leave no value."""
        mass = self.shares.sum(axis=1)
        return np.where(mass > 0.0, mass / np.maximum(self.possible, mass), 0.0)

    @in_initial_torch_state
    def draw(self, noise: RowNoise, places: NDArray[np.intp]) -> Given:
        """Return the rows at some places, (m,), in which the column is given: a value that m rows of noise draw."""
        at = places.clip(0, len(self.shares) - 1)
        u = noise.uniform("allowed", self.allowed.column, width=2).numpy()
        up_to = self.shares[at].cumsum(axis=1)
        level = (up_to <= u[:, :1] * up_to[:, -1:]).sum(axis=1).clip(max=up_to.shape[1] - 1)
        given, codec = self.given.take(places), self.given.model.codec
        block, is_number = codec.block_of(self.cell), np.ones(len(level), dtype=bool)
        x = np.empty(len(level))
        if block is not None:
            x = block.values[level.clip(max=block.n_levels - 1)]
            is_number = (level == block.other) & (block.number is not None)
        n_own = self.shares.shape[1] - self.copied.shape[1]
        copies = np.flatnonzero(level >= n_own)
        is_number[copies], x[copies] = False, self.copied[at[copies], level[copies] - n_own]
        if is_number.any():
            x_N = _within(self.ends[at[is_number]], u[is_number, 1])
            some = np.flatnonzero(is_number)
            x[some] = np.clip(self._numbers(x_N, given.take(some)), self.low[at[some]], self.high[at[some]])
        values, is_given = given.values.copy(), given.given_columns()
        column, cells = self.allowed.column, codec.cells(values)
        cells[:, self.cell] = x
        if self.cell != column:
            x = codec.rows_of_cells(cells)[:, column]
        values[:, column] = np.where(np.isnan(x), x, self.allowed.nearest(x))
        is_given[:, column] = True
        return Given.to_draw(given.model, values, is_given)

    def _numbers(self, x_N: Array, given: Given) -> Array:
        """Return the allowed numbers to which the ODE carries noise, (n,), each in its row."""
        number = _number_of(self.given.model, self.cell)
        if len(self.shares) == 1:
            z = np.empty_like(x_N)
            for (low, high), to_number in zip(self.ends[0].tolist(), self._maps, strict=True):
                inside = (x_N >= low) & (x_N <= high)
                z[inside] = to_number(x_N[inside])
        else:
            z = _carried(given, self.cell, x_N[:, None], to_noise=False)[:, 0]
        return number.within_range(number.decode(z[:, None]))

    @cached_property
    def _maps(self) -> list[PchipInterpolator]:
        """The map from the noise to the number, in each interval, where the same is given in all rows."""
        maps, given = [], self.given.take(np.zeros(_N_POINTS, dtype=np.intp))
        for low, high in self.ends[0].tolist():
            least = float(np.clip(low, -_FARTHEST, _FARTHEST))
            greatest = max(float(np.clip(high, -_FARTHEST, _FARTHEST)), least + _NARROWEST)
            points = np.linspace(least, greatest, _N_POINTS)
            z = _carried(given, self.cell, points[:, None], to_noise=False)[:, 0]
            maps.append(PchipInterpolator(points, np.maximum.accumulate(z), extrapolate=True))
        return maps


@in_initial_torch_state
def restrict(given: Given, allowed: Allowed) -> Restriction:
    """Return the allowed values of a column that is free in some rows.

    The model should know any column given any others.
    """
    codec, j, n = given.model.codec, allowed.column, given.n_rows
    if codec.rules is None:
        low, high = np.full(n, allowed.low), np.full(n, allowed.high)
        shares, ends = _shares(given, j, low, high, allowed.levels)
        return Restriction(allowed, given, j, low, high, shares, ends, np.ones(n), np.empty((n, 0)))
    least = np.where(np.isnan(given.values), -np.inf, given.values)
    largest = np.where(np.isnan(given.values), np.inf, given.values)
    possible = ends_by_rules(codec, least, largest)[:2]
    cell = _cell_for(given, j)
    levels = np.array(allowed.levels) if allowed.levels is not None else np.empty(0)
    least[:, j] = np.maximum(least[:, j], levels.min(initial=allowed.low))
    largest[:, j] = np.minimum(largest[:, j], levels.max(initial=allowed.high))
    if allowed.levels is not None:
        least[:, j], largest[:, j] = levels.min(), levels.max()
    *narrow, contradicts = ends_by_rules(codec, least, largest)
    low, high = narrow[0][:, cell], narrow[1][:, cell]
    low, high = np.where(contradicts < 0, low, np.inf), np.where(contradicts < 0, high, -np.inf)
    given, no_copy, copies = apart_from_copies(given, cell)
    shares, ends = _shares(given, cell, low, high, allowed.levels if cell == j else None)
    of_copies = [np.where(allowed.contains(x), share, 0.0) for share, x in copies]
    shares = np.column_stack([shares * no_copy[:, None], *of_copies])
    copied = np.column_stack([np.empty((n, 0)), *(x for _, x in copies)])
    least, largest = (each[:, cell] for each in possible)
    is_bound = bool((np.isfinite(least) | np.isfinite(largest)).any())
    of_rules = _shares(given, cell, least, largest, None)[0].sum(axis=1) if is_bound else np.ones(n)
    return Restriction(allowed, given, cell, low, high, shares, ends, of_rules, copied)


def _cell_for(given: Given, j: int) -> int:
    """Return the cell that is drawn in the place of a column: the only free one that a rule gives it from.

    It is the column itself where it is free, or no single rule gives it.
    """
    codec = given.model.codec
    is_free: NDArray[np.bool_] = np.logical_and.reduce(given.free_cells(), axis=0)
    assert codec.rules is not None
    has_value = ~np.isnan(codec.cells(given.values))
    if not is_free[j]:
        for equation in codec.rules.equations.values():
            others = [k for k in equation.columns if k != j]
            unknown = [k for k in others if not has_value[:, k].all()]
            if j not in equation.columns or len(unknown) != 1:
                continue
            other = unknown[0]
            if is_free[other] and codec.all_columns[other].width and not has_value[:, other].any():
                return other
    return j


def _shares(given: Given, cell: int, low: Array, high: Array, levels: tuple[float, ...] | None) -> tuple[Array, Array]:
    """Return the `shares` and `ends` of a `Restriction` of a cell to values between ends, (n,), or to some levels."""
    codec = given.model.codec
    block, shares, ends = codec.block_of(cell), np.ones((given.n_rows, 1)), np.empty((given.n_rows, 0, 2))
    if block is not None:
        shares = probabilities_of_levels(given, codec.block_numbers[cell])
        is_other = (np.arange(block.n_levels) == block.other) & (block.number is not None)
        may_be = (block.values >= low[:, None]) & (block.values <= high[:, None])
        if levels is not None:
            may_be &= np.isin(block.values, levels)
        shares = np.where(may_be | is_other, shares, 0.0)
    if block is None or block.number is not None:
        ends = _ends_of_noise(given, cell, low, high, levels)
        shares[:, -1] *= _masses(ends).sum(axis=1)
    return shares, ends


@in_initial_torch_state
def log_prob_of_allowed(model: DiffusionModel, values: Array, allowed: Allowed) -> Array:
    """Return ln P(allowed | given) of a column for rows, (n, d), of which all cells without NaN are given: (n,), nats.

    Where rules compute the column from what is given, it is 0 or -inf. Raises InvalidInput for a model that does not
    know any column given any others.
    """
    if model.conditions != "any":
        raise InvalidInput(
            "The probability of a range should be of a model that takes any condition, but this one does not: fit with "
            'conditions="any".'
        )
    others = np.where(np.arange(model.codec.n_columns) == allowed.column, np.nan, values)
    computed = model.codec.cells(others)[:, allowed.column]
    if not model.codec.columns[allowed.column].width:
        computed = model.codec.decode(np.zeros((len(others), model.codec.n_encoded)))[:, allowed.column]
    with np.errstate(divide="ignore"):
        log_p = np.log(np.where(allowed.contains(computed), 1.0, 0.0))
        at = np.flatnonzero(np.isnan(computed))
        if len(at):
            log_p[at] = np.log(restrict(Given.to_draw(model, others[at]), allowed).probability)
    return log_p


def _ends_of_noise(given: Given, cell: int, low: Array, high: Array, levels: tuple[float, ...] | None) -> Array:
    """Return the intervals of the noise that the ODE carries to the allowed numbers, (n, K, 2)."""
    number, block = _number_of(given.model, cell), given.model.codec.block_of(cell)
    of_number = np.setdiff1d(levels or (), np.empty(0) if block is None else block.atoms).tolist()
    distinct, of_row = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    intervals = list[list[tuple[float, float]]]()
    for least, largest in distinct.tolist():
        ranges = [(least, largest)] if levels is None else [(x, x) for x in of_number if least <= x <= largest]
        is_some = least <= largest and (levels is None or number.cell_width > 0.0)
        intervals.append(
            [ends for of_range in ranges for ends in number.support.before_rounding(*of_range)] if is_some else []
        )
    width = max(map(len, intervals), default=0)
    x = np.full((len(distinct), width, 2), np.nan)
    for i, of_distinct in enumerate(intervals):
        x[i, : len(of_distinct)] = np.array(of_distinct).reshape(-1, 2)
    z = number.chain.encode(x.ravel()).reshape(len(distinct), 2 * width)
    z[np.abs(z) > _FARTHEST_NUMBER] *= np.inf
    z = z[of_row.ravel()]
    noise, at = z.copy(), np.flatnonzero(np.isfinite(z).any(axis=0))
    if len(at):
        carried = _carried(given, cell, np.where(np.isfinite(z[:, at]), z[:, at], 0.0), to_noise=True)
        noise[:, at] = np.where(np.isfinite(z[:, at]), carried, z[:, at])
    ends = np.where(np.isnan(noise), np.inf, noise).reshape(len(noise), width, 2)
    ends[..., 1] = np.maximum(ends[..., 0], ends[..., 1])
    return ends


def _carried(given: Given, column: int, points: Array, *, to_noise: bool) -> Array:
    """Return to where the ODE of a number carries points of each row, (n, E), to noise or from it."""
    schedule, device, of_number = given.model.schedule, given.rows.device, given.one_number(column)
    least, greatest = float(schedule.noise_level[1]), float(schedule.noise_level[-1])
    scale = math.hypot(1.0, least)  # of x_t at the least noise level
    noise_levels = (least, greatest) if to_noise else (greatest, least)
    coordinate = torch.tensor([given.model.codec.slices[column].stop - 1], device=device)

    def tile(places: NDArray[np.intp]) -> Tensor:
        denoiser, ends = denoiser_of_numbers(of_number.take(places), coordinate), torch.from_numpy(points[places])
        x_t = ends.T.reshape(-1, 1).to(of_number.rows) / (scale if to_noise else 1.0)
        carried, _ = integrate_ode(denoiser, x_t, *noise_levels, _N_INTERVALS)
        return carried.double().reshape(ends.shape[1], -1).T * (1.0 if to_noise else scale)

    n, width = points.shape
    carried: Array = map_tiles(tile, n, width=width, device=device, most_rows=_MOST_ROWS).numpy()
    return carried


def _masses(ends: Array) -> Array:
    """Return Phi(b) - Phi(a) of intervals [a, b], (..., 2): (...), exact in both tails."""
    low, high = _towards_the_lower_tail(ends)
    return np.asarray(special.ndtr(high) - special.ndtr(low))


def _within(ends: Array, u: Array) -> Array:
    """Return a point of N(0, 1) within the intervals of each row, (n, K, 2), by uniforms u, (n,)."""
    masses = _masses(ends)
    up_to = masses.cumsum(axis=1)
    left = u * up_to[:, -1]
    chosen = (up_to <= left[:, None]).sum(axis=1).clip(max=ends.shape[1] - 1)
    row = np.arange(len(u))
    inside = left - up_to[row, chosen] + masses[row, chosen]
    (low, high), is_upper = _towards_the_lower_tail(ends[row, chosen]), ends[row, chosen, 0] > 0.0
    share = np.where(is_upper, special.ndtr(high) - inside, special.ndtr(low) + inside)
    x: Array = np.clip(special.ndtri(share), np.maximum(low, -_FARTHEST), np.minimum(high, _FARTHEST))
    return np.asarray(np.where(is_upper, -x, x))


def _towards_the_lower_tail(ends: Array) -> tuple[Array, Array]:
    """Return the ends of intervals, (..., 2), those above 0 in mirror image: float64 resolves the lower tail."""
    low, high = ends[..., 0], ends[..., 1]
    return np.where(low > 0.0, -high, low), np.where(low > 0.0, -low, high)


def _number_of(model: DiffusionModel, column: int) -> NumberColumn:
    number = model.codec.all_columns[column].number_column
    assert number is not None
    return number
