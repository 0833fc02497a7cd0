"""`backwalk score`."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import Diffusion
from backwalk.table import Selection, read_labels, read_part, read_table


@pytest.mark.slow
def test_score_adds_the_bound_of_the_chain_that_is_asked_for(run, model, rows_file, tmp_path):
    options = ["--bound", "beta", "--seed", 4]
    status, _, err = run("score", model, rows_file, "-o", tmp_path / "scores.csv", *options)
    scores, estimator, rows = read_table(tmp_path / "scores.csv"), Diffusion.load(model), read_table(rows_file)
    expected = estimator.bound(rows, reverse_variance="beta", random_state=4)
    assert (status, scores.columns) == (0, ("log_density", "solver_error", "standard_error", "elbo"))
    density = estimator.log_density(rows)
    np.testing.assert_array_equal(scores.values[:, 0], density.log_prob)
    np.testing.assert_array_equal(scores.values[:, 1], density.solver_error)
    assert (scores.values[:, 2] == 0.0).all()
    np.testing.assert_array_equal(scores.values[:, 3], -expected.per_row)
    assert f"log p >= {-expected.total:.4f} +- {expected.total_standard_error:.4f} nats per row" in err


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_identifier_is_carried_through_as_it_stands(run, model, rows_file, tmp_path, suffix):
    rows = read_table(rows_file).values[:30]
    text = [f'"{i:03d},{"é" * (i == 1)}",{"" if i == 4 else repr(a)},{b!r}\n' for i, (a, b) in enumerate(rows.tolist())]
    labels = [f"{i:03d},{'é' * (i == 1)}" for i in range(30) if i != 4]
    (tmp_path / "t.csv").write_text("patient,length,weight\n" + "".join(text))
    scores = tmp_path / f"scores{suffix}"
    status, _, err = run("score", model, tmp_path / "t.csv", "--id", "patient", "--drop-missing", "-o", scores)
    assert status == 0, err
    found = read_labels(scores, "patient")
    assert found.to_pylist() == labels
    numbers = read_part(scores, Selection(drop=("patient",))).table
    assert numbers.columns == ("row", "log_density", "solver_error", "standard_error")
    expected = Diffusion.load(model).score_samples(read_table(rows_file))[:30]
    np.testing.assert_array_equal(numbers.values[:, 1], np.delete(expected, 4))
    if suffix == ".parquet":
        again = tmp_path / "again.parquet"
        pyarrow.parquet.write_table(
            pa.table({"patient": labels, "length": np.delete(rows, 4, 0)[:, 0], "weight": np.delete(rows, 4, 0)[:, 1]}),
            again,
        )
        assert run("score", model, again, "--id", "patient")[1].splitlines()[1].startswith('"000,",')


@pytest.mark.parametrize(
    ("data", "options", "status", "words"),
    [
        ("rows.csv", ["--id", "patient"], 1, "'patient'"),
        ("rows.csv", ["--id", "log_density"], 1, "rename"),
        ("two_moons", ["--id", "x1"], 2, "goes with a file"),
        ("-", ["--id", "length"], 2, "standard input"),
    ],
)
def test_an_identifier_that_cannot_be_carried_is_refused(
    run, model, rows_file, monkeypatch, data, options, status, words
):
    monkeypatch.chdir(rows_file.parent)
    left, out, err = run("score", model, data, *options)
    assert (left, out, words in err) == (status, "", True), err


@pytest.mark.slow
def test_a_rank_is_the_share_of_reference_rows_that_score_no_higher(run, model, rows_file, tmp_path):
    few = tmp_path / "few.csv"
    lines = rows_file.read_text().splitlines()
    few.write_text("\n".join([*lines[:9], "30.0,500.0"]) + "\n")
    status, _, _ = run("score", model, few, "--reference", rows_file, "-o", tmp_path / "s.csv")
    scores, others = read_table(tmp_path / "s.csv"), Diffusion.load(model).score_samples(read_table(rows_file))
    assert (status, scores.columns[-1]) == (0, "rank")
    density, rank = scores.values[:, 0], scores.values[:, -1]
    np.testing.assert_allclose(rank, [(others <= value).mean() for value in density])
    assert rank[-1] == 0.0  # an outlier
