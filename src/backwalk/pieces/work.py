"""What the rows of an output are: drawn from a model, scored, or filled.

Each kind of work is a record of plain JSON values. Its `tables` computes any rows of the output, in tables of the rows
that are computed together: tiles of 2,048 rows that are drawn, or blocks of 65,536 rows of files. Each table comes with
the number of its first row, a multiple of that size, so that a row has the same bits in any part. Cells with
values that the fit did not see are counted in `cells`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from backwalk.diffusion import LogDensity
from backwalk.estimator.conditionals import N_DRAWS
from backwalk.limits import Unseen
from backwalk.model import (
    DiffusionModel,
    UnseenCells,
    as_given,
    check_unseen,
    column_numbers,
    estimate_rows,
    impute_rows,
    log_density,
    read_given,
    read_given_table,
    sample_pieces,
)
from backwalk.sampling import TILE_ROWS, Sampler
from backwalk.streams import Stream
from backwalk.table import (
    BLOCK_ROWS,
    FileOfRows,
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

Files = Sequence[FileOfRows]
Tables = Iterator[tuple[int, pa.Table]]
Condition = str | tuple[str | None, str | None] | dict[Literal["among"], tuple[str, ...]]
"""A value, a range with both ends, of which None is open, or the values that are allowed."""


class Record(BaseModel):
    """A frozen record whose JSON is checked when it is read."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sampling(Record):
    """Rows that `Diffusion.sample` draws, under conditions in the terms of text files, or given rows of files."""

    activity: ClassVar[str] = "sampling"
    rows_together: ClassVar[int] = TILE_ROWS

    kind: Literal["sample"] = "sample"
    sampler: Sampler
    given: dict[str, Condition] = {}
    unseen: Unseen = "nearest"

    def tables(
        self, model: DiffusionModel, data: Files, seed: int, start: int, stop: int, cells: UnseenCells
    ) -> Tables:
        """Yield rows start..stop-1 of the output in tables, each with the number of its first row."""
        schema, stream = model.schema.as_arrow(), Stream(seed).child("sample")
        if data:
            tiles = self._draw_given_files(model, data, stream, start, stop, cells)
        else:
            given = read_given(model, self._conditions(), 1, self.unseen)
            if start == 0:  # as all parts have the same conditions
                cells.update(given.unseen)
            tiles = sample_pieces(model, start, stop, stream=stream, sampler=self.sampler, given=given)
        for values, first in zip(tiles, range(start, stop, TILE_ROWS), strict=True):
            yield first, from_values(values, schema)

    def _conditions(self) -> dict[str, Any]:
        """Return the conditions as `Diffusion.sample` takes them."""
        return {
            name: frozenset(value["among"]) if isinstance(value, dict) else value for name, value in self.given.items()
        }

    def _draw_given_files(
        self, model: DiffusionModel, data: Files, stream: Stream, start: int, stop: int, cells: UnseenCells
    ) -> Iterator[NDArray[np.float64]]:
        for block in row_blocks(data, start, stop, names_in(data[0])):
            table, _ = block.table(Selection.of_schema(model.schema))
            assert table is not None  # as all rows are taken
            with rows_numbered_from(block.first):
                given = as_given(model, read_given_table(model.schema, table, unseen=self.unseen), self.unseen)
                cells.update(given.unseen)
                first, last = block.first, block.first + len(given.values)
                tiles = sample_pieces(model, first, last, stream=stream, sampler=self.sampler, given=given)
            yield from tiles


