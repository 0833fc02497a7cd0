"""`backwalk fit`: what it saves, when it stops, and how it continues."""

import signal

import pytest

from backwalk import Diffusion

QUICK = ["--max-steps", "5"]


def test_a_model_hides_no_built_in_density(run, tmp_path, monkeypatch):
    """Found by review: a model saved as two_moons was taken for the table to fit."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("fit", "two_moons", "-o", "two_moons", "--force", *QUICK)[0] == 0
    (tmp_path / "rings").write_text("a file of this name is meant")
    assert "A table file should end in" in run("fit", "rings", "-o", "m", *QUICK)[2]


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
