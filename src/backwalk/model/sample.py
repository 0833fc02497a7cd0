"""Sample rows: whole ones, those with given cells, and under ranges and sets.

A model that knows any column given any others draws the column with the rarest allowed values from these
(`restricted.py`), and then the others given it. Candidates are kept where the values of the other columns are allowed,
too: the accepted rows follow p(rest | known, allowed). Other models draw candidates from p(rest | known). Candidate c
of row i has numbers of its own (`RowNoise`): a row does not depend on how many others are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput, LeftOutRuleWarning, warn_caller
from backwalk.formatting import listed
from backwalk.model.chain import ReverseChain, make_chain
from backwalk.model.copies import draw_copies
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.given import Given
from backwalk.model.restricted import Restriction, restrict
from backwalk.model.terms import user_terms
from backwalk.sampling import TILE_ROWS, RowNoise, Sampler, over_tiles, tile_of
from backwalk.streams import Stream
from backwalk.table.codec_rules import broken_rules, ends_by_rules, stated_rules
from backwalk.torch_state import in_initial_torch_state

MOST_CANDIDATES = 4 * TILE_ROWS  # of a row; and as many are drawn before too small a share is given up
_FIRST_CANDIDATES = 8  # of a row in a small tile, in tiles of its size; later ones are drawn in large tiles
_AT_ONCE = 8 * TILE_ROWS  # rows that share large tiles of further candidates, as a tile takes as long if half empty
_LARGE_TILES_FROM = 1_024  # the number of a row, drawn by its number: those of a few rows are smaller
LEAST_SHARE = 1e-3  # of candidates that meet the conditions
LEAST_PROBABILITY = 1e-15  # of the allowed values of a column
_MOST_TO_MEASURE, _ERROR_OF_SHARE = 8 * TILE_ROWS, 0.005  # rows, and the standard error of ln of the share they obey
_MOST_OF_RULES = 1_000  # candidates of a row before it goes without rules that it breaks


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
        The condition, of one row for all or of each of these rows.

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

    Raises InvalidInput at once for an unknown sampler, for conditions that contradict declared rules, and for a range
    or a set with next to no probability. The iterator raises it where fewer than one candidate in a thousand meets all
    conditions, or none obeys declared rules, and SamplingDiverged if rows are not finite. Rows that go without a found
    rule are counted in a warning at the end.
    """
    given, chain = given or Given.nothing(model), make_chain(model, sampler)
    if given.allowed or model.codec.rules is not None:
        draws = _Draws(given, chain, stream)
        tiles = draws.tiles(start, stop)
    else:
        tiles = _draw_tiles(given, chain, start, stop, partial(RowNoise, stream))
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


def sample_numbered(given: Given, numbers: NDArray[np.intp], *, stream: Stream) -> NDArray[np.float64]:
    """Return the rows of a sample that have these numbers, (m, d): row i is row `numbers[i]` of the stream.

    `given` has one row for all, or one for each of the m rows. A row's bits do not depend on the others: the size of
    its tile follows from its number. Rows of a small tile take up to twice the time of others.
    """
    device, chain = given.rows.device, make_chain(given.model, None)
    draws = _Draws(given, chain, stream) if given.model.codec.rules is not None else None
    rows = np.empty((len(numbers), given.model.codec.n_columns))
    for of_size, (first, last) in (
        (numbers < _LARGE_TILES_FROM, tile_of(0, device)),
        (numbers >= _LARGE_TILES_FROM, tile_of(_LARGE_TILES_FROM, device)),
    ):
        every = np.flatnonzero(of_size)
        for at in np.split(every, range(_AT_ONCE, len(every), _AT_ONCE)) if len(every) else ():
            if draws is not None:
                rows[at] = draws.rows(numbers[at], at, last - first)
            else:
                rows[at] = _draw_numbered(given.take(at), chain, RowNoise(stream, numbers[at]), last - first)
    if draws is not None:
        draws.warn()
    return rows


