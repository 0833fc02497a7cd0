"""The log-densities of a part of a table's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch

from backwalk.diffusion import LogDensity
from backwalk.model import DiffusionModel, column_numbers, log_density
from backwalk.pieces.job import Job, Scoring
from backwalk.streams import Stream
from backwalk.table import Schema, Selection, match_columns, names_in, row_blocks, rows_numbered_from, widened


def scored_blocks(
    job: Job, work: Scoring, model: DiffusionModel, start: int, stop: int
) -> Iterator[tuple[int, pa.Table]]:
    """Yield the scores of rows start..stop-1 in blocks, each with the number of its first row.

    The columns are those of the command `score`: the column named by `id`, the row's number if rows with gaps are left
    out, and the log-density with its errors.
    """
    schema = model.schema
    known, asked = column_numbers(schema, work.given), column_numbers(schema, work.columns) or None
    present = range(schema.n_columns) if asked is None else (*known, *asked)
    selection, exact = Selection.of_schema(schema, only=True), [work.id] if work.id is not None else []
    for block in row_blocks(job.data, start, stop, names_to_read(schema, names_in(job.data[0]), exact), exact=exact):
        table, is_taken = block.table(selection, complete=work.drop_missing)
        found = LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)
        if table is not None:
            with rows_numbered_from(block.first):
                values = match_columns(widened(table, schema, present), schema, name="DATA").values
                found = log_density(model, values, given=known, columns=asked, stream=Stream(job.seed))
        written = {name: block.plain(exact)[name].filter(pa.array(is_taken)) for name in exact}
        if work.drop_missing:
            written["row"] = pa.array(block.first + np.flatnonzero(is_taken))
        written["log_density"] = pa.array(found.log_prob.numpy())
        written["solver_error"] = pa.array(found.solver_error.numpy())
        written["standard_error"] = pa.array(found.standard_error.numpy())
        yield block.first, pa.table(written)


def names_to_read(schema: Schema, names: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return the names of a file's columns that a schema has, and `more`, in the file's order."""
    wanted = {*Selection.of_schema(schema, only=True).names(names), *more}
    return [name for name in names if name in wanted]
