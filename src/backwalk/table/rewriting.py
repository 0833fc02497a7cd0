"""Write the rows of a table file again: split into two files, with gaps filled, or beside new columns.

Text is copied row by row as it stands: a cell `007` or `1.50` stays unchanged. Python's csv finds where rows and fields
end. Other formats, and a file of another format than the source's, are converted by Arrow.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.files import Format, SourceFile, faults_of, files_of, format_of, opened, read_npy
from backwalk.table.frame import Table, as_table
from backwalk.table.parquet_files import decoded, look_at_parquet, parquet_rows
from backwalk.table.restoring import from_values
from backwalk.table.schema import MISSING_WORDS, FloatArray, Schema, shown, unescaped
from backwalk.table.selection import NativeRows, Selection, complete_rows, is_plain_text, missing_in
from backwalk.table.sources import column_names, open_source
from backwalk.table.text_files import TextFile, TypeOfColumn, read_header
from backwalk.table.writing import check_table_path, output_file, write_any, write_text

Draws = Iterable[FloatArray]
"""Complete rows, (n, d), in the user's units; several for a file in which all draws follow each other."""

Chosen = Callable[[int], npt.NDArray[np.bool_]]
"""Returns which of n rows go to the second file, (n,)."""

_ROWS_AT_ONCE = 2**13
_BATCH_ROWS = 2**16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, eq=False)
class SplitFiles:
    """Which rows of the file were taken, (n,), the sizes of both files, and the names of columns left out."""

    is_taken: npt.NDArray[np.bool_]
    sizes: tuple[int, int]
    columns_left_out: tuple[str, ...]


def split_table(
    source: str | Path | Table,
    places: tuple[str | Path, str | Path],
    chosen: Chosen,
    *,
    selection: Selection = Selection(),  # noqa: B008
    overwrite: bool = False,
) -> SplitFiles:
    """Write the selected rows and columns of a table file, or of a table, into two files, in their order.

    `chosen` takes the number of rows and returns which of them go to the second file. Both files are written before
    either gets its name. Raises TableFileError; also for nested columns, and for texts beyond
    `limits.TABLE_FILE_BYTES`.
    """
    for place in places:
        check_table_path(place, overwrite=overwrite)
    forms = [format_of(place) for place in places]
    if isinstance(source, Table):
        rows = from_values(source.values, source.schema.as_arrow())
        return _split(rows, (), places, chosen, selection, overwrite)
    with files_of(source) as (file, *others):
        if others:
            raise TableFileError(f"{source}: one file should be split, but got {1 + len(others)}: name one.")
        if file.form.kind == "text" and all(_is_alike(form, file.form) for form in forms):
            return _split_text(file, places, chosen, selection, overwrite)
        native, left_out = _native(file, selection)
        if isinstance(native, np.ndarray) and native.ndim != 2:
            as_table(native, name="the table")  # which refuses it
        return _split(native, left_out, places, chosen, selection, overwrite)


def _split(
    rows: NativeRows,
    left_out: Iterable[str],
    places: tuple[str | Path, str | Path],
    chosen: Chosen,
    selection: Selection,
    overwrite: bool,
) -> SplitFiles:
    is_taken = complete_rows(rows) if selection.complete else np.ones(len(rows), dtype=bool)
    masks = _both(is_taken, chosen)
    with output_file(places[0], overwrite=overwrite) as first, output_file(places[1], overwrite=overwrite) as second:
        for place, out, mask in zip(places, (first, second), masks, strict=True):
            write_any(
                out, format_of(place), rows[mask] if isinstance(rows, np.ndarray) else rows.filter(pa.array(mask))
            )
    return SplitFiles(is_taken, (int(masks[0].sum()), int(masks[1].sum())), tuple(left_out))


