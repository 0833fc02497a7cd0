"""Progress: nothing of short work, a bar on a terminal, and sparse lines in a log."""

import sys

import pytest

from backwalk.fit import progress
from backwalk.fit.progress import progress_bar, progress_display, progress_of_rows
from backwalk.training import Progress

STEPS = [Progress(step, 5000, 1.5, 0.25 if step == 2000 else None, 0.1, step / 3000) for step in (1000, 2000, 3000)]


def show_training(*, verbose):
    with progress_bar(verbose) as show:
        for step in STEPS:
            show(step)


def use_terminal(monkeypatch, *, seconds):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "SECONDS_BEFORE_A_BAR", seconds)


def test_a_terminal_shows_step_loss_and_validation(monkeypatch, capsys):
    use_terminal(monkeypatch, seconds=0.0)
    show_training(verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("training  33%", "step 1,000", "training 100%", "step 3,000", "loss 1.5000", "validation 0.2500"):
        assert text in err
    assert err.endswith("\r")  # the bar is removed


def test_nothing_is_shown_of_short_work_or_without_verbose(monkeypatch, capsys):
    use_terminal(monkeypatch, seconds=1e9)
    show_training(verbose=True)
    use_terminal(monkeypatch, seconds=0.0)
    show_training(verbose=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("seconds", "shares"), [(1e9, []), (0.0, ["33%", "67%", "100%"])])
def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys, seconds, shares):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    show_training(verbose=True)
    out, err = capsys.readouterr()
    assert (out, [line.split()[1] for line in err.splitlines()]) == ("", shares)
    assert all("\r" not in line and "step" in line for line in err.splitlines())


def test_activities_follow_each_other_and_messages_remove_the_bar(monkeypatch, capsys):
    use_terminal(monkeypatch, seconds=0.0)
    with progress_display(verbose=True) as display:
        display.show("scoring", 0.5, "50 of 100 rows")
        display.clear()
        assert capsys.readouterr().err.endswith("\r")
        display.show("scoring", 1.0, "100 of 100 rows")
        display.show("judging", 0.2, "baselines")
        err = capsys.readouterr().err
    assert "scoring 100%" in err
    assert "judging  20%" in err


def test_rows_are_counted(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with progress_of_rows(True, "scoring", 1000) as count:
        for _ in range(2):
            count(250)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(", ")[-1] for line in lines] == ["250 of 1,000 rows", "500 of 1,000 rows"]
