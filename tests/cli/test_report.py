"""`backwalk report` and `backwalk demo`."""

import html
import json
import os
import shlex

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.assess.verdict import decide
from backwalk.datasets import two_moons
from backwalk.table import read_table

QUICK = ["--max-steps", "5"]


@pytest.mark.parametrize(
    ("command", "output", "words"),
    [
        ("score", "there.csv", "there.csv"),
        ("score", "scores.txt", "should end in"),
        ("score", "nowhere/scores.csv", "nowhere/scores.csv"),
        ("report", "there.csv", "there.csv"),
        ("report", "r.pdf", "should end in .html"),
        ("report", "nowhere/r.html", "nowhere/r.html"),
    ],
)
def test_what_cannot_be_written_is_told_before_long_work(
    run, model, rows_file, tmp_path, monkeypatch, command, output, words
):
    def never(*_, **__):
        raise AssertionError("long work")

    (tmp_path / "there.csv").write_text("mine")
    monkeypatch.setattr("backwalk.model.log_density", never)
    monkeypatch.setattr("backwalk.assess.assess", never)
    status, out, err = run(command, model, rows_file, "-o", tmp_path / output)
    assert (status, out, words in err) == (1, "", True), err
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_place_where_no_model_or_report_can_be_is_told_before_long_work(run, model, rows_file, monkeypatch):
    def never(*_, **__):
        raise AssertionError("long work")

    monkeypatch.setattr("backwalk.estimator.Diffusion.fit", never)
    monkeypatch.setattr("backwalk.assess.assess", never)
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    for arguments in (["demo", "-o", model.parent / "demo"], ["report", model, rows_file]):
        options = ["-o", model.parent / "r.html"] if arguments[0] == "report" else []
        status, out, err = run(*arguments, *options)
        assert (status, out) == (1, "")
        assert "Permission denied" in err
    monkeypatch.undo()
    os.mkfifo(model.parent / "pipe.html")
    status, out, err = run("report", model, rows_file, "-o", model.parent / "pipe.html", "--force")
    assert (status, out) == (1, "")
    assert "not a regular file" in err


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
    chosen_is_simple = decide(fidelity.model, fidelity.baselines)[1] is not fidelity.model
    assert ("Diffusion is for" in err) == chosen_is_simple


def test_demo_s_json_is_a_summary(demo):
    """Found by new users: it was 2,500 lines."""
    _, _, out, _, fidelity = demo
    record = json.loads(out)
    assert out.count("\n") < 150
    assert record["answers"] == {answer.question: answer.text for answer in fidelity.answers}
    assert record["warnings"] == list(fidelity.warnings)
    assert set(record["figures"]) == {scores.name for scores in fidelity.models}
    for figure in fidelity.model.figures:
        found = record["figures"][fidelity.model.name][figure.name]
        assert found == {"value": figure.value, "null": figure.null}


def test_demo_s_lines_to_repeat_it_name_all_that_it_was_given(demo):
    """Found by review: --device was left out, and a GPU makes another model."""
    folder, _, out, _, _ = demo
    model, samples, report = (
        shlex.quote(f"{folder}/{name}") for name in ("two_moons.backwalk", "samples.csv", "report.html")
    )
    commands = [
        f"backwalk fit two_moons --seed 3 --device cpu --max-steps 20 -o {model}",
        f"backwalk sample {model} -n 300 --seed 3 --device cpu -o {samples}",
        f"backwalk report {model} two_moons --training two_moons --seed 3 --device cpu -o {report}",
    ]
    assert json.loads(out)["commands"] == commands
    page = html.unescape((folder / "report.html").read_text())
    assert all(command in page for command in commands)


def test_a_report_s_answers_and_warnings_stand_on_the_terminal(run, model, rows_file, tmp_path, demo, judged):
    """Found by a cross-check: overfitting was named on the page alone."""
    fidelity = demo[-1]
    assert fidelity.warnings
    status, out, _ = run("report", model, rows_file, "-o", tmp_path / "r.html")
    assert status == 0
    answers = [answer.text for answer in fidelity.answers]
    for text in (*answers, "Before you use it", *fidelity.warnings, str(tmp_path / "r.html")):
        assert text in out


def test_a_report_names_the_command_that_made_it(run, model, rows_file, tmp_path, judged):
    assert run("report", model, rows_file, "-o", tmp_path / "the report.html")[0] == 0
    assert judged["commands"] == [f"backwalk report {model} {rows_file} -o '{tmp_path}/the report.html'"]


def test_a_report_that_cannot_be_written_is_named(run, model, rows_file, tmp_path, judged, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backwalk.report.write_report", full)
    status, _, err = run("report", model, rows_file, "-o", tmp_path / "r.html")
    assert (status, "r.html cannot be written: No space left" in err) == (1, True)


def test_a_report_as_json_names_its_file(run, model, rows_file, tmp_path, judged):
    status, out, err = run("report", model, rows_file, "-o", tmp_path / "r.html", "--json")
    record = json.loads(out)
    assert (status, record["report"], "columns" in record) == (0, str(tmp_path / "r.html"), True)
    assert "120 unseen rows" in err
    few = tmp_path / "few.csv"
    few.write_text("length,weight\n1,2\n3,4\n")
    assert "DATA should have at least 20 rows, but has 2" in run("report", model, few, "-o", tmp_path / "s.html")[2]
