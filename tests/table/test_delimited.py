"""Text in blocks: the same table as at once, in memory that does not grow with the file."""

import gzip
import io
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table import Selection, delimited, facts_of_columns, read_part, read_table
from backwalk.table.delimited import DelimitedText
from backwalk.table.typed_text import read_columns
from soak.children import forked, left
from soak.material import resident

CELLS = [
    ["1", "2", "-3"],
    ["0", "1"],
    ["true", "false", "1", "0"],
    ["1.5", "2", "1e3", " 4"],
    ["", "NA", "3"],
    ["", ""],
    ["x", "y", "7"],
    ["2020-01-01", "2021-02-03"],
    ['"a,b"', '"q""q"', '5" pipe', 'x"y"z'],
    ['"1"', '"2"', ""],
    ['"l\nb"', '"\r\n"', "b"],
]


def random_text(rng):
    """A table whose columns are of several kinds one after another, so that their types change from block to block."""
    n, columns = rng.randrange(1, 60), []
    for _ in range(rng.randrange(1, 5)):
        kinds = [rng.choice(CELLS) for _ in range(rng.randrange(1, 4))]
        columns.append([rng.choice(kinds[i * len(kinds) // n]) for i in range(n)])
    end = rng.choice(["\n", "\r\n", "\r"])
    lines = [",".join(f"c{j}" for j in range(len(columns))), *map(",".join, zip(*columns, strict=True))]
    return (end.join(lines).rstrip() + rng.choice([end, ""])).encode(), len(columns)


def read_at_once(data, n_columns):
    options = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=n_columns > 1)
    return pyarrow.csv.read_csv(io.BytesIO(data), parse_options=options)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_give_the_table_that_arrow_gives_at_once(monkeypatch, seed):
    rng, n_compared = random.Random(seed), 0
    for _ in range(100):
        data, n_columns = random_text(rng)
        monkeypatch.setattr(delimited, "BLOCK_BYTES", rng.choice([80, 150, 2**20]))
        if data.count(b"\n") + data.count(b"\r") < 2:
            continue
        expected = read_at_once(data, n_columns)
        file = io.BytesIO(data)
        found = read_columns(file, DelimitedText(file, ","), range(n_columns))
        for of_file, of_arrow in zip(found.columns, expected.columns, strict=True):
            cells = of_arrow.to_pylist()
            if pa.types.is_string(of_arrow.type):  # in which only we take these for missing
                cells = [None if cell in ("", "NA") else cell for cell in cells]
            assert (of_file.type, of_file.to_pylist()) == (of_arrow.type, cells)
        text = DelimitedText(io.BytesIO(data), ",")
        rows = [row for block in text.blocks() for row in text.rows(block)]
        assert len(rows) == len(expected)
        assert {len(text.fields(row)) for row in rows} == {n_columns}
        n_compared += 1
    assert n_compared > 80


@pytest.mark.parametrize(
    ("cells", "is_text"),
    [
        (["00501", "02134"], True),
        (["10001", "02134"], True),
        ([" 007 ", "8"], True),
        (["1.5", "007"], True),
        (["+441632960961", "+331995501"], True),
        (["0", "-0", "5"], False),
        (["0.5", "0", "00.5"], False),
        (["1e5", "0e0", "2E+03"], False),
        (["+5", "-3", "+0"], False),
        (["20240105", "4155550123"], False),
    ],
)
@pytest.mark.parametrize("block", [10, 2**20])
def test_digits_that_a_number_would_lose_are_text(monkeypatch, cells, is_text, block):
    """Found by review: zip codes became numbers, and 00501 was written as 501."""
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    data = "\n".join(["a,b", *(f"{cell},1" for cell in cells)]).encode()

    def column(numbers=()):
        file = io.BytesIO(data)
        return read_columns(file, DelimitedText(file, ","), [0], numbers=numbers).column(0)

    assert pa.types.is_string(column().type) is is_text
    if is_text:
        assert column().to_pylist() == cells
    assert column(["a"]).to_pylist() == [float(cell) for cell in cells]


@pytest.mark.parametrize(
    ("suffix", "data", "names", "rows"),
    [
        (".tsv", b"\tx\ty\n0\t1.5\t3\n", ("", "x", "y"), [b"0\t1.5\t3\n"]),
        (".tsv", b"\n  \n\r\n\tx\n0\t1\n", ("", "x"), [b"0\t1\n"]),
        (".csv", b" x,y\n1,2\n", (" x", "y"), [b"1,2\n"]),
        (".csv", b"\xef\xbb\xbf \t\n x\n1\n", (" x",), [b"1\n"]),
    ],
)
def test_white_space_before_the_first_name_stays(tmp_path, suffix, data, names, rows):
    """Found by review: pandas begins a TSV with a tab, which was stripped, so that every column was read shifted."""
    text = DelimitedText(io.BytesIO(data), "\t" if suffix == ".tsv" else ",")
    assert text.names == names
    assert [row for block in text.blocks() for row in text.rows(block)] == rows
    (tmp_path / f"rows{suffix}").write_bytes(data)
    if "" in names:
        with pytest.raises(TableFileError, match=r"''.*without index"):
            read_table(tmp_path / f"rows{suffix}")
        dropped = read_part(tmp_path / f"rows{suffix}", Selection(drop=("",))).table
        assert dropped.columns == names[1:]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"  \n\t", b"\xef\xbb\xbf\r\n"])
def test_a_file_of_white_space_is_empty(data):
    with pytest.raises(TableFileError, match="empty"):
        DelimitedText(io.BytesIO(data), ",")


@pytest.mark.parametrize("suffix", [".csv.gz", ".tsv.gz"])
def test_compressed_text_is_limited_unpacked(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(gzip.compress(b"a\n" + b"1\n" * 500_000))
    assert path.stat().st_size < 3_000
    monkeypatch.setattr(limits, "TABLE_FILE_BYTES", 10**6)
    with pytest.raises(TableFileError, match="at most 1000000 bytes"):
        read_table(path)


@pytest.mark.parametrize("cut", [5, 25, -1])
def test_damaged_compressed_text_is_refused(tmp_path, cut):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2.5\n" * 100)[:cut])
    with pytest.raises(TableFileError, match=r"rows\.csv\.gz"):
        read_table(path)
    path.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(TableFileError, match="Not a gzipped file"):
        read_table(path)


@pytest.mark.parametrize(("suffix", "header", "sign"), [(".tsv", "a,b", "tabs"), (".csv", "a\tb", "commas")])
def test_the_suffix_says_which_sign_separates_cells(tmp_path, suffix, header, sign):
    (tmp_path / f"rows{suffix}").write_text(f"{header}\n1\t2\n")
    with pytest.raises(TableFileError, match=f"separated by {sign}"):
        read_table(tmp_path / f"rows{suffix}")


@pytest.mark.parametrize("block", [20, 2**20])
@pytest.mark.parametrize("cell", ["12345678901234567890", "-9223372036854775809", "9007199254740993"])
def test_a_whole_number_that_a_float_would_round_is_refused(tmp_path, monkeypatch, block, cell):
    """Found by cross-check: it was rounded in silence."""
    monkeypatch.setattr(delimited, "BLOCK_BYTES", block)
    for other in ("1.5", "12345678901234567168"):
        (tmp_path / "rows.csv").write_text(f"id,x\n1,1\n{cell},2\n{other},3\n")
        with pytest.raises(TableFileError, match=rf"'id' has {cell} in row 1"):
            read_table(tmp_path / "rows.csv")
    (tmp_path / "rows.csv").write_text("id\n12345678901234567168\n9223372036854775808\n1e300\n0.5\n")
    assert read_table(tmp_path / "rows.csv").values[:2, 0].tolist() == [12345678901234567168, 2.0**63]


def test_hexadecimal_cells_are_not_numbers(tmp_path):
    """Found by cross-check: 0xFFFFFFFFFFFFFFFF was read as -1."""
    (tmp_path / "rows.csv").write_text("a\n1\n2\n0xFFFFFFFFFFFFFFFF\n")
    with pytest.raises(TableFileError, match="'0xFFFFFFFFFFFFFFFF' at row 2"):
        read_table(tmp_path / "rows.csv")


def test_text_after_blocks_of_numbers_is_as_in_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 40)
    path = tmp_path / "rows.csv"
    path.write_text("zip,x\n" + "".join(f"{i}.50,{i}\n" for i in range(30)) + "K1A,30\n")
    with path.open("rb") as file:
        codes = read_columns(file, DelimitedText(file, ","), [0])["zip"].to_pylist()
    assert codes == [*(f"{i}.50" for i in range(30)), "K1A"]
    assert read_part(path, Selection(drop=("zip",))).table.values[:, 0].tolist() == list(range(31))
    assert "'K1A' at row 30" in facts_of_columns(path)[1][0]["but"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b\n" + b"1,2\n" * 30 + b'"' + b"x" * 500, "most 100 bytes"),
        (b"a,b\n" + b"1,2\n" * 30 + b'3,"4\n', "last row should be closed"),
        (b'"a,b\n1,2\n', "open quotation mark"),
        (b"a,b\n" + b"1,2\n" * 50 + b"3\n" + b"4,5\n" * 20, "Row #52: Expected 2 columns, got 1"),
        (b"a,b\n" + b"1,2\n" * 100 + b"3,\0\n", "UTF-16 or binary"),
    ],
    ids=range(5),
)
def test_faults_beyond_the_first_block_are_told(tmp_path, monkeypatch, data, words):
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 100)
    (tmp_path / "rows.csv").write_bytes(data)
    with pytest.raises(TableFileError, match=words):
        read_table(tmp_path / "rows.csv")


