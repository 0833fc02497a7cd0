"""Tables of any size: one pass over blocks knows of all rows what memory would, and keeps rows by their number."""

import datetime
import gzip
import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.table import Codec, Selection, file_blocks, read_part, read_within, set_aside, within_memory
from backwalk.table.chosen_rows import priorities_of
from backwalk.table.grids import RunningGrid, grid_of
from backwalk.table.whole import RowsInMemory

N = 400
DAY = datetime.date(2020, 2, 1)


def kinds_of_columns(seed, n=N):
    """Columns of every type that a model may be fitted to."""
    rng = np.random.default_rng(seed)
    gaps = rng.random(n) < 0.1
    spiked = np.where(rng.random(n) < 0.4, -999.0, rng.normal(size=n).round(2))
    dates = [
        None if i % 7 == 3 else DAY + datetime.timedelta(days=int(k)) for i, k in enumerate(rng.integers(900, size=n))
    ]
    stamps = pd.Timestamp("2021-05-05") + pd.to_timedelta(rng.integers(10**6, size=n), "s")
    late = np.where(np.arange(n) > n // 2, 1, 0)  # a finer unit, in later blocks alone
    return pa.table(
        {
            "x": rng.normal(size=n),
            "single": rng.normal(size=n).astype(np.float32),
            "cents": pa.array(rng.integers(-500, 10**5, size=n) / 100, mask=gaps),
            "steps": 25 * rng.integers(4, 300, size=n),
            "flag": rng.random(n) < 0.2,
            "few": rng.choice([0.5, 2.0, 7.0], size=n),
            "spiked": pa.array(spiked, mask=gaps),
            "size": pa.array(rng.choice(["small", "large", "médium", None], size=n)),
            "code": pa.array([f"c{k}" for k in rng.integers(60, size=n)]).dictionary_encode(),
            "day": pa.array(dates),
            "stamp": pa.array(stamps).cast(pa.timestamp("us")),
            "fine": pa.array(stamps.to_numpy().astype("datetime64[us]") + 250 * late.astype("timedelta64[us]")),
            "constant": np.full(n, 3.5),
            "empty": pa.nulls(n),
        }
    )


def written(tmp_path, rows, suffix, n_files=1):
    """Write rows into one file, or several of a folder, and return what names them."""
    folder = tmp_path / f"rows of {n_files}{suffix}"
    folder.mkdir()
    cuts = np.linspace(0, rows.num_rows, n_files + 1).astype(int)
    for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
        piece, path = rows.slice(start, stop - start), folder / f"part-{i}{suffix}"
        if suffix == ".parquet":
            pa.parquet.write_table(piece, path, row_group_size=37)
        else:
            text = piece.to_pandas().to_csv(index=False, na_rep="NA").encode()
            path.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    return folder / f"part-0{suffix}" if n_files == 1 else folder


@pytest.fixture
def in_small_blocks(monkeypatch):
    monkeypatch.setattr(within_memory, "_is_small", lambda *_: False)
    monkeypatch.setattr(file_blocks, "_MOST_BLOCK_ROWS", 23)
    monkeypatch.setattr(file_blocks, "BLOCK_BYTES", 3000)


@pytest.fixture
def keeping_few(monkeypatch):
    monkeypatch.setattr(within_memory, "most_rows", lambda *_: 60)


def same(a, b):
    assert a.schema == b.schema
    np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
@pytest.mark.parametrize("n_files", [1, 3])
def test_a_table_that_fits_is_the_one_read_at_once(tmp_path, in_small_blocks, suffix, n_files):
    rows = kinds_of_columns(1)
    path = written(tmp_path, rows, suffix)
    at_once = read_part(path, Selection(drop=("x",)))
    found = read_within(path if n_files == 1 else written(tmp_path, rows, suffix, n_files), Selection(drop=("x",)))
    same(found.table, at_once.table)
    assert (found.whole, found.n_rows, found.n_files) == (None, N, n_files)
    assert found.columns_left_out == ("x",)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_rows_with_gaps_are_left_out_alike(tmp_path, in_small_blocks, suffix):
    path = written(tmp_path, kinds_of_columns(2).drop_columns(["empty"]), suffix)
    at_once, found = read_part(path, Selection(complete=True)), read_within(path, Selection(complete=True))
    same(found.table, at_once.table)
    assert (found.n_rows, found.n_read) == (at_once.is_taken.sum(), N)


@pytest.mark.parametrize(
    "cells", [["1", "x", "y"], ["0", "1", "true"], ["2020-01-01", "5"], ["1", "2.5"], ["", "00501"]]
)
@pytest.mark.parametrize("n", [3, 40])
def test_text_has_the_type_of_all_blocks_and_files(tmp_path, in_small_blocks, monkeypatch, cells, n):
    monkeypatch.setattr(file_blocks, "BLOCK_BYTES", 64)
    column = [cell for cell in cells for _ in range(n)]
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(column)))
    same(read_within(path).table, read_part(path, Selection()).table)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_facts_of_a_pass_are_those_of_all_rows(tmp_path, in_small_blocks, keeping_few, suffix):
    rows = kinds_of_columns(3)
    path = written(tmp_path, rows, suffix)
    table, found = read_part(path, Selection()).table, read_within(path)
    assert 30 < len(found.table.values) < 100
    assert found.table.schema == table.schema
    whole, known = found.whole, RowsInMemory(table.values, table.schema.dtypes)
    np.testing.assert_array_equal(whole.n_missing, known.n_missing)
    np.testing.assert_array_equal(whole.ends, known.ends)
    for j, name in enumerate(table.schema.names):
        observed = table.values[~np.isnan(table.values[:, j]), j]
        if name in ("empty", "constant"):
            continue
        if table.schema.labels[j] is None:
            few = known.has_few_values(j, observed)
            assert whole.has_few_values(j, observed) == few, name
            for atoms in (np.empty(0), *([np.array([-999.0])] if name == "spiked" else [])):
                assert whole.numbers({j: atoms}, [j]) == known.numbers({j: atoms}, [j]), name
        if table.schema.labels[j] is not None or few:
            for missing in (False, True):
                for of_pass, of_rows in zip(
                    whole.frequencies(j, missing=missing), known.frequencies(j, missing=missing), strict=True
                ):
                    np.testing.assert_array_equal(of_pass, of_rows)
    j = table.schema.names.index("spiked")
    for atoms in (np.array([-999.0]), np.array([-999.0, np.nan])):
        np.testing.assert_array_equal(whole.shares_of_atoms(j, atoms), known.shares_of_atoms(j, atoms))
    assert whole.a_fraction(table.schema.names.index("cents")) % 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_grid_is_found_in_any_blocks(dtype):
    rng = np.random.default_rng(5)
    for _ in range(300):
        n, per = rng.integers(1, 60), 10.0 ** rng.integers(0, 5)
        x = rng.choice([1, 5, 25, 1000]) * rng.integers(-50, rng.choice([60, 10**6]), size=n) / per
        if rng.random() < 0.3:
            x[rng.integers(n)] = rng.choice([1e17, 0.1234567, np.pi, 2.0**53, 1e-9])
        x = x.astype(dtype).astype(np.float64)
        running = RunningGrid(dtype)
        for block in np.split(x, np.sort(rng.integers(0, n + 1, size=3))):
            running.add(block)
        if len(np.unique(x)) > 1:
            assert running.grid(len(np.unique(x))) == grid_of(x, dtype), x


