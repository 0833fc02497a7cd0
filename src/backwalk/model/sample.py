"""Sample rows: whole ones, those with given cells, and under ranges and sets by rejection among these.

Candidates are drawn from the exact conditional p(rest | known) and kept where their values are allowed: the accepted
rows follow p(rest | known, allowed). Candidate c of row i is row i of the stream's child ("candidate", c): a row does
not depend on how many others are drawn.
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
from backwalk.model.rows import EncodedRows
from backwalk.sampling import TILE_ROWS, RowNoise, Sampler
from backwalk.streams import Stream

MOST_CANDIDATES = 4 * TILE_ROWS  # of a row; and as many are drawn before too small a share is given up
LEAST_SHARE = 1e-3  # of candidates that meet the conditions


def sample_rows(
    model: DiffusionModel,
    start: int,
    stop: int,
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
    given: Given | None = None,
) -> NDArray[np.float64]:
    """Return rows start..stop-1 of the sample of a stream: (stop - start, d), in the user's units.

    A row does not depend on the range. `sampler` is a `Sampler` or a solver's name; None is the model's own. `given`
    has one row of values for all, or one for each of these rows. Raises InvalidInput for more rows than memory can
    hold, and as `sample_pieces`.
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
    """Return an iterator over the rows of `sample_rows`, in pieces of at most 2,048 rows.

    Raises InvalidInput at once for a sampler that the model does not have, or that takes no conditions, and for columns
    that may not be given. The iterator raises InvalidInput where fewer than one candidate in a thousand meets ranges
    and sets, and SamplingDiverged if rows are not finite.
    """
    conditions = Given(np.full((1, model.codec.n_columns), np.nan)) if given is None else given
    encoded = conditions.encode(model)
    chain = make_chain(model, sampler, encoded)
    if conditions.allowed:
        return _accepted_tiles(model, chain, start, stop, stream, conditions, encoded)
    return draw_tiles(model, chain, start, stop, partial(RowNoise, stream), encoded)


def sample_numbered(
    model: DiffusionModel,
    numbers: NDArray[np.intp],
    *,
    stream: Stream,
    given: EncodedRows,
    sampler: Sampler | str | None = None,
    candidates: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Return the rows of a sample that have these numbers, (m, d): row i is row `numbers[i]` of the stream.

    `given` has the known cells: of one row for all, or of each of the m rows. With `candidates`, (m,), row i is that
    candidate for row `numbers[i]`.
    """
    return _draw_numbered(model, make_chain(model, sampler, given), numbers, candidates, stream, given)


def _draw_numbered(
    model: DiffusionModel,
    chain: ReverseChain,
    numbers: NDArray[np.intp],
    candidates: NDArray[np.intp] | None,
    stream: Stream,
    given: EncodedRows,
) -> NDArray[np.float64]:
    def noise_of(places: NDArray[np.intp]) -> RowNoise:
        places = places.clip(max=len(numbers) - 1)  # the last tile is filled up
        return RowNoise(stream, numbers[places], None if candidates is None else candidates[places])

    return gather_rows(draw_tiles(model, chain, 0, len(numbers), noise_of, given), len(numbers), model.codec.n_columns)


def _accepted_tiles(
    model: DiffusionModel,
    chain: ReverseChain,
    start: int,
    stop: int,
    stream: Stream,
    conditions: Given,
    given: EncodedRows,
) -> Iterator[NDArray[np.float64]]:
    for tile in range(start - start % TILE_ROWS, stop, TILE_ROWS):
        numbers = np.arange(max(start, tile), min(tile + TILE_ROWS, stop))
        yield _first_accepted(model, chain, numbers, stream, conditions, given.take(numbers - start))


def _first_accepted(
    model: DiffusionModel,
    chain: ReverseChain,
    numbers: NDArray[np.intp],
    stream: Stream,
    conditions: Given,
    given: EncodedRows,
) -> NDArray[np.float64]:
    """Return the first candidate of each row that meets the conditions: (m, d). `given` has a row for each."""
    d = model.codec.n_columns
    rows, pending = np.empty((len(numbers), d)), np.arange(len(numbers))
    n_tried = n_drawn = n_met = 0
    while len(pending):
        n_each = max(1, min(TILE_ROWS // len(pending), MOST_CANDIDATES - n_tried))
        of_row = np.repeat(pending, n_each)
        which = np.tile(np.arange(n_tried, n_tried + n_each), len(pending))
        candidates = _draw_numbered(model, chain, numbers[of_row], which, stream, given.take(of_row))
        is_met = conditions.holds(candidates).reshape(len(pending), n_each)
        has_one, first = is_met.any(axis=1), is_met.argmax(axis=1)
        chosen = candidates.reshape(len(pending), n_each, d)[np.arange(len(pending)), first]
        rows[pending[has_one]] = chosen[has_one]
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