def sample_candidates(given: Given, numbers: NDArray[np.intp], n_each: int, *, stream: Stream) -> NDArray[np.float64]:
    """Return several draws of each of some rows: (m, n_each, d)."""
    m, places = len(numbers), np.repeat(np.arange(len(numbers)), n_each)
    of_draws = numbers[places] * n_each + np.tile(np.arange(n_each), m)
    rows = sample_numbered(given.take(places), of_draws, stream=stream.child("draws"))
    return rows.reshape(m, n_each, -1)


def measure_accepted_share(model: DiffusionModel) -> float:
    """Return the share of rows drawn with nothing given that obey the rules, of 2,048, and as many until .5 % is known.

    It is 1 where draws obey the rules by construction.
    """
    codec = model.codec
    if codec.rules is None or not codec.rules.draws_may_break:
        return 1.0
    given, chain, n, n_obey = Given.nothing(model), make_chain(model, None), 0, 0
    nothing = np.full((1, codec.n_columns), np.nan)
    while n < _MOST_TO_MEASURE and (not n or (n - n_obey) > n * n_obey * _ERROR_OF_SHARE**2):
        noise = RowNoise(Stream(0).child("accepted share"), np.arange(n, n + TILE_ROWS))
        rows = _draw_numbered(given, chain, noise)
        n, n_obey = n + TILE_ROWS, n_obey + int((~broken_rules(codec, rows, nothing).any(axis=1)).sum())
    return max(n_obey, 1) / n


def _noise_of_candidates(
    stream: Stream, numbers: NDArray[np.intp], candidates: range
) -> tuple[RowNoise, NDArray[np.intp]]:
    """Return the noise of candidates of rows, those of a row together, and the place of the row of each."""
    m, n_each = len(numbers), len(candidates)
    noise = RowNoise(stream, np.repeat(numbers, n_each), np.tile(candidates, m))
    return noise, np.repeat(np.arange(m), n_each)


@in_initial_torch_state
def _draw_tiles(
    given: Given,
    chain: ReverseChain,
    start: int,
    stop: int,
    noise_of: Callable[[NDArray[np.intp]], RowNoise],
    tile_rows: int | None = None,
) -> Iterator[NDArray[np.float64]]:
    """Yield rows start..stop-1, in the user's units, tile by tile: see `over_tiles`.

    `noise_of` returns the noise of rows by their numbers, of which some are outside start..stop-1, as tiles are drawn
    whole. `given` has one row for all, or one for each. Raises SamplingDiverged if rows are not finite.
    """

    @torch.inference_mode()
    def tile(first: int, last: int) -> Tensor:
        numbers = np.arange(first, last)
        return torch.from_numpy(_draw_rows(given.take(numbers - start), chain, noise_of(numbers)))

    codec, device = given.model.codec, given.rows.device
    for rows in over_tiles(tile, start, stop, tile_rows, width=codec.n_encoded, device=device):
        yield rows.numpy()


def _rarest(given: Given) -> Restriction | None:
    """Return the restriction of the column whose allowed values are the least probable, of those that vary.

    Raises InvalidInput where one has a probability below 1e-15.
    """
    codec, schema = given.model.codec, given.model.schema
    is_computed = np.logical_and.reduce(~np.isnan(codec.cells(given.values)), axis=0)  # from what is given
    columns = [
        allowed for allowed in given.allowed if codec.columns[allowed.column].width and not is_computed[allowed.column]
    ]
    restrictions = [restrict(given, allowed) for allowed in columns]
    for each in restrictions:
        if (least := float(each.probability.min())) < LEAST_PROBABILITY:
            raise InvalidInput(
                f"Conditions should have a probability of at least {LEAST_PROBABILITY:g}, but that on "
                f"{schema.label(each.allowed.column)} has {least:.1g} given what is known: widen it."
            )
    return min(restrictions, key=lambda each: float(each.probability.mean()), default=None)


