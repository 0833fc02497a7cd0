"""Write the rows of a table file again, in its format: split into two files, with gaps filled, or beside new columns.

Cells of text are copied as they stand: `007` or `1.50` stays unchanged. Columns of Parquet keep their types.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backwalk.errors import TableFileError
from backwalk.formatting import listed
from backwalk.table.files import SourceFile, faults_of, files_of, format_of
from backwalk.table.frame import Table
from backwalk.table.parquet_files import ParquetFile
from backwalk.table.schema import FloatArray, Schema, shown, unescaped
from backwalk.table.selection import Selection, complete_rows, missing_in
from backwalk.table.text_files import TextFile, find_types
from backwalk.table.values import from_values
from backwalk.table.writing import CellWriter, as_written, check_table_path, output_file, write_any
from backwalk.text_options import StrPath

Draws = Iterable[FloatArray]
"""Complete rows, (n, d), in the user's units; several for a file in which all draws follow each other."""

Chosen = Callable[[int], npt.NDArray[np.bool_]]
"""Returns which of n rows go to the second file, (n,)."""

_BATCH_ROWS = 2**16


@dataclass(frozen=True, eq=False)
class SplitFiles:
    """Which rows of the file were taken, (n,), the sizes of both files, and the names of columns left out."""

    is_taken: npt.NDArray[np.bool_]
    sizes: tuple[int, int]
    columns_left_out: tuple[str, ...]


def split_table(
    source: StrPath | Table,
    places: tuple[str | Path, str | Path],
    chosen: Chosen,
    *,
    selection: Selection = Selection(),  # noqa: B008
    overwrite: bool = False,
) -> SplitFiles:
    """Write the selected rows and columns of a table file, or of a table, into two files, in their order.

    `chosen` takes the number of rows and returns which of them go to the second file. Both files are written before
    either gets its name. Raises TableFileError; also for nested columns.
    """
    for place in places:
        check_table_path(place, overwrite=overwrite)
    if isinstance(source, Table):
        return _split(from_values(source.values, source.schema.as_arrow()), (), places, chosen, selection, overwrite)
    with files_of(source) as (file, *others):
        if others:
            raise TableFileError(f"{source}: one file should be split, but got {1 + len(others)}: name one.")
        for place in places:
            _refuse_other_format(file, place)
        if file.form.kind == "text":
            return _split_text(TextFile(file), places, chosen, selection, overwrite)
        parquet = ParquetFile(file)
        with faults_of(file.label):
            names = selection.names(parquet.names)
        left_out = [name for name in parquet.names if name not in set(names)]
        return _split(parquet.read(names), left_out, places, chosen, selection, overwrite)


def _refuse_other_format(file: SourceFile, place: StrPath) -> None:
    """Raise TableFileError if rows of a file would be written in another format."""
    if format_of(place).kind != file.form.kind:
        suffix = ".parquet" if file.form.kind == "parquet" else ".csv"
        raise TableFileError(
            f"Rows of {file.label} should be written in its format, but got {shown(str(place))}: name a file that ends "
            f"in {suffix}."
        )