def _split_text(
    file: SourceFile, places: tuple[str | Path, str | Path], chosen: Chosen, selection: Selection, overwrite: bool
) -> SplitFiles:
    """Copy rows of text as they stand; a first pass counts them and finds missing values."""
    delimiter = file.form.delimiter
    with opened(file) as data:
        names = read_header(data, delimiter).names
        taken = selection.names(names)
        kept = [j for j, name in enumerate(names) if name in set(taken)]
        data.seek(0)
        is_complete, places_in_file = list[bool](), list[tuple[int, int]]()
        for row_of_text in _text_rows(data, delimiter, len(names)):
            places_in_file.append((row_of_text.offset, row_of_text.n_bytes))
            has_gap = selection.complete and any(row_of_text.fields[j] in MISSING_WORDS for j in kept)
            is_complete.append(not has_gap)
        del is_complete[0]  # of the header
        masks = _both(np.array(is_complete, dtype=bool), chosen)
        with (
            output_file(places[0], overwrite=overwrite) as first,
            output_file(places[1], overwrite=overwrite) as second,
        ):
            data.seek(0)
            place, outs = 0, list[tuple[BinaryIO, ...]]([(first, second)])
            for to_first, to_second in zip(*(mask.tolist() for mask in masks), strict=True):
                outs.append((first,) if to_first else (second,) if to_second else ())
            for (offset, length), files in zip(places_in_file, outs, strict=True):
                data.read(offset - place)
                row, place = data.read(length), offset + length
                if len(kept) < len(names):
                    cells = _fields(row.decode(errors="surrogateescape"), delimiter)
                    row = delimiter.join(cells[j] for j in kept).encode(errors="surrogateescape") + b"\n"
                for out in files:
                    out.write(row if row.endswith((b"\n", b"\r")) else row + b"\n")
    left_out = tuple(name for name in names if name not in set(taken))
    return SplitFiles(np.array(is_complete, dtype=bool), (int(masks[0].sum()), int(masks[1].sum())), left_out)


def _both(is_taken: npt.NDArray[np.bool_], chosen: Chosen) -> list[npt.NDArray[np.bool_]]:
    """Return which rows go to the first file, and which to the second."""
    is_second = np.zeros(len(is_taken), dtype=bool)
    is_second[is_taken] = chosen(int(is_taken.sum()))
    return [is_taken & ~is_second, is_second]


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
    with files_of(source) as (file, *_), output_file(place, overwrite=overwrite) as out:
        if file.form.kind == form.kind == "text" and _is_alike(form, file.form):
            with opened(file) as data:
                _fill_text(data, form, out, draws, schema, number)
            return
        rows, _ = _native(file, Selection.of_schema(schema))
        write_any(out, form, _filled(rows, draws, schema, number))


def _fill_text(data: BinaryIO, form: Format, out: BinaryIO, draws: Draws, schema: Schema, number: str | None) -> None:
    names = read_header(data, form.delimiter).names
    _refuse_present(number, names)
    places = _places(names, schema)
    for m, values in enumerate(draws, 1):
        data.seek(0)
        rows, n_before = _text_rows(data, form.delimiter, len(names)), 0
        header, head = next(rows).text, f"{m}{form.delimiter}" if number else ""
        if m == 1:
            head_of_names = f'"{number}"{form.delimiter}' if number else ""
            out.write((head_of_names + _ended(header)).encode(errors="surrogateescape"))
        while block := list(itertools.islice(rows, _ROWS_AT_ONCE)):
            gaps = np.array([[fields[j] in MISSING_WORDS for j in places] for fields in (row.fields for row in block)])
            with_gaps = np.flatnonzero(gaps.any(axis=1))
            texts = [row.text for row in block]
            is_quoted = any('"' in text for text in texts)
            cells = _cells(values[n_before : n_before + len(block)][with_gaps], schema, form, quoted=is_quoted)
            for i, new in zip(with_gaps.tolist(), cells, strict=True):
                fields = _fields(texts[i], form.delimiter)
                for j in np.flatnonzero(gaps[i]).tolist():
                    fields[places[j]] = new[j]
                texts[i] = form.delimiter.join(fields) + _end(texts[i])
            out.write("".join(head + _ended(text) for text in texts).encode(errors="surrogateescape"))
            n_before += len(block)


def _cells(values: FloatArray, schema: Schema, form: Format, *, quoted: bool) -> list[list[str]]:
    """Return the cells of rows, (m, d), as `write_rows` writes them; texts without quotation marks unless `quoted`."""
    file = io.BytesIO()
    write_text(file, [values], schema, form)
    file.seek(0)
    rows = [_fields(row.text, form.delimiter) for row in _text_rows(file, form.delimiter, schema.n_columns)][1:]
    needs_no_quotes = re.compile(rf'"[^"{form.delimiter}\r\n]+"')
    return (
        rows if quoted else [[cell[1:-1] if needs_no_quotes.fullmatch(cell) else cell for cell in row] for row in rows]
    )


class _TextRow(NamedTuple):
    """A row of a text file: the text with its line end, its unquoted fields, its place in the file and its bytes."""

    text: str
    fields: list[str]
    offset: int
    n_bytes: int


