"""Tables of any size: a relation of files knows of all rows what memory would, and rows are chosen by their number."""

import datetime
import gzip
import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import Diffusion, limits
from backwalk.errors import InvalidInput, TableFileError
from backwalk.fit import check_settings, choose_columns
from backwalk.fit.columns import choose_from_files
from backwalk.table import (
    Relation,
    Selection,
    Total,
    as_table,
    fit_codec,
    priorities_of,
    read_part,
    read_within,
    set_aside,
)
from backwalk.table.codec_rules import stated_rules
from backwalk.table.grids import find_grid

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
    folder.mkdir(parents=True)
    cuts = np.linspace(0, rows.num_rows, n_files + 1).astype(int)
    for i, (start, stop) in enumerate(itertools.pairwise(cuts)):
        piece, path = rows.slice(start, stop - start), folder / f"part-{i}{suffix}"
        if suffix == ".parquet":
            pa.parquet.write_table(piece, path, row_group_size=37)
        else:
            text = piece.to_pandas().to_csv(index=False, na_rep="NA").encode()
            path.write_bytes(gzip.compress(text) if suffix.endswith(".gz") else text)
    return folder / f"part-0{suffix}" if n_files == 1 else folder


ALL_COLUMNS = Selection()


def in_a_pass(source, selection=ALL_COLUMNS, most=60, **options):
    """Read a table that does not fit, in blocks of 73 rows for the columns above."""
    return read_within(source, selection, memory=limits.LEAST_MEMORY, most=most, **options)


def read_all(source):
    return read_part(source, Selection()).table


def same(a, b):
    assert a.schema == b.schema
    np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
@pytest.mark.parametrize("n_files", [1, 3])
def test_a_table_that_fits_is_all_there(tmp_path, suffix, n_files):
    rows = kinds_of_columns(1)
    found = read_within(written(tmp_path, rows, suffix, n_files), Selection(drop=("x",)))
    same(found.table, read_part(written(tmp_path, rows, suffix, 2), Selection(drop=("x",))).table)
    assert (found.has_all, found.n_rows, found.n_files) == (True, N, n_files)
    assert found.columns_left_out == ("x",)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("n_files", [1, 3])
def test_the_facts_of_a_pass_are_those_of_all_rows(tmp_path, suffix, n_files):
    rows = kinds_of_columns(3)
    table, found = (
        read(written(tmp_path / name, rows, suffix, n_files)) for name, read in (("a", read_all), ("b", in_a_pass))
    )
    assert len(found.table.values) == 60
    assert found.table.schema == table.schema
    np.testing.assert_array_equal(found.table.values, table.values[np.sort(priorities_of(np.arange(N)).argsort()[:60])])
    whole, known = found.relation, Relation.of_rows(table.values, table.schema)
    np.testing.assert_array_equal(whole.n_missing, known.n_missing)
    np.testing.assert_array_equal(whole.ends, known.ends)
    for j, name in enumerate(table.schema.names):
        observed = table.values[~np.isnan(table.values[:, j]), j]
        if name in ("empty", "constant"):
            continue
        if table.schema.labels[j] is None:
            few = known.has_few_values(j)
            assert whole.has_few_values(j) == few, name
            for atoms in (np.empty(0), *([np.array([-999.0])] if name == "spiked" else [])):
                others = observed[~np.isin(observed, atoms)]
                expected = (others.min(), others.max(), find_grid(others, table.schema.dtypes[j]))
                for facts in (whole, known):
                    answer = facts.numbers({j: atoms}, [j])[j]
                    assert (answer.least, answer.largest, answer.grid) == expected, name
        if table.schema.labels[j] is not None or few:
            for missing in (False, True):
                for of_pass, of_rows in zip(
                    whole.frequencies(j, missing=missing), known.frequencies(j, missing=missing), strict=True
                ):
                    np.testing.assert_array_equal(of_pass, of_rows)
    j = table.schema.names.index("spiked")
    gaps, spikes = np.isnan(table.values[:, j]).mean(), (table.values[:, j] == -999.0).mean()
    for facts in (whole, known):
        shares = facts.shares_of_atoms(j, np.array([-999.0, np.nan]))
        np.testing.assert_allclose(shares, [spikes, gaps, 1.0 - spikes - gaps], rtol=1e-12)
        np.testing.assert_allclose(
            facts.shares_of_atoms(j, np.array([-999.0])), [spikes, 1 - gaps - spikes] / (1 - gaps)
        )
    assert whole.a_fraction(table.schema.names.index("cents")) % 1


