"""Encoded rows and what is known of them, and the denoiser of their numbers.

Each coordinate of an encoded row is *known*, *in question* or *absent*. Known ones are given, those in question are
scored or drawn, and absent ones are integrated out. A missing cell is absent, and so are, where there are rules
between columns, the cells that follow from others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from backwalk.denoiser import EmbeddingDenoiser, TableDenoiser
from backwalk.diffusion import Denoiser, RowwiseConditional, log_snr_by_coordinate
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.limits import FARTHEST_TO_SCORE
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.unseen import settle_given
from backwalk.sampling import TILE_ROWS, over_tiles, padded_tile
from backwalk.table import Codec, Table, complete
from backwalk.threads import on_one_thread

_FEWEST_ROWS = 20  # to which all numbers apply


@dataclass(frozen=True, eq=False)
class EncodedRows:
    """Encoded rows, (n, k), of which some coordinates are `known` and some `in_question`; the others are absent.

    Coordinates are NaN where a cell is missing, or where a number does not apply at its atom. `values`, (n, d), are the
    known values in the user's units, and NaN elsewhere; `cells`, (n, D), are those in question (`Codec.cells`).
    """

    rows: Tensor
    known: Tensor
    in_question: Tensor
    values: NDArray[np.float64]
    cells: NDArray[np.float64]

    @property
    def absent(self) -> Tensor:
        """Which coordinates are neither known nor in question, (n, k)."""
        return ~(self.known | self.in_question)

    def asked_cells(self, codec: Codec) -> NDArray[np.bool_]:
        """Return which cells are in question, (n, D); constant ones are not."""
        asked = np.zeros((len(self.rows), len(codec.all_columns)), dtype=bool)
        for j, (column, coordinates) in enumerate(zip(codec.all_columns, codec.slices, strict=True)):
            if column.width:
                asked[:, j] = self.in_question[:, coordinates.start].cpu().numpy()
        return asked

    @on_one_thread
    def take(self, places: NDArray[np.intp]) -> EncodedRows:
        """Return the rows at some places; places beyond the ends are those of the ends."""
        places = places.clip(0, len(self.values) - 1)
        at = torch.from_numpy(places).to(self.rows.device)
        return EncodedRows(self.rows[at], self.known[at], self.in_question[at], self.values[places], self.cells[places])


def encode_given(
    model: DiffusionModel, values: NDArray[np.float64], known: NDArray[np.bool_] | None = None
) -> EncodedRows:
    """Encode rows, (n, d), of which some cells are known, to draw the others. By default those without NaN are known.

    Coordinates are in question where a cell is drawn. What rules determine is computed from the drawn cells later.

    Known values that the fit did not see are settled (`unseen.py`). Raises InvalidInput for patterns for which the
    model was not trained, and as `_encode`.
    """
    values, known = settle_given(model, values, ~np.isnan(values) if known is None else known)
    for pattern in np.unique(known, axis=0) if model.conditions != "any" else ():
        model.check_pattern(np.flatnonzero(pattern).tolist())
    encoded, drawn = _encode(model, np.where(known, values, np.nan), known, ~known)
    return replace(encoded, in_question=torch.from_numpy(model.codec.expand_mask(drawn)).to(encoded.rows.device))


def encode_to_score(
    model: DiffusionModel,
    values: NDArray[np.float64],
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
) -> EncodedRows:
    """Encode rows, (n, d), with NaN for missing cells, to ask for the probability of some columns given others.

    `given` are the numbers of the columns that are known, and `columns` those in question, by default all others; the
    rest is absent. Known values that the fit did not see are settled (`unseen.py`). Raises InvalidInput for patterns
    for which the model was not trained, and as `_encode`.
    """
    is_given, in_question = np.isin(np.arange(model.codec.n_columns), given), in_question_of(model, given, columns)
    values, known = settle_given(model, values, is_given)
    missing = (is_given & ~known) | ((is_given | in_question) & ~_has_value(model.codec, values))
    left_out = ~(is_given | in_question)
    model.check_pattern(
        given, left_out=np.flatnonzero(left_out).tolist(), missing=np.flatnonzero(missing.any(axis=0)).tolist()
    )
    is_asked = np.broadcast_to(in_question, values.shape)
    return _encode(model, np.where(known | is_asked, values, np.nan), known, is_asked)[0]


def in_question_of(
    model: DiffusionModel, given: Sequence[int] = (), columns: Sequence[int] | None = None
) -> NDArray[np.bool_]:
    """Return which columns are in question, (d,): some, or by default all that are not given."""
    every = np.arange(model.codec.n_columns)
    return ~np.isin(every, given) & (True if columns is None else np.isin(every, columns))


def _encode(
    model: DiffusionModel, values: NDArray[np.float64], known: NDArray[np.bool_], in_question: NDArray[np.bool_]
) -> tuple[EncodedRows, NDArray[np.bool_]]:
    """Encode rows, (n, d), of which cells, (n, d), are known and in question, and NaN if neither.

    Return also which cells, (n, D), are scored or drawn. Raises InvalidInput for rows beyond the network's range.
    """
    codec, device = model.codec, model.denoiser.device
    cells = codec.cells(values)
    z, has_value = encode_in_range(codec, cells), _has_value(codec, cells)
    of_known, asked = codec.cell_masks(known, in_question, has_value)
    encoded = EncodedRows(
        torch.from_numpy(z.astype(np.float32)).to(device),
        torch.from_numpy(codec.expand_mask(has_value & of_known)).to(device),
        torch.from_numpy(codec.expand_mask(has_value & asked) & ~np.isnan(z)).to(device),
        np.where(known, values, np.nan),
        np.where(asked, cells, np.nan),
    )
    return encoded, asked


def _has_value(codec: Codec, cells: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which cells of rows, (n, d) or (n, D), are not missing; a missing value that is generated is a level."""
    return np.asarray(~np.isnan(cells) | np.isin(np.arange(cells.shape[1]), codec.missing_levels))


