"""`backwalk sample`."""

import json
import re

import numpy as np
import pyarrow.parquet
import pytest

from backwalk import Diffusion
from backwalk.table import as_table, read_table

QUICK = ["--max-steps", "5"]


def test_fit_then_sample_keeps_columns_and_seed(run, model, tmp_path):
    first, again, other = (tmp_path / name for name in ("a.csv", "b.parquet", "c.csv"))
    assert run("sample", model, "-n", 30, "--seed", 3, "-o", first)[0] == 0
    assert run("sample", model, "-n", 30, "--seed", 3, "-o", again)[0] == 0
    assert run("sample", model, "-n", 30, "--seed", 4, "-o", other)[0] == 0
    table = read_table(first)
    assert table.columns == ("length", "weight")
    assert table.values.shape == (30, 2)
    np.testing.assert_array_equal(table.values, read_table(again).values)
    assert not (table.values == read_table(other).values).any()


def test_sample_is_written_as_it_is_drawn(run, model, tmp_path, monkeypatch):
    from backwalk.table import writing

    monkeypatch.setattr(writing, "GROUP_CELLS", 2 * 1000)
    path = tmp_path / "rows.parquet"
    assert run("sample", model, "-n", 3000, "--evaluations", 3, "--seed", 0, "-o", path)[0] == 0
    groups = pyarrow.parquet.ParquetFile(path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [1000, 1000, 1000]
    expected = Diffusion.load(model).sample(3000, n_evaluations=3, random_state=0)
    np.testing.assert_array_equal(read_table(path).values, as_table(expected).values)


def test_data_go_to_stdout_and_messages_to_stderr(run, model):
    status, out, err = run("sample", model, "-n", 2, "--seed", 0)
    assert status == 0
    assert out.splitlines()[0] == '"length","weight"'
    assert len(out.splitlines()) == 3
    assert err == ""


def test_each_call_draws_other_rows_and_prints_the_seed_that_repeats_them(run, model, tmp_path):
    """Found by a cross-check: rows of two calls were the same, so that appending them made duplicates."""
    _, first, said = run("sample", model, "-n", 5)
    _, second, _ = run("sample", model, "-n", 5)
    assert not set(first.splitlines()[1:]) & set(second.splitlines()[1:])
    (seed,) = re.findall(r"--seed (\d+)", said)
    assert run("sample", model, "-n", 5, "--seed", seed)[1] == first
    status, out, _ = run("sample", model, "-n", 5, "-o", tmp_path / "rows.csv", "--json")
    again = run("sample", model, "-n", 5, "--seed", json.loads(out)["seed"])[1]
    assert (status, (tmp_path / "rows.csv").read_text()) == (0, again)


@pytest.mark.slow
def test_headers_can_be_left_as_they_are(run, rows_file, tmp_path):
    rows_file.write_text(rows_file.read_text().replace("length,weight", "-length,=weight"))
    assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK)[0] == 0
    for options, header in (([], '"\'-length","\'=weight"'), (["--raw-headers"], '"-length","=weight"')):
        assert run("sample", tmp_path / "m", "-n", 3, *options)[1].splitlines()[0] == header
        assert run("sample", tmp_path / "m", "-n", 3, "-o", tmp_path / "s.csv", "--force", *options)[0] == 0
        assert run("score", tmp_path / "m", tmp_path / "s.csv")[0] == 0


def test_ranges_of_rows_are_together_the_sample(run, model):
    whole = run("sample", model, "-n", 40, "--evaluations", 2, "--seed", 3)[1].splitlines()
    drawn = [
        run("sample", model, "--rows", rows, "--evaluations", 2, "--seed", 3)[1].splitlines()[1:]
        for rows in ("0:7", "7:8", "8:40")
    ]
    assert [line for part in drawn for line in part] == whole[1:]
    for wrong in (["--rows", "0:7"], ["--rows", "0:7", "--seed", 3, "-n", 7], ["--rows", "7:7", "--seed", 3]):
        assert run("sample", model, *wrong)[0] == 2
