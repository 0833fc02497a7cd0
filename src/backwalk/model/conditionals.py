"""One column given others, row by row.

P(level | given) and E[z | given] of a number's coordinate z are single evaluations of the denoiser with given
coordinates at log-SNR +inf and all others at -inf (`diffusion/conditioning.py`). The mean of a number x(z) that is not
linear in its coordinate takes a quadrature: the probability-flow ODE of z alone maps N(0, 1) to the distribution of z,
and so Gauss-Hermite nodes to nodes of it. They are moved by their difference from E[z | given] in the mean. The
distribution of a number is that of rows drawn under this condition.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from backwalk.diffusion import Denoiser
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.model.chain import make_solver
from backwalk.model.copies import apart_from_copies, probabilities_with_copies
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.distribution import Conditional
from backwalk.model.given import Given
from backwalk.model.levels import probabilities_of_levels
from backwalk.model.numbers import denoiser_of_numbers, estimate_given
from backwalk.model.sample import sample_candidates
from backwalk.model.tiles import map_tiles
from backwalk.sampling import Multistep, Sampler, last_state, walk_back
from backwalk.streams import Stream
from backwalk.torch_state import in_initial_torch_state

Array = NDArray[np.float64]
_MEAN_NODES, _MEAN_EVALUATIONS = 6, 10  # of the quadrature of a mean, and of the path of each of its nodes
_MEAN_ROWS = 256  # of a tile, each with all nodes
_MEDIAN_NODES = 31  # quantiles of a number beside atoms: their middles are half a thirtieth apart from the median


@in_initial_torch_state
def conditional(
    model: DiffusionModel,
    values: Array,
    column: int,
    *,
    n_draws: int,
    stream: Stream,
) -> Conditional:
    """Return the distribution of a column given the observed cells of rows, (n, d), of which it is none.

    A column of levels takes one evaluation per row, and so do the mean of a number that is a linear function of its
    coordinate, and the probability that it is missing. The mean of another number takes 61, its distribution `n_draws`
    draws, which are made when they are first needed. Raises InvalidInput for a column that is constant, and for
    patterns for which the model was not trained.
    """
    codec, schema, label = model.codec, model.schema.taken([column]), model.schema.label(column)
    if not codec.columns[column].width:
        raise InvalidInput(
            f"The column should vary, but {label} is {codec.columns[column].description}: choose another."
        )
    rows = values.copy()
    rows[:, column] = np.nan
    given = Given.to_draw(model, rows)
    gap = None
    if (i := codec.block_numbers.get(column)) is not None:
        block = codec.blocks[i]
        if block.number is None:
            return Conditional(label, schema, block.values, probabilities_with_copies(given, i))
        if column in codec.missing_levels:
            gap = probabilities_of_levels(given, i)[:, np.isnan(block.values).argmax()]
    draws = partial(_draws_of_number, given, column, n_draws, stream)
    # A number that rules compute has no free coordinate, and its mean is that of its draws.
    is_drawn = bool(given.is_free[:, codec.slices[column].start].all())
    expected = mean_of_number(given, column) if is_drawn and has_mean(model, column) else None
    return Conditional(label, schema, draws, expected=expected, gap=gap)


def _draws_of_number(given: Given, column: int, n_draws: int, stream: Stream) -> Array:
    """Return the sorted draws of a number, (n, n_draws)."""
    drawn = sample_candidates(given, np.arange(given.n_rows), n_draws, stream=stream)[..., column]
    return np.sort(drawn, axis=1)


def has_mean(model: DiffusionModel, column: int) -> bool:
    """Return whether `mean_of_number` is defined: the number is linear, or the model knows the number alone."""
    number = model.codec.all_columns[column].number_column
    return number is not None and (number.is_linear or model.conditions == "any")


@in_initial_torch_state
def mean_of_number(given: Given, column: int) -> Array:
    """Return E[number | given], (n,), of a column or a gap that is unknown in all rows; given that it is not missing.

    With atoms it is the sum over these and "other" of P(atom | given) times the atom, or the mean given "other". Means
    lie within the range of the column. Raises SamplingDiverged where one is not finite.
    """
    given, no_copy, copies = apart_from_copies(given, column)
    model, codec = given.model, given.model.codec
    number = codec.all_columns[column].number_column
    assert number is not None
    nodes, weights = np.polynomial.hermite_e.hermegauss(1 if number.is_linear else _MEAN_NODES)
    weights /= weights.sum()
    mean = _values_at(given, column, nodes, weights) @ weights
    if (i := codec.block_numbers.get(column)) is not None:
        p, atoms = probabilities_of_levels(given, i), codec.blocks[i].atoms
        values = np.column_stack([np.broadcast_to(atoms, (len(mean), len(atoms))), mean])
        p = np.where(np.isnan(values), 0.0, p)
        mean = (np.nan_to_num(values) * p).sum(axis=1) / p.sum(axis=1)
    return _in_schema(model, column, no_copy * mean + sum(share * np.nan_to_num(x) for share, x in copies))


@in_initial_torch_state
def median_of_number(given: Given, column: int) -> Array:
    """Return the median of a number of a column that is unknown in all rows, (n,), given that it is not missing.

    The model takes any condition. Of a number alone it is where the ODE carries the median of the noise. Beside atoms
    and copies it is that of these and of the number's quantiles. Raises as `mean_of_number` does.
    """
    given, no_copy, copies = apart_from_copies(given, column)
    codec, i = given.model.codec, given.model.codec.block_numbers.get(column)
    n_nodes = 1 if i is None and not copies else _MEDIAN_NODES
    values = _values_at(given, column, stats.norm.ppf((np.arange(n_nodes) + 0.5) / n_nodes))
    p = np.full(values.shape, 1.0 / n_nodes)
    if i is not None:
        of_levels, atoms = probabilities_of_levels(given, i), codec.blocks[i].atoms
        values = np.column_stack([values, np.broadcast_to(atoms, (len(values), len(atoms)))])
        p = np.column_stack([of_levels[:, -1:] * p, np.where(np.isnan(atoms), 0.0, of_levels[:, :-1])])
    values = np.column_stack([values, *(np.nan_to_num(x) for _, x in copies)])
    p = np.column_stack([no_copy[:, None] * p, *(share for share, _ in copies)])
    order = np.argsort(values, axis=1)
    cumulated = np.take_along_axis(p, order, axis=1).cumsum(axis=1)
    at = (cumulated >= 0.5 * cumulated[:, -1:]).argmax(axis=1)
    return _in_schema(given.model, column, np.take_along_axis(values, order, axis=1)[np.arange(len(values)), at])


def _in_schema(model: DiffusionModel, column: int, x: Array) -> Array:
    """Return values of a cell, (n,), as its column's dtype can hold them."""
    return x if column >= model.codec.n_columns else model.schema.taken([column]).clipped(x[:, None])[:, 0]