def encode_complete(model: DiffusionModel, values: NDArray[np.float64]) -> Tensor:
    """Return encoded rows without missing values, not dequantised: (n, k), float64, on the network's device.

    Raises InvalidInput for rows beyond the network's range, and for missing values.
    """
    z = encode_in_range(model.codec, complete(Table(values, model.schema)).values)
    return torch.from_numpy(z).to(model.denoiser.device)


def encode_in_range(codec: Codec, values: ArrayLike) -> NDArray[np.float64]:
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
) -> Denoiser:
    """Return the denoiser of the numbers of rows, (n, k), given their levels and the numbers that are `known`.

    Levels and numbers that are `absent` are integrated out; by default none is. It is a `RowwiseConditional`, or the
    denoiser itself where that is of numbers alone, without conditions. `coordinates` are some of `codec.numbers`, by
    default all.
    """
    absent = torch.zeros_like(known) if absent is None else absent
    if not codec.blocks and not isinstance(denoiser, TableDenoiser) and not bool((known | absent).any()):
        return denoiser
    numbers = torch.from_numpy(codec.numbers).to(rows.device)
    given = ~absent
    given[:, numbers] = known[:, numbers]
    conditional = with_levels_given(denoiser, codec, rows, given)
    return RowwiseConditional(conditional, rows, given, absent, numbers if coordinates is None else coordinates)


def where_number_applies(codec: Codec, given: EncodedRows, column: int) -> tuple[Tensor, Tensor]:
    """Return encoded rows and what is known of them, (n, k), with the level "other" known of a number with atoms."""
    rows, known = given.rows.clone(), given.known.clone()
    block = codec.block_of(column)
    if block is not None:
        rows[:, block.coordinates] = torch.as_tensor(block.codes[block.other]).to(rows)
        known[:, block.coordinates] = True
    return rows, known


def one_number_given(denoiser: Denoiser, codec: Codec, rows: Tensor, known: Tensor, column: int) -> Denoiser:
    """Return the denoiser of the number of a column given what is known of rows, (n, k); all else is absent."""
    coordinate = torch.tensor([codec.slices[column].stop - 1], device=rows.device)
    absent = ~known
    absent[:, coordinate] = False
    return numbers_given(denoiser, codec, rows, known, absent, coordinate)


