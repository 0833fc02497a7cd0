"""Write a table file again with its gaps filled, and everything else as it stands.

Text is copied cell by cell: a cell `007` or `1.50` stays unchanged. Other formats, and a file of another format than
the source's, are converted by Arrow.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import TableFileError
from backwalk.table.delimited import DelimitedText
from backwalk.table.formats import Format, format_of
from backwalk.table.gaps import NativeRows, is_plain_text, missing_in
from backwalk.table.reading import opened, read_npy, read_text
from backwalk.table.restoring import from_values
from backwalk.table.schema import FloatArray, Schema, refuse_duplicates, shown, unescaped
from backwalk.table.selection import Selection
from backwalk.table.splitting import read_any_parquet, write_any
from backwalk.table.writing import output_file, write_text

Draws = Iterable[FloatArray]
"""Complete rows, (n, d), in the user's units; several for a file in which all draws follow each other."""


def write_filled(
    source: str | Path,
    place: str | Path,
    draws: Draws,
    schema: Schema,
    *,
    number: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a table file with the gaps in the columns of a schema filled from complete rows of the file's order.

    Columns that the schema does not have are copied, with their gaps. With `number`, the file has as many copies of the
    rows as there are draws, and a first column of this name that numbers them from 1; without, there is one draw.
    Raises TableFileError; also if the source has a column named `number`, and if `place` exists and `overwrite` is
    False.
    """
    form = format_of(place)
    with opened(source) as (file, own), output_file(place, form, overwrite=overwrite) as out:
        if own.kind == form.kind == "text" and own.delimiter == form.delimiter:
            _fill_text(file, own, out, draws, schema, number)
            return
        selection = Selection.of_schema(schema)
        rows: NativeRows
        if own.kind == "npy":
            rows, _ = read_npy(file, selection)
        else:
            rows, _ = read_text(file, own, selection) if own.kind == "text" else read_any_parquet(file, selection)
        write_any(out, form, _filled(rows, draws, schema, number))


def _fill_text(file: BinaryIO, form: Format, out: BinaryIO, draws: Draws, schema: Schema, number: str | None) -> None:
    text = DelimitedText(file, form.delimiter)
    refuse_duplicates(text.names)
    _refuse_present(number, text.names)
    delimiter = text.delimiter
    places = _places(text.names, schema)
    out.write((f'"{number}"'.encode() + delimiter if number else b"") + text.header)
    for m, values in enumerate(draws, 1):
        file.seek(0)
        text, n_before = DelimitedText(file, form.delimiter), 0
        head = f"{m}".encode() + delimiter if number else b""
        for block in text.blocks():
            rows = text.rows(block)
            gaps = np.stack([np.asarray(cell.is_null()) for cell in text.cells(block, places, n_before)], axis=1)
            if len(gaps) != len(rows):
                raise TableFileError("The ends of the file's rows are ambiguous: write it anew with quoted texts.")
            with_gaps = np.flatnonzero(gaps.any(axis=1))
            new = _cells(values[n_before : n_before + len(rows)][with_gaps], schema, form, quoted=b'"' in block)
            for i, cells in zip(with_gaps.tolist(), new, strict=True):
                fields = text.fields(rows[i])
                end = rows[i][len(rows[i].rstrip(b"\r\n")) :]
                for j in np.flatnonzero(gaps[i]).tolist():
                    fields[places[j]] = cells[j]
                rows[i] = delimiter.join(fields) + end
            out.write(b"".join(head + row for row in rows))
            n_before += len(rows)


def _cells(values: FloatArray, schema: Schema, form: Format, *, quoted: bool) -> list[list[bytes]]:
    """Return the cells of rows, (m, d), as `write_rows` writes them; texts without quotation marks unless `quoted`."""
    file = io.BytesIO()
    write_text(file, [values], schema, form)
    file.seek(0)
    text = DelimitedText(file, form.delimiter)
    rows = [text.fields(row) for block in text.blocks() for row in text.rows(block)]
    needs_no_quotes = re.compile(rb'"[^"%b\r\n]+"' % re.escape(text.delimiter))
    return (
        rows if quoted else [[cell[1:-1] if needs_no_quotes.fullmatch(cell) else cell for cell in row] for row in rows]
    )


def _filled(rows: NativeRows, draws: Draws, schema: Schema, number: str | None) -> NativeRows:
    """Return the rows with their gaps filled, once for each draw."""
    if isinstance(rows, np.ndarray):
        parts = [np.where(np.isnan(rows), values, rows).astype(rows.dtype) for values in draws]
        if number is not None:
            parts = [np.column_stack([np.full(len(part), m), part]) for m, part in enumerate(parts, 1)]
        return np.concatenate(parts)
    _refuse_present(number, rows.column_names)
    places, tables = _places(rows.column_names, schema), list[pa.Table]()
    for m, values in enumerate(draws, 1):
        completed, table = from_values(values, schema.as_arrow()), rows
        for j, place in enumerate(places):
            new = _coalesced(rows.column(place), completed.column(j))
            table = table.set_column(place, rows.schema.field(place).with_type(new.type), new)
        if number is not None:
            table = table.add_column(0, number, pa.array(np.full(len(values), m)))
        tables.append(table)
    return pa.concat_tables(tables)


def filled_part(rows: pa.Table, values: FloatArray, schema: Schema) -> pa.Table:
    """Return some rows of a file with their gaps filled from complete rows, (n, d).

    The types of columns do not depend on which rows have gaps: integers become floats where the schema has floats, and
    numbers and times that stand in text have the schema's types.
    """
    completed = from_values(values, schema.as_arrow())
    for j, place in enumerate(_places(rows.column_names, schema)):
        old, new = rows.column(place), completed.column(j)
        stands_in_text = is_plain_text(old.type) and not is_plain_text(new.type)
        column = new if stands_in_text else _coalesced_as(old, new, _type_of(old.type, new.type))
        rows = rows.set_column(place, rows.schema.field(place).with_type(column.type), column)
    return rows


def _coalesced(column: pa.ChunkedArray, completed: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with its missing values, null or NaN, replaced by those of the completed one."""
    if not missing_in(column).any():
        return column
    return _coalesced_as(column, completed, _type_of(column.type, completed.type))


def _type_of(old: pa.DataType, new: pa.DataType) -> pa.DataType:
    widened = pa.types.is_null(old) or (pa.types.is_integer(old) and pa.types.is_floating(new))
    return new if widened else old


def _coalesced_as(column: pa.ChunkedArray, completed: pa.ChunkedArray, of_type: pa.DataType) -> pa.ChunkedArray:
    gaps = missing_in(column)
    plain = of_type.value_type if pa.types.is_dictionary(of_type) else of_type
    filled = pc.if_else(pa.array(gaps), completed.cast(plain), column.cast(plain))
    return _as_categories(filled, column) if pa.types.is_dictionary(of_type) else filled


def _as_categories(filled: pa.ChunkedArray, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values as the categories of a column, in its order; categories that it does not have come last."""
    known = column.unify_dictionaries().chunk(0).dictionary
    more = filled.unique().filter(pc.invert(pc.is_in(filled.unique(), value_set=known)))
    categories = pa.concat_arrays([known, more])
    codes = pc.index_in(filled.combine_chunks(), value_set=categories).cast(column.type.index_type)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, categories, ordered=column.type.ordered)])


def _places(names: Sequence[str], schema: Schema) -> list[int]:
    """Return the places of a schema's columns among those of a file, by name, or in order without names."""
    if schema.columns is None:
        return list(range(schema.n_columns))
    own = list(names)
    plain = {unescaped(name): j for j, name in enumerate(own)} | {name: j for j, name in enumerate(own)}
    return [plain[name] for name in schema.columns]


def _refuse_present(number: str | None, names: Sequence[str]) -> None:
    if number is not None and number in names:
        raise TableFileError(f"Draws are numbered in a column {shown(number)}, but the table has one: rename it.")
