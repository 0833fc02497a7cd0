"""The command line: what it writes, where, and with which exit status."""

import html
import importlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
import pyarrow.parquet
import pytest

from backwalk import Diffusion
from backwalk.atomic_files import held_alone
from backwalk.cli import main, output, program
from backwalk.cli.commands import cli
from backwalk.datasets import two_moons
from backwalk.sampling import FEWEST_WITH_NOISE, USUAL_EVALUATIONS
from backwalk.table import as_table, read_table, write_table

QUICK = ["--max-steps", "5"]


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit status, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


@pytest.fixture
def rows_file(tmp_path):
    values = np.random.default_rng(0).normal([1.0, 20.0], [1.0, 5.0], size=(120, 2))
    path = tmp_path / "rows.csv"
    path.write_text("length,weight\n" + "\n".join(f"{a!r},{b!r}" for a, b in values.tolist()) + "\n")
    return path


@pytest.fixture
def model(run, rows_file, tmp_path):
    path = tmp_path / "model.backwalk"
    assert run("fit", rows_file, "-o", path, *QUICK)[0] == 0
    return path


def test_a_density_is_told_of_by_its_name(run):
    """Found by review: the help pointed to a command that answered with an error."""
    status, out, _ = run("info", "two_moons", "--json")
    facts = json.loads(out)
    assert (status, facts["density"], facts["d"]) == (0, "two_moons", 2)
    assert facts["entropy_nats"] == pytest.approx(two_moons().entropy)


def test_a_folder_that_is_no_model_is_called_so(run, tmp_path):
    for command in (["info", tmp_path], ["sample", tmp_path], ["distil", tmp_path]):
        status, _, err = run(*command)
        assert (status, f"{tmp_path} cannot be read: it is a folder without model.json" in err) == (1, True)


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_row_numbers_can_be_left_out(run, tmp_path, name):
    numbers = "".join(f"{i},{i * 0.37 % 1},{i * 0.71 % 1}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(f"{name},a,b\n{numbers}")
    status, _, err = run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *QUICK)
    assert (status, f"by --drop {name!r}" in err) == (1, True)
    assert run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *QUICK, "--drop", name)[0] == 0


def test_help_is_there_for_every_command(run):
    status, out, _ = run("-h")
    assert status == 0
    for command in ("demo", "split", "fit", "distil", "sample", "score", "report", "info"):
        assert command in out
        assert run(command, "-h")[0] == 0


def test_texts_name_the_numbers_of_evaluations_that_are_meant(run):
    _, out, _ = run("sample", "-h")
    for text in (" ".join(out.split()), " ".join(Diffusion.sample.__doc__.split())):
        assert f"fewer than {FEWEST_WITH_NOISE}" in text
        assert f"takes {USUAL_EVALUATIONS}" in text


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

    monkeypatch.setattr(writing, "BLOCK_CELLS", 2 * 1000)
    path = tmp_path / "rows.parquet"
    assert run("sample", model, "-n", 3000, "--evaluations", 3, "-o", path)[0] == 0
    groups = pyarrow.parquet.ParquetFile(path).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [1000, 1000, 1000]
    expected = Diffusion.load(model).sample(3000, n_evaluations=3, random_state=0)
    np.testing.assert_array_equal(read_table(path).values, as_table(expected).values)


def test_distil_then_sample_by_one_evaluation(run, model, tmp_path, monkeypatch):
    monkeypatch.setattr("backwalk.estimator.default_pairs", lambda _: 3000)
    other, options = tmp_path / "other.safetensors", ["--max-steps", 3, "--seed", 7]
    status, _, err = run("sample", model, "--sampler", "distilled", "-o", tmp_path / "none.csv")
    assert status == 1
    assert "`backwalk distil`" in err
    assert not (tmp_path / "none.csv").exists()
    before = (model / "model.json").read_bytes()
    status, out, err = run("distil", model, "-o", other, *options)
    assert (status, out) == (0, "")
    assert "root mean square error of" in err
    assert f"model: {other}" in err
    assert (model / "model.json").read_bytes() == before
    assert run("distil", model, *options)[0] == 0  # into the model itself, which loses nothing
    assert run("sample", model, "-n", 9, "--sampler", "distilled", "--seed", 5, "-o", tmp_path / "a.csv")[0] == 0
    expected = Diffusion.load(model).distil(max_steps=3, random_state=7).sample(9, sampler="distilled", random_state=5)
    np.testing.assert_array_equal(read_table(tmp_path / "a.csv").values, as_table(expected).values)
    assert run("sample", other, "-n", 9, "--sampler", "distilled", "--seed", 5, "-o", tmp_path / "b.csv")[0] == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert "student" in run("info", model)[1]
    assert "root mean square error" in json.loads(run("info", model, "--json")[1])["student"]
    for arguments in (["distil", model], ["distil", model, "-o", other]):
        status, _, err = run(*arguments, *options)
        assert (status, err.count("\n")) == (1, 1)
        assert "--force" in err
        assert run("-q", *arguments, *options, "--force")[::2] == (0, "")
    assert run("sample", model, "--sampler", "distilled", "--evaluations", 5)[0] == 1
    assert run("distil", model, "--max-time", 0)[0] == 2


