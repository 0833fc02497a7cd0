"""The unpacked size of a Parquet file is that of its pages, whatever its footer claims."""

from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table import read_table
from backwalk.table.parquet_pages import unpacked_bytes
from soak.parquet_files import I32, I64, LIST, MAP, STRUCT, parquet_file, parquet_of_zeros, struct

ROWS = {"a": np.arange(5000.0), "b": np.arange(5000) % 7, "c": [f"text {i % 11}" for i in range(5000)]}
SMALL = {"n_columns": 2, "n_rows": 100, "page_bytes": 800, "claimed_bytes": 900}


def size_of(path):
    with path.open("rb") as file:
        return unpacked_bytes(file)


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_pages_of_honest_files_are_counted(tmp_path, compression, version, dictionary):
    path = tmp_path / "rows.parquet"
    options = {"use_dictionary": dictionary, "row_group_size": 1500, "data_page_size": 1000}
    pyarrow.parquet.write_table(
        pa.table(ROWS), path, compression=compression, data_page_version=version, write_page_index=True, **options
    )
    metadata = pyarrow.parquet.ParquetFile(path).metadata
    claimed = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))  # with page headers
    assert 0.8 * claimed <= size_of(path) <= max(claimed, path.stat().st_size)


def test_pages_that_unpack_to_more_than_the_footer_claims_are_refused_unread(tmp_path, monkeypatch):
    """Found by attack: a file of 131 KB took 8.1 GiB."""
    path = tmp_path / "lie.parquet"
    path.write_bytes(parquet_of_zeros(**SMALL))
    assert read_table(path).values.tolist() == [[0.0, 0.0]] * 100
    path.write_bytes(parquet_of_zeros(**{**SMALL, "page_bytes": 2**22}))
    monkeypatch.setattr(limits, "TABLE_FILE_BYTES", 2**20)
    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(TableFileError, match=f"at most {2**20} bytes unpacked, but takes {2**22}"):
        read_table(path)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ((7, I64, 1), "twice"),  # of which Arrow takes the second
        ((9, I64, 4), "twice"),
        ((11, I32, 3), "another type"),  # which Arrow passes over
        ((20, MAP, b""), "no known type"),
        ((20, LIST, (STRUCT, [[]] * 3)), None),
    ],
    ids=range(5),
)
def test_what_arrow_could_read_in_another_way_is_refused(tmp_path, extra, words):
    path = tmp_path / "odd.parquet"
    path.write_bytes(parquet_of_zeros(**SMALL, extra=[extra]))
    with nullcontext() if words is None else pytest.raises(TableFileError, match=words):
        read_table(path)


@pytest.mark.parametrize(
    ("footer", "words"),
    [
        (struct([(4, LIST, (STRUCT, [[]] * (2**20 + 1)))]), "more than 1048576 entries"),
        (struct([(9, LIST, (STRUCT, [[]] * (2**20 + 1)))]), "more than 1048576 entries"),
        (b"\x49\xfc\xff\xff\xff\xff\x0f", "longer than the data"),
        (b"\x1c" * 1000, "too deep"),
        (b"\x16" + b"\xff" * 20, "no end"),
        (struct([(4, LIST, (STRUCT, [[(1, LIST, (STRUCT, [[(3, STRUCT, [])]]))]]))]), "no offset"),
        (struct([(4, I32, 5)]), "another type"),
    ],
    ids=range(7),
)
def test_footers_that_harm_are_refused_before_arrow_reads_them(tmp_path, monkeypatch, footer, words):
    path = tmp_path / "bomb.parquet"
    path.write_bytes(parquet_file(b"", footer))
    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(TableFileError, match=words):
        read_table(path)


@pytest.mark.parametrize(
    "data",
    [
        b"PAR1" + bytes(20) + (20).to_bytes(4, "little") + b"PARE",
        parquet_file(b"", struct([(4, LIST, (STRUCT, [[(1, LIST, (STRUCT, [[(8, STRUCT, [])]]))]]))])),
    ],
    ids=["footer", "column"],
)
def test_an_encrypted_file_is_not_called_damaged(tmp_path, data):
    (tmp_path / "rows.parquet").write_bytes(data)
    with pytest.raises(TableFileError, match="encrypted: decrypt it first"):
        read_table(tmp_path / "rows.parquet")


def test_a_footer_is_limited(tmp_path, monkeypatch):
    pyarrow.parquet.write_table(pa.table(ROWS), tmp_path / "rows.parquet")
    monkeypatch.setattr(limits, "PARQUET_FOOTER_BYTES", 100)
    with pytest.raises(TableFileError, match="footer should have at most 100 bytes"):
        read_table(tmp_path / "rows.parquet")
