"""Which rows a model can score: encoding, impossible rows, and ranks of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.limits import FARTHEST_TO_SCORE
from backwalk.model.fitted import DiffusionModel
from backwalk.table import FILL_GAPS, Codec, LevelsColumn, Table, complete


def refuse_no_numbers(of_rows: Tensor, what: str) -> None:
    """Raise SamplingDiverged if one of the scores `what`, (n,), is NaN."""
    broken = of_rows.isnan().nonzero().flatten()
    if len(broken):
        raise SamplingDiverged(
            f"{what} should be numbers, but row {int(broken[0])} (rows count from 0) has none: "
            "fit again with a `training` of lower learning_rate."
        )


def ranks(scores: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return, for each score, (n,), the share of the reference scores, (m,), that are no higher."""
    places = np.searchsorted(np.sort(reference), scores, side="right")
    return np.asarray(places / max(len(reference), 1))


def possible_rows(
    model: DiffusionModel,
    values: NDArray[np.float64],
    given: Sequence[int] = (),
    columns: Sequence[int] | None = None,
) -> NDArray[np.bool_]:
    """Return which rows (n, d) the model can make: see `Codec.supports`. Only the columns named are looked at.

    A given number that is no level of its column counts as the nearest one.
    """
    held = model.codec.supports(values, model.schema.dtypes)
    for j in given:
        column = model.codec.columns[j]
        held[:, j] |= isinstance(column, LevelsColumn) and column.coding == "value"
    if columns is not None:
        held = held[:, sorted({*given, *columns})]
    return np.asarray(held.all(axis=1))


def impossible_words(model: DiffusionModel, values: NDArray[np.float64], name: str = "X") -> str | None:
    """Describe the rows (n, d) that the model cannot make, see `Codec.supports`; None if it can make all.

    Such rows have no finite bound, no latents, and a log-density of -inf.
    """
    held = model.codec.supports(values, model.schema.dtypes)
    differ = np.flatnonzero(~held.all(axis=1))
    if not len(differ):
        return None
    row = int(differ[0])
    j = int(held[row].argmin())
    others = len(differ) - 1
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


def encode_for_scoring(model: DiffusionModel, values: NDArray[np.float64]) -> Tensor:
    """Return encoded rows, not dequantised, in float64 on the network's device.

    Raises InvalidInput for rows beyond the network's range, and for missing values.
    """
    z = encoded_in_range(model.codec, complete(Table(values, model.schema)).values)
    return torch.from_numpy(z).to(model.denoiser.device)


def encoded_in_range(codec: Codec, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows, (n, d), encoded: (n, k). Raises InvalidInput for rows beyond the network's range."""
    z = codec.encode(values)
    far = np.flatnonzero((np.abs(z) > FARTHEST_TO_SCORE).any(axis=1))
    if len(far):
        raise InvalidInput(
            f"Rows should lie within {FARTHEST_TO_SCORE:.0e} scales of the fitted ones, but row {far[0]} (rows count "
            "from 0) does not: drop it."
        )
    return z
