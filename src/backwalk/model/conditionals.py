"""One column given others, row by row.

P(level | known) and E[number | known] are single evaluations of the denoiser with known coordinates at log-SNR +inf and
all others at -inf (`diffusion/conditioning.py`). The distribution of a number is that of rows drawn given what is
known.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backwalk.diffusion import log_snr_by_coordinate
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.model.diffusion_model import DiffusionModel
from backwalk.model.distribution import Conditional
from backwalk.model.levels import level_log_probs
from backwalk.model.rows import EncodedRows, encode_given, map_tiles, with_levels_given
from backwalk.model.sample import sample_numbered
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.torch_state import in_initial_torch_state

Array = NDArray[np.float64]


@in_initial_torch_state
def conditional(
    model: DiffusionModel,
    values: Array,
    column: int,
    *,
    n_draws: int,
    stream: Stream,
    sampler: Sampler | str | None = None,
) -> Conditional:
    """Return the distribution of a column given the observed cells of rows, (n, d), of which it is none.

    A column of levels takes one evaluation per row; a number `n_draws` draws, and one evaluation for its mean where the
    column is a linear function of its coordinate, or for the probability that it is missing. Raises InvalidInput for a
    column that is constant, and for patterns for which the model was not trained.
    """
    codec, schema, label = model.codec, model.schema.taken([column]), model.schema.label(column)
    if not codec.columns[column].width:
        raise InvalidInput(
            f"The column should vary, but {label} is {codec.columns[column].description}: choose another."
        )
    rows = values.copy()
    rows[:, column] = np.nan
    known = encode_given(model, rows)
    gap = None
    for i, block in enumerate(codec.blocks):
        if block.column != column:
            continue
        if block.continuous is None:
            return Conditional(label, schema, block.values, probabilities_of_levels(model, known, i))
        if column in codec.missing_levels:
            gap = probabilities_of_levels(model, known, i)[:, np.isnan(block.values).argmax()]
    drawn = draws_given(model, known, np.arange(len(rows)), n_draws, stream=stream, sampler=sampler)[..., column]
    expected = None
    if codec.columns[column].is_linear:
        expected = means_of_numbers(model, known)[:, column]
    return Conditional(label, schema, np.sort(drawn, axis=1), expected=expected, gap=gap)


def draws_given(
    model: DiffusionModel,
    known: EncodedRows,
    numbers: NDArray[np.intp],
    n_draws: int,
    *,
    stream: Stream,
    sampler: Sampler | str | None = None,
) -> Array:
    """Return draws of rows with known cells, (n, n_draws, d); row i has the number `numbers[i]` in the stream."""
    n = len(numbers)
    rows = sample_numbered(
        model,
        np.repeat(numbers, n_draws),
        stream=stream,
        sampler=sampler,
        known=known.take(np.repeat(np.arange(n), n_draws)),
        candidates=np.tile(np.arange(n_draws), n),
    )
    return rows.reshape(n, n_draws, -1)


def probabilities_of_levels(model: DiffusionModel, known: EncodedRows, block: int) -> Array:
    """Return P(level | known) of a block's levels, (n, L), in one evaluation."""
    denoiser, blocks = model.denoiser, model.codec.blocks

    def tile(rows: Tensor, is_known: Tensor) -> Tensor:
        return level_log_probs(denoiser, blocks, rows, is_known, block).double().softmax(dim=1)

    return map_tiles(tile, known.rows, known.known, width=blocks[block].n_levels).numpy()


def means_of_numbers(model: DiffusionModel, known: EncodedRows) -> Array:
    """Return E[column | known] of the linear columns of numbers, (n, d), in one evaluation; NaN for other columns.

    Means lie within the range of their columns. Raises SamplingDiverged where one is not finite.
    """
    codec = model.codec

    def tile(rows: Tensor, is_known: Tensor) -> Tensor:
        log_snr = log_snr_by_coordinate(torch.tensor(-torch.inf, device=rows.device), is_known).to(rows)
        denoiser = with_levels_given(model.denoiser, codec, rows, is_known)
        return denoiser(rows.nan_to_num().masked_fill(~is_known, 0.0), log_snr).double()

    z = map_tiles(tile, known.rows, known.known, width=codec.n_encoded).numpy()
    means = np.full((len(z), codec.n_columns), np.nan)
    for j, (column, place) in enumerate(zip(codec.columns, codec.slices, strict=True)):
        if column.chain is not None and column.is_linear:
            if not np.isfinite(z[:, place.start]).all():
                raise SamplingDiverged(
                    f"Means of {model.schema.label(j)} should be finite, but some are not: fit again with a `training` "
                    "of lower learning_rate."
                )
            means[:, j] = np.clip(column.chain.decode(z[:, place.start]), *column.ends)
    return model.schema.clipped(means)
