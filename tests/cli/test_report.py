"""`backwalk report` and `backwalk demo`."""

import json

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.datasets import two_moons
from backwalk.table import read_table

QUICK = ["--max-steps", "5"]


@pytest.mark.slow
def test_a_built_in_density_gives_rows_that_no_fit_was_given(run, tmp_path, judged):
    """Found by review: a fit with seed 1 was judged, and scored with seed 0, by its own training rows."""
    model, page = tmp_path / "m", tmp_path / "r.html"
    assert run("fit", "two_moons", "--rows", 300, "--seed", 1, "-o", model, *QUICK)[0] == 0
    fitted = two_moons().sample(300, random_state=1)
    for seed in range(3):
        options = ["--rows", 200, "--seed", seed, "--training", "two_moons", "-o", page]
        assert run("report", model, "two_moons", *options, "--force")[0] == 0
        assert len(judged["unseen"].values) == 200
        assert not set(map(bytes, judged["unseen"].values)) & set(map(bytes, fitted))
        np.testing.assert_array_equal(
            judged["training"].values, fitted
        )  # those of the fit, whatever the seed and --rows
        assert judged["model_path"] == str(model)
    assert run("score", model, "two_moons", "--rows", 200, "--seed", 1, "-o", tmp_path / "s.csv")[0] == 0
    expected = Diffusion.load(model).score_samples(two_moons().sample(200, random_state=1))
    assert not set(read_table(tmp_path / "s.csv").values[:, 0]) & set(expected)


@pytest.mark.slow
def test_demo_ends_in_a_report(demo):
    folder, status, out, err, fidelity = demo
    record = json.loads(out)
    assert status == 0
    assert record["report"] == str(folder / "report.html")
    assert "<html" in (folder / "report.html").read_text()
    assert read_table(record["samples"]).values.shape == (300, 2)
    assert Diffusion.load(record["model"]).n_features_in_ == 2
    assert [line.split(maxsplit=1)[0] for line in err.splitlines() if not line.startswith("warning")][:2] == [
        "two",
        "fitted",
    ]
    assert record["answers"] == {answer.question: answer.text for answer in fidelity.answers}
    assert record["warnings"] == list(fidelity.warnings)


@pytest.mark.slow
def test_a_report_s_answers_and_warnings_stand_on_the_terminal(run, model, rows_file, tmp_path, demo, judged):
    """Found by a cross-check: overfitting was named on the page alone."""
    fidelity = demo[-1]
    assert fidelity.warnings
    status, out, _ = run("report", model, rows_file, "-o", tmp_path / "r.html")
    assert status == 0
    answers = [answer.text for answer in fidelity.answers]
    for text in (*answers, "Before you use it", *fidelity.warnings, str(tmp_path / "r.html")):
        assert text in out


@pytest.mark.slow
def test_a_report_as_json_names_its_file(run, model, rows_file, tmp_path, judged):
    status, out, err = run("report", model, rows_file, "-o", tmp_path / "r.html", "--json")
    record = json.loads(out)
    assert (status, record["report"], "columns" in record) == (0, str(tmp_path / "r.html"), True)
    assert "120 unseen rows" in err


@pytest.mark.slow
def test_a_quick_report_asks_for_a_quick_judgement(run, model, rows_file, tmp_path, judged):
    for options in (["--quick"], []):
        assert run("report", model, rows_file, "-o", tmp_path / "r.html", "--force", *options)[0] == 0
        assert judged["quick"] == bool(options)


def test_a_report_of_few_rows_is_refused(run, model, tmp_path):
    few = tmp_path / "few.csv"
    few.write_text("length,weight\n1,2\n3,4\n")
    assert "DATA should have at least 20 rows, but has 2" in run("report", model, few, "-o", tmp_path / "s.html")[2]
