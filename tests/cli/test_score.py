"""`backwalk score`."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import Diffusion
from backwalk.table import Selection, as_table, read_labels, read_part, read_table, write_table

QUICK = ["--max-steps", "5"]


@pytest.mark.slow
def test_score_writes_the_estimators_log_density(run, model, rows_file, tmp_path):
    status, _, err = run("score", model, rows_file, "-o", tmp_path / "scores.parquet")
    expected = Diffusion.load(model).score_samples(read_table(rows_file))
    error = expected.std(ddof=1) / len(expected) ** 0.5
    assert status == 0
    assert err.startswith(
        f"log p = {expected.mean():.4f} +- {error:.4f} nats per row on average, by the ODE (solver's error "
    )
    np.testing.assert_array_equal(read_table(tmp_path / "scores.parquet").values[:, 0], expected)


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
def test_a_row_that_the_model_cannot_make_scores_minus_infinity_in_both_columns(run, tmp_path):
    rows, path = np.random.default_rng(0).normal(size=(60, 2)), tmp_path / "site.csv"
    rows[:, 1] = 3.0
    write_table(path, as_table(rows))
    assert run("fit", path, "-o", tmp_path / "m", *QUICK)[0] == 0
    rows[7, 1] = 4.0
    write_table(path, as_table(rows[:9]), overwrite=True)
    status, out, err = run("score", tmp_path / "m", path, "--bound", "beta")
    scores = np.array([line.split(",") for line in out.splitlines()[1:]], dtype=float)
    assert (status, "without 1 row of -inf\n" in err) == (0, True)
    assert [np.flatnonzero(np.isneginf(scores[:, j])).tolist() for j in (0, 3)] == [[7], [7]]
    mean = scores[:, 3][np.isfinite(scores[:, 3])].mean()
    assert f"log p >= {mean:.4f} +-" in err


@pytest.mark.slow
def test_json_and_rows_do_not_share_standard_output(run, rows_file, model, tmp_path):
    status, out, err = run("sample", model, "--json")
    assert (status, out) == (2, "")
    assert "--json goes with -o FILE" in err
    _, table, said = run("score", model, rows_file)
    _, out, bound_said = run("score", model, rows_file, "--json", "--bound", "optimal")
    facts = json.loads(out)
    scores = np.array([float(line.split(",")[0]) for line in table.splitlines()[1:]])
    assert facts["rows"] == len(scores)
    assert facts["impossible_rows"] == 0
    assert facts["log_density"] == pytest.approx(scores.mean())
    assert facts["standard_error"] == pytest.approx(scores.std(ddof=1) / len(scores) ** 0.5)
    assert f"log p = {facts['log_density']:.4f} +- {facts['standard_error']:.4f} nats" in said
    assert f"log p >= {facts['elbo']:.4f} +- {facts['elbo_standard_error']:.4f} nats" in bound_said


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
