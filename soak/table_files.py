"""Table files: cut off, changed and made up to harm; and CSV headers that a spreadsheet would run."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from backwalk.errors import TableFileError
from backwalk.table import (
    Schema,
    Selection,
    Table,
    as_table,
    facts_of_columns,
    read_part,
    read_table,
    write_table,
)
from backwalk.table.file_blocks import ParquetFiles, Source, TextFiles
from backwalk.table.one_pass import TablePass
from backwalk.table.sources import table_files
from soak.campaign import outcome_of
from soak.children import guarded
from soak.material import mutated
from soak.parquet_files import LIST, STRUCT, parquet_file, parquet_of_zeros, struct

SUFFIXES = (".csv", ".tsv.gz", ".parquet", ".npy")
_TABLE = pa.table({"a": np.linspace(-1.0, 1.0, 12), "count": list(range(12)), "flag": [True, False] * 6})


@cache
def whole(suffix: str) -> bytes:
    """Return a sound file, whose damages are tried."""
    if suffix == ".npy":
        file = io.BytesIO()
        np.save(file, as_table(_TABLE).values)
        return file.getvalue()
    if suffix == ".parquet":
        return _arrow_file(_TABLE.drop_columns(["flag"]))
    text = b'"a","count","flag"\n' + b"".join(
        b"%.3f,%d,%s\n" % (i / 7, i, (b"true", b"false")[i % 2]) for i in range(12)
    )
    return text if suffix == ".csv" else gzip.compress(text.replace(b",", b"\t"), mtime=0)


def truncated(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of files cut off after every byte (or at n places)."""
    del seed
    cuts = [(suffix, length) for suffix in SUFFIXES for length in range(len(whole(suffix)))]
    chosen = [cuts[i] for i in np.unique(np.linspace(0, len(cuts) - 1, min(n, len(cuts))).astype(int))]
    yield from guarded([partial(check, folder, suffix, lambda s=suffix, k=k: whole(s)[:k]) for suffix, k in chosen])