def _text_rows(data: BinaryIO, delimiter: str, n_columns: int) -> Iterator[_TextRow]:
    """Yield the rows of an open text file from its header on.

    Blank lines are no rows, except of a single column, where they are missing values unless they end the file. Bytes
    that are not UTF-8 become surrogates. Raises TableFileError for rows of other lengths.
    """
    offset = len(_BYTE_ORDER_MARK) if data.read(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK else 0
    data.seek(offset)
    lines = io.TextIOWrapper(data, encoding="utf-8", errors="surrogateescape", newline="")
    n_rows, blank = 0, list[_TextRow]()
    try:
        for line in lines:
            text, fields = line, line.rstrip("\r\n").split(delimiter)
            if '"' in line:  # which may hold separators and line ends
                of_row = list[str]()
                fields = next(
                    csv.reader(_noted(itertools.chain([line], lines), of_row), delimiter=delimiter, strict=True)
                )
                text = "".join(of_row)
            n_bytes = len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))
            row = _TextRow(text, fields, offset, n_bytes)
            offset += n_bytes
            is_blank = not text.strip("\r\n")
            if is_blank or not (n_rows or text.strip(" \t\v\f\r\n".replace(delimiter, ""))):
                if n_rows and n_columns == 1:
                    blank.append(row)
                continue
            if len(fields) != n_columns:
                raise TableFileError(
                    f"Each row should have {n_columns} cells, as the header has, but row {n_rows - 1} (rows count from "
                    f"0) has {len(fields)}: mend it"
                )
            yield from blank
            n_rows += 1 + len(blank)
            blank.clear()
            yield row
    except csv.Error as error:
        raise TableFileError(f"A row cannot be read ({error}): close its quotation marks") from error
    finally:
        lines.detach()