def test_split_deals_every_row_into_one_of_two_files(run, tmp_path):
    table = tmp_path / "all.csv"
    table.write_text("id,y\n" + "".join(f"{i},{i / 8}\n" for i in range(50)))
    training, unseen, other = (tmp_path / f"{name}.csv" for name in ("training", "unseen", "other"))
    assert run("split", table, training, unseen, "--share", 0.3)[0] == 0
    kept, held = read_table(training), read_table(unseen)
    assert (len(kept.values), len(held.values), kept.columns, held.schema) == (35, 15, ("id", "y"), kept.schema)
    dealt = np.concatenate([kept.values, held.values])
    np.testing.assert_array_equal(dealt[dealt[:, 0].argsort()], read_table(table).values)
    for part in (kept, held):  # at random, but in their order; 15 rows in a row are one of 10^12 deals
        assert (np.diff(part.values[:, 0]) > 0).all()
    assert (np.diff(held.values[:, 0]) > 1).any()
    status, out, _ = run("split", table, training, other, "--share", 0.3, "--force", "--json")
    assert (status, json.loads(out)["unseen_rows"], other.read_bytes()) == (0, 15, unseen.read_bytes())
    assert run("split", table, training, other, "--share", 0.3, "--force", "--seed", 1)[0] == 0
    assert other.read_bytes() != unseen.read_bytes()
    for suffix in ("parquet", "npy"):
        places = [tmp_path / f"{name}.{suffix}" for name in ("training", "unseen")]
        assert run("split", table, *places, "--share", 0.3)[0] == 0
        for place, part in zip(places, (kept, held), strict=True):
            np.testing.assert_array_equal(read_table(place).values, part.values)


def test_a_split_that_cannot_be_is_refused_and_leaves_no_file(run, tmp_path):
    (tmp_path / "all.csv").write_text("x\n1\n2\n3\n")
    (tmp_path / "there.csv").write_text("mine")
    for places, options, words in (
        (("a.csv", "a.csv"), (), "should be three files"),
        (("all.csv", "a.csv"), ("--force",), "should be three files"),
        (("-", "a.csv"), (), "should be three files"),
        (("a.csv", "b.csv"), ("--share", 0.1), "0.1 of 3 rows are 0: give another --share"),
        (("a.csv", "there.csv"), ("--share", 0.4), "overwrite it (overwrite=True, --force)"),
        (("a.csv", "b.txt"), ("--share", 0.4), ".csv, .parquet, .npy"),
        (("a.csv", "no/b.csv"), ("--share", 0.4), "there is no folder"),
    ):
        places = [place if place == "-" else tmp_path / place for place in places]
        status, _, err = run("split", tmp_path / "all.csv", *places, *options)
        assert (status, words in err) == (1, True), err
        assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_data_on_stdout_messages_on_stderr(run, model):
    status, out, err = run("sample", model, "-n", 2)
    assert status == 0
    assert out.splitlines()[0] == '"length","weight"'
    assert len(out.splitlines()) == 3
    assert err == ""


def test_score_writes_the_estimators_log_density(run, model, rows_file, tmp_path):
    status, _, err = run("score", model, rows_file, "-o", tmp_path / "scores.npy")
    expected = Diffusion.load(model).score_samples(read_table(rows_file))
    error = expected.std(ddof=1) / len(expected) ** 0.5
    assert status == 0
    assert err.startswith(
        f"log p = {expected.mean():.4f} +- {error:.4f} nats per row on average, by the ODE (solver's error "
    )
    np.testing.assert_array_equal(read_table(tmp_path / "scores.npy").values[:, 0], expected)


def test_score_adds_the_bound_of_the_chain_that_is_asked_for(run, model, rows_file, tmp_path):
    options = ["--bound", "optimal", "--steps", 9, "--seed", 4]
    status, _, err = run("score", model, rows_file, "-o", tmp_path / "scores.csv", *options)
    scores, estimator, rows = read_table(tmp_path / "scores.csv"), Diffusion.load(model), read_table(rows_file)
    expected = estimator.bound(rows, reverse_variance="optimal", steps=9, random_state=4)
    assert (status, scores.columns) == (0, ("log_density", "solver_error", "standard_error", "elbo"))
    density = estimator.log_density(rows)
    np.testing.assert_array_equal(scores.values[:, 0], density.log_prob)
    np.testing.assert_array_equal(scores.values[:, 1], density.solver_error)
    assert (scores.values[:, 2] == 0.0).all()
    np.testing.assert_array_equal(scores.values[:, 3], -expected.per_row)
    assert f"log p >= {-expected.total:.4f} +- {expected.total_standard_error:.4f} nats per row" in err
    assert run("score", model, rows_file, "--steps", 9)[0] == 2


def test_a_row_that_the_model_cannot_make_scores_minus_infinity_in_both_columns(run, tmp_path):
    rows, path = np.random.default_rng(0).normal(size=(60, 2)), tmp_path / "site.csv"
    rows[:, 1] = 3.0
    write_table(path, as_table(rows))
    assert run("fit", path, "-o", tmp_path / "m", *QUICK)[0] == 0
    rows[7, 1] = 4.0
    write_table(path, as_table(rows[:9]), overwrite=True)
    status, out, err = run("score", tmp_path / "m", path)
    assert "left out, as they are -inf: 1 row\n" in err
    scores = [float(line.split(",")[0]) for line in out.splitlines()[1:]]
    assert status == 0
    assert np.flatnonzero(np.isneginf(scores)).tolist() == [7]
    status, out, err = run("score", tmp_path / "m", path, "--bound", "beta")
    elbo = [float(line.split(",")[3]) for line in out.splitlines()[1:]]
    assert (status, np.flatnonzero(np.isneginf(elbo)).tolist()) == (0, [7])
    mean = np.mean([value for value in elbo if np.isfinite(value)])
    assert f"log p >= {mean:.4f} +-" in err
    rows[:, 1] = 4.0
    write_table(path, as_table(rows), overwrite=True)
    status, out, err = run("score", tmp_path / "m", path, "--bound", "beta")
    assert (status, out.splitlines()[1].split(",")[3], "log p >=" in err) == (0, "-inf", False)


