"""`backwalk fit`: what it saves, when it stops, and how it continues."""

import io
import signal
import sys

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.cli import program
from backwalk.table import as_table, write_table

QUICK = ["--max-steps", "5"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_row_numbers_without_a_name_are_set_aside(run, tmp_path, name):
    numbers = "".join(f"{i},{i * 0.37 % 1},{i * 0.71 % 1}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(f"{name},a,b\n{numbers}")
    status, _, err = run("fit", tmp_path / "t.csv", "-o", tmp_path / "m", *QUICK)
    assert (status, f"{name or '(no name)'} is set aside: it has no name and numbers the rows" in err) == (0, True)
    (tmp_path / "t.csv").write_text(f"{name},a,b\n{numbers}3,1,1\n")
    status, _, err = run("fit", tmp_path / "t.csv", "-o", tmp_path / "n", *QUICK)
    assert (status, f"by --drop {name!r}" in err) == (1, True)
    assert run("fit", tmp_path / "t.csv", "-o", tmp_path / "n", *QUICK, "--drop", name)[0] == 0


@pytest.mark.slow
def test_a_number_in_many_rows_is_an_atom_and_no_fault(run, tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 2))
    rows[::2, 0] = 0.0
    write_table(tmp_path / "heaped.csv", as_table(rows))
    status, _, err = run("fit", tmp_path / "heaped.csv", "-o", tmp_path / "a", *QUICK)
    assert status == 0
    assert "one number in many rows" not in err
    assert "x1  atoms   0 (50%), otherwise " in err
    assert run("fit", tmp_path / "heaped.csv", "-o", tmp_path / "b", *QUICK, "-q") == (0, "", "")


def test_a_fit_that_the_time_limit_cut_short_says_so_on_the_terminal(run, rows_file, tmp_path, monkeypatch):
    words = "stopped by the time limit after 89 of about 1,200 steps"
    monkeypatch.setattr("backwalk.model.training_words", lambda _: words)
    assert words in run("fit", rows_file, "-o", tmp_path / "m", *QUICK)[2]


@pytest.mark.slow
def test_the_notebooks_settings_warn_of_the_mismatch(run, tmp_path):
    status, _, err = run("fit", "two_moons", "--rows", 2000, "--ddpm", "--epochs", 1, "-o", tmp_path / "ddpm")
    assert status == 0
    warning = next(line for line in err.splitlines() if line.startswith("warning: "))
    assert "alpha_bar_N = 0.3475" in warning
    assert "nats per row" in warning


def test_a_model_hides_no_built_in_density(run, tmp_path, monkeypatch):
    """Found by review: a model saved as two_moons was taken for the table to fit."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("fit", "two_moons", "-o", "two_moons", "--force", *QUICK)[0] == 0
    (tmp_path / "rings").write_text("a file of this name is meant")
    assert "A table file should end in" in run("fit", "rings", "-o", "m", *QUICK)[2]


def test_nothing_is_overwritten_without_force(run, rows_file, model):
    before = model.read_bytes()
    status, _, err = run("fit", rows_file, "-o", model, *QUICK)
    assert status == 1
    assert "--force" in err
    assert model.read_bytes() == before
    assert run("fit", rows_file, "-o", model, *QUICK, "--force")[0] == 0


@pytest.mark.parametrize("output", [[], ["-o", "rows.backwalk"]])
def test_a_model_is_called_after_its_data_unless_a_name_is_given(run, rows_file, tmp_path, monkeypatch, output):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    status, _, err = run("fit", rows_file, *output, *QUICK)
    assert (status, err.splitlines()[-1]) == (0, "model: rows.backwalk")
    assert (tmp_path / "here" / "rows.backwalk").is_file()
    status, _, err = run("fit", "-", *QUICK)
    assert (status, "with -o" in err) == (1, True)


@pytest.mark.parametrize(
    ("number", "times", "status", "words"),
    [
        (signal.SIGINT, 1, 130, "interrupted; {output} has the best weights so far"),
        (signal.SIGTERM, 1, 143, "terminated; {output} has the best weights so far"),
        (signal.SIGINT, 2, 130, "interrupted"),  # a second one waits for nothing
        (signal.SIGHUP, 2, 129, "hung up; {output} has the best weights so far"),
    ],
)
def test_a_stopped_fit_saves_the_best_weights_so_far(run, rows_file, tmp_path, signal_at, number, times, status, words):
    """A shell and the system both send SIGHUP, so that a second one changes nothing."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored here, as by nohup")
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    signal_at(number, 3, times=times)
    output = tmp_path / "other model"
    left, out, err = run("fit", rows_file, "-o", output, *QUICK)
    assert (left, out) == (status, "")
    assert err.splitlines()[-1] == words.format(output=output)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert output.exists() == ("best weights" in words)
    if output.exists():
        assert Diffusion.load(output).history_.n_steps == 4


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_is_refused_before_training(run, rows_file, tmp_path, monkeypatch, force):
    """Found by review: it was, but only after hours of it."""
    from backwalk.training import Trainer

    monkeypatch.setattr(Trainer, "take_step", lambda *_: pytest.fail("training began"))
    (tmp_path / "things").mkdir()
    status, _, err = run("fit", rows_file, "-o", tmp_path / "things", *QUICK, *force)
    assert (status, "should be a file, but is a folder" in err) == (1, True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_after_all_is_done_is_no_traceback(monkeypatch, number, status):
    """Found by a trial: it came while what had been written was flushed for the last time."""

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
