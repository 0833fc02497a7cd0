"""The rows of a part: drawn, scored or filled, in tables of the rows that are computed together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from backwalk.diffusion import LogDensity
from backwalk.estimator.conditionals import N_DRAWS
from backwalk.model import (
    DiffusionModel,
    Given,
    column_numbers,
    estimate_rows,
    impute_rows,
    log_density,
    read_given,
    read_given_table,
    refuse_not_made,
    sample_pieces,
)
from backwalk.pieces.job import Imputing, Job, Sampling, Scoring
from backwalk.sampling import TILE_ROWS
from backwalk.streams import Stream
from backwalk.table import (
    Schema,
    Selection,
    fill_rows,
    from_values,
    match_columns,
    names_in,
    row_blocks,
    rows_numbered_from,
)

NUMBER = "imputation"
"""The column that numbers several draws."""


def rows_of(job: Job, model: DiffusionModel, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield the output of rows start..stop-1 in tables, each with the number of its first row.

    The tables begin at multiples of the rows that are computed together.
    """
    if isinstance(job.work, Sampling):
        return _draw(job, job.work, model, start, stop)
    if isinstance(job.work, Scoring):
        return _score(job, job.work, model, start, stop)
    return _impute(job, job.work, model, start, stop)


def _draw(job: Job, work: Sampling, model: DiffusionModel, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield the rows that `Diffusion.sample` draws with the job's seed, in tiles."""
    schema = model.schema.as_arrow()
    draw = _draw_given_file if job.data else _draw_given
    tiles = draw(job, work, model, start, stop)
    for values, first in zip(tiles, range(start, stop, TILE_ROWS), strict=True):
        yield first, from_values(values, schema)


def _draw_given(
    job: Job, work: Sampling, model: DiffusionModel, start: int, stop: int
) -> Iterator[NDArray[np.float64]]:
    given = read_given(model, work.conditions(), 1)
    return sample_pieces(model, start, stop, stream=_draws(job), sampler=work.sampler.sampler(), given=given)


def _draw_given_file(
    job: Job, work: Sampling, model: DiffusionModel, start: int, stop: int
) -> Iterator[NDArray[np.float64]]:
    for block in row_blocks(job.data, start, stop, names_in(job.data[0])):
        table, _ = block.table(Selection.of_schema(model.schema))
        assert table is not None  # as all rows are taken
        with rows_numbered_from(block.first):
            values = read_given_table(model.schema, table)
            refuse_not_made(model, values)
            first, given = block.first, Given(values)
            sampler = work.sampler.sampler()
            tiles = sample_pieces(model, first, first + len(values), stream=_draws(job), sampler=sampler, given=given)
        yield from tiles


def _draws(job: Job) -> Stream:
    return Stream(job.seed).child("sample")


def _score(job: Job, work: Scoring, model: DiffusionModel, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield the scores of rows in blocks.

    The columns are those of the command `score`: the column named by `id`, the row's number if rows with gaps are left
    out, and the log-density with its errors.
    """
    schema = model.schema
    known, asked = column_numbers(schema, work.given), column_numbers(schema, work.columns) or None
    present = None if asked is None else (*known, *asked)
    selection, exact = Selection.of_schema(schema, only=True), [work.id] if work.id is not None else []
    names = _names_to_read(schema, names_in(job.data[0]), exact)
    for block in row_blocks(job.data, start, stop, names, exact=exact):
        table, is_taken = block.table(selection, complete=work.drop_missing)
        scores = LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)
        if table is not None:
            with rows_numbered_from(block.first):
                values = match_columns(table, schema, columns=present, name="DATA").values
                scores = log_density(model, values, given=known, columns=asked, stream=Stream(job.seed))
        columns = {name: block.plain(exact)[name].filter(pa.array(is_taken)) for name in exact}
        if work.drop_missing:
            columns["row"] = pa.array(block.first + np.flatnonzero(is_taken))
        columns["log_density"] = pa.array(scores.log_prob.numpy())
        columns["solver_error"] = pa.array(scores.solver_error.numpy())
        columns["standard_error"] = pa.array(scores.standard_error.numpy())
        yield block.first, pa.table(columns)


def _names_to_read(schema: Schema, names: Sequence[str], more: Sequence[str]) -> list[str]:
    """Return the names of a file's columns that a schema has, and `more`, in the file's order."""
    wanted = {*Selection.of_schema(schema, only=True).names(names), *more}
    return [name for name in names if name in wanted]


def _impute(job: Job, work: Imputing, model: DiffusionModel, start: int, stop: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield rows with their gaps filled, in blocks, with all columns of the table in its order.

    Several draws of a block follow each other, numbered from 1 in a first column.
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
            tables = [fill_rows(rows, draw, schema) for draw in completed]
        if work.n_draws is not None:
            tables = [
                table.add_column(0, NUMBER, pa.array(np.full(table.num_rows, m))) for m, table in enumerate(tables, 1)
            ]
        yield block.first, pa.concat_tables(tables)