def _values_at(given: Given, column: int, nodes: Array, weights: Array | None = None) -> Array:
    """Return the values of a number, (n, k), to which the ODE carries some nodes of its noise, (k,).

    With weights, (k,), the coordinates are moved so that they have the mean that the denoiser gives.
    """
    codec, of_number = given.model.codec, given.one_number(column)
    number, device = codec.all_columns[column].number_column, given.rows.device
    assert number is not None
    coordinate = torch.tensor([codec.slices[column].stop - 1], device=device)

    def tile(places: NDArray[np.intp]) -> Tensor:
        part = of_number.take(places)
        rows, denoiser = part.rows, denoiser_of_numbers(part, coordinate)
        if weights is not None:
            mean = denoiser(rows.new_zeros(len(rows), 1), rows.new_tensor(-torch.inf)).double()
            if len(nodes) == 1:
                return mean
        x_N = rows.new_tensor(nodes).repeat_interleave(len(rows))[:, None]
        z = _ode_of_one_number(given.model, denoiser, x_N).double().reshape(len(nodes), -1).T
        return z if weights is None else z + (mean - z @ torch.from_numpy(weights).to(z)[:, None])

    z = map_tiles(tile, given.n_rows, width=len(nodes), device=device, most_rows=_MEAN_ROWS).numpy()
    if not np.isfinite(z).all():
        raise SamplingDiverged(
            f"Values of column {column} (columns count from 0) should be finite, but some are not: fit again with a "
            "`training` of lower learning_rate."
        )
    return np.clip(number.chain.decode(z.ravel()).reshape(z.shape), *number.value_range)


def _ode_of_one_number(model: DiffusionModel, denoiser: Denoiser, x_N: Tensor) -> Tensor:
    """Return the points to which the ODE carries x_N, (n, 1), by a solver of order 3 in a few steps."""
    sampler = Sampler(Multistep.name, _MEAN_EVALUATIONS)
    times = sampler.times(model.schedule)
    solver = make_solver(model, sampler, times)
    chain = walk_back(denoiser, model.schedule.respace(times), solver, x_N, noise=lambda _: x_N)
    return last_state(chain).x_t


def means_of_numbers(given: Given) -> Array:
    """Return E[cell | given] of the linear cells that are numbers, (n, D), in one evaluation; NaN for other cells.

    Means lie within the range of their columns. Raises SamplingDiverged where one is not finite.
    """
    model, codec = given.model, given.model.codec
    z = estimate_given(given).numpy()
    means = np.full((len(z), len(codec.all_columns)), np.nan)
    for j, (column, place) in enumerate(zip(codec.all_columns, codec.slices, strict=True)):
        if column.chain is not None and column.is_linear:
            if not np.isfinite(z[:, place.start]).all():
                raise SamplingDiverged(
                    f"Means of column {j} (columns count from 0) should be finite, but some are not: fit again with a "
                    "`training` of lower learning_rate."
                )
            means[:, j] = np.clip(column.chain.decode(z[:, place.start]), *column.value_range)
    means[:, : codec.n_columns] = model.schema.clipped(means[:, : codec.n_columns])
    return means
