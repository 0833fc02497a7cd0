"""Sample rows: whole ones, those with given cells, and under ranges and sets.

A model that knows any column given any others draws the column with the rarest allowed values from these
(`restricted.py`), and then the others given it. Candidates are kept where the values of the other columns are allowed,
too: the accepted rows follow p(rest | known, allowed). Other models draw candidates from p(rest | known). Candidate c
of row i is row i of the stream's child ("candidate", c): a row does not depend on how many others are drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.draw import ReverseChain, draw_tiles, gather_rows, make_chain
from backwalk.model.given import Given
from backwalk.model.restricted import Restriction, restrict
from backwalk.model.rows import EncodedRows, encode_given
from backwalk.sampling import TILE_ROWS, RowNoise, Sampler, tile_of
from backwalk.streams import Stream
from backwalk.table.codec_rules import breaks_rules

MOST_CANDIDATES = 4 * TILE_ROWS  # of a row; and as many are drawn before too small a share is given up
_FIRST_CANDIDATES = 8  # of a row, in tiles of the size of its own; later ones are drawn in large tiles
LEAST_SHARE = 1e-3  # of candidates that meet the conditions
LEAST_PROBABILITY = 1e-15  # of the allowed values of a column


def sample_rows(
    model: DiffusionModel,
    start: int,
    stop: int,
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
    given: Given | None = None,
) -> NDArray[np.float64]:
    """Return rows of a model's sample.

    A row does not depend on the range.

    Parameters
    ----------
    model : DiffusionModel
        The model, `model_` of an estimator.
    start : int
        The number of the first row.
    stop : int
        The number after the last one.
    stream : Stream
        The random numbers of the sample.
    sampler : Sampler or str, optional
        The sampler, or a solver's name: the model's own by default.
    given : Given, optional
        Values that are given, of one row for all or of each of these rows.

    Returns
    -------
    ndarray of shape (stop - start, d)
        The rows, in the user's units.

    Raises
    ------
    InvalidInput
        For more rows than memory can hold, and for conditions or a sampler that the model cannot take.
    SamplingDiverged
        If the network returns NaN.

    See Also
    --------
    backwalk.Diffusion.sample : The method of the estimator.
    walk : The states of the chain.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.datasets import two_moons
    >>> from backwalk.model import sample_rows
    >>> from backwalk.streams import Stream
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(two_moons().sample(100, random_state=0))
    >>> rows = sample_rows(model.model_, 0, 10, stream=Stream(0))
    >>> bool((sample_rows(model.model_, 4, 6, stream=Stream(0)) == rows[4:6]).all())
    True
    """
    pieces = sample_pieces(model, start, stop, stream=stream, sampler=sampler, given=given)
    return gather_rows(pieces, stop - start, model.codec.n_columns)


def sample_pieces(
    model: DiffusionModel,
    start: int,
    stop: int,
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
    given: Given | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Return an iterator over the rows of `sample_rows`, in pieces that end at multiples of 2,048 rows.

    Raises InvalidInput at once for a sampler that the model does not have, or that takes no conditions, for columns
    that may not be given, and for a range or a set with next to no probability. The iterator raises it where fewer than
    one candidate in a thousand meets all conditions, and SamplingDiverged if rows are not finite.
    """
    conditions = Given(np.full((1, model.codec.n_columns), np.nan)) if given is None else given
    encoded = encode_given(model, conditions.values, conditions.known)
    chain = make_chain(model, sampler)
    if conditions.allowed:
        restriction = _rarest(model, conditions, encoded) if model.conditions == "any" else None
        tiles = _accepted_tiles(model, chain, start, stop, stream, conditions, encoded, restriction)
    else:
        tiles = draw_tiles(model, chain, start, stop, partial(RowNoise, stream), encoded)
    return _in_pieces(tiles, start)