def _split(
    rows: pa.Table,
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
            write_any(out, format_of(place), rows.filter(pa.array(mask)))
    return SplitFiles(is_taken, (int(masks[0].sum()), int(masks[1].sum())), tuple(left_out))


def _split_text(
    text: TextFile, places: tuple[str | Path, str | Path], chosen: Chosen, selection: Selection, overwrite: bool
) -> SplitFiles:
    """Copy cells of text as they stand; a first pass counts the rows and finds missing values."""
    with faults_of(text.file.label):
        names = selection.names(text.names)
    is_taken = text.complete_rows(names) if selection.complete else np.ones(text.count_rows(), dtype=bool)
    masks = _both(is_taken, chosen)
    with output_file(places[0], overwrite=overwrite) as first, output_file(places[1], overwrite=overwrite) as second:
        writers = [
            CellWriter(out, _separator(text, place), names, text.line_end)
            for place, out in zip(places, (first, second), strict=True)
        ]
        begin = 0
        for rows in text.rows(names, _BATCH_ROWS):
            for writer, mask in zip(writers, masks, strict=True):
                writer.write(rows.filter(pa.array(mask[begin : begin + rows.num_rows])))
            begin += rows.num_rows
    left_out = tuple(name for name in text.names if name not in set(names))
    return SplitFiles(is_taken, (int(masks[0].sum()), int(masks[1].sum())), left_out)


def _both(is_taken: npt.NDArray[np.bool_], chosen: Chosen) -> list[npt.NDArray[np.bool_]]:
    """Return which rows go to the first file, and which to the second."""
    if len(is_taken) and not is_taken.any():
        raise TableFileError(
            f"Some rows should have no missing values, but all {len(is_taken):,} have some: leave out a column."
        )
    is_second = np.zeros(len(is_taken), dtype=bool)
    is_second[is_taken] = chosen(int(is_taken.sum()))
    return [is_taken & ~is_second, is_second]


def write_filled(
    source: StrPath,
    place: str | Path,
    draws: Draws,
    schema: Schema,
    *,
    number: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write a table file, in its format, with gaps in the columns of a schema filled from complete rows of its order.

    Columns that the schema does not have are copied, with their gaps. With `number`, the file has as many copies of the
    rows as there are draws, and a first column of this name that numbers them from 1; without, there is one draw.
    Raises TableFileError; also if the source has a column named `number`, and if `place` exists and `overwrite` is
    False.
    """
    with files_of(source) as (file, *_):
        _refuse_other_format(file, place)
    with files_of(source) as (file, *_), output_file(place, overwrite=overwrite) as out:
        if file.form.kind == "parquet":
            parquet = ParquetFile(file)
            rows = parquet.read(parquet.names)
            filled_rows = _filled(rows, _places(parquet.names, schema), draws, schema.as_arrow(), number)
            write_any(out, file.form, pa.concat_tables(filled_rows))
            return
        text = TextFile(file)
        writer = CellWriter(out, _separator(text, place), [*([number] if number else []), *text.names], text.line_end)
        selection = Selection.of_schema(schema, only=True)
        types, _ = find_types([text], selection.names(text.names), selection, lambda *_: None)
        not_ours = {name for name, of_column in types.items() if not of_column.is_ours}
        places = _places(text.names, schema)
        rows = pa.concat_tables(text.rows(text.names, _BATCH_ROWS, [text.names[place] for place in places]))
        for filled in _filled(rows, places, draws, as_written(schema.as_arrow()), number, not_ours):
            writer.write(pa.table([column.cast(pa.string()) for column in filled.columns], filled.column_names))


def _separator(text: TextFile, place: StrPath) -> str:
    """Return what separates the cells of a text that is written to a place as another of its format."""
    form = format_of(place)
    return text.sep if form.delimiter == text.file.form.delimiter else form.delimiter


def _filled(
    rows: pa.Table,
    places: Sequence[int],
    draws: Draws,
    schema: Schema,
    number: str | None,
    anew: Collection[str] = (),
) -> Iterator[pa.Table]:
    """Yield the rows, for each draw, with the gaps filled in the columns of a schema, which have these places.

    All cells of the columns `anew`, in which numbers or dates are written otherwise, are written anew.
    """
    if number is not None and number in rows.column_names:
        raise TableFileError(f"Draws are numbered in a column {shown(number)}, but the table has one: rename it.")
    for m, values in enumerate(draws, 1):
        table, completed = rows, from_values(values, schema)
        for place, new in zip(places, completed.columns, strict=True):
            name = rows.column_names[place]
            column = new if name in anew else _completed(rows.column(place), new)
            table = table.set_column(place, rows.schema.field(place).with_type(column.type), column)
        yield table if number is None else table.add_column(0, number, pa.array(np.full(len(values), m)))


def _completed(old: pa.ChunkedArray, new: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column with its missing values, null or NaN, replaced by those of a completed one, in its type.

    Integers become floats where the completed ones are, and further categories come last.
    """
    gaps = missing_in(old)
    if not gaps.any():
        return old
    of_type = old.type.value_type if pa.types.is_dictionary(old.type) else old.type
    if pa.types.is_null(of_type) or (pa.types.is_integer(of_type) and pa.types.is_floating(new.type)):
        of_type = new.type
    filled = pc.if_else(pa.array(gaps), new.cast(of_type), old.cast(of_type))
    if not pa.types.is_dictionary(old.type):
        return filled
    of_column = old.unify_dictionaries().chunk(0).dictionary
    more = filled.unique().filter(pc.invert(pc.is_in(filled.unique(), value_set=of_column)))
    categories = pa.concat_arrays([of_column, more])
    codes = pc.index_in(filled.combine_chunks(), value_set=categories).cast(old.type.index_type)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, categories, ordered=old.type.ordered)])


def _places(names: Sequence[str], schema: Schema) -> list[int]:
    """Return the places of a schema's columns among those of a file, by name, or in order without names."""
    if schema.columns is None:
        return list(range(schema.n_columns))
    place = {unescaped(name): j for j, name in enumerate(names)} | {name: j for j, name in enumerate(names)}
    return [place[name] for name in schema.columns]


def read_labels(path: StrPath, name: str) -> pa.ChunkedArray:
    """Read one column of a table file unchanged: from text files as text, from Parquet in its own type.

    In text no cell is a missing value: "NA" may be an identifier, and an empty cell is the empty text.
    Raises TableFileError; also if there is no such column.
    """
    with files_of(path) as (file, *_):
        opened = ParquetFile(file) if file.form.kind == "parquet" else TextFile(file)
        if name not in opened.names:
            raise TableFileError(
                f"{file.label}: The column {shown(name)} should be in the file, but is not; there are "
                f"{listed(map(shown, opened.names))}."
            )
        if isinstance(opened, ParquetFile):
            return opened.read([name])[name]
        chunks = [chunk for rows in opened.rows([name], _BATCH_ROWS) for chunk in rows[name].chunks]
        return pa.chunked_array(chunks, type=pa.string())


def write_labelled(path: str | Path, rows: pa.Table, *, overwrite: bool = False) -> None:
    """Write a table of any types in the format that the suffix names; "-" is CSV to standard output.

    Raises TableFileError; also if the file exists and `overwrite` is False.
    """
    with output_file(path, overwrite=overwrite) as file:
        write_any(file, format_of(path), rows)
