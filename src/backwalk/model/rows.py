"""Encoded rows and what is known of them, and which rows a model can score.

Coordinates of encoded rows are *known*, *absent* or in question. Known ones are given, absent ones are integrated out,
and those in question are drawn or scored. A column that a user gives is known; a cell that is neither given nor in
question is absent, and so is a missing cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import TableDenoiser
from backwalk.diffusion import Denoiser, RowwiseConditional
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.limits import FARTHEST_TO_SCORE
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.sampling import TILE_ROWS, over_tiles, padded_tile
from backwalk.table import FILL_GAPS, Codec, Table, complete

_FEWEST_ROWS = 20  # to which all numbers apply


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Encoded rows, (n, k): coordinates that are `known` are given, `absent` ones integrated out, others in question.

    Coordinates are NaN where a cell is missing, or where a number does not apply at its atom. `values`, (n, d), are the
    known cells in the user's units, and NaN elsewhere.
    """

    rows: Tensor
    known: Tensor
    absent: Tensor
    values: NDArray[np.float64]

    @property
    def in_question(self) -> Tensor:
        """Which coordinates are to be drawn or scored, (n, k)."""
        return ~(self.known | self.absent)

    @property
    def is_whole(self) -> bool:
        """Whether all coordinates of all rows are in question."""
        return not bool((self.known | self.absent).any())

    def take(self, places: NDArray[np.intp]) -> EncodedRows:
        """Return the rows at some places; places beyond the ends are those of the ends."""
        places = places.clip(0, len(self.values) - 1)
        at = torch.from_numpy(places).to(self.rows.device)
        return EncodedRows(self.rows[at], self.known[at], self.absent[at], self.values[places])


def encode_given(
    model: DiffusionModel, values: NDArray[np.float64], known: NDArray[np.bool_] | None = None
) -> EncodedRows:
    """Encode rows, (n, d), with some cells known, to draw the others. By default the cells without NaN are known.

    A known number that is no level of its column counts as the nearest one. Raises InvalidInput for patterns for which
    the model was not trained, and for rows beyond the network's range.
    """
    known = ~np.isnan(values) if known is None else known
    for pattern in np.unique(known, axis=0) if model.conditions != "any" else ():
        model.check_pattern(np.flatnonzero(pattern).tolist())
    z = encode_in_range(model.codec, _with_nearest_levels(model.codec, values))
    is_known = model.codec.observed(known & _holds_a_value(model.codec, values, z))
    return _encoded(model, z, is_known, np.zeros_like(is_known), np.where(known, values, np.nan))


def encode_to_score(
    model: DiffusionModel,
    values: NDArray[np.float64],
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
) -> EncodedRows:
    """Encode rows, (n, d), with NaN for missing cells, to ask for the probability of some columns given others.

    `given` are the numbers of the columns that are known, and `columns` those in question, by default all others; the
    rest is absent. A known number that is no level of its column counts as the nearest one. Raises InvalidInput for
    patterns for which the model was not trained, and for rows beyond the network's range.
    """
    codec, every = model.codec, np.arange(model.codec.n_columns)
    known = np.isin(every, given)
    in_question = ~known if columns is None else np.isin(every, columns) & ~known
    z = encode_in_range(codec, np.where(known, _with_nearest_levels(codec, values), values))
    has_value = _holds_a_value(codec, values, z)
    left_out, missing = ~known & ~in_question, ~has_value.all(axis=0) & (known | in_question)
    model.check_pattern(given, left_out=np.flatnonzero(left_out).tolist(), missing=np.flatnonzero(missing).tolist())
    is_known = codec.observed(has_value & known)
    is_in_question = codec.observed(has_value & in_question) & ~np.isnan(z)
    return _encoded(model, z, is_known, ~(is_known | is_in_question), np.where(known, values, np.nan))


def _encoded(
    model: DiffusionModel,
    z: NDArray[np.float64],
    known: NDArray[np.bool_],
    absent: NDArray[np.bool_],
    values: NDArray[np.float64],
) -> EncodedRows:
    rows, known_at, absent_at = (
        torch.from_numpy(part).to(model.denoiser.device) for part in (z.astype(np.float32), known, absent)
    )
    return EncodedRows(rows, known_at, absent_at, values)