def _in_pieces(tiles: Iterator[NDArray[np.float64]], start: int) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of tiles, from number `start` on, in pieces that end at multiples of 2,048 rows."""
    waiting, row = list[NDArray[np.float64]](), start
    for rows in tiles:
        waiting.append(rows)
        row += len(rows)
        if row % TILE_ROWS == 0:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)


def sample_numbered(
    model: DiffusionModel,
    numbers: NDArray[np.intp],
    *,
    stream: Stream,
    given: EncodedRows,
    sampler: Sampler | str | None = None,
) -> NDArray[np.float64]:
    """Return the rows of a sample that have these numbers, (m, d): row i is row `numbers[i]` of the stream.

    `given` has the known cells: of one row for all, or of each of the m rows. A row's bits do not depend on the others:
    all tiles have the size of a sample's first one.
    """
    _, tile_rows = tile_of(0, model.denoiser.device)
    return _draw_numbered(model, make_chain(model, sampler), RowNoise(stream, numbers), given, tile_rows)


def sample_candidates(
    model: DiffusionModel,
    numbers: NDArray[np.intp],
    n_each: int,
    *,
    stream: Stream,
    given: EncodedRows,
    sampler: Sampler | str | None = None,
) -> NDArray[np.float64]:
    """Return several candidates of each of the rows of `sample_numbered`: (m, n_each, d)."""
    noise, places = _noise_of_candidates(stream, numbers, range(n_each))
    rows = _draw_numbered(model, make_chain(model, sampler), noise, given.take(places))
    return rows.reshape(len(numbers), n_each, -1)


def _noise_of_candidates(
    stream: Stream, numbers: NDArray[np.intp], candidates: range
) -> tuple[RowNoise, NDArray[np.intp]]:
    """Return the noise of candidates of rows, those of a row together, and the place of the row of each."""
    m, n_each = len(numbers), len(candidates)
    noise = RowNoise(stream, np.repeat(numbers, n_each), np.tile(candidates, m))
    return noise, np.repeat(np.arange(m), n_each)


def _rarest(model: DiffusionModel, conditions: Given, given: EncodedRows) -> Restriction | None:
    """Return the restriction of the column whose allowed values are the least probable, of those that vary.

    Raises InvalidInput where one has a probability below 1e-15.
    """
    is_computed = np.logical_and.reduce(~np.isnan(model.codec.cells(given.values)), axis=0)  # from what is known
    columns = [
        allowed
        for allowed in conditions.allowed
        if model.codec.columns[allowed.column].width and not is_computed[allowed.column]
    ]
    restrictions = [restrict(model, allowed, given) for allowed in columns]
    for each in restrictions:
        if (least := float(each.probability.min())) < LEAST_PROBABILITY:
            raise InvalidInput(
                f"Conditions should have a probability of at least {LEAST_PROBABILITY:g}, but that on "
                f"{model.schema.label(each.allowed.column)} has {least:.1g} given what is known: widen it."
            )
    return min(restrictions, key=lambda each: float(each.probability.mean()), default=None)


def _draw_numbered(
    model: DiffusionModel, chain: ReverseChain, noise: RowNoise, given: EncodedRows, tile_rows: int | None = None
) -> NDArray[np.float64]:
    """Return the rows that have the numbers of some noise, (n, d), drawn in tiles: see `over_tiles`."""
    n, candidates = len(noise.numbers), noise.candidates

    def noise_of(places: NDArray[np.intp]) -> RowNoise:
        places = places.clip(max=n - 1)  # the last tile is filled up
        return RowNoise(noise.stream, noise.numbers[places], None if candidates is None else candidates[places])

    return gather_rows(draw_tiles(model, chain, 0, n, noise_of, given, tile_rows), n, model.codec.n_columns)


def _accepted_tiles(
    model: DiffusionModel,
    chain: ReverseChain,
    start: int,
    stop: int,
    stream: Stream,
    conditions: Given,
    given: EncodedRows,
    restriction: Restriction | None,
) -> Iterator[NDArray[np.float64]]:
    row = start
    while row < stop:
        first, last = tile_of(row, model.denoiser.device)
        numbers = np.arange(row, min(last, stop))
        yield _first_accepted(
            model, chain, numbers, numbers - start, stream, conditions, given, restriction, last - first
        )
        row = last


def _first_accepted(
    model: DiffusionModel,
    chain: ReverseChain,
    numbers: NDArray[np.intp],
    places: NDArray[np.intp],
    stream: Stream,
    conditions: Given,
    given: EncodedRows,
    restriction: Restriction | None,
    tile_rows: int,
) -> NDArray[np.float64]:
    """Return the first candidate of each row that meets the conditions: (m, d).

    What is known of the rows stands at their `places` in `given`, (m,). The `restriction` is that of one column.
    `tile_rows` is the size of the rows' tile.
    """
    rows, pending = np.empty((len(numbers), model.codec.n_columns)), np.arange(len(numbers))
    n_tried = n_drawn = n_met = 0
    is_only_one = restriction is not None and len(conditions.allowed) == 1
    while len(pending):
        # A candidate's tile follows from the row's number and its own, as its bits depend on the tile's size.
        is_first = n_tried < _FIRST_CANDIDATES
        at_once, most = (tile_rows, _FIRST_CANDIDATES) if is_first else (TILE_ROWS, MOST_CANDIDATES)
        n_each = 1 if is_only_one else max(1, min(at_once // len(pending), most - n_tried))
        which = range(n_tried, n_tried + n_each)
        noise, of_candidates = _noise_of_candidates(stream, numbers[pending], which)
        at = places[pending][of_candidates]
        known = given.take(at) if restriction is None else restriction.draw(noise, at)
        candidates = _draw_numbered(model, chain, noise, known, at_once).reshape(len(pending), n_each, -1)
        is_met = conditions.holds(candidates)
        is_met &= ~breaks_rules(model.codec, candidates.reshape(-1, candidates.shape[-1])).reshape(is_met.shape)
        has_one, first = is_met.any(axis=1), is_met.argmax(axis=1)
        rows[pending[has_one]] = candidates[has_one, first[has_one]]
        pending, n_tried = pending[~has_one], n_tried + n_each
        n_drawn, n_met = n_drawn + is_met.size, n_met + int(is_met.sum())
        is_rare = n_drawn >= MOST_CANDIDATES and n_met < LEAST_SHARE * n_drawn
        if len(pending) and (n_tried >= MOST_CANDIDATES or is_rare):
            columns = listed(model.schema.label(allowed.column) for allowed in conditions.allowed)
            raise InvalidInput(
                f"Conditions should hold for one candidate in {1 / LEAST_SHARE:,.0f} at least, but those on {columns} "
                f"held for {n_met:,} of {n_drawn:,}: widen the ranges, or give values of these columns."
            )
    return rows