def test_arrow_has_no_threads_and_no_memory_of_python(tmp_path, monkeypatch):
    """Found by cross-check: one of Arrow's threads released a Python object after the interpreter's end, and aborted.

    It happened in 4 to 6 of 60 processes on a loaded machine, too seldom for a test of the process itself.
    """
    read_csv, read, seen = pyarrow.csv.read_csv, pyarrow.parquet.ParquetFile.read, []
    before = pa.total_allocated_bytes()

    def noted(source, read_options, *options):
        size = source.size()
        seen.append((read_options.use_threads, isinstance(source, pa.BufferReader)))
        assert pa.total_allocated_bytes() - before >= size  # in Arrow's own memory
        return read_csv(source, read_options, *options)

    def noted_read(self, columns=None, *, use_threads=True):
        seen.append((use_threads, True))
        return read(self, columns, use_threads=use_threads)

    monkeypatch.setattr(pyarrow.csv, "read_csv", noted)
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "read", noted_read)
    (tmp_path / "rows.csv").write_text("a,b\n" + "1,2\n" * 2**16)
    pyarrow.parquet.write_table(pa.table({"a": [1.0]}), tmp_path / "rows.parquet")
    for name in ("rows.csv", "rows.parquet"):
        read_table(tmp_path / name)
    assert seen == [(False, True)] * 3  # header, rows and Parquet


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from /proc")
def test_text_takes_the_memory_of_its_numbers_and_not_of_its_bytes(tmp_path, monkeypatch):
    """Found by attack: a CSV of 1 GiB took 3.1 to 4.1 GiB. Here 20 MB hold 4 MB of numbers, which are held twice."""
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 2**18)
    path, told = tmp_path / "rows.csv", tmp_path / "told"
    path.write_text("a,b\n" + f"{1 / 3:.36f},{2 / 3:.36f}\n" * 2**18)

    def work():
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        size = read_table(path).values.nbytes
        told.write_text(f"{size} {resident('VmHWM') - before}")

    assert left(forked(work), 60.0) == 0
    size, peak = map(int, told.read_text().split())
    assert size == 2**22
    assert path.stat().st_size > 4.5 * size
    assert peak < 40 * 2**20  # and it was 65 MiB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak of memory is read from /proc")
def test_texts_take_the_memory_of_their_bytes_and_of_their_labels(tmp_path, monkeypatch):
    """20 MB of texts with 100 labels: their bytes once, 16 bytes for each cell, and no Python object for each row."""
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 2**18)
    path, told = tmp_path / "rows.csv", tmp_path / "told"
    path.write_text("a,b\n" + "".join(f"{'level' * 6}{i:02d},{'level' * 6}{i:02d}\n" for i in range(100)) * 3000)

    def work():
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        table = read_table(path)
        assert [len(labels) for labels in table.schema.labels] == [100, 100]
        told.write_text(f"{table.values.nbytes} {resident('VmHWM') - before}")

    assert left(forked(work), 60.0) == 0
    size, peak = map(int, told.read_text().split())
    assert size == 16 * 300_000
    assert peak < 60 * 2**20
