"""Rows of files by their numbers: the rows of the whole, wherever the blocks and the files begin."""

import gzip
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk.errors import InvalidInput, TableFileError
from backwalk.table import Selection, as_table, match_columns, read_part, row_ranges
from backwalk.table.row_ranges import files_of_rows, names_in, row_blocks

N = 1000


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(row_ranges, "BLOCK_ROWS", 64)


@pytest.fixture(params=["a.csv", "a.tsv.gz", "a.parquet"])
def written(request, tmp_path):
    """Two files of one table, of 700 and 300 rows; the second has its columns in another order."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=N).round(3)
    rows = pa.table(
        {
            "id": [f"0{i}" for i in range(N)],
            "x": pa.array(x, mask=rng.random(N) < 0.1),
            "note": [("NA", 'a,\n"b"', "", "é\t")[i % 4] for i in range(N)],
            "n": pa.array(rng.integers(0, 9, N)),
        }
    )
    name, paths = request.param, []
    for part, order in ((rows[:700], [0, 1, 2, 3]), (rows[700:], [3, 2, 0, 1])):
        paths.append(tmp_path / f"{len(paths)}{name}")
        part = part.select(order)
        if name.endswith("parquet"):
            pyarrow.parquet.write_table(part, paths[-1], row_group_size=90)
            continue
        sign = "\t" if "tsv" in name else ","
        lines = [part.column_names, *zip(*(column.to_pylist() for column in part.columns), strict=True)]
        cells = (["" if cell is None else '"' + str(cell).replace('"', '""') + '"' for cell in line] for line in lines)
        text = "\ufeff" + "\r\n".join(map(sign.join, cells)) + "\r\n"
        data = text.encode()
        paths[-1].write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return rows, paths


RANGES = [(0, N), (0, 1), (63, 65), (128, 256), (650, 760), (699, 701), (999, 1000), (640, 1000)]


@pytest.mark.slow
def test_any_rows_are_those_of_the_whole(written):
    rows, paths = written
    files = files_of_rows(paths)
    assert [file.rows for file in files] == [700, 300]
    assert set(names_in(files[1])) == set(rows.column_names)
    for start, stop in RANGES:
        found = list(row_blocks(files, start, stop, ["id", "x", "note", "n"], exact=["id"]))
        edges = [start, *range(start - start % 64 + 64, stop, 64), stop]
        assert [(block.first, block.rows.num_rows) for block in found] == [
            (a, b - a) for a, b in itertools.pairwise(edges) if a < b
        ]
        ids = [text for block in found for text in block.plain(["id"])["id"].to_pylist()]
        assert ids == rows["id"][start:stop].to_pylist()
        x = [block.table(Selection(only=("x",)))[0].values[:, 0] for block in found]
        np.testing.assert_array_equal(np.concatenate(x), as_table(rows.select(["x"])).values[start:stop, 0])


@pytest.mark.slow
def test_typed_columns_are_those_of_a_whole_reading(written):
    _, paths = written
    files = files_of_rows(paths[:1])
    selection = Selection(only=("x", "note"), texts=("note",), complete=True)
    whole = read_part(paths[0], selection).table
    found = []
    for block in row_blocks(files, 0, 700, ["note", "x"]):
        table, is_taken = block.table(selection)
        assert is_taken.sum() == len(table.values)
        found.append(match_columns(table, whole.schema).values)
    np.testing.assert_array_equal(np.concatenate(found), whole.values)


def test_a_changed_file_is_noticed(written):
    _, paths = written
    files = files_of_rows(paths)
    data = paths[0].read_bytes()
    place = data.rindex(b"\x15\x04") if paths[0].suffix == ".parquet" else len(data) // 2
    for changed in (data[:-1], data + b"\n", data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]):
        paths[0].write_bytes(changed)
        with pytest.raises(TableFileError, match="0a"):
            list(row_blocks(files, 0, 700, ["x"]))
    paths[0].unlink()
    with pytest.raises(TableFileError, match="0a"):
        list(row_blocks(files, 0, 700, ["x"]))


def test_all_rows_have_the_types_of_the_first_file(tmp_path):
    for i, (of_type, text) in enumerate(((pa.int16(), pa.large_string()), (pa.int64(), pa.string()))):
        rows = pa.table({"n": pa.array([1, 2, 3], of_type), "t": pa.array(["a", None, "b"], text)})
        pyarrow.parquet.write_table(rows, tmp_path / f"{i}.parquet")
    files = files_of_rows([tmp_path / "0.parquet", tmp_path / "1.parquet"])
    for start, stop in ((0, 6), (3, 6), (2, 4)):
        (block,) = row_blocks(files, start, stop, ["t", "n"])
        found = block.plain(["n", "t"])
        assert found["n"].type == pa.int16()
        assert found["n"].to_pylist() == [1, 2, 3, 1, 2, 3][start:stop]
        assert found["t"].to_pylist() == ["a", None, "b", "a", None, "b"][start:stop]
        assert block.plain(["t"]).schema == next(row_blocks(files, 0, 1, ["t"])).plain(["t"]).schema
    pyarrow.parquet.write_table(pa.table({"n": [2**40], "t": ["a"]}), tmp_path / "1.parquet")
    files = files_of_rows([tmp_path / "0.parquet", tmp_path / "1.parquet"])
    with pytest.raises(TableFileError, match="same types"):
        list(row_blocks(files, 0, 4, ["n"]))


def test_what_is_no_table_of_rows_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,c\n1,2\n")
    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    (tmp_path / "empty.csv").write_text("a,b\n")
    with pytest.raises(TableFileError, match="'b', 'c'"):
        files_of_rows([tmp_path / "a.csv", tmp_path / "b.csv"])
    with pytest.raises(TableFileError, match=r"a\.npy"):
        files_of_rows([tmp_path / "a.npy"])
    with pytest.raises(TableFileError, match="none"):
        files_of_rows([tmp_path / "empty.csv"])


def test_errors_name_rows_of_the_input(tmp_path):
    text = "x\n" + "1.5\n" * 100 + "infinity\n" + "2\n" * 20
    (tmp_path / "a.csv").write_text(text)
    files = files_of_rows([tmp_path / "a.csv"])
    blocks = row_blocks(files, 64, 121, ["x"])
    with pytest.raises(InvalidInput, match=r"row 100, "):
        next(blocks).table(Selection())