class Scoring(Record):
    """Log-densities of rows: see `Diffusion.log_density`, and the command `score` for `id`."""

    activity: ClassVar[str] = "scoring"
    rows_together: ClassVar[int] = BLOCK_ROWS

    kind: Literal["score"] = "score"
    given: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    id: str | None = None
    drop_missing: bool = False
    unseen: Unseen = "nearest"

    def tables(
        self, model: DiffusionModel, data: Files, seed: int, start: int, stop: int, cells: UnseenCells
    ) -> Tables:
        """Yield the scores of rows start..stop-1 in blocks, each with the number of its first row.

        The columns are those of the command `score`: the column named by `id`, the row's number if rows with gaps are
        left out, and the log-density with its errors.
        """
        schema = model.schema
        known, asked = column_numbers(schema, self.given), column_numbers(schema, self.columns) or None
        present = None if asked is None else (*known, *asked)
        selection = Selection.of_schema(schema, only=True, complete=self.drop_missing)
        exact = [self.id] if self.id is not None else []
        wanted = {*selection.names(names_in(data[0])), *exact}
        names = [name for name in names_in(data[0]) if name in wanted]
        for block in row_blocks(data, start, stop, names, exact=exact):
            table, is_taken = block.table(selection)
            scores = LogDensity(*[torch.empty(0, dtype=torch.float64)] * 3)
            if table is not None:
                with rows_numbered_from(block.first):
                    table = match_columns(table, schema, columns=present, name="DATA", unseen=self.unseen)
                    values, scored = table.values, asked or [j for j in range(schema.n_columns) if j not in known]
                    cells.update(
                        check_unseen(model, values, given=known, scored=scored, unseen=self.unseen, name="DATA")
                    )
                    scores = log_density(model, values, given=known, columns=asked, stream=Stream(seed))
            columns = {name: block.plain(exact)[name].filter(pa.array(is_taken)) for name in exact}
            if self.drop_missing:
                columns["row"] = pa.array(block.first + np.flatnonzero(is_taken))
            columns["log_density"] = pa.array(scores.log_prob.numpy())
            columns["solver_error"] = pa.array(scores.solver_error.numpy())
            columns["standard_error"] = pa.array(scores.standard_error.numpy())
            yield block.first, pa.table(columns)


class Imputing(Record):
    """Rows with their gaps filled, by a draw, by `n_draws` numbered draws, or by a statistic."""

    activity: ClassVar[str] = "imputing"
    rows_together: ClassVar[int] = BLOCK_ROWS

    kind: Literal["impute"] = "impute"
    n_draws: Annotated[int, Field(ge=1)] | None = None
    statistic: Literal["mean", "median"] | None = None
    unseen: Unseen = "nearest"

    def tables(
        self, model: DiffusionModel, data: Files, seed: int, start: int, stop: int, cells: UnseenCells
    ) -> Tables:
        """Yield rows start..stop-1 with their gaps filled, in blocks, each with the number of its first row.

        All columns of the files stay, in their order. Several draws of a block follow each other, numbered from 1 in a
        first column.
        """
        schema, names = model.schema, names_in(data[0])
        selection, stream = Selection.of_schema(schema, only=True), Stream(seed).child("impute")
        for block in row_blocks(data, start, stop, names):
            rows, first = block.plain(names), block.first
            completed: Iterable[NDArray[np.float64]]
            with rows_numbered_from(first):
                table, _ = block.table(selection)
                assert table is not None  # as all rows are taken
                table = match_columns(table, schema, name="TABLE", unseen=self.unseen)
                values, every = table.values, range(schema.n_columns)
                cells.update(check_unseen(model, values, given=every, unseen=self.unseen, name="TABLE"))
                if self.statistic is not None:
                    completed = [estimate_rows(model, values, self.statistic, N_DRAWS, stream=stream, first_row=first)]
                else:
                    completed = impute_rows(model, values, self.n_draws or 1, stream=stream, first_row=first)
                tables = [fill_rows(rows, draw, table.schema) for draw in completed]
            if self.n_draws is not None:
                tables = [
                    table.add_column(0, NUMBER, pa.array(np.full(table.num_rows, m)))
                    for m, table in enumerate(tables, 1)
                ]
            yield first, pa.concat_tables(tables)


Work = Sampling | Scoring | Imputing


def as_conditions(given: Mapping[str, Any]) -> dict[str, Condition]:
    """Return conditions as a job holds them: values, pairs (low, high) and sets, in the terms of text files."""
    conditions = dict[str, Condition]()
    for name, value in given.items():
        if isinstance(value, tuple):
            low, high = (None if end is None else str(end) for end in value)
            conditions[name] = low, high
        elif isinstance(value, (set, frozenset)):
            conditions[name] = {"among": tuple(sorted(map(str, value)))}
        else:
            conditions[name] = str(value)
    return conditions