@pytest.mark.parametrize("output", ["there.csv", "scores.txt", "nowhere/scores.csv"])
def test_what_cannot_be_written_is_told_before_long_work(run, model, rows_file, tmp_path, monkeypatch, output):
    def never(*_, **__):
        raise AssertionError("long work")

    (tmp_path / "there.csv").write_text("mine")
    monkeypatch.setattr("backwalk.estimator.Diffusion.log_density", never)
    monkeypatch.setattr("backwalk.assess.assess", never)
    for command in ("score", "report"):
        if (command, output) != ("report", "scores.txt"):
            status, out, err = run(command, model, rows_file, "-o", tmp_path / output)
            assert (status, out) == (1, "")
            assert ("should end in" if output == "scores.txt" else output) in err
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_a_place_where_no_student_model_or_report_can_be_is_told_before_long_work(run, model, rows_file, monkeypatch):
    def never(*_, **__):
        raise AssertionError("long work")

    monkeypatch.setattr("backwalk.estimator.Diffusion.distil", never)
    monkeypatch.setattr("backwalk.estimator.Diffusion.fit", never)
    monkeypatch.setattr("backwalk.assess.assess", never)
    monkeypatch.setattr(os, "access", lambda _, mode: not mode & os.W_OK)
    for arguments in (["distil", model], ["demo", "-o", model.parent / "demo"], ["report", model, rows_file]):
        options = ["-o", model.parent / "r.html"] if arguments[0] == "report" else []
        status, out, err = run(*arguments, *options)
        assert (status, out) == (1, "")
        assert "Permission denied" in err
    monkeypatch.undo()
    os.mkfifo(model.parent / "pipe.html")
    status, out, err = run("report", model, rows_file, "-o", model.parent / "pipe.html", "--force")
    assert (status, out) == (1, "")
    assert "not a regular file" in err


def test_a_sampler_that_the_model_lacks_is_told_before_a_header(run, model):
    status, out, err = run("sample", model, "--sampler", "distilled")
    assert (status, out) == (1, "")
    assert "should have a student" in err


def test_a_terminal_without_a_letter_gets_it_written_out(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    output.echo("difference −0.1 ±")
    assert stream.buffer.getvalue() == b"difference \\u22120.1 \xb1\n"


def test_a_number_in_many_rows_is_a_warning_and_no_fault(run, tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2))
    rows[::2, 0] = 0.0
    write_table(tmp_path / "heaped.csv", as_table(rows))
    status, _, err = run("fit", tmp_path / "heaped.csv", "-o", tmp_path / "a", *QUICK)
    assert status == 0
    assert "warning: one number in many rows: column 'x1' (0 in 50%)" in err
    assert run("fit", tmp_path / "heaped.csv", "-o", tmp_path / "b", *QUICK, "-q") == (0, "", "")


def test_a_fault_of_ours_is_one_line_too(run, model, monkeypatch):
    def fault(*_, **__):
        raise KeyError("oops")

    monkeypatch.setattr("backwalk.cli.commands.facts_of", fault)
    assert run("info", model) == (1, "", "error: unexpected, KeyError: 'oops': -v shows where\n")
    status, _, err = run("info", model, "-v")
    assert status == 1
    assert "Traceback" in err


def test_a_built_in_density_gives_rows_that_no_fit_was_given(run, tmp_path, monkeypatch):
    """Found by review: a fit with seed 1 was judged, and scored with seed 0, by its own training rows."""
    judged = {}

    def assess(model, unseen, **given):
        judged.update(unseen=unseen, **given)
        raise KeyboardInterrupt

    monkeypatch.setattr("backwalk.assess.assess", assess)
    model, page = tmp_path / "m", tmp_path / "r.html"
    assert run("fit", "two_moons", "--rows", 300, "--seed", 1, "-o", model, *QUICK)[0] == 0
    fitted = two_moons().sample(300, random_state=1)
    for seed in range(3):
        options = ["--rows", 200, "--seed", seed, "--training", "two_moons", "-o", page]
        assert run("report", model, "two_moons", *options)[0] == 130
        assert len(judged["unseen"].values) == 200
        assert not set(map(bytes, judged["unseen"].values)) & set(map(bytes, fitted))
        np.testing.assert_array_equal(judged["training"], fitted)  # those of the fit, whatever the seed and --rows
        assert judged["model_path"] == str(model)
    assert run("score", model, "two_moons", "--rows", 200, "--seed", 1, "-o", tmp_path / "s.csv")[0] == 0
    expected = Diffusion.load(model).score_samples(two_moons().sample(200, random_state=1))
    assert not set(read_table(tmp_path / "s.csv").values[:, 0]) & set(expected)


def test_a_device_can_be_named(run, model, rows_file, tmp_path, monkeypatch):
    monkeypatch.setattr("backwalk.estimator.default_pairs", lambda _: 3000)
    for arguments in (
        ["fit", rows_file, "-o", tmp_path / "other", *QUICK],
        ["distil", model, "-o", tmp_path / "student", "--max-steps", 1],
        ["sample", model, "-o", tmp_path / "new.csv"],
        ["score", model, rows_file, "-o", tmp_path / "scores.csv"],
    ):
        assert run(*arguments, "--device", "cpu")[0] == 0
    for command in (
        ["demo", "-o", tmp_path / "demo"],
        ["fit", rows_file, "-o", tmp_path / "never"],
        ["fit", rows_file, "-o", tmp_path / "never", "--ddpm"],
        ["distil", model],
        ["sample", model],
        ["score", model, rows_file],
        ["report", model, rows_file, "-o", "r.html"],
    ):
        status, out, err = run(*command, "--device", "warp")
        assert (status, out) == (1, "")
        assert "device should be" in err


def test_json_is_one_versioned_object(run, rows_file, model, tmp_path):
    for arguments, key in (
        (["fit", rows_file, "-o", tmp_path / "other", *QUICK], "card"),
        (["distil", tmp_path / "other", "--max-steps", 1], "student"),
        (["sample", model, "-n", 5, "-o", tmp_path / "five.csv"], "sampler"),
        (["score", model, rows_file, "-o", tmp_path / "scores.csv"], "log_density"),
        (["info", model], "model"),
        (["info", rows_file], "table"),
    ):
        status, out, _ = run(*arguments, "--json")
        assert status == 0
        record = json.loads(out)
        assert record["version"] == 1
        assert key in record


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