def test_rows_are_chosen_by_their_number_however_they_are_read(tmp_path):
    rows = pa.table({"i": np.random.default_rng(0).permutation(N), "x": np.random.default_rng(1).normal(size=N)})
    path, folder = written(tmp_path, rows, ".parquet"), written(tmp_path, rows, ".parquet", 4)
    first = in_a_pass(path)
    same(in_a_pass(folder).table, first.table)
    same(in_a_pass(written(tmp_path, rows, ".csv", 2)).table, first.table)
    same(in_a_pass(path, most=20).table, first.least(20).table)
    priorities = priorities_of(np.arange(N))
    chosen = np.sort(priorities.argsort()[:60])
    np.testing.assert_array_equal(first.table.values[:, 0], rows["i"].to_numpy()[chosen])
    assert first.chosen(20).sum() == (priorities < 20 / N).sum()


@pytest.mark.slow
def test_rows_with_gaps_are_left_out_of_a_pass(tmp_path):
    rows = kinds_of_columns(2).drop_columns(["empty"])
    at_once, found = (
        read(written(tmp_path / name, rows, ".csv"), Selection(complete=True))
        for name, read in (("a", read_part), ("b", in_a_pass))
    )
    assert (found.n_rows, found.n_read) == (at_once.is_taken.sum(), N)
    same(found.table, at_once.least(60).table)


def test_the_codec_knows_what_one_row_alone_has(tmp_path):
    n, rng = 4000, np.random.default_rng(0)
    x, kind, count = rng.normal(size=n), np.array(["a"] * n, dtype=object), rng.integers(300, size=n).astype(float)
    row = int(np.flatnonzero(priorities_of(np.arange(n)) > 0.5)[0])  # one that is not chosen
    x[row], kind[row], count[row] = 1e6, "rare", 1234.5
    path = written(tmp_path, pa.table({"x": x, "kind": kind, "count": count, "id": np.arange(n)}), ".parquet")
    found = in_a_pass(path)
    left, reasons = set_aside(found.table, whole=found.relation)
    assert list(reasons) == ["id"]
    codec = fit_codec(left, columns={"count": "number"}, whole=found.relation.taken([0, 1, 2]))
    of_x, of_kind, of_count = codec.columns
    assert of_x.largest == 1e6
    assert left.schema.labels[1] == ("a", "rare")
    assert of_kind.frequencies == ((n - 1) / n, 1 / n)
    assert (of_count.largest, of_count.cell_width) == (1234.5, 0.5)


def test_rules_hold_in_all_rows_and_differences_have_the_range_of_all(tmp_path):
    """Found by reading: a found rule that rows beyond memory break left the others declared."""
    n, most, rng = 4000, 2000, np.random.default_rng(0)
    start, length, a, b = rng.poisson([[90.0], [2.0], [40.0], [30.0]], size=(4, n))
    total, beyond = a + b, np.flatnonzero(priorities_of(np.arange(n)) > 0.75)  # rows that are not chosen
    length[beyond[0]] = 500
    total[beyond[1]] += 1
    columns = {"start": start, "end": start + length, "a": a, "b": b, "total": total}
    found = in_a_pass(written(tmp_path, pa.table(columns), ".parquet"), most=most)
    codec = fit_codec(found.table, whole=found.relation, rules="auto")
    assert stated_rules(codec, list(columns)) == ["start <= end"]
    assert codec.rules.are_found
    assert codec.differences[0].value_range == (0, 500)
    with pytest.raises(InvalidInput, match=r"total = a \+ b .* 1 that do not fit"):
        fit_codec(found.table, whole=found.relation, rules=[Total("total", ["a", "b"])])