def test_rows_are_chosen_by_their_number_however_they_are_read(tmp_path, in_small_blocks, keeping_few, monkeypatch):
    rows = pa.table({"i": np.random.default_rng(0).permutation(N), "x": np.random.default_rng(1).normal(size=N)})
    path, folder = written(tmp_path, rows, ".parquet"), written(tmp_path, rows, ".parquet", 4)
    first = read_within(path)
    chosen = priorities_of(0, N) < 60 / N
    np.testing.assert_array_equal(first.table.values[:, 0], rows["i"].to_numpy()[chosen])
    monkeypatch.setattr(file_blocks, "_MOST_BLOCK_ROWS", 7)
    same(read_within(folder).table, first.table)
    fewer = first.chosen(20)
    monkeypatch.setattr(within_memory, "most_rows", lambda *_: 20)
    same(read_within(path).table, type(first.table)(first.table.values[fewer], first.table.schema))


def test_the_codec_knows_what_one_row_alone_has(tmp_path, in_small_blocks, keeping_few):
    n, rng = 4000, np.random.default_rng(0)
    x, kind, count = rng.normal(size=n), np.array(["a"] * n, dtype=object), rng.integers(300, size=n).astype(float)
    row = int(np.flatnonzero(priorities_of(0, n) > 0.5)[0])  # one that is not chosen
    x[row], kind[row], count[row] = 1e6, "rare", 1234.5
    path = written(tmp_path, pa.table({"x": x, "kind": kind, "count": count, "id": np.arange(n)}), ".parquet")
    found = read_within(path)
    left, reasons = set_aside(found.table, whole=found.whole)
    assert list(reasons) == ["id"]
    codec = Codec.fit(left, levels=True, whole=found.whole.taken([0, 1, 2]))
    of_x, of_kind, of_count = codec.columns
    assert of_x.largest == 1e6
    assert left.schema.labels[1] == ("a", "rare")
    assert of_kind.frequencies == ((n - 1) / n, 1 / n)
    assert (of_count.largest, of_count.cell) == (1234.5, 0.5)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("fault", ["changed", "shortened", "removed"])