def test_nothing_is_overwritten_without_force(run, rows_file, model, tmp_path):
    before = (model / "model.json").read_bytes()
    status, _, err = run("fit", rows_file, "-o", model, *QUICK)
    assert status == 1
    assert "--force" in err
    assert (model / "model.json").read_bytes() == before
    assert run("fit", rows_file, "-o", model, *QUICK, "--force")[0] == 0
    (tmp_path / "out.csv").write_text("mine")
    status, _, err = run("sample", model, "-o", tmp_path / "out.csv")
    assert status == 1
    assert (tmp_path / "out.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("a,b\n1,2\n3,nan\n", "missing are 'b' (1)"),
        ("a,b\n1,2\n3,inf\n", "inf"),
        ("a,b\n", "0 sample"),
        ("a,b\n1,x\n2,y\n", "text"),
        ("a,b\n1,2\n", "1 sample"),
        ("a,b\n1,2\n1,2\n", "constant"),
        ("1,2\n3,4\n", "header"),
        ("", "empty"),
    ],
)
def test_bad_tables_are_one_line_and_status_1(run, tmp_path, content, part):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    status, out, err = run("fit", path, "-o", tmp_path / "model", *QUICK)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert part in err
    assert not (tmp_path / "model").exists()


def test_other_faults_are_one_line_and_status_1(run, model, tmp_path):
    wide = tmp_path / "wide.csv"
    write_table(wide, as_table(np.ones((25, 3)) * np.arange(25.0)[:, None]))
    for arguments in (
        ["fit", tmp_path / "missing.csv", "-o", tmp_path / "m"],
        ["fit", "three_moons", "-o", tmp_path / "m"],
        ["fit", tmp_path / "rows.xlsx", "-o", tmp_path / "m"],
        ["fit", model, "-o", tmp_path / "m"],
        ["info", tmp_path / "missing.backwalk"],
        ["fit", "two_moons", "-o", "."],
        ["sample", tmp_path / "missing"],
        ["sample", tmp_path],
        ["score", model, wide],
        ["report", model, wide, "-o", tmp_path / "r.html"],
        ["sample", model, "-n", 2, "-o", "/dev/full/x.csv"],
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (1, ""), arguments
        assert err.startswith("error: ")
        assert err.count("\n") == 1


def test_wrong_usage_is_status_2(run, model):
    assert run("sample", model, "-n", "0")[0] == 2
    assert run("sample", model, "--sampler", "magic")[0] == 2
    for wrong in (("--eta", "0.5"), ("--sampler", "ddim", "--eta", "1.5"), ("--sampler", "multistep", "--eta", "0")):
        assert run("sample", model, *wrong)[0] == 2
    assert run("sample", model, "-n", "3", "--sampler", "ddim", "--eta", "0.5")[0] == 0
    assert run("fit", "two_moons", "--epochs", "3", "-o", "never")[0] == 2
    assert run("fit")[0] == 2
    assert run("nonsense")[0] == 2


def test_ctrl_c_is_status_130(run, model, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("backwalk.estimator.Diffusion.sample_pieces", interrupted)
    assert run("sample", model)[0] == 130


def test_the_notebooks_settings_warn_of_the_mismatch(run, tmp_path):
    status, _, err = run("fit", "two_moons", "--rows", 2000, "--ddpm", "--epochs", 1, "-o", tmp_path / "ddpm")
    assert status == 0
    warning = next(line for line in err.splitlines() if line.startswith("warning: "))
    assert "alpha_bar_N = 0.3475" in warning
    assert "nats per row" in warning


def test_each_option_has_the_variable_of_its_name():
    """Found by review: --bound, --training and --json had others, and were passed over without a word."""
    for command in cli.commands.values():
        for option in command.params:
            if isinstance(option, click.Option) and option.expose_value:
                (name,) = [flag for flag in option.opts if flag.startswith("--")]
                assert option.name == name.removeprefix("--").replace("-", "_")


def test_options_can_come_from_the_environment(run, rows_file, tmp_path, monkeypatch):
    monkeypatch.setenv("BACKWALK_FIT_MAX_STEPS", "3")
    assert run("fit", rows_file, "-o", tmp_path / "model")[0] == 0
    _, out, _ = run("info", tmp_path / "model", "--json")
    facts = json.loads(out)
    assert facts["training_step_kept"].endswith("of 3")
    assert facts["network"] == "Residual(width=48, n_blocks=3, n_members=4)"
    assert facts["training"] == "3 steps of 256 rows per member"


def test_quiet_says_nothing(run, rows_file, tmp_path):
    assert run("-q", "fit", rows_file, "-o", tmp_path / "model", *QUICK) == (0, "", "")
    assert run("fit", rows_file, "-o", tmp_path / "other", *QUICK, "-q") == (0, "", "")


@pytest.mark.campaign
def test_demo_ends_in_a_report(run, tmp_path, monkeypatch):
    monkeypatch.setattr("backwalk.assess.assessment._MOST_IN_A_SET", 500)
    status, out, _ = run("demo", "-o", tmp_path / "demo", "--max-steps", 20)
    assert status == 0
    report = tmp_path / "demo" / "report.html"
    assert str(report) in out
    assert "<html" in report.read_text()
    assert read_table(tmp_path / "demo" / "samples.csv").values.shape == (10_000, 2)


@pytest.mark.campaign
def test_demo_s_lines_to_repeat_it_name_all_that_it_was_given(run, tmp_path, monkeypatch):
    """Found by review: --device was left out, and a GPU makes another model."""
    monkeypatch.setattr("backwalk.assess.assessment._MOST_IN_A_SET", 500)
    options = ["--max-steps", 20, "--device", "cpu", "--seed", 3]
    status, out, _ = run("demo", "-o", tmp_path / "demo", *options, "--json")
    model, given = f"{tmp_path}/demo/two_moons.backwalk", "--seed 3 --device cpu"
    assert status == 0
    assert json.loads(out)["commands"] == [
        f"backwalk fit two_moons --seed 3 --max-steps 20 --device cpu -o {model}",
        f"backwalk sample {model} -n 10000 {given} -o {tmp_path}/demo/samples.csv",
        f"backwalk report {model} two_moons --training two_moons {given} -o {tmp_path}/demo/report.html",
    ]


def test_a_folder_hides_no_built_in_density(run, tmp_path, monkeypatch):
    """Found by review: a model saved as two_moons was taken for the table to fit."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("fit", "two_moons", "-o", "two_moons", "--force", *QUICK)[0] == 0
    (tmp_path / "rings").write_text("a file of this name is meant")
    assert "A table file should end in" in run("fit", "rings", "-o", "m", *QUICK)[2]


def test_info_tells_every_column_of_a_table_by_its_whole_name(run, tmp_path):
    """Found by review: of two names that begin with the same 56 letters one was left out."""
    names = ["a" * 60, "a" * 60 + "b"]
    (tmp_path / "t.csv").write_text(",".join(names) + "\n1,2\n3,6\n")
    _, out, _ = run("info", tmp_path / "t.csv", "--json")
    columns = json.loads(out)["columns"]
    assert columns[1] == {"name": names[1], "dtype": "int64", "mean": 4.0, "sd": 2.0, "least": 2.0, "largest": 6.0}
    _, text, _ = run("info", tmp_path / "t.csv")
    assert [line.split() for line in text.splitlines()[3:]] == [
        f"{names[0]} dtype = int64, mean = 2, sd = 1, least = 1, largest = 3".split(),
        f"{names[1]} dtype = int64, mean = 4, sd = 2, least = 2, largest = 6".split(),
    ]
    assert "d = 2" in run("info")[1]
    (tmp_path / "two_lines.csv").write_text('"a\nrows   99",b\n1,2\n3,6\n')  # found by review: a line of its own
    assert [line.split()[0] for line in run("info", tmp_path / "two_lines.csv")[1].splitlines()] == [
        *("table", "rows", "n", "a\\nrows", "b")
    ]


def test_a_report_names_the_command_that_made_it(run, model, rows_file, tmp_path, monkeypatch):
    monkeypatch.setattr("backwalk.assess.assessment._MOST_IN_A_SET", 100)
    assert run("report", model, rows_file, "-o", tmp_path / "the report.html")[0] == 0
    page = html.unescape((tmp_path / "the report.html").read_text())
    assert f"backwalk report {model} {rows_file} -o '{tmp_path}/the report.html'" in page


def test_help_loads_no_torch():
    code = """if True:
        import sys, backwalk.cli
        try:
            backwalk.cli.main(["-h"])
        except SystemExit:
            assert "torch" not in sys.modules
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_it_runs_as_a_module_and_a_closed_pipe_is_no_fault(model):
    command = f"{sys.executable} -m backwalk sample {model} -n 5000 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '"length","weight"\n'


@pytest.fixture
def signal_at(monkeypatch):
    """Have a signal come within a training step, once."""
    from backwalk.training import Trainer

    update = Trainer._update

    def arm(number, step, times=1):
        left = [number] * times

        def signalled(self, *given):
            while self.step == step and left:
                signal.raise_signal(left.pop())
            return update(self, *given)

        monkeypatch.setattr(Trainer, "_update", signalled)

    return arm


@pytest.mark.parametrize(("number", "status", "word"), [(2, 130, "interrupted"), (15, 143, "terminated")])
def test_a_stopped_fit_goes_on_to_the_same_model(run, rows_file, model, tmp_path, signal_at, number, status, word):
    output, checkpoint = tmp_path / "other model", tmp_path / "other model.checkpoint"
    arguments = ("fit", rows_file, "-o", output, *QUICK)
    handlers = [signal.getsignal(each) for each in (2, 15)]
    signal_at(number, 3)
    left, out, err = run(*arguments)
    assert (left, out) == (status, "")
    assert err == (
        f"{word}; {checkpoint} keeps step 4: go on with backwalk fit {rows_file} -o '{output}' --max-steps 5 --resume\n"
    )
    assert not output.exists()
    assert run(*arguments)[0] == 1  # which would lose the four steps
    assert checkpoint.exists()
    assert run(*arguments, "--resume")[0] == 0
    assert not checkpoint.exists()
    one, other = (Diffusion.load(path).model_ for path in (model, output))
    for name, tensor in one.denoiser.state_dict().items():
        assert tensor.numpy().tobytes() == other.denoiser.state_dict()[name].numpy().tobytes()
    assert one.history.loss == other.history.loss
    assert [signal.getsignal(each) for each in (2, 15)] == handlers


def test_a_second_signal_does_not_wait_for_a_checkpoint(run, rows_file, tmp_path, signal_at):
    signal_at(2, 3, times=2)
    status, _, err = run("fit", rows_file, "-o", tmp_path / "other", *QUICK)
    assert status == 130
    assert err == "interrupted before there was anything to keep\n"


def test_force_begins_a_stopped_fit_anew(run, rows_file, tmp_path, signal_at):
    signal_at(2, 3)
    arguments = ("fit", rows_file, "-o", tmp_path / "other", *QUICK)
    assert run(*arguments)[0] == 130
    assert run(*arguments, "--seed", 1, "--resume")[0] == 1
    assert run(*arguments, "--seed", 1, "--force")[0] == 0
    assert not (tmp_path / "other.checkpoint").exists()


@pytest.mark.parametrize("options", [[], ["--force"], ["--resume"]])
def test_another_program_s_file_is_never_taken_for_a_checkpoint(run, rows_file, tmp_path, options):
    """Found by review: --force, which the message advised, deleted it."""
    (tmp_path / "m.checkpoint").write_text("of PyTorch, for one")
    status, _, err = run("fit", rows_file, "-o", tmp_path / "m", *QUICK, *options)
    assert (status, "but is another file" in err) == (1, True)
    assert (tmp_path / "m.checkpoint").read_text() == "of PyTorch, for one"
    assert not (tmp_path / "m").exists()


def test_a_fit_that_is_done_leaves_a_checkpoint_that_another_one_is_writing(run, rows_file, tmp_path, monkeypatch):
    """Found by review: the other one's was deleted."""
    saved = Diffusion.save

    def save(self, path, **options):
        saved(self, path, **options)
        stack.enter_context(held_alone(tmp_path / "m.checkpoint"))

    monkeypatch.setattr(Diffusion, "save", save)
    with ExitStack() as stack:
        assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK)[0] == 0
        assert (tmp_path / "m.checkpoint").exists()


def test_a_model_that_was_replaced_while_it_was_distilled_stays(run, rows_file, model, monkeypatch):
    """Found by review: the old one was written over the new."""
    monkeypatch.setattr("backwalk.estimator.default_pairs", lambda _: 3000)
    distil = Diffusion.distil

    def while_another_fits(self, **options):
        assert run("fit", rows_file, "-o", model, "--max-steps", "6", "--force")[0] == 0
        return distil(self, **options)

    monkeypatch.setattr(Diffusion, "distil", while_another_fits)
    status, _, err = run("distil", model, "--max-steps", "2")
    assert (status, "was replaced meanwhile" in err) == (1, True)
    assert (Diffusion.load(model).history_.n_steps, Diffusion.load(model).model_.student) == (6, None)


@pytest.mark.parametrize("name", ["backwalk", "torch", "numpy"])
def test_a_fit_by_other_versions_is_not_the_same_fit(run, rows_file, model, monkeypatch, name):
    """Found by review: defaults may be others by now."""
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "__version__", "9.9.9")
    status, _, err = run("fit", rows_file, "-o", model, *QUICK, "--resume")
    assert (status, "exists already" in err) == (1, True)


