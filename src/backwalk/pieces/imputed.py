"""A part of a table's rows with their gaps filled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backwalk.estimator.conditionals import N_DRAWS
from backwalk.model import DiffusionModel, estimate_rows, impute_rows
from backwalk.pieces.job import Imputing, Job
from backwalk.streams import Stream
from backwalk.table import Selection, filled_part, match_columns, names_in, row_blocks, rows_numbered_from

NUMBER = "imputation"
"""The column that numbers several draws."""


def imputed_blocks(
    job: Job, work: Imputing, model: DiffusionModel, start: int, stop: int
) -> Iterator[tuple[int, pa.Table]]:
    """Yield rows start..stop-1 with their gaps filled, in blocks, each with the number of its first row.

    All columns of the table are there, in its order. Several draws of a block follow each other, numbered from 1 in a
    first column.
    """
    schema, names = model.schema, names_in(job.data[0])
    selection, stream = Selection.of_schema(schema, only=True), Stream(job.seed).child("impute")
    for block in row_blocks(job.data, start, stop, names):
        rows = block.plain(names)
        completed: Iterable[NDArray[np.float64]]
        with rows_numbered_from(block.first):
            table, _ = block.table(selection)
            assert table is not None  # as all rows are taken
            values = match_columns(table, schema, name="TABLE").values
            if work.statistic is not None:
                completed = [
                    estimate_rows(model, values, work.statistic, N_DRAWS, stream=stream, first_row=block.first)
                ]
            else:
                completed = impute_rows(model, values, work.n_draws or 1, stream=stream, first_row=block.first)
            filled = [filled_part(rows, draw, schema) for draw in completed]
        if work.n_draws is not None:
            filled = [
                part.add_column(0, NUMBER, pa.array(np.full(part.num_rows, m))) for m, part in enumerate(filled, 1)
            ]
        yield block.first, pa.concat_tables(filled)