def test_a_file_that_is_read_again_should_be_the_same(tmp_path):
    path = written(tmp_path, kinds_of_columns(4), ".parquet")
    found = in_a_pass(path)
    j = found.table.schema.names.index("spiked")
    pa.parquet.write_table(kinds_of_columns(5), path)
    with pytest.raises(TableFileError, match="changed"):
        found.relation.numbers({j: np.array([-999.0])}, [j])


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
    for source, words in (
        (tmp_path / "empty", "holds none"),
        (tmp_path / "mixed", "one format"),
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


def test_faults_of_later_rows_are_told_with_their_place(tmp_path):
    rows = pa.table({f"x{j}": [*np.arange(800.0), np.inf if j == 7 else 0.5, 1.0] for j in range(10)})
    for i, read in enumerate((read_within, in_a_pass)):
        with pytest.raises(TableFileError, match=r"inf at row 800, column 'x7' \(rows count from 0\)"):
            read(written(tmp_path / str(i), rows, ".parquet"))
        mostly = pa.table({"x": ["5"] * 200 + ["five"] * 3})
        with pytest.raises(TableFileError, match=r"'five'( at row 200 .*)? and 2 more are none, beside 200"):
            read(written(tmp_path / str(i), mostly, ".csv"))


def test_texts_beyond_the_limit_are_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LEVELS_OF_A_PASS", 50)
    rows = pa.table({"x": np.random.default_rng(0).normal(size=N), "t": [f"t{i % 90}" for i in range(N)]})
    found = in_a_pass(written(tmp_path, rows, ".parquet"))
    left, reasons = set_aside(found.table, whole=found.relation)
    assert left.columns == ("x",)
    assert "more than 50" in reasons["t"]
    with pytest.raises(InvalidInput, match="'t' has more"):
        fit_codec(found.table, whole=found.relation)


def test_priorities_are_uniform_and_all_different():
    """Of 2^16 rows the shares of sixteen parts differ from 1/16 by less than five standard deviations: 1e-5."""
    n = 2**16
    priorities = priorities_of(np.arange(n))
    assert len(np.unique(priorities)) == n
    counts = np.histogram(priorities, bins=16, range=(0.0, 1.0))[0]
    assert np.abs(counts - n / 16).max() < 5 * (n * 15 / 256) ** 0.5
    neighbours = np.corrcoef(priorities[:-1], priorities[1:])[0, 1]
    assert abs(neighbours) < 5 / n**0.5


@pytest.mark.parametrize("source", ["memory", ".csv", ".parquet"])
def test_rows_that_meet_a_condition_are_counted(tmp_path, source):
    rng = np.random.default_rng(0)
    rows = pa.table({"low": rng.integers(0, 9, N), "high": pa.array(rng.integers(5, 15, N), mask=rng.random(N) < 0.1)})
    table = as_table(rows)
    if source == "memory":
        relation = Relation.of_rows(table.values, table.schema)
    else:
        relation = read_within(written(tmp_path, rows, source)).relation
    low, high = relation.cells
    expected = table.values[:, 0] > table.values[:, 1]
    found = relation.broken({"order": f"{low} > {high}", "none": f"{low} > 99"})
    assert found == {"order": (expected.sum(), int(expected.argmax())), "none": (0, -1)}


@pytest.mark.slow
def test_columns_are_chosen_alike_in_memory_and_from_files(tmp_path):
    """Kinds, levels, bounds, grids and rules are those of the rows, wherever these lie."""
    rows = kinds_of_columns(6).drop_columns(["single", "code"])  # text has neither floats of 32 bits nor categories
    a, b = (np.random.default_rng(k).integers(0, 40, N) for k in (7, 8))
    rows = rows.append_column("a", pa.array(a)).append_column("b", pa.array(b)).append_column("both", pa.array(a + b))
    settings = check_settings(Diffusion().get_params(deep=False))
    in_memory = choose_columns(as_table(rows), settings)
    for suffix in (".csv", ".parquet"):
        found = choose_from_files(written(tmp_path, rows, suffix), settings)
        assert found.codec == in_memory.codec
        assert (found.set_aside, list(found.gaps)) == (in_memory.set_aside, list(in_memory.gaps))