def stopped_fit(run, rows_file, output, signal_at):
    signal_at(2, 3)
    assert run("fit", rows_file, "-o", output, *QUICK)[0] == 130
    return output.with_name(f"{output.name}.checkpoint")


@pytest.mark.parametrize("content", [None, "a,b\n1,x\n", "a,b\n1,2\n", "a,b\n1,2\n1,2\n"])
def test_force_deletes_no_checkpoint_before_the_new_data_are_read_and_checked(
    run, rows_file, tmp_path, signal_at, content
):
    """Found by review: a misspelt name of the data was enough to lose a night's training."""
    checkpoint = stopped_fit(run, rows_file, tmp_path / "m", signal_at)
    before = checkpoint.read_bytes()
    if content is not None:
        (tmp_path / "other.csv").write_text(content)
    assert run("fit", tmp_path / "other.csv", "-o", tmp_path / "m", *QUICK, "--force")[0] == 1
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("left", [[], ["model-0123456789abcdef.safetensors"], [".model.json.0123abcd.part"]])
def test_a_fit_that_was_killed_within_its_first_save_goes_on(run, rows_file, model, tmp_path, signal_at, left):
    """Found by review: its folder was there, and was taken for a model."""
    checkpoint = stopped_fit(run, rows_file, tmp_path / "m", signal_at)
    (tmp_path / "m").mkdir()
    for name in left:
        (tmp_path / "m" / name).write_text("half")
    assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK, "--resume")[0] == 0
    assert not checkpoint.exists()
    assert Diffusion.load(tmp_path / "m").history_.loss == Diffusion.load(model).history_.loss
    assert len(list((tmp_path / "m").iterdir())) == 2