def test_a_file_that_changes_meanwhile_is_noticed(tmp_path, in_small_blocks, suffix, fault):
    path = written(tmp_path, kinds_of_columns(4), suffix)
    data = path.read_bytes()

    def watch(activity, share, words):
        if activity == "reading" and path.exists():
            if fault == "removed":
                path.unlink()
            else:
                path.write_bytes(data[: len(data) // 2] if fault == "shortened" else data[:-1] + b"#")

    with pytest.raises(TableFileError, match=str(path)):
        read_within(path, watch=watch)


def test_columns_that_are_read_twice_are_compared(tmp_path, in_small_blocks, keeping_few, monkeypatch):
    path = written(tmp_path, kinds_of_columns(4), ".parquet")
    found = read_within(path)
    j = found.table.schema.names.index("spiked")
    pa.parquet.write_table(kinds_of_columns(5), path)
    with pytest.raises(TableFileError, match="changed"):
        found.whole.numbers({j: np.array([-999.0])}, [j])


def test_a_folder_and_a_pattern_name_their_tables(tmp_path):
    rows = pa.table({"a": [1.0, 2.0, 5.0], "b": [1.5, 2.5, 0.5]})
    folder = written(tmp_path, rows, ".parquet", 3)
    (folder / "_SUCCESS").write_text("")
    (folder / ".part.parquet").write_text("no table")
    (folder / "manifest.json").write_text("{}")
    for source in (folder, str(folder), f"{folder}/*.parquet", f"{tmp_path}/**/*.parquet"):
        found = read_within(source)
        assert found.n_files == 3
        assert found.table.values[:, 0].tolist() == [1.0, 2.0, 5.0]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (pa.table({"a": [1]}), "lacks the column 'b'"),
        (pa.table({"a": [1], "b": [1], "c": [1]}), "has a column 'c'"),
        (pa.table({"a": [1], "b": [1.5]}), "'b' is double here and int64"),
    ],
)
def test_files_with_other_columns_are_named_with_the_column(tmp_path, other, words):
    pa.parquet.write_table(pa.table({"a": [1, 2], "b": [2, 3]}), tmp_path / "1.parquet")
    pa.parquet.write_table(other, tmp_path / "2.parquet")
    with pytest.raises(TableFileError) as caught:
        read_within(tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "2.parquet"))
    assert str(tmp_path / "1.parquet") in str(caught.value)


