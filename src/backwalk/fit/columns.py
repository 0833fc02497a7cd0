"""The columns of a fit: those that are set aside, and the codec of the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backwalk.errors import InvalidInput
from backwalk.fit.settings import Settings, always_given
from backwalk.formatting import bytes_of, listed
from backwalk.limits import MEMORY
from backwalk.model import DiffusionModel, column_numbers, user_terms
from backwalk.table import (
    Codec,
    Levels,
    Number,
    Relation,
    RowsThatFit,
    Schema,
    Selection,
    StrPath,
    Table,
    Watch,
    fit_codec,
    match_columns,
    most_rows,
    read_within,
    set_aside,
)
from backwalk.table.column_options import column_options
from backwalk.table.schema import FloatArray, shown

_MOST_FOR_SCALES = 2**20  # rows

_OTHER = (
    "warm_start needs the columns and levels of the previous fit, {}, but got {}: give the same, or set "
    "warm_start=False."
)


@dataclass(frozen=True, eq=False)
class ChosenColumns:
    """The table without the columns that are set aside, its codec, and the reasons by name.

    `gaps` has the number of missing values in each column, of all `n_rows` rows of the files that the table was read
    from, where `table` holds some of them. `n_read` rows were read from `n_files` files, of which those with missing
    values may have been left out, and the columns `left_out`.
    """

    table: Table
    codec: Codec
    set_aside: Mapping[str, str]
    gaps: Sequence[int]
    n_rows: int
    n_read: int
    n_files: int = 1
    left_out: Sequence[str] = ()


def choose_columns(table: Table, settings: Settings, weights: FloatArray | None = None) -> ChosenColumns:
    """Choose the columns that a fit takes, and their kinds: see `set_aside` and `fit_codec`.

    `weights`, (n,), are those of the rows.
    """
    table, rows = _with_clocks(table, Relation.of_rows(table.values, table.schema), settings)
    left, reasons, rows = _without_aside(table, rows, settings)
    codec = _codec(left, settings, weights, whole=rows if weights is None else None)
    n = len(left.values)
    return ChosenColumns(left, codec, reasons, rows.n_missing.tolist(), n, n)


def _with_clocks(table: Table, rows: Relation, settings: Settings) -> tuple[Table, Relation]:
    """Return some rows of a table, and all, with minutes in the columns of the kind "clock"."""
    clocks = [j for j, kind in column_options(settings.columns, table.schema).items() if kind == "clock"]
    if not clocks:
        return table, rows
    for j in clocks:
        if table.schema.labels[j] is not None or table.schema.units[j] is not None:
            raise InvalidInput(
                f"{table.schema.label(j)} should hold whole numbers HHMM, as its kind is clock, but has dtype "
                f"{shown(table.schema.dtypes[j])}: leave out its kind."
            )
    rows = rows.with_clocks(clocks)
    return match_columns(table, rows.schema), rows


def _without_aside(table: Table, rows: Relation, settings: Settings) -> tuple[Table, dict[str, str], Relation]:
    """Return some rows of a table, and all, without the columns that are set aside, and the reasons by name."""
    left, reasons = set_aside(table, kept=settings.columns or (), whole=rows)
    return left, reasons, rows.taken([table.schema.names.index(name) for name in left.schema.names])


def read_rows(
    source: StrPath,
    settings: Settings,
    *,
    memory: int = MEMORY,
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    watch: Watch = lambda *_: None,
) -> RowsThatFit:
    """Read the rows of table files that fit into memory, as `read_within` does, with columns of the kinds of a fit.

    Columns of the kind "levels" are read from text files as texts, those of other kinds as numbers. The columns named
    by `drop` are left out, and with `drop_missing` the rows with missing values.
    """
    kinds = settings.columns or {}
    texts = tuple(name for name, kind in kinds.items() if kind == "levels" or isinstance(kind, Levels))
    numbers = tuple(name for name in kinds if name not in texts)
    return read_within(source, Selection(tuple(drop), None, drop_missing, texts, numbers), memory=memory, watch=watch)


def choose_within(rows: RowsThatFit, settings: Settings, memory: int = MEMORY) -> ChosenColumns:
    """Choose the columns that a fit takes, as `choose_columns` does, and the rows whose encodings fit into memory.

    Where `rows` are not all of a table, ranges, levels, frequencies, gaps and grids are those of all rows, and the
    scales of numbers those of a million.
    """
    table, relation = _with_clocks(rows.table, rows.relation, settings)
    some = table if rows.has_all else Table(table.values[rows.chosen(_MOST_FOR_SCALES)], table.schema)
    some, reasons, whole = _without_aside(some, relation, settings)
    left = some
    if not rows.has_all:
        left = Table(table.values[:, [table.schema.names.index(name) for name in some.schema.names]], some.schema)
    codec, gaps = _codec(some, settings, whole=whole), whole.n_missing.tolist()
    is_chosen = rows.chosen(most_rows(memory, codec.n_columns, codec.n_encoded))
    if not is_chosen.all():
        left = Table(left.values[is_chosen], left.schema)
    return ChosenColumns(left, codec, reasons, gaps, rows.n_rows, rows.n_read, rows.n_files, rows.columns_left_out)


def choose_from_files(
    source: StrPath,
    settings: Settings,
    memory: int | str = MEMORY,
    *,
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    watch: Watch = lambda *_: None,
) -> ChosenColumns:
    """Choose the columns of table files that a fit takes, and the rows that fit into memory: bytes, or such as "2GiB".

    `drop` and `drop_missing` are as for `read_rows`. Raises InvalidInput for a size that is none, and as `read_rows`
    and `choose_within` do.
    """
    try:
        n_bytes = bytes_of(memory) if isinstance(memory, str) else memory
    except ValueError as error:
        raise InvalidInput(f"memory should be a size, but {error}.") from error
    rows = read_rows(source, settings, memory=n_bytes, drop=drop, drop_missing=drop_missing, watch=watch)
    return choose_within(rows, settings, n_bytes)


def _codec(
    table: Table, settings: Settings, weights: FloatArray | None = None, *, whole: Relation | None = None
) -> Codec:
    # Clock times have a unit by now, from which their kind follows.
    columns = None if settings.columns is None else {n: kind for n, kind in settings.columns.items() if kind != "clock"}
    if settings.embedding is not None:  # reads numbers, of which those of a series are encoded alike
        (data,) = settings.conditions
        given = column_numbers(table.schema, data)
        columns = {table.schema.names[j]: Number(map=False) for j in given} | dict(columns or {})
    return fit_codec(
        table,
        scale=settings.scale,
        columns=columns,
        missing=settings.missing,
        weights=weights,
        whole=whole,
        rules=settings.rules if settings.embedding is None else (),
        given=always_given(settings.conditions_for(has_patterns=False, schema=table.schema)),
    )


def refuse_other_columns(previous_model: DiffusionModel, schema: Schema, codec: Codec) -> None:
    """Raise InvalidInput unless a fit has the columns and levels of the fit before, from whose weights it starts."""
    if schema.columns != previous_model.schema.columns:
        names = (f"the columns {listed(map(shown, each.names))}" for each in (previous_model.schema, schema))
        raise InvalidInput(_OTHER.format(*names))
    for j in range(min(codec.n_columns, previous_model.codec.n_columns)):
        old, new = _levels(previous_model.schema, previous_model.codec, j), _levels(schema, codec, j)
        if old != new:
            both = set(old) & set(new)
            only = [[level for level in each if level not in both] for each in (old, new)]
            words = (
                f"{listed(differ or each) if each else 'no levels'} in {schema.label(j)}"
                for differ, each in zip(only, (old, new), strict=True)
            )
            raise InvalidInput(_OTHER.format(*words))


def _levels(schema: Schema, codec: Codec, j: int) -> list[str]:
    """Return the levels of a column in their order, in the user's terms; those of a column without levels are none."""
    block = codec.block_of(j)
    values = () if block is None else block.values
    return ["missing or continuous" if math.isnan(value) else user_terms(schema, j, value) for value in values]