def test_a_fit_that_was_killed_after_its_save_is_done(run, rows_file, model, tmp_path, monkeypatch):
    """Found by review: the model that it had saved was in its own way."""
    unlink = Path.unlink

    def killed(self, **options):
        if self.name == "m.checkpoint":
            raise KeyboardInterrupt
        unlink(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK)[0] == 130
    before = {path: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK, "--seed", 1, "--resume")[0] == 1
    assert run("-q", "fit", rows_file, "-o", tmp_path / "m", *QUICK, "--resume") == (0, "", "")
    assert {path: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    assert not (tmp_path / "m.checkpoint").exists()


def test_resuming_does_not_replace_another_model(run, rows_file, tmp_path, signal_at):
    stopped_fit(run, rows_file, tmp_path / "m", signal_at)
    assert run("fit", rows_file, "-o", tmp_path / "other", *QUICK, "--seed", 1)[0] == 0
    (tmp_path / "other").rename(tmp_path / "m")
    status, _, err = run("fit", rows_file, "-o", tmp_path / "m", *QUICK, "--resume")
    assert (status, "exists already" in err) == (1, True)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_of_other_things_is_refused_before_training(run, rows_file, tmp_path, monkeypatch, force):
    """Found by review: it was, but only after hours of it."""
    from backwalk.training import Trainer

    monkeypatch.setattr(Trainer, "_update", lambda *_: pytest.fail("training began"))
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "model.json").write_text('{"class_name": "Functional"}')
    status, _, err = run("fit", rows_file, "-o", tmp_path / "things", *QUICK, *force)
    assert (status, "holds other things than a model" in err) == (1, True)


