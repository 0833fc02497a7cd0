"""Table files as relations: Parquet read where it lies, and text converted once into a table of DuckDB.

The columns become numbers in the codes and units of one schema, whatever rows show them. What no model can use is
refused, with its row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from backwalk import limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.formatting import byte_words, listed
from backwalk.table.arrays import rounded_words
from backwalk.table.database import connect, explained, place_of
from backwalk.table.dtypes import arrow_type, has_labels, is_time, numpy_dtype, stored_unit
from backwalk.table.files import SourceFile, faults_of, refuse_large, refuse_unfit
from backwalk.table.parquet_files import ParquetFile
from backwalk.table.relation import Relation
from backwalk.table.schema import PER_DAY, Schema, shown
from backwalk.table.selection import Selection, almost_numbers
from backwalk.table.text_files import TextFile, find_types
from backwalk.table.values import refuse_many_levels

if TYPE_CHECKING:
    import duckdb

Watch: TypeAlias = Callable[[str, float, str], object]
"""Is called with an activity, the share of it that is done, and a few words."""

_BYTES_A_LABEL = 150
_EXACT = 2**53
_SURELY_MORE = 2 * limits.LEVELS_OF_A_PASS  # texts, by DuckDB's estimate, which errs by an eighth


def ignore(*_: object) -> None:
    """Watch nothing."""


def label_of(files: Sequence[SourceFile]) -> str:
    """Return how messages call some files."""
    return files[0].label + (f" and {len(files) - 1:,} more" if len(files) > 1 else "")


def watched(watch: Watch, activity: str, files: Sequence[SourceFile], n_rows: int = 0) -> Callable[[int, int], object]:
    """Return what tells `watch` the progress of reading files, by the bytes, or by the rows of `n_rows`."""
    total = sum(file.n_bytes for file in files)

    def seen(rows: int, n_bytes: int) -> None:
        share = min(rows / n_rows if n_rows else n_bytes / max(total, 1), 1.0)
        watch(activity, share, f"{rows:,} rows, {byte_words(round(share * total))} of {byte_words(total)}")

    return seen


@dataclass(frozen=True, eq=False)
class Source:
    """Files of one table in DuckDB: the view `native`, with `row`, the number of a row, and the columns n0, n1, ...

    - `names`, `types`: the columns that are read, and the types that they have for their user.
    - `left_out`: the names and the types of the other columns.
    - `categories`: of columns of categories, these in their order.
    """

    connection: duckdb.DuckDBPyConnection
    files: Sequence[SourceFile]
    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    left_out: Mapping[str, str]
    n_rows: int
    categories: Mapping[str, Sequence[str]]
    is_text: bool
    memory: int

    def refuse_changed(self) -> None:
        """Raise TableFileError if a Parquet file has changed; text was converted."""
        for file in () if self.is_text else self.files:
            file.refuse_changed()


def open_source(
    files: Sequence[SourceFile],
    selection: Selection,
    *,
    memory: int = limits.MEMORY,
    limited: bool = False,
    watch: Watch = ignore,
) -> Source:
    """Open files of one table. Raises TableFileError for columns that no model can be fitted to."""
    connection = connect(memory)
    if files[0].form.kind == "parquet":
        source = _open_parquet(connection, files, selection, memory)
    else:
        source = _open_text(connection, files, selection, memory, watched(watch, "finding types", files))
    with faults_of(label_of(files)):
        refuse_large(source.n_rows * len(source.names) if limited else 0, len(source.names))
        if not source.n_rows:
            raise TableFileError("A table should have rows, but has none: give some")
    return source


def _open_parquet(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[SourceFile],
    selection: Selection,
    memory: int,
) -> Source:
    parquets, types = [ParquetFile(file) for file in files], dict[str, pa.DataType]()
    for file, parquet in zip(files, parquets, strict=True):
        with faults_of(file.label):
            own = {name: parquet.schema.field(name).type for name in selection.names(parquet.names)}
            if not own:
                raise TableFileError("A table should have at least one column, but has none: give some.")
            refuse_unfit(own)
            _refuse_other_columns(own, types or own, files[0])
            types = {name: _wider(types.get(name, of_type), of_type) for name, of_type in own.items()} if types else own
    names = list(parquets[0].schema.names)
    by_name = ", union_by_name = true" if any(list(each.names) != names for each in parquets) else ""
    aliases = [f"p{i}" for i in range(len(names))]
    places = ", ".join(place_of(file.path) for file in files)
    scan = f"read_parquet([{places}], hive_partitioning = false{by_name}) AS t({', '.join(aliases)})"
    if by_name:
        types = {name: types[name] for name in names if name in types}
    cells = (_native(f"p{names.index(name)}", of_type) for name, of_type in types.items())
    selected = ", ".join(f"{cell} AS n{i}" for i, cell in enumerate(cells))
    with faults_of(label_of(files)), explained():
        connection.execute(
            f"CREATE VIEW native AS SELECT row_number() OVER () - 1 AS row, 1 AS w, {selected} FROM {scan}"
        )
    categories = {
        name: list(dict.fromkeys(label for parquet in parquets for label in parquet.categories(name)))
        for name, of_type in types.items()
        if pa.types.is_dictionary(of_type)
    }
    left_out = {field.name: str(field.type) for field in parquets[0].schema if field.name not in types}
    n_rows = sum(parquet.n_rows for parquet in parquets)
    return Source(connection, files, tuple(types), tuple(types.values()), left_out, n_rows, categories, False, memory)


def _native(cell: str, of_type: pa.DataType) -> str:
    """Return the expression of a column of Parquet, in which NaN is a missing value."""
    if pa.types.is_null(of_type):
        return "NULL::DOUBLE"
    return f"nullif({cell}::DOUBLE, 'nan'::DOUBLE)" if pa.types.is_floating(of_type) else cell


def _open_text(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[SourceFile],
    selection: Selection,
    memory: int,
    seen: Callable[[int, int], object],
) -> Source:
    texts, names = list[TextFile](), list[str]()
    for file in files:
        texts.append(TextFile(file, connection))
        with faults_of(file.label):
            own = selection.names(texts[-1].names)
            names = names or own
            _refuse_other_columns(dict.fromkeys(own), dict.fromkeys(names), files[0])
            refuse_large(0, len(texts[-1].names))
    with faults_of(label_of(files)):
        types, n_rows = find_types(texts, names, selection, seen)
    for i, text in enumerate(texts):
        begin = "INSERT INTO texts" if i else "CREATE TABLE texts AS"
        with faults_of(text.file.label):
            try:
                with explained():
                    connection.execute(f"{begin} {text.typed(types)}")
            except TableFileError:
                text.file.refuse_changed()
                text.refuse_cells(types, sum(n_rows[:i]))
                raise
            text.file.refuse_changed()
    floats = [i for i, column in enumerate(types.values()) if column.name == "float"]
    is_far = " OR ".join(f"abs(n{i}) >= {_EXACT}" for i in floats)
    if floats and connection.execute(f"SELECT bool_or({is_far}) FROM texts").fetchone() == (True,):
        for i, text in enumerate(texts):
            with faults_of(text.file.label):
                text.refuse_cells(types, sum(n_rows[:i]))
    connection.execute("CREATE VIEW native AS SELECT rowid AS row, 1 AS w, * FROM texts")
    left_out = {name: "not read" for name in texts[0].names if name not in set(names)}
    of_types = tuple(column.type for column in types.values())
    return Source(connection, files, tuple(names), of_types, left_out, sum(n_rows), {}, True, memory)


def relation_of(source: Source, selection: Selection, *, keeps_all_labels: bool = True) -> Relation:
    """Return the rows of files as numbers, in the codes and units that all rows show.

    Raises TableFileError and InvalidInput.
    """
    rows, d = "native", len(source.names)
    if selection.complete:
        rows = f"(SELECT * FROM native WHERE {' AND '.join(f'n{i} IS NOT NULL' for i in range(d))})"
    native = Relation(
        source.connection, _nameless(d), source.n_rows, 0.0, rows, (), refuse_changed=source.refuse_changed
    )
    ((n_rows,),) = native.query("count(*)")
    if not n_rows:
        gaps = zip(source.names, _gaps(replace(native, source="native"), d), strict=True)
        raise TableFileError(
            f"Some rows should have no missing values, but all {source.n_rows:,} have some, in "
            f"{listed(f'{shown(name)} ({n:,})' for name, n in gaps if n)}: leave out a column"
        )
    cells, labels, units, lost = list[str](), list[tuple[str, ...] | None](), list[str | None](), set[int]()
    _refuse_inexact(native, source)
    for i, (name, of_type) in enumerate(zip(source.names, source.types, strict=True)):
        labels.append(None)
        units.append(None)
        if has_labels(of_type):
            labels[i] = _labels(native, source, i, selection, keeps_all=keeps_all_labels)
            if labels[i] is None:
                lost.add(i)
                labels[i] = ()
            cells.append(f"CAST(enum_code(CAST(n{i} AS labels{i})) AS DOUBLE)" if labels[i] else "NULL::DOUBLE")
            refuse_many_levels(sum(len(each or ()) for each in labels))
        elif is_time(of_type):
            units[i], cell = _unit(native, i, of_type, name)
            cells.append(cell)
        else:
            cells.append(f"CAST(n{i} AS DOUBLE)")
    schema = Schema(source.names, tuple(map(_dtype, source.types)), "pyarrow", tuple(labels), tuple(units))
    return replace(native, schema=schema, n_rows=n_rows, weight=float(n_rows), cells=tuple(cells), lost=frozenset(lost))


def _nameless(d: int) -> Schema:
    return Schema(None, ("float64",) * d, "numpy")


def _dtype(of_type: pa.DataType) -> str:
    """Return the name by which a schema calls a type."""
    if pa.types.is_decimal(of_type) and arrow_type(str(of_type), "pyarrow") is None:
        return "float64"
    return "float64" if pa.types.is_null(of_type) else numpy_dtype(str(of_type)) or str(of_type)


def _gaps(native: Relation, d: int) -> list[int]:
    (found,) = native.query(", ".join(f"count(*) - count(n{i})" for i in range(d)))
    return list(found)


def _refuse_inexact(native: Relation, source: Source) -> None:
    """Raise InvalidInput for the first infinite number, and for the first integer that float64 rounds."""
    conditions = dict[int, str]()
    for i, of_type in enumerate(source.types):
        if pa.types.is_floating(of_type):
            conditions[i] = f"isinf(n{i})"
        elif pa.types.is_integer(of_type) and of_type.bit_width == 64:
            conditions[i] = f"abs(n{i}::HUGEINT) > {_EXACT} AND n{i}::DOUBLE::HUGEINT <> n{i}::HUGEINT"
    for i, (n, row) in native.broken(conditions).items():
        if n:
            ((value,),) = native.query(f"n{i}", f"WHERE row = {row}")
            label = f"column {shown(source.names[i])}"
            if pa.types.is_integer(source.types[i]):
                raise InvalidInput(rounded_words(value, f"row {row}, {label}", "the table"))
            such = f"; {n:,} rows have such numbers" if n > 1 else ""
            raise InvalidInput(
                f"the table should hold finite numbers, but got {value} at row {row}, {label} (rows count from "
                f"0){such}: give a finite number, or drop the row."
            )


def _labels(
    native: Relation, source: Source, i: int, selection: Selection, *, keeps_all: bool
) -> tuple[str, ...] | None:
    """Return the labels of a column, as a type of DuckDB too, or None if they are too many.

    Raises TableFileError for a column of numbers with other cells.
    """
    name, connection = source.names[i], source.connection
    ((n_estimated,),) = native.query(f"approx_count_distinct(n{i})") if not keeps_all else ((0,),)
    if n_estimated > _SURELY_MORE:
        return None
    with explained():
        connection.execute(
            f"CREATE TABLE texts{i} AS SELECT n{i} AS label, count(*) AS n, min(row) AS first FROM {native.source} "
            f"WHERE n{i} IS NOT NULL GROUP BY 1 ORDER BY 1"
        )
        ((n, n_bytes),) = connection.execute(
            f"SELECT count(*), coalesce(sum(strlen(label)), 0) FROM texts{i}"
        ).fetchall()
    native.refuse_changed()
    if n > limits.LEVELS_OF_A_PASS and not keeps_all:
        return None
    n_bytes += _BYTES_A_LABEL * n
    if n_bytes > source.memory / 4:
        raise TableFileError(
            f"Texts should take at most a quarter of the memory, {byte_words(source.memory // 4)}, but take "
            f"{byte_words(n_bytes)}, with {n:,} different ones in {shown(name)}: leave it out (--drop), or give more "
            "memory (--memory)."
        )
    refuse_many_levels(n)
    found: Any = connection.sql(f"SELECT * FROM texts{i}").to_arrow_table()
    labels = found["label"].to_pylist()
    if name in source.categories:
        labels = list(dict.fromkeys([*source.categories[name], *labels]))
    elif name not in selection.texts:
        words = almost_numbers(labels, found["n"].to_numpy(), found["first"].to_numpy(), of_text_file=source.is_text)
        as_texts = f"or take the column as one of texts (--column {shown(name)}=levels on the command line)"
        if words:
            raise TableFileError(f"Column {shown(name)} should hold numbers, but {words}, {as_texts}")
    if labels:
        connection.register("labels", pa.table({"label": pa.array(labels, pa.string())}))
        connection.execute(f"CREATE TYPE labels{i} AS ENUM (SELECT label FROM labels)")
        connection.unregister("labels")
    connection.execute(f"DROP TABLE texts{i}")
    return tuple(labels)


def _unit(native: Relation, i: int, of_type: pa.DataType, name: str) -> tuple[str, str]:
    """Return the coarsest unit that is exact for all times of a column, and the expression of its numbers."""
    if pa.types.is_date32(of_type):
        return "D", f"CAST(n{i} - DATE '1970-01-01' AS DOUBLE)"
    stored, per_second = stored_unit(of_type)
    is_duration = pa.types.is_duration(of_type)
    if stored == "ns":  # finer than float64 can hold for today's dates
        ticks, per_second = f"microseconds({f'n{i}' if is_duration else f'epoch_ns(n{i})'})", 10**6
    else:
        ticks, per_second = (f"n{i}", per_second) if is_duration else (f"epoch_us(n{i})", 10**6)
    steps = {unit: int(per_second * PER_DAY["s"] / per_day) for unit, per_day in PER_DAY.items()}
    steps = {unit: step for unit, step in steps.items() if step and not (unit == "D" and pa.types.is_time(of_type))}
    (found,) = native.query(", ".join(f"bool_and({ticks} % {step} = 0)" for step in steps.values()))
    unit = next(unit for unit, is_exact in zip(steps, found, strict=True) if is_exact is not False)
    numbers = f"({ticks} // {steps[unit]})"
    n, row = native.broken({0: f"abs({numbers}) > {_EXACT}"})[0]
    if n:
        ((value,),) = native.query(f"n{i}", f"WHERE row = {row}")
        raise InvalidInput(
            f"Times should be exact in float64, but column {shown(name)} has {value} at row {row} (rows count from 0), "
            f"which is not in the unit {unit} that the column needs: round it, or empty such cells."
        )
    return unit, f"CAST({numbers} AS DOUBLE)"


def _refuse_other_columns(here: Mapping[str, object], first: Mapping[str, object], file: SourceFile) -> None:
    """Raise TableFileError unless a file has the columns of the `first` one, `file`, of the same types."""
    for some, others, words in (
        (here, first, "has a column {} that {} lacks"),
        (first, here, "lacks the column {} of {}"),
    ):
        missing = [name for name in some if name not in others]
        if missing:
            raise TableFileError(
                f"Files of one table should have the same columns, but this one "
                f"{words.format(listed(map(shown, missing)), file.label)}: leave it out, or give it a table of its own."
            )
    for name, of_type in here.items():
        if of_type != first[name] and _wider(of_type, first[name]) is None:
            raise TableFileError(
                f"Columns should have one type in all files, but {shown(name)} is {of_type} here and {first[name]} in "
                f"{file.label}: write them with one schema."
            )


def _wider(a: object, b: object) -> pa.DataType | None:
    """Return the type of two that holds both: one with as many indices for the same categories; None if none does."""
    if a == b:
        return a
    if not (isinstance(a, pa.DictionaryType) and isinstance(b, pa.DictionaryType)):
        return None
    wider = a if a.index_type.bit_width >= b.index_type.bit_width else b
    alike = a.value_type == b.value_type and a.ordered == b.ordered
    return wider if alike and not a.ordered else None