def _noted(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    """Yield lines, and note those that were taken."""
    for line in lines:
        taken.append(line)
        yield line


def _fields(text: str, delimiter: str) -> list[str]:
    """Return the fields of a row unchanged, with their quotation marks."""
    line, fields, place = text.rstrip("\r\n"), list[str](), -1
    pattern = re.compile(rf'(?:"(?:[^"]|"")*")?[^{delimiter}\r\n]*')
    while place < len(line):
        match = pattern.match(line, place + 1)
        assert match is not None  # as the pattern matches an empty field
        fields.append(match.group())
        place = match.end()
    return fields


def _end(text: str) -> str:
    return text[len(text.rstrip("\r\n")) :]


def _ended(text: str) -> str:
    return text if _end(text) else f"{text}\n"


def _is_alike(form: Format, other: Format) -> bool:
    return (form.kind, form.delimiter) == (other.kind, other.delimiter)


def _native(file: SourceFile, selection: Selection) -> tuple[NativeRows, Mapping[str, Any]]:
    """Return the selected columns of a file in their own types, and the names of the others."""
    if file.form.kind == "npy":
        selection.refuse_unnamed()
        return read_npy(file), {}
    if file.form.kind == "parquet":
        return _native_parquet(file, selection)
    source = open_source([file], selection, limited=True)
    rows = pa.concat_tables(source.rows(source.names, lambda *_: None))
    return rows, source.left_out


def _native_parquet(file: SourceFile, selection: Selection) -> tuple[pa.Table, dict[str, str]]:
    """Return the selected columns of a Parquet file; the size of texts is checked before dictionaries are expanded."""
    schema, names, *_ = look_at_parquet(file, selection, limited=True)
    with faults_of(file.label):
        wanted = pa.schema([schema.field(name) for name in names], schema.metadata)
        batches = list(parquet_rows(file, names, _BATCH_ROWS, 2**28))
        rows = pa.concat_tables(batches).unify_dictionaries() if batches else wanted.empty_table()
        columns = [
            column if column.type == field.type else decoded(field.name, column).cast(field.type)
            for field, column in zip(wanted, rows.columns, strict=True)
        ]
        others = {field.name: str(field.type) for field in schema if field.name not in set(names)}
        return pa.table(columns, schema=wanted), others


def _filled(rows: NativeRows, draws: Draws, schema: Schema, number: str | None) -> NativeRows:
    """Return the rows with their gaps filled, once for each draw."""
    if isinstance(rows, np.ndarray):
        parts = [np.where(np.isnan(rows), values, rows).astype(rows.dtype) for values in draws]
        if number is not None:
            parts = [np.column_stack([np.full(len(part), m), part]) for m, part in enumerate(parts, 1)]
        return np.concatenate(parts)
    _refuse_present(number, rows.column_names)
    tables = list[pa.Table]()
    for m, values in enumerate(draws, 1):
        table = fill_rows(rows, values, schema, keep_complete=True)
        if number is not None:
            table = table.add_column(0, number, pa.array(np.full(len(values), m)))
        tables.append(table)
    return pa.concat_tables(tables)


def fill_rows(rows: pa.Table, values: FloatArray, schema: Schema, *, keep_complete: bool = False) -> pa.Table:
    """Return some rows of a file with their gaps filled from complete rows, (n, d).

    The types of columns do not depend on which rows have gaps: integers become floats where the schema has floats, and
    numbers and times that stand in text have the schema's types. With `keep_complete`, columns without gaps stay as
    they are.
    """
    completed = from_values(values, schema.as_arrow())
    for j, place in enumerate(_places(rows.column_names, schema)):
        old, new = rows.column(place), completed.column(j)
        if keep_complete and not missing_in(old).any():
            continue
        stands_in_text = is_plain_text(old.type) and not is_plain_text(new.type)
        column = new if stands_in_text else _coalesced(old, new, _type_of(old.type, new.type))
        rows = rows.set_column(place, rows.schema.field(place).with_type(column.type), column)
    return rows


def _type_of(old: pa.DataType, new: pa.DataType) -> pa.DataType:
    widened = pa.types.is_null(old) or (pa.types.is_integer(old) and pa.types.is_floating(new))
    return new if widened else old


def _coalesced(column: pa.ChunkedArray, completed: pa.ChunkedArray, of_type: pa.DataType) -> pa.ChunkedArray:
    """Return a column with its missing values, null or NaN, replaced by those of the completed one."""
    gaps = missing_in(column)
    plain = of_type.value_type if pa.types.is_dictionary(of_type) else of_type
    filled = pc.if_else(pa.array(gaps), completed.cast(plain), column.cast(plain))
    return _as_categories(filled, column) if pa.types.is_dictionary(of_type) else filled


def _as_categories(filled: pa.ChunkedArray, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return values as the categories of a column, in its order; categories that it does not have come last."""
    of_column = column.unify_dictionaries().chunk(0).dictionary
    more = filled.unique().filter(pc.invert(pc.is_in(filled.unique(), value_set=of_column)))
    categories = pa.concat_arrays([of_column, more])
    codes = pc.index_in(filled.combine_chunks(), value_set=categories).cast(column.type.index_type)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, categories, ordered=column.type.ordered)])


def _places(names: Sequence[str], schema: Schema) -> list[int]:
    """Return the places of a schema's columns among those of a file, by name, or in order without names."""
    if schema.columns is None:
        return list(range(schema.n_columns))
    place = {unescaped(name): j for j, name in enumerate(names)} | {name: j for j, name in enumerate(names)}
    return [place[name] for name in schema.columns]


def _refuse_present(number: str | None, names: Sequence[str]) -> None:
    if number is not None and number in names:
        raise TableFileError(f"Draws are numbered in a column {shown(number)}, but the table has one: rename it.")


def read_labels(path: str | Path, name: str) -> pa.ChunkedArray:
    """Read one column of a table file unchanged: from text files as text, from Parquet in its own type.

    In text no cell is a missing value: "NA" may be an identifier, and an empty cell is the empty text.
    Raises TableFileError; also if there is no such column.
    """
    with files_of(path) as (file, *_):
        if file.form.kind == "npy":
            raise TableFileError(
                f"{path}: columns of an array have no names, but {shown(name)} is asked for: save it as CSV."
            )
        with faults_of(file.label):
            names = column_names(file)
            if name not in names:
                raise TableFileError(
                    f"The column {shown(name)} should be in the file, but is not; there are "
                    f"{listed(map(shown, names))}."
                )
        if file.form.kind == "parquet":
            return _native_parquet(file, Selection(only=(name,)))[0][name]
        text = TextFile(file)
        n_rows, _ = text.look({name: TypeOfColumn(is_text=True)})
        columns = (rows[name] for rows in text.rows([name], n_rows, _BATCH_ROWS))
        return pa.chunked_array([chunk for column in columns for chunk in column.chunks], type=pa.string())


def write_labelled(path: str | Path, rows: pa.Table, *, overwrite: bool = False) -> None:
    """Write a table of any types in the format that the suffix names; "-" is CSV to standard output.

    A `.npy` file takes numbers only. Raises TableFileError; also if the file exists and `overwrite` is False.
    """
    with output_file(path, overwrite=overwrite) as file:
        write_any(file, format_of(path), rows)
