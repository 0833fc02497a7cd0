"""Rows under conditions: draws given known cells, and ranges and sets by rejection among these.

Candidates are drawn from the exact conditional of what is known, p(rest | known), and kept where their values are
allowed: the accepted rows follow p(rest | known, allowed). Candidate t of row i is row i of the stream's child t, so
that a row does not depend on how many others are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.model.conditions import Encoded, known_cells
from backwalk.model.fitted import DiffusionModel
from backwalk.model.generation import gathered, sample_pieces
from backwalk.model.given import Given
from backwalk.sampling import TILE_ROWS, Sampler
from backwalk.streams import Stream

MOST_CANDIDATES = 4 * TILE_ROWS  # of a row; and as many are drawn before too small a share is given up
LEAST_SHARE = 1e-3  # of candidates that meet the conditions
_LARGEST_GAP = 2048  # numbers between two rows that are drawn in one call: they take less time than another call
_Draw = Callable[[Stream, int, int], Tensor]


def conditional_pieces(
    model: DiffusionModel, start: int, stop: int, given: Given, *, stream: Stream, sampler: Sampler | str | None = None
) -> Iterator[NDArray[np.float64]]:
    """Return an iterator over rows start..stop-1 that meet conditions, in pieces of at most 2,048 rows, (m, d).

    `given` has one row of values for all, or one for each of these rows. Raises InvalidInput at once for columns that
    may not be given. The iterator raises InvalidInput where fewer than one
    candidate in a thousand meets the conditions.
    """
    if given.is_empty:
        return sample_pieces(model, start, stop, stream=stream, sampler=sampler)
    known = known_cells(model, given.values) if not np.isnan(given.values).all() else None
    if not given.allowed:
        return sample_pieces(model, start, stop, stream=stream, sampler=sampler, given=known)
    return _accepted_pieces(model, start, stop, given, known, stream=stream, sampler=sampler)


def rows_by_number(
    model: DiffusionModel,
    numbers: NDArray[np.intp],
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
    given: Encoded | None = None,
    tries: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Return the rows of a sample that have these numbers, (m, d): row i is row `numbers[i]` of the stream.

    `given` holds known columns of one row for all, or of each of the m rows. With `tries`, (m,), it is a row of the
    stream's child for that candidate.
    """
    own = _OfRows(seed=stream.seed, path=stream.path, numbers=numbers, tries=tries)
    pieces = sample_pieces(model, 0, len(numbers), stream=own, sampler=sampler, given=given)
    return gathered(pieces, len(numbers), model.codec.n_columns)


def _accepted_pieces(
    model: DiffusionModel,
    start: int,
    stop: int,
    given: Given,
    known: Encoded | None,
    *,
    stream: Stream,
    sampler: Sampler | str | None,
) -> Iterator[NDArray[np.float64]]:
    for tile in range(start - start % TILE_ROWS, stop, TILE_ROWS):
        numbers = np.arange(max(start, tile), min(tile + TILE_ROWS, stop))
        of_tile = None if known is None else _taken(known, numbers - start)
        yield _accepted(model, numbers, given, of_tile, stream=stream, sampler=sampler)


def _accepted(
    model: DiffusionModel,
    numbers: NDArray[np.intp],
    given: Given,
    known: Encoded | None,
    *,
    stream: Stream,
    sampler: Sampler | str | None,
) -> NDArray[np.float64]:
    """Return the first candidate of each row that meets the conditions: (m, d). `known` has a row for each."""
    d = model.codec.n_columns
    rows, pending = np.empty((len(numbers), d)), np.arange(len(numbers))
    tried = n_drawn = n_held = 0
    while len(pending):
        each = max(1, min(TILE_ROWS // len(pending), MOST_CANDIDATES - tried))
        of_row = np.repeat(pending, each)
        candidates = rows_by_number(
            model,
            numbers[of_row],
            stream=stream,
            sampler=sampler,
            given=None if known is None else _taken(known, of_row),
            tries=np.tile(np.arange(tried, tried + each), len(pending)),
        )
        held = given.holds(candidates).reshape(len(pending), each)
        has_one, first = held.any(axis=1), held.argmax(axis=1)
        chosen = candidates.reshape(len(pending), each, d)[np.arange(len(pending)), first]
        rows[pending[has_one]] = chosen[has_one]
        pending, tried = pending[~has_one], tried + each
        n_drawn, n_held = n_drawn + held.size, n_held + int(held.sum())
        is_rare = n_drawn >= MOST_CANDIDATES and n_held < LEAST_SHARE * n_drawn
        if len(pending) and (tried >= MOST_CANDIDATES or is_rare):
            columns = listed(model.schema.label(allowed.column) for allowed in given.allowed)
            raise InvalidInput(
                f"Conditions should hold for one candidate in {1 / LEAST_SHARE:,.0f} at least, but those on {columns} "
                f"held for {n_held:,} of {n_drawn:,}: widen the ranges, or give values of these columns."
            )
    return rows


def _taken(known: Encoded, places: NDArray[np.intp]) -> Encoded:
    """Return the known cells of rows by their places; one row of cells is that of all."""
    places = places if len(known.rows) > 1 else np.zeros_like(places)
    at = torch.from_numpy(places).to(known.rows.device)
    return Encoded(known.rows[at], known.given[at], known.asked[at], known.values[places])


@dataclass(frozen=True, eq=False, kw_only=True)
class _OfRows(Stream):
    """The stream whose row i is row `numbers[i]` of another; with `tries`, of the other's child for that candidate."""

    numbers: NDArray[np.intp]
    tries: NDArray[np.intp] | None
    names: tuple[str | int, ...] = ()

    def child(self, *names: str | int) -> _OfRows:
        return replace(self, names=(*self.names, *names))

    def uniform(self, start: int, stop: int, d: int) -> Tensor:
        return self._drawn(start, stop, torch.float64, lambda stream, first, last: stream.uniform(first, last, d), d)

    def normal(self, start: int, stop: int, d: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return self._drawn(start, stop, dtype, lambda stream, first, last: stream.normal(first, last, d, dtype), d)

    def _drawn(self, start: int, stop: int, dtype: torch.dtype, draw: _Draw, d: int) -> Tensor:
        places = np.arange(start, stop).clip(max=len(self.numbers) - 1)  # the last tile is padded
        numbers = self.numbers[places]
        found = torch.empty(len(places), d, dtype=dtype)
        tries = np.zeros_like(numbers) if self.tries is None else self.tries[places]
        base = Stream(self.seed, self.path)
        order = np.lexsort((numbers, tries))
        breaks = np.flatnonzero((np.diff(tries[order]) != 0) | (np.diff(numbers[order]) * d > _LARGEST_GAP)) + 1
        for part in np.split(order, breaks):
            t, first = int(tries[part[0]]), int(numbers[part[0]])
            stream = (base if self.tries is None else base.child("candidate", t)).child(*self.names)
            run = draw(stream, first, int(numbers[part[-1]]) + 1)
            found[torch.from_numpy(part)] = run[torch.from_numpy(numbers[part] - first)]
        return found