def test_a_signal_is_answered_as_such_beside_a_damaged_checkpoint(run, rows_file, tmp_path, monkeypatch):
    """Found by review: the damage was told of, with status 1."""
    (tmp_path / "m.checkpoint").write_bytes(b"a damaged backwalk-checkpoint")

    def read(path, selection):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("backwalk.table.read_part", read)
    status, _, err = run("fit", rows_file, "-o", tmp_path / "m", *QUICK, "--resume")
    assert (status, err) == (143, "terminated\n")


def test_what_a_file_says_reaches_no_terminal_as_a_command(run, model, tmp_path):
    """Found by review: a stranger's model could set a terminal's title, and more."""
    from dataclasses import replace

    from backwalk.model_file import save

    found = Diffusion.load(model).model_
    schema = replace(found.schema, columns=("\x1b]0;owned\x07", "weight\u202e"))
    hostile = replace(found, card={**found.card, "description": "\x1b[2J\rok\x9b1m"}, schema=schema)
    save(hostile, tmp_path / "m")
    for arguments in (["info", tmp_path / "m"], ["score", tmp_path / "m", tmp_path / "\x1b[2J.csv"]):
        _, out, err = run(*arguments)
        assert not set("\x1b\x07\r\x9b\u202e") & set(out + err)
        assert "\\x1b[2J" in out + err


def test_headers_can_be_left_as_they_are(run, rows_file, tmp_path):
    rows_file.write_text(rows_file.read_text().replace("length,weight", "-length,=weight"))
    assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK)[0] == 0
    for options, header in (([], '"\'-length","\'=weight"'), (["--raw-headers"], '"-length","=weight"')):
        assert run("sample", tmp_path / "m", "-n", 3, *options)[1].splitlines()[0] == header
        assert run("sample", tmp_path / "m", "-n", 3, "-o", tmp_path / "s.csv", "--force", *options)[0] == 0
        assert run("score", tmp_path / "m", tmp_path / "s.csv")[0] == 0


@pytest.mark.parametrize("arguments", [["-h"], ["info"], ["info", "--json"]])
def test_a_full_standard_output_is_named(arguments):
    """Found by review: the status was Python's own, or no path was named."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "backwalk", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (
        1,
        "error: standard output cannot be written: No space left on device\n",
    )


def test_a_report_that_cannot_be_written_is_named(run, model, rows_file, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backwalk.assess.assess", lambda *_, **__: None)
    monkeypatch.setattr("backwalk.report.write_report", full)
    status, _, err = run("report", model, rows_file, "-o", tmp_path / "r.html")
    assert (status, "r.html cannot be written: No space left" in err) == (1, True)


def wait_for(path, process):
    """Wait until a process has made a file, for two minutes at most."""
    deadline = time.monotonic() + 120.0
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "words"), [(signal.SIGTERM, "terminated"), (signal.SIGHUP, "hung up")])
def test_a_real_signal_to_a_real_process(rows_file, tmp_path, number, words):
    command = [sys.executable, "-m", "backwalk", "fit", str(rows_file), "-o", str(tmp_path / "m")]
    command += ["--max-steps", "1000000", "--checkpoint-every", "0"]
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored here, as by nohup")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(tmp_path / "m.checkpoint", process)
        process.send_signal(number)
        if number == signal.SIGHUP:  # as a shell and the system both do
            process.send_signal(number)
        err = process.communicate(timeout=120.0)[1]
    assert process.returncode == 128 + number
    assert err.startswith(f"{words}; ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.checkpoint", "rows.csv"]


def test_a_terminal_that_is_closed_leaves_a_checkpoint(rows_file, tmp_path):
    """The system itself sends SIGHUP then, and nothing can be written to the terminal any more."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        pytest.skip("ignored here, as by nohup")
    ours, its = pytest.importorskip("pty").openpty()
    # The first terminal that the leader of a session opens is its own.
    begin = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.executable, sys.argv[1:])"
    fit = ["fit", str(rows_file), "-o", str(tmp_path / "m"), "--max-steps", "1000000", "--checkpoint-every", "0"]
    command = [sys.executable, "-c", begin, sys.executable, "-m", "backwalk", *fit]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True) as process:
        os.close(its)
        wait_for(tmp_path / "m.checkpoint", process)
        os.close(ours)
        assert process.wait(timeout=120.0) == 129
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.checkpoint", "rows.csv"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_after_all_is_done_is_no_traceback(monkeypatch, number, status):
    """Found by the soak: it came while what had been written was flushed for the last time."""

    class Output(io.StringIO):
        def flush(self):
            signal.raise_signal(number)

    monkeypatch.setattr(program, "_run", lambda _: 0)
    monkeypatch.setattr(sys, "stdout", Output())
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit) as left:
        program.main([])
    assert left.value.code == status
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


GAPS = "id,length,kind,weight\n" + "".join(
    f"{i},{float(np.sin(i))!r},a,{'' if i % 9 == 4 else i % 5}\n" for i in range(90)
)