def _holds_a_value(codec: Codec, values: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which cells of rows, (n, d), are not missing; a missing value that is generated is a level."""
    has_code = np.stack([~np.isnan(z[:, place]).all(axis=1) for place in codec.slices], axis=1)
    return np.asarray(~np.isnan(values) | has_code)


def _with_nearest_levels(codec: Codec, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows, (n, d), in which a number that is no level of its column is replaced by the nearest one."""
    rows = values.copy()
    for column, x in zip(codec.columns, rows.T, strict=True):
        if column.takes_nearest_level:
            x[:] = column.nearest(x)
    return rows


def encode_complete(model: DiffusionModel, values: NDArray[np.float64]) -> Tensor:
    """Return encoded rows without missing values, not dequantised: (n, k), float64, on the network's device.

    Raises InvalidInput for rows beyond the network's range, and for missing values.
    """
    z = encode_in_range(model.codec, complete(Table(values, model.schema)).values)
    return torch.from_numpy(z).to(model.denoiser.device)


def encode_in_range(codec: Codec, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows, (n, d), encoded: (n, k). Raises InvalidInput for rows beyond the network's range."""
    z = codec.encode(values)
    far = np.flatnonzero((np.abs(z) > FARTHEST_TO_SCORE).any(axis=1))
    if len(far):
        raise InvalidInput(
            f"Rows should lie within {FARTHEST_TO_SCORE:.0e} scales of the fitted ones, but row {far[0]} (rows count "
            "from 0) does not: drop it."
        )
    return z


def numbers_given(
    denoiser: Denoiser,
    codec: Codec,
    rows: Tensor,
    known: Tensor,
    absent: Tensor | None = None,
    coordinates: Tensor | None = None,
) -> RowwiseConditional:
    """Return the denoiser of the numbers of rows, (n, k), whose levels are `known` or `absent`, (n, k).

    Numbers may be known or absent as well. `coordinates` are some of `codec.numbers`, by default all.
    """
    absent = torch.zeros_like(known) if absent is None else absent
    if coordinates is None:
        coordinates = torch.from_numpy(codec.numbers).to(rows.device)
    return RowwiseConditional(with_levels_given(denoiser, codec, rows, known), rows, known, absent, coordinates)


def with_levels_given(denoiser: Denoiser, codec: Codec, rows: Tensor, known: Tensor) -> Denoiser:
    """Return the denoiser of numbers at rows, (n, k), whose levels are `known`, (n, k), or absent.

    It agrees with `denoiser` at such rows, but may leave out what concerns levels alone.
    """
    if not isinstance(denoiser, TableDenoiser):
        return denoiser
    known = known.clone()
    known[:, codec.numbers] = False
    return denoiser.given_levels(rows, known)


def given_all_levels(denoiser: Denoiser, codec: Codec, z: Tensor) -> tuple[Denoiser, Tensor]:
    """Return the denoiser of the numbers of encoded rows, (n, k), given all levels, and the numbers: (n, i).

    Rows to which all numbers apply are taken, if there are 20; of others, numbers that do not apply are absent.
    """
    numbers = torch.from_numpy(codec.numbers).to(z.device)
    with_all_numbers = z[~z[:, numbers].isnan().any(dim=1)]
    rows = with_all_numbers if len(with_all_numbers) >= _FEWEST_ROWS else z
    known = ~rows.isnan()
    known[:, numbers] = False
    return numbers_given(denoiser, codec, rows, known, rows.isnan()), rows[:, numbers].nan_to_num()


def map_tiles(
    function: Callable[..., Tensor],
    *rows: Tensor,
    width: int,
    tile_rows: int = TILE_ROWS,
    watch: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """Return function(*rows), (n, width), tile by tile, on the CPU; rows are tensors of n rows each.

    The last tile is filled up with copies of its first row. `watch` is called with the number of rows of each tile.
    """
    n, device = len(rows[0]), rows[0].device

    def tile(first: int, last: int) -> Tensor:
        return function(*(padded_tile(part[first:last], tile_rows) for part in rows))

    pieces = []
    for piece in over_tiles(tile, 0, n, tile_rows, n_columns=width, device=device):
        pieces.append(piece.cpu())
        watch(len(piece))
    return torch.cat(pieces) if pieces else torch.empty(0, width, dtype=torch.float64)


def possible_rows(
    model: DiffusionModel,
    values: NDArray[np.float64],
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
) -> NDArray[np.bool_]:
    """Return which rows (n, d) the model can make: see `Codec.supports`. Only the columns named are looked at.

    A given number that is no level of its column counts as the nearest one.
    """
    is_possible = model.codec.supports(values, model.schema.dtypes)
    for j in given:
        is_possible[:, j] |= model.codec.columns[j].takes_nearest_level
    if columns is not None:
        is_possible = is_possible[:, sorted({*given, *columns})]
    return np.asarray(is_possible.all(axis=1))


def impossible_words(model: DiffusionModel, values: NDArray[np.float64], name: str = "X") -> str | None:
    """Describe the rows (n, d) that the model cannot make, see `Codec.supports`; None if it can make all.

    Such rows have no finite bound, no latents, and a log-density of -inf.
    """
    is_possible = model.codec.supports(values, model.schema.dtypes)
    impossible = np.flatnonzero(~is_possible.all(axis=1))
    if not len(impossible):
        return None
    row = int(impossible[0])
    j = int(is_possible[row].argmin())
    others = len(impossible) - 1
    more = f", and {others:,} more row{' differs' if others == 1 else 's differ'}" if others else ""
    return (
        f"{name} should hold values that the model can make, but got {values[row, j]} at row {row} (rows count from 0) "
        f"in {model.schema.label(j)}, which is {model.codec.columns[j].description}{more}"
    )


def refuse_impossible(model: DiffusionModel, values: NDArray[np.float64], name: str = "X") -> None:
    """Raise InvalidInput for rows (n, d) that the model cannot make: see `impossible_words`."""
    words = impossible_words(model, values, name)
    if words:
        raise InvalidInput(f"{words}: drop such rows, or include some in the fit.")


def refuse_gaps(table: Table, columns: Sequence[int], *, name: str = "X", remedy: str = FILL_GAPS) -> Table:
    """Return a table if all of its gaps are in some columns, by their numbers. Raises InvalidInput otherwise."""
    if len(columns) < table.schema.n_columns:
        others = table.values.copy()
        others[:, list(columns)] = 0.0
        complete(Table(others, table.schema), name=name, remedy=remedy)
    return table


def refuse_no_numbers(scores: Tensor, what: str) -> None:
    """Raise SamplingDiverged if one of the scores `what`, (n,), is NaN."""
    broken = scores.isnan().nonzero().flatten()
    if len(broken):
        raise SamplingDiverged(
            f"{what} should be numbers, but row {int(broken[0])} (rows count from 0) has none: "
            "fit again with a `training` of lower learning_rate."
        )