def with_levels_given(denoiser: Denoiser, codec: Codec, rows: Tensor, known: Tensor) -> Denoiser:
    """Return the denoiser of numbers at rows, (n, k), whose levels are `known`, (n, k), or absent.

    It agrees with `denoiser` at such rows, but may leave out what concerns levels alone.
    """
    if not isinstance(denoiser, TableDenoiser):
        return denoiser
    known = known.clone()
    known[:, codec.numbers] = False
    return denoiser.given_levels(rows, known)


def estimate_given(model: DiffusionModel, rows: Tensor, known: Tensor) -> Tensor:
    """Return E[x_0 | known] of encoded rows, (n, k), all other coordinates absent, in one evaluation: float64."""

    def tile(rows: Tensor, known: Tensor) -> Tensor:
        log_snr = log_snr_by_coordinate(torch.tensor(-torch.inf, device=rows.device), known).to(rows)
        denoiser = with_levels_given(model.denoiser, model.codec, rows, known)
        return denoiser(rows.nan_to_num().masked_fill(~known, 0.0), log_snr).double()

    return map_tiles(tile, rows, known, width=model.codec.n_encoded)


def given_all_levels(denoiser: Denoiser, codec: Codec, z: Tensor) -> tuple[Denoiser, Tensor]:
    """Return the denoiser of the numbers of encoded rows, (n, k), given all levels, and the numbers: (n, i).

    Rows to which all numbers apply are taken, if there are 20; of others, numbers that do not apply are absent. Data
    that an embedding reads are given as well, and are not among the numbers.
    """
    numbers = torch.from_numpy(codec.drawn_numbers).to(z.device)
    if isinstance(denoiser, EmbeddingDenoiser):
        numbers = numbers[torch.isin(numbers, denoiser.kept)]
    with_all_numbers = z[~z[:, numbers].isnan().any(dim=1)]
    rows = (with_all_numbers if len(with_all_numbers) >= _FEWEST_ROWS else z).clone()
    rows[:, ~torch.from_numpy(codec.drawn_coordinates)] = torch.nan
    known = torch.zeros_like(rows, dtype=torch.bool)
    if isinstance(denoiser, EmbeddingDenoiser):
        known[:, denoiser.coordinates] = True
    return numbers_given(denoiser, codec, rows, known, rows.isnan(), numbers), rows[:, numbers].nan_to_num()


def map_tiles(
    function: Callable[..., Tensor],
    *rows: Tensor,
    width: int,
    most_rows: int = TILE_ROWS,
    watch: Callable[[int], object] = lambda _: None,
) -> Tensor:
    """Return function(*rows), (n, width), tile by tile, on the CPU; rows are tensors of n rows each.

    Tiles have at most `most_rows` rows, a power of two, on a CPU (`rows_at_once`), and always 2,048 on a GPU. The last
    one is filled up with copies of its first row. `watch` is called with the number of rows of each tile.
    """
    n, device = len(rows[0]), rows[0].device
    tile_rows = rows_at_once(n, most_rows) if device.type == "cpu" else TILE_ROWS

    def tile(first: int, last: int) -> Tensor:
        return function(*(padded_tile(part[first:last], tile_rows) for part in rows))

    pieces = []
    for piece in over_tiles(tile, 0, n, tile_rows, width=width, device=device):
        pieces.append(piece.cpu())
        watch(len(piece))
    return torch.cat(pieces) if pieces else torch.empty(0, width, dtype=torch.float64)


def rows_at_once(n_rows: int, most_rows: int) -> int:
    """Return the rows of a tile in which a CPU computes `n_rows` rows: 8 at least, and at most `most_rows`.

    More than 64 rows are split into two tiles, for two threads; smaller tiles would take as long. Sizes are powers of
    two, because matrix products compute remainders with other bits.
    """
    whole = 1 << max(n_rows - 1, 0).bit_length()
    return min(max(whole, 8) if n_rows <= 64 else whole // 2, most_rows)


def refuse_no_numbers(scores: Tensor, what: str) -> None:
    """Raise SamplingDiverged if one of the scores `what`, (n,), is NaN."""
    broken = scores.isnan().nonzero().flatten()
    if len(broken):
        raise SamplingDiverged(
            f"{what} should be numbers, but row {int(broken[0])} (rows count from 0) has none: "
            "fit again with a `training` of lower learning_rate."
        )