def csv_mutations(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of CSV files in which a few bytes are others."""
    yield from _mutations(n, seed, folder, ".csv")


def parquet_mutations(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of Parquet files in which a few bytes are others."""
    yield from _mutations(n, seed, folder, ".parquet")


def compressed_mutations(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of compressed TSV files in which a few bytes are others."""
    yield from _mutations(n, seed, folder, ".tsv.gz")


def npy_mutations(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of NumPy files in which a few bytes are others."""
    yield from _mutations(n, seed, folder, ".npy")


def hostile(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of files in other encodings, with strange line ends, too large, or promising too much."""
    del seed
    made = [
        (suffix, make()) for suffix, make in islice(ALL_HOSTILE * n, n)
    ]  # here: cases are given seconds to read alone
    yield from guarded([partial(check, folder, suffix, partial(bytes, data), any_size=False) for suffix, data in made])


def csv_headers(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of headers that begin with a formula's sign: escaped by default, and numbers never touched."""
    rng = np.random.default_rng(seed)
    signs = ["=", "+", "-", "@", "\uff1d", "\uff20", "\t", "\r", "\n", ""]
    for i in range(n):
        sign, escape = signs[i % len(signs)], i // len(signs) % 2 == 0
        yield outcome_of(partial(_escaped, folder / f"{i}.csv", sign, escape, rng))


def _mutations(n: int, seed: int, folder: Path, suffix: str) -> Iterator[str]:
    def make(i: int) -> bytes:
        return mutated(whole(suffix), np.random.default_rng([seed, i]))

    yield from guarded([partial(check, folder, suffix, partial(make, i)) for i in range(n)])


def check(folder: Path, suffix: str, make: Callable[[], bytes], *, any_size: bool = True) -> None:
    """Check that a file is refused in one line, or read as a table that passes every check, in every way to read it.

    One way, which takes files of `any_size`, is not tried with those that unpack without end: it has no limit of time.
    """
    path = folder / f"file{suffix}"
    path.write_bytes(make())
    facts = _refused_or_made(path, lambda: facts_of_columns(path)[1])
    dropped = (facts[0]["name"],) if facts and len(facts) > 1 and suffix != ".npy" else ()
    for ask, is_complete in (
        (lambda: read_part(path, Selection(drop=dropped, complete=True)).table, True),
        (lambda: read_table(path), False),
        *(
            []
            if suffix == ".npy" or not any_size
            else [(lambda: _read_in_blocks(path, Selection(drop=dropped, complete=True)), True)]
        ),
    ):
        table = _refused_or_made(path, ask)
        if table is not None:
            assert table.values.ndim == 2
            assert table.values.size > 0
            assert not np.isinf(table.values).any()
            assert not is_complete or table.observed.all()
            np.testing.assert_array_equal(table.schema.clipped(table.values), table.values)
        del table


def _read_in_blocks(path: Path, selection: Selection) -> Table:
    """Return the table of a file that is read as those larger than memory are."""
    files, memory = table_files(path), 2**27
    source: Source = (
        ParquetFiles(files, selection, memory)
        if path.suffix == ".parquet"
        else TextFiles(files, selection, memory, lambda *_: None)
    )
    return TablePass(source, files, selection, 10**6, memory, lambda _: lambda *_: None).run().table


def _refused_or_made(path: Path, ask: Callable[[], Any]) -> Any:
    """Return what is made of a file, or None where it is refused as every bad file should be."""
    try:
        return ask()
    except TableFileError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
        assert len(str(error)) < 1000
        assert "memory" not in str(error), f"2 GiB were not enough: {error}"  # the children's limit, see `guarded`
        return None


def _bomb(n_rows: int, n_columns: int = 1) -> bytes:
    file = io.BytesIO()
    column = pa.chunked_array([pa.repeat(1.0, 2**20)] * (n_rows // 2**20))
    pyarrow.parquet.write_table(
        pa.table({f"c{j}": column for j in range(n_columns)}), file, compression="zstd", row_group_size=2**24
    )
    return file.getvalue()


def _arrow_file(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file)
    return file.getvalue()


def _texts() -> bytes:
    """A few bytes that stand for a long text in millions of rows, beside numbers under a name that means both."""
    words = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), 2**22), ["x" * 10_000])
    return _arrow_file(pa.table({"a.b": pa.repeat(1.0, 2**22), "a": pa.StructArray.from_arrays([words], ["b"])}))


def _long_levels() -> bytes:
    """A few bytes that stand for a long text in millions of rows."""
    levels = pa.array(["x" * 10_000, "y" * 10_000])
    indices = pa.array(np.arange(2**22) % 2, pa.int32())
    return _arrow_file(pa.table({"a": pa.DictionaryArray.from_arrays(indices, levels)}).replace_schema_metadata({}))


def _deep_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((1, 1, 2**22), dtype=np.uint8))
    return file.getvalue()


def _zeros(**changes: Any) -> bytes:
    sizes = {"n_columns": 4, "n_rows": 100, "page_bytes": 2**31 - 2**20, "claimed_bytes": 900}
    return parquet_of_zeros(**{**sizes, **changes})


_WIDE = ",".join(f"c{j}" for j in range(100_000)).encode()
HOSTILE: list[tuple[str, Callable[[], bytes]]] = [
    (".csv", lambda: whole(".csv").decode().encode("utf-16")),
    (".csv", lambda: whole(".csv").decode().encode("utf-16-be")),
    (".csv", lambda: "größe,b\n1,2\n3,4\n".encode("latin-1")),
    (".csv", lambda: b"\xef\xbb\xbf" + whole(".csv")),
    (".csv", lambda: whole(".csv").replace(b"\n", b"\r\n", 5).replace(b"\n", b"\r", 2)),
    (".csv", lambda: whole(".csv").replace(b"1", b"\0")),
    (".csv", lambda: b"a\n1e400\n-1e400\n"),
    (".csv", lambda: b"a\n0x10\n1_000\n"),
    (".csv", lambda: b"a\nNaN\nnull\n#N/A\n"),
    (".csv", lambda: bytes(range(256)) * 100),
    (".csv", lambda: b"a\n12345678901234567890\n"),
    (".csv", lambda: b"a\n0xFFFFFFFFFFFFFFFF\n1\n2\n"),
    (".csv.gz", lambda: whole(".csv")),
    (".tsv.gz", lambda: whole(".tsv.gz") * 2),
    (".parquet", lambda: b"PAR1" + b"\xff" * 100 + (2**31 - 1).to_bytes(4, "little") + b"PAR1"),
    (".parquet", lambda: b"PAR1PAR1"),
    (".parquet", lambda: _arrow_file(pa.table({"a": [[1.0]] * 3}))),
    (".parquet", lambda: _arrow_file(pa.table({"a": [{"x": 1.0}] * 3}))),
    (".parquet", lambda: _arrow_file(pa.table({"a": ["x"] * 3}))),
    (".parquet", lambda: _arrow_file(pa.table({"a": pa.array([2**62, 5], pa.timestamp("us"))}))),
    (".csv", lambda: b'a,b\n0001-01-01,x\n9999-12-31 23:59:59.999999999,""\n'),
    (".csv", lambda: "a,b\n'=1,'\n'NA,\ufeff\n".encode()),
    (".parquet", lambda: _arrow_file(pa.table({"a": pa.array([1, None, 3])}))),
    (".parquet", lambda: _arrow_file(pa.table({"a": pa.array([], pa.float64())}))),
    (".parquet", lambda: _arrow_file(pa.table({}))),
    (".npy", lambda: whole(".npy").replace(b"(12, 3)", b"(9999999999, 3)")),
    (".npy", lambda: whole(".npy").replace(b"(12, 3)", b"(%d, 3)" % 2**63)),
    (".npy", lambda: whole(".npy").replace(b"'<f8'", b"'|O' ")),
    (".npy", lambda: whole(".npy").replace(b"'<f8'", b"'<c8'")),
    (".npy", lambda: b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{" * 1000),
    (".npy", lambda: b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535),
    (".npy", lambda: b"PK\x03\x04" + b"\0" * 100),
    (".npy", lambda: whole(".npy").replace(b"'<f8'", b"'|S268435456'").replace(b"(12, 3)", b"(1, 1)")),
    (".npy", lambda: whole(".npy").replace(b"(12, 3)", b"(-4, -9)")),
]
# Files that take seconds to make, or to read.
BOMBS: list[tuple[str, Callable[[], bytes]]] = [
    (".csv", lambda: _WIDE + b"\n" + b",".join([b"1"] * 100_000) + b"\n"),
    (".csv", lambda: _WIDE),
    (".csv", lambda: b"a\n" + b"1" * 10_000_000 + b"\n"),
    (".csv", lambda: b"a\n" + b'"' + b"1\n" * 1_000_000),
    (".csv", lambda: b"," * 5_000_000 + b"\n"),
    (".csv", lambda: b"\n" * 5_000_000),
    (".csv", lambda: b"a,b\n" + b"1,2\n" * 2_000_000),
    (".csv", lambda: b"a\n" + b"1\n2,3\n" * 100_000),
    (".csv", lambda: b"a\n1\n" + b"\n" * 10_000_000 + b"2\n"),
    (".csv", lambda: b"a,b\n" + b"1,2\n" * 5_000_000 + b"x,2\n"),
    (".csv", lambda: b"a,b\n" + b'"1","2"\n' * 2_000_000),
    (".csv", lambda: b"a,b\n" + b'1,5" pipe\n' * 500_000),
    (".csv.gz", lambda: gzip.compress(b"a\n" + b"1\n" * 10_000_000, 1)),
    (".csv.gz", lambda: gzip.compress(gzip.compress(b" " * 2**30, 1) * 2, 1)),
    (".tsv.gz", lambda: gzip.compress(b"\n" * (2**30 + 1), 1)),
    (".npy", _deep_array),
    (".parquet", _texts),
    (".parquet", _long_levels),
    (".parquet", lambda: _arrow_file(pa.table({"." * 1_000_000: [1.0, 2.0]}))),
    (".parquet", lambda: _arrow_file(pa.table({".".join("a" * 100_000): [1.0, 2.0], "a": [1.0, 3.0]}))),
    (".parquet", lambda: _bomb(2**26)),
    (".parquet", lambda: _bomb(2**28)),
    (".parquet", lambda: _bomb(2**20, 2_000)),
    (".parquet", _zeros),
    (".parquet", lambda: _zeros(n_columns=1, page_bytes=2**30 - 2**10)),
    (".parquet", lambda: _zeros(n_columns=1000, page_bytes=2**21)),
    (".parquet", lambda: _zeros(n_rows=2**31 - 1)),
    (".parquet", lambda: parquet_file(b"", struct([(4, LIST, (STRUCT, [[]] * 2**21))]))),
    (".parquet", lambda: parquet_file(b"", b"\xff" * (2**25 + 1))),
    (".parquet", lambda: parquet_file(b"", b"\x1c" * 10_000_000)),
    (".csv", lambda: b'"\n"' + b",c" * 1_000_000 + b"\n1\n"),
    (".csv", lambda: b"a,b\n" + b",\n" * 1_000_000),
]
ALL_HOSTILE = [*BOMBS, *HOSTILE]


def _escaped(path: Path, sign: str, escape: bool, rng: np.random.Generator) -> None:
    header = f"{sign}{rng.choice(['1+1', 'cmd|x', 'A1', ' x', '2'])}"
    values = -np.abs(rng.normal(size=(3, 2)))
    write_table(path, Table(values, Schema((header, "b=c"), ("float64",) * 2, "pandas")), escape_formulas=escape)
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found = pyarrow.csv.read_csv(path, parse_options=options)
    assert found.column_names == [f"'{header}" if sign and escape else header, "b=c"]
    np.testing.assert_array_equal(np.column_stack([column.to_numpy() for column in found.columns]), values)
