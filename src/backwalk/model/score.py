"""The exact log-probability of rows under a fitted model, of any of their columns given any others.

    ln p(row) = ln p(dates) + sum_j ln P(l_j | dates, l_1..l_{j-1}) + ln p(numbers | dates, all levels)

The levels take one evaluation per column (`levels.py`), the numbers the probability-flow ODE with the levels known, and
columns of integers the integral of that density over their cells (`integers.py`). Columns that are neither given nor in
question are absent, and so are missing cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import LogDensity, RowwiseConditional
from backwalk.diffusion import log_density as log_density_of_points
from backwalk.diffusion.ode import check_intervals
from backwalk.errors import InvalidInput
from backwalk.limits import is_whole
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.integers import N_PLACES, log_mean, places_in_cells
from backwalk.model.levels import score_levels
from backwalk.model.possible import possible_rows
from backwalk.model.rows import (
    EncodedRows,
    encode_in_range,
    encode_to_score,
    in_question_of,
    map_tiles,
    numbers_given,
    refuse_no_numbers,
)
from backwalk.streams import Stream
from backwalk.table.codec_rules import log_change
from backwalk.threads import on_one_thread
from backwalk.torch_state import in_initial_torch_state

MOST_EXACT_COLUMNS, DEFAULT_PROBES = 32, 16  # how the divergence of a log-density is found
_MOST_ROWS = 512  # of a tile on a CPU, whose cache holds the slopes of all layers
_MOST_ROWS_WITH_GRADIENT = 64  # of which autograd keeps the activations of all evaluations
_PLACES_AT_ONCE = 2**15  # in the cells of integers, scored together
_FEW_NUMBERS = 8  # whose divergence is exact at all places
_CHECKED, _SAME_CHANGE = 3, 0.02  # places in a cell, and by how many nats their changes may differ as the same


@in_initial_torch_state
@on_one_thread
def log_density(
    model: DiffusionModel,
    values: NDArray[np.float64],
    *,
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
    n_intervals: int = 16,
    n_probes: int | None = None,
    n_places: int = N_PLACES,
    with_error: bool = True,
    stream: Stream | None = None,
    watch: Callable[[int], object] = lambda _: None,
) -> LogDensity:
    """Return the log-probability of rows, or of some columns given others.

    Levels have probabilities, numbers a density under the probability-flow ODE. A missing cell (NaN) is integrated out:
    the result is the marginal of the observed cells.

    Parameters
    ----------
    model : DiffusionModel
        The model, `model_` of an estimator.
    values : ndarray of shape (n, d)
        The rows, in the user's units.
    given : sequence of int, default=()
        The numbers of the columns that are known.
    columns : sequence of int, optional
        Those in question: all others by default.
    n_intervals : int, default=16
        The number of intervals of the ODE's grid, even.
    n_probes : int, optional
        The number of random sign vectors per row that estimate the divergence. By default it is exact up to 32 numbers
        in question, at the cost of one evaluation for each of them and one more each time, and beyond takes 16.
    n_places : int, optional
        The number of places in the joint cell at which the log-probability of integers is estimated. The estimate is
        biased downwards by about half of its squared standard error where that is well below 1.
    with_error : bool, default=True
        Whether to estimate the solver's error. Without, it is NaN, and rows without integers take two thirds of the
        time.
    stream : Stream, optional
        The random probes and places: a fixed one by default.
    watch : callable, optional
        Called with the number of rows of each tile.

    Returns
    -------
    LogDensity
        The log-probabilities with their errors, in nats per row and the user's units. Rows that the model cannot make
        have -inf. `standard_error` is that of places and probes together.

    Raises
    ------
    InvalidInput
        For a pattern for which the model was not trained.
    SamplingDiverged
        If the network returns NaN.

    See Also
    --------
    backwalk.Diffusion.score_samples : The method of the estimator.
    bound : The bound on -log p of the chain.
    backwalk.diffusion.log_density : The log-density of any denoiser.

    Notes
    -----
    Places in narrow cells are told apart by a rough computation, to about .01 nats, and three of them are computed by
    the whole grid. Where these change by the same, up to .02 nats, the others do; elsewhere all are computed.

    The density is blurred by `model.blur`. All places of a row share its probes: their error is then nearly the same at
    all places, and the mean of exp(log p) does not turn it into a bias. Probes and places depend only on the stream and
    the row's content: a row's result does not depend on the other rows, and equal rows have equal results, up to
    rounding. Draws of different rows are independent, so that their errors average out.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.datasets import two_moons
    >>> from backwalk.model import log_density
    >>> X = two_moons().sample(100, random_state=0)
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(X)
    >>> log_density(model.model_, X[:3]).log_prob.shape
    torch.Size([3])
    """
    if n_probes is not None and (not is_whole(n_probes) or n_probes < 1):
        raise InvalidInput(f"n_probes should be an integer >= 1 or None, but got {n_probes!r}: 16 is usual.")
    if not is_whole(n_places) or n_places < 1:
        raise InvalidInput(f"n_places should be an integer >= 1, but got {n_places!r}: {N_PLACES} is usual.")
    check_intervals(n_intervals)
    codec, in_question = model.codec, in_question_of(model, given, columns)
    n_probes = n_probes_of(model, given, columns) if n_probes is None else n_probes
    density = NumbersDensity(model, n_intervals, n_probes, Stream(0) if stream is None else stream, with_error)
    is_possible, values, encoded = encode_possible(model, np.asarray(values), given, columns)

    def of_numbers(encoded: EncodedRows, asked: NDArray[np.float64], watch: Callable[[int], object]) -> LogDensity:
        if codec.n_uniforms:
            return _score_cells(density, encoded, asked, n_places, watch)
        return density.score(encoded, asked, encoded.rows, watch)

    if len(codec.dates):
        dates, encoded = _divided(encoded, torch.from_numpy(codec.dates))
        is_date = np.isin(np.arange(len(codec.all_columns)), codec.date_columns)
        first = of_numbers(dates, np.where(is_date, encoded.cells, np.nan), lambda _: None)
        result = _product(first, of_numbers(encoded, np.where(is_date, np.nan, encoded.cells), watch))
    else:
        result = of_numbers(encoded, encoded.cells, watch)
    log_prob = result.log_prob + torch.from_numpy(log_change(codec, in_question, values, encoded.cells))
    if codec.blocks:
        log_prob = log_prob + log_prob_of_levels(model, encoded)
    return replace(result, log_prob=log_prob.where(is_possible, -torch.inf))


def n_probes_of(model: DiffusionModel, given: Sequence[int], columns: Sequence[int] | None) -> int | None:
    """Return how many random sign vectors estimate a divergence; None, as it is exact, up to 32 numbers in question."""
    asked = np.append(in_question_of(model, given, columns), np.ones(len(model.codec.gaps), dtype=bool))
    n_numbers = int(model.codec.expand_mask(asked[None])[0, model.codec.numbers].sum())
    return DEFAULT_PROBES if n_numbers > MOST_EXACT_COLUMNS else None


def encode_possible(
    model: DiffusionModel, values: NDArray[np.float64], given: Sequence[int], columns: Sequence[int] | None
) -> tuple[Tensor, NDArray[np.float64], EncodedRows]:
    """Return which rows, (n, d), the model can make, the rows with others in the place of impossible ones, and encoded.

    Impossible values may have no code.
    """
    is_possible = possible_rows(model, values, given, columns)
    can_be = model.codec.supports(values, model.schema.dtypes)
    can_be[:, list(given)] = True
    values = np.where(can_be, values, model.codec.decode(np.zeros((1, model.codec.n_encoded))))
    return torch.from_numpy(is_possible), values, encode_to_score(model, values, given, columns)


def _divided(encoded: EncodedRows, coordinates: Tensor) -> tuple[EncodedRows, EncodedRows]:
    """Return rows with only some of the coordinates in question, and rows with only the others, given these."""
    is_some = torch.zeros_like(encoded.known)
    is_some[:, coordinates] = encoded.in_question[:, coordinates]
    others = replace(encoded, known=encoded.known | is_some, in_question=encoded.in_question & ~is_some)
    return replace(encoded, in_question=is_some), others


def _product(one: LogDensity, other: LogDensity) -> LogDensity:
    """Return the log-density of two parts of rows, that of the second given the first."""
    return LogDensity(
        one.log_prob + other.log_prob,
        one.solver_error + other.solver_error,
        one.standard_error.hypot(other.standard_error),
    )


def log_prob_of_levels(model: DiffusionModel, encoded: EncodedRows, order: Sequence[int] | None = None) -> Tensor:
    """Return ln P of the levels in question given the known coordinates, (n,): see `levels.score_levels`.

    `order` is that of the blocks of levels (`Codec.blocks`), by default the codec's; each order gives a normalised
    distribution, but not the same one.
    """

    def tile(rows: Tensor, known: Tensor, in_question: Tensor) -> Tensor:
        log_p = score_levels(model.denoiser, model.codec, rows, known, in_question, order)
        return log_p.sum(dim=1, keepdim=True)

    log_p = map_tiles(tile, encoded.rows, encoded.known, encoded.in_question, width=1)[:, 0]
    refuse_no_numbers(log_p, "Log-probabilities")
    return log_p


@dataclass(frozen=True, eq=False)
class NumbersDensity:
    """The density of a model's numbers by the probability-flow ODE, on a grid of `n_intervals`.

    The divergence is exact, or estimated by `n_probes` random sign vectors of the stream.
    """

    model: DiffusionModel
    n_intervals: int
    n_probes: int | None
    stream: Stream
    with_error: bool = True

    def score(
        self, encoded: EncodedRows, values: NDArray[np.float64], seeds: Tensor, watch: Callable[[int], object]
    ) -> LogDensity:
        """Return the log-density of the numbers in question of rows, given the known numbers and all levels.

        `values` are the cells in question in the user's units, (n, D), and NaN elsewhere. `seeds`,
        (n, k), are the encoded rows that seed the probes.
        """
        return self._score(encoded, values, seeds, watch)[0]

    def score_with_gradient(
        self, encoded: EncodedRows, values: NDArray[np.float64], seeds: Tensor
    ) -> tuple[LogDensity, Tensor]:
        """Return `score`, and the gradient of the log-density in encoded units by encoded rows, (n, k)."""
        return self._score(encoded, values, seeds, with_gradient=True)

    def _score(
        self,
        encoded: EncodedRows,
        values: NDArray[np.float64],
        seeds: Tensor,
        watch: Callable[[int], object] = lambda _: None,
        *,
        with_gradient: bool = False,
    ) -> tuple[LogDensity, Tensor]:
        schedule, codec, n_encoded = self.model.schedule, self.model.codec, encoded.rows.shape[1]
        low, high = float(schedule.noise_level[1]), float(schedule.noise_level[-1])
        numbers = torch.from_numpy(codec.numbers).to(encoded.rows.device)
        numbers = numbers[encoded.in_question[:, numbers].any(dim=0)]  # others take no part in the divergence

        def score_tile(rows: Tensor, known: Tensor, in_question: Tensor, seeds: Tensor) -> Tensor:
            """Return the log-density in encoded units, the errors of solver and probes, and the gradient by rows."""
            if not bool(in_question[:, numbers].any()):
                return torch.zeros(len(rows), width, dtype=torch.float64)
            denoiser = numbers_given(self.model.denoiser, codec, rows, known, ~(known | in_question), numbers)
            signs = None if self.n_probes is None else _draw_signs(self.stream, seeds.nan_to_num(), self.n_probes)
            points = rows[:, numbers].masked_fill(~in_question[:, numbers], 0.0).requires_grad_(with_gradient)
            with torch.set_grad_enabled(with_gradient):
                result = log_density_of_points(
                    denoiser,
                    points,
                    level_min=low,
                    level_max=high,
                    n_intervals=self.n_intervals,
                    divergence="exact" if signs is None else signs[..., numbers],
                    with_error=self.with_error and not with_gradient,
                )
            # Other numbers are independent draws of N(0, 1): see RowwiseConditional.
            rest = denoiser.log_prob_of_rest(low) if isinstance(denoiser, RowwiseConditional) else 0.0
            scores = torch.stack([result.log_prob.detach() - rest, result.solver_error, result.standard_error], dim=1)
            if not with_gradient:
                return scores
            gradient = torch.zeros(len(rows), n_encoded, dtype=torch.float64)
            gradient[:, numbers] = (
                torch.autograd.grad(result.log_prob, points, torch.ones_like(result.log_prob))[0].double().cpu()
            )
            return torch.cat([scores, gradient.masked_fill(~in_question.cpu(), 0.0)], dim=1)

        parts, width = (encoded.rows, encoded.known, encoded.in_question, seeds), 3 + with_gradient * n_encoded
        most_rows = _MOST_ROWS_WITH_GRADIENT if with_gradient else _MOST_ROWS
        result = map_tiles(score_tile, *parts, width=width, most_rows=most_rows, watch=watch)
        refuse_no_numbers(result[:, 0], "Log-densities")
        log_volume = torch.from_numpy(codec.log_abs_det_jacobian(values))
        return LogDensity(result[:, 0] + log_volume, result[:, 1], result[:, 2]), result[:, 3:]


def _score_cells(
    density: NumbersDensity,
    encoded: EncodedRows,
    values: NDArray[np.float64],
    n_places: int,
    watch: Callable[[int], object],
) -> LogDensity:
    """Return the log-probabilities of rows with integers, from places in their cells: see `NumbersDensity.score`."""
    pieces, n_rows = [LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)], max(_PLACES_AT_ONCE // n_places, 1)
    for first in range(0, len(values), n_rows):
        piece = values[first : first + n_rows]
        places, log_r = places_in_cells(density.model.codec, piece, n_places, stream=density.stream)
        rows = encoded.take(np.arange(first, first + len(piece)))
        pieces.append(_score_places(density, rows, places, torch.from_numpy(log_r)))
        watch(len(piece))
    return LogDensity(*(torch.cat([getattr(piece, part.name) for piece in pieces]) for part in fields(LogDensity)))


def _score_places(
    density: NumbersDensity, encoded: EncodedRows, places: NDArray[np.float64], log_r: Tensor
) -> LogDensity:
    """Return the log-probabilities of n rows from places in their cells, (n, m, D), drawn from the density r, (n, m).

    Of many places, a rough computation tells the differences: on a quarter of the grid, and with one probe for many
    numbers. `density` is taken at three places, that do not depend on the rough results. Where these change by the same
    there, as in narrow cells, the mean change is added at all places. Other rows are computed by `density` at all.
    """
    n, m = log_r.shape

    def score_at(density: NumbersDensity, rows: NDArray[np.intp], which: Tensor) -> LogDensity:
        """Return the log-densities of rows, (k,), at the places `which`, (k, p): (k p,)."""
        cells = places[rows[:, None], which.numpy()].reshape(-1, places.shape[2])
        centres = encoded.take(np.repeat(rows, which.shape[1]))
        z = torch.from_numpy(encode_in_range(density.model.codec, cells)).to(centres.rows)
        at_places = replace(centres, rows=torch.where(centres.in_question, z, centres.rows))
        return density.score(at_places, cells, centres.rows, lambda _: None)

    every, all_places, fine = np.arange(n), torch.arange(m).expand(n, m), replace(density, with_error=False)
    first = score_at(density, every, all_places[:, :1])
    if m <= _CHECKED:
        others = score_at(fine, every, all_places[:, 1:]).log_prob.view(n, m - 1)
        log_p = torch.cat([first.log_prob[:, None], others], dim=1)
    else:
        asked = encoded.in_question[:, torch.from_numpy(density.model.codec.numbers).to(encoded.rows.device)]
        n_probes = density.n_probes if int(asked.any(dim=0).sum()) <= _FEW_NUMBERS else 1
        rough = replace(fine, n_intervals=max(density.n_intervals // 8, 1) * 2, n_probes=n_probes)
        log_p = score_at(rough, every, all_places).log_prob.view(n, m)
        checked = all_places[:, [i * m // _CHECKED for i in range(_CHECKED)]]
        others = score_at(fine, every, checked[:, 1:]).log_prob.view(n, _CHECKED - 1)
        change = torch.cat([first.log_prob[:, None], others], dim=1) - log_p.gather(1, checked)
        is_same = change.amax(dim=1) - change.amin(dim=1) <= _SAME_CHANGE  # not where one is NaN
        log_p += change.mean(dim=1, keepdim=True)
        again = (~is_same).nonzero().flatten()
        log_p[again] = score_at(fine, again.numpy(), all_places[again]).log_prob.view(-1, m)
    log_prob, standard_error = log_mean(log_p - log_r)
    # The errors of probes are nearly the same at all places, which share them.
    return LogDensity(log_prob, first.solver_error, standard_error.hypot(first.standard_error))


def _draw_signs(stream: Stream, z: Tensor, n_probes: int) -> Tensor:
    """Return random signs for rows z, (n, k): (n_probes, n, k), float32.

    A row's signs come from a stream that is named by its bits and not by its number, because the same row may occur
    anywhere in a table.
    """
    probes = stream.child("probes")

    @cache  # the places of a row share its signs, and the last tile is padded with copies
    def uniforms_of(bits: bytes) -> Tensor:
        return probes.child(bits.hex()).uniform(0, n_probes, z.shape[1])

    rows = (z + 0.0).cpu().numpy()  # -0 becomes 0, the same number
    draws = torch.stack([uniforms_of(row.tobytes()) for row in rows], dim=1)
    return torch.where(draws < 0.5, -1.0, 1.0).to(z.device)


def rank_scores(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each score, (n,), the share of the reference scores, (m,), that are no higher."""
    places = np.searchsorted(np.sort(reference), scores, side="right")
    return np.asarray(places / max(len(reference), 1))