def test_a_table_with_texts_and_gaps_goes_all_the_way(run, tmp_path):
    """Found by review: the first command ended in advice that no command could follow."""
    (tmp_path / "all.csv").write_text(GAPS)
    _, out, _ = run("info", tmp_path / "all.csv")
    assert "dtype = string, cannot be fitted = it holds no numbers" in out
    assert "missing = 10" in out
    training, unseen, model = tmp_path / "t.csv", tmp_path / "u.parquet", tmp_path / "m"
    status, _, err = run("split", tmp_path / "all.csv", training, unseen)
    assert (status, "--drop NAME" in err) == (1, True)
    status, _, err = run("split", tmp_path / "all.csv", training, unseen, "--drop", "kind", "--drop", "id")
    assert (status, "10 of 90 rows" in err, "'weight' (10)" in err, "--drop-missing" in err) == (1, True, True, True)
    options = ["--drop", "kind", "--drop", "id", "--drop-missing"]
    status, _, err = run("split", tmp_path / "all.csv", training, unseen, *options)
    assert status == 0
    assert f"{tmp_path / 'all.csv'}: left out id, kind" in err
    assert "left out 10 of 90 rows, in which values are missing" in err
    assert read_table(training).columns == ("length", "weight")
    assert (len(read_table(training).values), len(read_table(unseen).values)) == (64, 16)
    assert run("fit", tmp_path / "all.csv", "-o", model, *options, *QUICK)[0] == 0
    status, _, err = run("score", model, tmp_path / "all.csv", "--drop-missing", "-o", tmp_path / "s.csv")
    scores = read_table(tmp_path / "s.csv")
    assert (status, scores.columns[0], scores.values[:, 0].tolist()) == (0, "row", [i for i in range(90) if i % 9 != 4])
    assert "left out id, kind" in err
    status, _, err = run("report", model, tmp_path / "all.csv", "--drop-missing", "-o", tmp_path / "r.html")
    assert status == 0
    _, out, _ = run("info", model, "--json")
    assert json.loads(out)["whole_numbers"] == ["weight"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "rows.csv", "-o", "m", "--rows", "9"], "--rows goes with a built-in density"),
        (["split", "rows.csv", "a.csv", "b.csv", "--rows", "9"], "--rows goes with a built-in density"),
        (["fit", "two_moons", "-o", "m", "--drop", "x1"], "--drop goes with a file"),
    ],
)
def test_options_of_another_kind_of_source_are_refused(run, rows_file, tmp_path, monkeypatch, arguments, words):
    """Found by review: --rows was passed over for a file."""
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert words in err


@pytest.mark.parametrize("name", ["r.json", "r.pdf", "r"])
def test_a_report_is_an_html_file(run, model, rows_file, tmp_path, name):
    status, _, err = run("report", model, rows_file, "-o", tmp_path / name)
    assert (status, "should end in .html" in err) == (1, True)


def test_a_report_as_json_names_its_file(run, model, rows_file, tmp_path):
    status, out, err = run("report", model, rows_file, "-o", tmp_path / "r.html", "--json")
    assert (status, json.loads(out)["report"]) == (0, str(tmp_path / "r.html"))
    assert "judging by 120 unseen rows" in err
    few = tmp_path / "few.csv"
    few.write_text("length,weight\n1,2\n3,4\n")
    assert "DATA should have at least 20 rows, but has 2" in run("report", model, few, "-o", tmp_path / "s.html")[2]


def test_a_fit_that_is_done_is_not_done_again_by_resume(run, rows_file, model, tmp_path, monkeypatch):
    """Found by review: a queue that repeats its commands met an error, and --force would have begun anew."""
    before = {path: path.read_bytes() for path in model.iterdir()}
    status, out, err = run("-q", "fit", rows_file, "-o", model, *QUICK, "--resume", "--json")
    assert (status, err, json.loads(out)["model"]) == (0, "", str(model))
    checkpoint, unlink = model.with_name(f"{model.name}.checkpoint"), Path.unlink
    other = tmp_path / "other.csv"
    other.write_text(rows_file.read_text() + "1,2\n")
    with monkeypatch.context() as patch:  # of a fit to other rows, killed before its save: as many steps, the same seed
        patch.setattr("backwalk.estimator.Diffusion.save", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
        assert run("fit", other, "-o", model, *QUICK, "--force")[0] == 143
    assert checkpoint.exists()
    of_another, damaged = checkpoint.read_bytes(), b"a damaged backwalk-checkpoint"
    for left in (of_another, damaged):
        checkpoint.write_bytes(left)
        assert run("fit", rows_file, "-o", model, *QUICK, "--resume")[2].endswith("which was fitted already\n")
        assert checkpoint.read_bytes() == left
    unlink(checkpoint)
    for arguments in (["--max-steps", 6], [*QUICK, "--seed", 1], ["--ddpm"]):
        status, _, err = run("fit", rows_file, "-o", model, *arguments, "--resume")
        assert (status, "exists already" in err) == (1, True)
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(rows_file.read_text().replace("length", "breadth", 1))
    np.save(tmp_path / "nameless.npy", read_table(rows_file).values)
    for table in (other, renamed, tmp_path / "nameless.npy"):
        status, _, err = run("fit", table, "-o", model, *QUICK, "--resume")
        assert (status, "exists already" in err) == (1, True)
    assert {path: path.read_bytes() for path in model.iterdir()} == before


def test_long_work_says_now_and_then_how_far_it_is(run, model, rows_file, tmp_path, monkeypatch):
    monkeypatch.setattr("backwalk.cli.output._BETWEEN_LINES", 0.0)
    monkeypatch.setattr("backwalk.model.scoring.rows_scored_at_once", lambda _: 50)
    _, _, err = run("score", model, rows_file, "-o", tmp_path / "s.npy")
    assert [line.partition(", some ")[0] for line in err.splitlines()[:-1]] == [
        "scored 50 of 120 rows",
        "scored 100 of 120 rows",
    ]
    monkeypatch.undo()
    assert run("score", model, rows_file, "-o", tmp_path / "at_once.npy")[2] == err.splitlines()[-1] + "\n"
    assert run("sample", model, "-n", 9, "-o", tmp_path / "n.csv")[2] == f"{tmp_path / 'n.csv'}: 9 rows\n"


def test_a_library_that_cannot_be_loaded_is_no_fault_of_standard_output(run, model, monkeypatch):
    """Found by review."""

    def load(*_):
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr("backwalk.cli.commands.load_model", load)
    status, _, err = run("sample", model)
    assert (status, err) == (1, "error: libcudart.so.12: cannot open shared object file\n")


def test_a_fault_of_a_gpu_names_the_way_around_it(run, model, monkeypatch):
    def load(*_):
        raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr("backwalk.cli.commands.load_model", load)
    assert "--device cpu avoids the GPU" in run("sample", model)[2]
