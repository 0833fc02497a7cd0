"""Read whole tables: a file, or the files of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import listed, one_line
from backwalk.table.formats import refuse_large
from backwalk.table.frame import Table
from backwalk.table.reading import Columns, checked, made_of_file, read_part
from backwalk.table.schema import shown
from backwalk.table.selection import Selection
from backwalk.table.sources import table_files


def read_table(path: str | Path) -> Table:
    """Read a table file, or a folder of such files, and check it.

    The suffix names the format: `.csv` (UTF-8, commas, a header line), `.tsv` (tabs), either followed by `.gz`,
    `.parquet` or `.npy`; "-" is CSV from standard input. Text and Parquet give a table of kind "pyarrow", in which
    columns of whole numbers are integers. In text, a column has the first type that fits all of its cells: integers,
    truth values, floats, dates, times, texts; empty cells and those like NA are missing values. Codes of digits, with
    leading zeros such as 00501 or of 7 digits or more with a plus, are texts. Headers and texts that `write_rows`
    escaped are restored. The files of a folder are one table, in the order of their names; names that begin with _ or a
    dot are left out. Raises TableFileError.
    """
    if not Path(path).is_dir():
        return read_part(path, Selection()).table
    files = [file.path for file in table_files(path)]
    if len(files) == 1:
        return read_part(files[0], Selection()).table
    parts = [made_of_file(file, Selection(), lambda native, _: native) for file in files]
    try:
        return checked(_joined(parts), {}, selection=Selection()).table
    except (InvalidInput, TableFileError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TableFileError(f"{path}: {one_line(error)}.") from error


def _joined(parts: Sequence[Columns]) -> Columns:
    """Return the rows of several files together; a column has a type that holds those of all files."""
    first = parts[0]
    tables = [part.rows for part in parts if isinstance(part.rows, pa.Table)]  # arrays are never several
    for table in tables:
        if set(table.column_names) != set(tables[0].column_names):
            other = listed(map(shown, sorted(set(table.column_names) ^ set(tables[0].column_names))))
            raise TableFileError(f"Files of one table should have the same columns, but differ in {other}: move some.")
    refuse_large(sum(table.num_rows for table in tables) * tables[0].num_columns, tables[0].num_columns)
    rows = pa.concat_tables(
        [table.select(tables[0].column_names) for table in tables], promote_options="permissive"
    ).unify_dictionaries()
    return Columns(rows, first.types, first.is_text)