def _draw_numbered(
    given: Given, chain: ReverseChain, noise: RowNoise, tile_rows: int | None = None
) -> NDArray[np.float64]:
    """Return the rows that have the numbers of some noise, (n, d), drawn in tiles: see `over_tiles`."""
    n, candidates = len(noise.numbers), noise.candidates

    def noise_of(places: NDArray[np.intp]) -> RowNoise:
        places = places.clip(max=n - 1)  # the last tile is filled up
        return RowNoise(noise.stream, noise.numbers[places], None if candidates is None else candidates[places])

    return gather_rows(_draw_tiles(given, chain, 0, n, noise_of, tile_rows), n, given.model.codec.n_columns)


def _draw_rows(given: Given, chain: ReverseChain, noise: RowNoise) -> NDArray[np.float64]:
    """Return rows in the user's units, (n, d)."""
    given = draw_copies(given, noise)
    return given.decode(given.draw(chain, noise).double(), noise.numbers)


@dataclass(eq=False)
class _Draws:
    """Rows that meet conditions and obey rules: of each, the first candidate that does.

    Candidate c of row i has numbers of its own (`RowNoise`), so that a row does not depend on how many others are
    drawn; without ranges and sets its first candidate is row i of the stream. A row for which no candidate obeys a
    found rule goes without it; `n_without` counts such rows.
    """

    given: Given
    chain: ReverseChain
    stream: Stream
    n_without: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._of_rows = dict[frozenset[int], tuple[Given, Restriction | None]]()
        n, rules = self.given.n_rows, self.given.model.codec.rules
        self._left_out, pending = [frozenset[int]() for _ in range(n)], np.arange(n)
        if rules is not None:  # values that break a rule by themselves are those of a row that is there
            for i, broken in enumerate(broken_rules(self.given.model.codec, self.given.values)):
                self._left_out[i] = frozenset(np.flatnonzero(broken).tolist())
        while rules is not None and len(pending):
            contradicted = np.full(n, -1)
            for left_out in {self._left_out[i] for i in pending}:
                at = np.array([i for i in pending if self._left_out[i] == left_out])
                contradicted[at] = self._contradicted(left_out, at)
            pending = np.flatnonzero(contradicted >= 0)
            self._check_declared(contradicted[pending, None] == np.arange(rules.n_rules), pending)
            for i in pending.tolist():
                self._left_out[i] = self._left_out[i] | {int(contradicted[i])}
        for left_out in set(self._left_out):
            self._without(left_out)  # what has next to no probability is an error at once

    @property
    def _takes_any(self) -> bool:
        return self.given.model.conditions == "any" and bool(self.given.allowed)

    def tiles(self, start: int, stop: int) -> Iterator[NDArray[np.float64]]:
        """Yield rows start..stop-1, in pieces that end with tiles, and warn in the end."""
        row = start
        while row < stop:
            first, last = tile_of(row, self.given.rows.device)
            after = first + _AT_ONCE if last - first == TILE_ROWS else last
            numbers = np.arange(row, min(after, stop))
            yield self.rows(numbers, numbers - start, last - first)
            row = after
        self.warn()

    def rows(self, numbers: NDArray[np.intp], places: NDArray[np.intp], tile_rows: int) -> NDArray[np.float64]:
        """Return the rows of these numbers, (m, d), which stand at their `places` in `given`.

        `tile_rows` is the size of the rows' tile.
        """
        places = places.clip(max=self.given.n_rows - 1)
        rows, pending = np.empty((len(numbers), self.given.model.codec.n_columns)), np.arange(len(numbers))
        left_out = [self._left_out[i] for i in places]
        while len(pending):
            failed = list[int]()
            for of_rows in sorted({left_out[i] for i in pending}, key=sorted):
                at = np.array([i for i in pending if left_out[i] == of_rows])
                found, is_found, broken = self._first_accepted(of_rows, numbers[at], places[at], tile_rows)
                rows[at[is_found]] = found[is_found]
                self._check_declared(broken[~is_found], places[at[~is_found]])
                for i, of_row in zip(at[~is_found].tolist(), broken[~is_found], strict=True):
                    left_out[i] = of_rows.union(np.flatnonzero(of_row).tolist())
                    failed.append(i)
            pending = np.array(failed, dtype=np.intp)
        for each in left_out:
            self.n_without.update(each)
        return rows

    def warn(self) -> None:
        """Warn of rows that go without found rules, if there are any."""
        if not self.n_without:
            return
        stated = stated_rules(self.given.model.codec, self.given.model.schema.names)
        rules = listed(f"{stated[i]} ({n:,} row{'s' * (n != 1)})" for i, n in sorted(self.n_without.items()))
        self.n_without.clear()
        warn_caller(
            f"Some rows go without rules that all rows of the fit obey, as what is given leaves next to no others: "
            f"{rules}.",
            LeftOutRuleWarning,
        )

    def _first_accepted(
        self, left_out: frozenset[int], numbers: NDArray[np.intp], places: NDArray[np.intp], tile_rows: int
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the first accepted candidate of each row, (m, d), which rows have one, and broken rules, (m, R).

        These are the rules that the last candidate breaks which meets all other conditions.
        """
        given, restriction = self._without(left_out)
        codec = given.model.codec
        known = codec.cells(given.values)[:, : codec.n_columns]
        m, n_rules = len(numbers), 0 if codec.rules is None else codec.rules.n_rules
        rows, pending, last_broken = np.empty((m, codec.n_columns)), np.arange(m), np.zeros((m, n_rules), dtype=bool)
        is_found, meets = np.zeros(m, dtype=bool), np.zeros(m, dtype=bool)
        n_tried, n_drawn, n_met = -1 if not given.allowed else 0, 0, 0
        while len(pending):
            # A candidate's tile follows from the row's number and its own, as its bits depend on the tile's size.
            is_few = tile_rows < TILE_ROWS and n_tried < _FIRST_CANDIDATES
            is_late = n_tried >= _MOST_OF_RULES
            at_once, most = TILE_ROWS, MOST_CANDIDATES if is_late else _MOST_OF_RULES
            if is_few:
                at_once, most = tile_rows, _FIRST_CANDIDATES
            n_each = max(1, min(at_once // len(pending), most - n_tried)) if n_drawn else 1
            which = range(n_tried, n_tried + n_each)
            noise, of_candidates = _noise_of_candidates(self.stream, numbers[pending], which)
            noise = RowNoise(self.stream, numbers[pending]) if n_tried < 0 else noise
            at = places[pending][of_candidates]
            of_rows = given.take(at) if restriction is None else restriction.draw(noise, at)
            candidates = _draw_numbered(of_rows, self.chain, noise, at_once)
            broken = broken_rules(codec, candidates, known[at.clip(max=len(known) - 1)])
            is_met = given.holds(candidates).reshape(len(pending), n_each)
            n_drawn, n_met = n_drawn + is_met.size, n_met + int(is_met.sum())
            if is_late:  # the first that meets all else decides, wherever a round of candidates ends
                is_met &= is_met.cumsum(axis=1) == 1
            is_accepted = is_met & ~broken.any(axis=1).reshape(is_met.shape)
            has_one, first = is_accepted.any(axis=1), is_accepted.argmax(axis=1)
            rows[pending[has_one]] = candidates.reshape(*is_met.shape, -1)[has_one, first[has_one]]
            is_found[pending[has_one]] = True
            last_met = n_each - 1 - is_met[:, ::-1].argmax(axis=1)
            of_last = broken.reshape(*is_met.shape, -1)[np.arange(len(pending)), last_met]
            some = is_met.any(axis=1)
            last_broken[pending[some]], meets[pending[some]] = of_last[some], True
            n_tried += n_each
            pending = pending[~has_one]
            is_rare = n_drawn >= MOST_CANDIDATES and n_met < LEAST_SHARE * n_drawn
            if len(pending) and (n_tried >= MOST_CANDIDATES or is_rare) and not meets[pending].all():
                columns = listed(given.model.schema.label(allowed.column) for allowed in given.allowed)
                stated = stated_rules(codec, given.model.schema.names)
                rules = listed(stated[i] for i in sorted(left_out))
                against = f", as they contradict {rules}, which all rows of the fit obey" if left_out else ""
                raise InvalidInput(
                    f"Conditions should hold for one candidate in {1 / LEAST_SHARE:,.0f} at least, but those on "
                    f"{columns} held for {n_met:,} of {n_drawn:,}{against}: widen the ranges, or give values of these "
                    "columns."
                )
            if n_tried >= _MOST_OF_RULES:
                pending = pending[~meets[pending]]
        return rows, is_found, last_broken

    def _without(self, left_out: frozenset[int]) -> tuple[Given, Restriction | None]:
        """Return the conditions for a model without some rules, and the restriction of one column."""
        if left_out not in self._of_rows:
            given = self.given
            if left_out:
                model = replace(given.model, codec=given.model.codec.without(left_out))
                given = Given.to_draw(model, given.values, given.given_columns(), allowed=given.allowed)
            self._of_rows[left_out] = given, _rarest(given) if self._takes_any else None
        return self._of_rows[left_out]

    def _contradicted(self, left_out: frozenset[int], places: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the number of a rule that given values and ranges contradict, (m,), -1 where there is none."""
        codec, values = self.given.model.codec.without(left_out), self.given.values[places]
        low, high = np.where(np.isnan(values), -np.inf, values), np.where(np.isnan(values), np.inf, values)
        for allowed in self.given.allowed:
            ends = (allowed.low, allowed.high) if allowed.levels is None else (allowed.levels[0], allowed.levels[-1])
            low[:, allowed.column] = np.fmax(low[:, allowed.column], ends[0])
            high[:, allowed.column] = np.fmin(high[:, allowed.column], ends[1])
        return ends_by_rules(codec, low, high)[2]

    def _check_declared(self, broken: NDArray[np.bool_], places: NDArray[np.intp]) -> None:
        """Raise InvalidInput where one of the broken rules, (m, R), of rows at some places is declared."""
        model = self.given.model
        if not len(broken) or model.codec.rules is None or model.codec.rules.are_found:
            return
        rule = int(broken[0].argmax())
        columns = [j for j in model.codec.rules.columns_of[rule] if j < model.codec.n_columns]
        values = self.given.values[places[0]]
        conditions = [
            f"{model.schema.label(j)} = {user_terms(model.schema, j, values[j])}"
            for j in columns
            if not np.isnan(values[j])
        ]
        conditions += [each.words(model.schema) for each in self.given.allowed]
        at = "" if self.given.n_rows == 1 else f" in row {places[0]} (rows count from 0)"
        raise InvalidInput(
            f"Rows should obey the rule {stated_rules(model.codec, model.schema.names)[rule]}, but none with "
            f"{listed(conditions) if conditions else 'nothing given'} does{at}: give other values, or fit without it."
        )


def gather_rows(pieces: Iterable[NDArray[np.float64]], n: int, d: int) -> NDArray[np.float64]:
    """Concatenate pieces of rows into one array, (n, d).

    Raises InvalidInput, before the first piece is made, if n rows do not fit into memory.
    """
    try:
        rows = np.empty((n, d))
    except (MemoryError, ValueError) as error:
        raise InvalidInput(
            f"Samples should fit into memory, but {n:,} rows of {d} columns take {8 * n * d / 2**30:,.0f} GiB: draw "
            "them in pieces, or into a file by `backwalk sample`."
        ) from error
    first = 0
    for piece in pieces:
        rows[first : first + len(piece)] = piece
        first += len(piece)
    return rows
