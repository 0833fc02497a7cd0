"""Rows of which some columns are given: their encoding, and draws of the others.

Rows are drawn in the order in which their probability is computed: first the levels that are not given, one column
after the other (`levels.py`), then the numbers together, by the solver, given all levels. Without columns of levels and
without given columns this is the chain of whole rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.denoiser import TableDenoiser
from backwalk.diffusion import Denoiser, RowwiseConditional
from backwalk.errors import InvalidInput
from backwalk.formatting import listed
from backwalk.model.fitted import DiffusionModel
from backwalk.model.scoring import encoded_in_range
from backwalk.table import Codec, LevelsColumn, Schema, label_words
from backwalk.table.level_maps import nearest
from backwalk.table.schema import shown

_FEWEST_ROWS = 20  # to which all numbers apply


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded rows, (n, k), of which the coordinates in `given` are known, and those in `asked` are in question.

    The others are absent. Values are NaN where a cell is missing, or where a number does not apply at its atom; such
    coordinates are neither given nor asked, except as the part of a column whose level is. `values`, (n, d), are the
    rows in the user's units.
    """

    rows: Tensor
    given: Tensor
    asked: Tensor
    values: NDArray[np.float64]


def encoded(
    model: DiffusionModel,
    values: NDArray[np.float64],
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
) -> Encoded:
    """Encode rows, (n, d), with NaN for missing cells, to ask for the probability of some columns given others.

    `given` are the numbers of columns that are known, and `columns` those in question, by default all others. A known
    number that is no level of its column counts as the nearest one. Raises InvalidInput for patterns for which the
    model was not trained, and for rows beyond the network's range.
    """
    codec, d = model.codec, model.codec.n_columns
    asked = np.ones(d, dtype=bool) if columns is None else np.isin(np.arange(d), columns)
    known = np.isin(np.arange(d), given)
    asked &= ~known
    z = encoded_in_range(codec, np.where(known, _nearest_levels(codec, values), values))
    seen = ~np.isnan(values)  # a missing value that is generated is a level, and seen
    seen |= np.stack([~np.isnan(z[:, place]).all(axis=1) for place in codec.slices], axis=1)
    missing, left_out = ~seen.all(axis=0) & (known | asked), ~known & ~asked
    model.check_pattern(given, left_out=np.flatnonzero(left_out).tolist(), missing=np.flatnonzero(missing).tolist())
    of_given, of_asked = codec.observed(seen & known), codec.observed(seen & asked) & ~np.isnan(z)
    device = model.denoiser.device
    rows, known_at, asked_at = (
        torch.from_numpy(part).to(device) for part in (z.astype(np.float32), of_given, of_asked)
    )
    return Encoded(rows, known_at, asked_at, np.where(known, values, np.nan))


def known_cells(model: DiffusionModel, values: NDArray[np.float64]) -> Encoded:
    """Encode rows, (n, d), whose observed cells are known, to draw the others: those with NaN.

    A known number that is no level of its column counts as the nearest one. Raises InvalidInput for patterns for which
    the model was not trained, and for rows beyond the network's range.
    """
    known = ~np.isnan(values)
    for pattern in np.unique(known, axis=0) if model.conditions != "any" else ():
        model.check_pattern(np.flatnonzero(pattern).tolist())
    z = encoded_in_range(model.codec, _nearest_levels(model.codec, values))
    at = torch.from_numpy(model.codec.observed(known)).to(model.denoiser.device)
    return Encoded(torch.from_numpy(z.astype(np.float32)).to(at.device), at, torch.zeros_like(at), values)


def _nearest_levels(codec: Codec, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows, (n, d), in which a number that is no level of its column is replaced by the nearest one."""
    rows = values.copy()
    for column, own in zip(codec.columns, rows.T, strict=True):
        if isinstance(column, LevelsColumn) and column.coding == "value":
            levels = np.array(column.values)
            own[:] = np.where(np.isnan(own), own, levels[nearest(own[:, None], levels[None])[:, 0]])
    return rows


def numbers_given(
    model: DiffusionModel, rows: Tensor, known: Tensor, asked: Tensor | None = None
) -> RowwiseConditional:
    """Return the denoiser of the numbers of rows, (n, k), given the `known` coordinates.

    `asked` says which numbers are in question, by default all that are not known; the others are absent.
    """
    absent = ~known if asked is None else ~(known | asked)
    if asked is None:
        absent[:, model.codec.numbers] = False
    return _conditional(model.denoiser, model.codec, rows, known, absent)


def of_numbers(denoiser: Denoiser, codec: Codec, z: Tensor) -> tuple[Denoiser, Tensor]:
    """Return the denoiser of the numbers of encoded rows, (n, k), given all levels, and the numbers: (n, i).

    Rows to which all numbers apply are taken, if there are 20; of others, numbers that do not apply are absent.
    """
    numbers = torch.from_numpy(codec.numbers).to(z.device)
    whole = z[~z[:, numbers].isnan().any(dim=1)]
    rows = whole if len(whole) >= _FEWEST_ROWS else z
    known, absent = ~rows.isnan(), rows.isnan()
    known[:, numbers] = False
    return _conditional(denoiser, codec, rows, known, absent), rows[:, numbers].nan_to_num()


def _conditional(denoiser: Denoiser, codec: Codec, rows: Tensor, known: Tensor, absent: Tensor) -> RowwiseConditional:
    numbers = torch.from_numpy(codec.numbers).to(rows.device)
    return RowwiseConditional(with_levels_given(denoiser, codec, rows, known), rows, known, absent, numbers)


def with_levels_given(denoiser: Denoiser, codec: Codec, rows: Tensor, known: Tensor) -> Denoiser:
    """Return the denoiser of numbers at rows, (n, k), whose levels are `known`, (n, k), or absent.

    It agrees with `denoiser` at such rows, but may leave out what concerns levels alone.
    """
    if not isinstance(denoiser, TableDenoiser):
        return denoiser
    of_levels = known.clone()
    of_levels[:, codec.numbers] = False
    return denoiser.given_levels(rows, of_levels)


def column_numbers(schema: Schema, names: Sequence[str | int]) -> list[int]:
    """Return the numbers of columns that are given by name or number. Raises InvalidInput for others."""
    found, labels = list[int](), list(schema.names)
    for name in names:
        if isinstance(name, str) and name in labels:
            found.append(labels.index(name))
        elif isinstance(name, (int, np.integer)) and not isinstance(name, bool) and 0 <= name < len(labels):
            found.append(int(name))
        else:
            known = f"Columns should be among {listed(map(shown, labels))}, or numbers from 0, but got {shown(name)}"
            if name in schema.set_aside:
                raise InvalidInput(f"{known}, which the fit set aside: fit again and name it in columns= to keep it.")
            near = label_words(name, labels) if isinstance(name, str) else "choose one of these"
            raise InvalidInput(f"{known}: {near}.")
    if len(set(found)) < len(found):
        raise InvalidInput(f"Columns should differ, but got {listed(map(shown, names))}: name each once.")
    return found