def test_sources_that_are_no_table_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    for name in ("a.csv", "b.parquet"):
        (tmp_path / "mixed" / name).write_text("a,b\n1,2\n")
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, np.zeros((2, 2)))
    for source, words in (
        (tmp_path / "empty", "holds none"),
        (tmp_path / "mixed", "one format"),
        (f"{tmp_path}/*.npy", "Parquet or text"),
        (f"{tmp_path}/*.orc", "matches none"),
        (tmp_path / "no.csv", "cannot be read"),
        (tmp_path / "no.xls", "should end in"),
    ):
        with pytest.raises(TableFileError, match=words):
            read_within(source)
    with pytest.raises(InvalidInput, match="memory"):
        read_within(tmp_path / "mixed" / "a.csv", memory=1000)


def test_categories_of_files_may_have_indices_of_two_sizes(tmp_path):
    for i, n in enumerate((100, 300)):
        frame = pd.DataFrame({"c": pd.Categorical([f"c{k}" for k in range(n)]), "x": np.arange(float(n))})
        frame.to_parquet(tmp_path / f"{i}.parquet")
    table = read_within(tmp_path).table
    assert len(table.schema.labels[0]) == 300
    assert "int16" in table.schema.dtypes[0]


def test_faults_of_later_rows_are_told_with_their_place(tmp_path, in_small_blocks):
    rows = pa.table({"x": [*np.arange(100.0), np.inf, 1.0]})
    with pytest.raises(TableFileError, match=r"inf at row 8, column 'x' \(rows count from row 92 of all files\)"):
        read_within(written(tmp_path, rows, ".parquet"))
    mostly = pa.table({"x": ["5"] * 200 + ["five"] * 3})
    with pytest.raises(TableFileError, match="'five' and 2 more are none, beside 200"):
        read_within(written(tmp_path, mostly, ".csv"))


def test_texts_beyond_the_limit_are_set_aside(tmp_path, in_small_blocks, keeping_few, monkeypatch):
    monkeypatch.setattr(limits, "LEVELS_OF_A_PASS", 50)
    rows = pa.table({"x": np.random.default_rng(0).normal(size=N), "t": [f"t{i % 90}" for i in range(N)]})
    found = read_within(written(tmp_path, rows, ".parquet"))
    left, reasons = set_aside(found.table, whole=found.whole)
    assert left.columns == ("x",)
    assert "more than 50" in reasons["t"]
    with pytest.raises(InvalidInput, match="'t' has more"):
        Codec.fit(found.table, levels=True, whole=found.whole)


def test_pages_are_limited_by_the_memory(tmp_path, in_small_blocks):
    path = tmp_path / "a.parquet"
    rows = pa.table({"x": np.arange(10**5, dtype=float), "t": ["long" * 1000] * 10**5})
    pa.parquet.write_table(rows, path, data_page_size=2**30, use_dictionary=False, compression="zstd")
    with pytest.raises(TableFileError, match="quarter of the memory"):
        read_within(path, memory=2**26)
    assert read_within(path, Selection(drop=("t",)), memory=2**26).n_rows == 10**5


def test_progress_is_told_in_rows_and_bytes(tmp_path, in_small_blocks):
    told = []
    read_within(written(tmp_path, kinds_of_columns(1), ".csv"), watch=lambda *each: told.append(each))
    assert {activity for activity, _, _ in told} == {"finding types", "reading"}
    assert told[-1][1] == 1.0
    assert told[-1][2].startswith(f"{N} rows, ")
