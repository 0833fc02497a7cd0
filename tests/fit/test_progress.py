"""Progress: nothing of short work, a bar on a terminal, and sparse lines in a log."""

import itertools
import sys

import pytest

from backwalk.fit.progress import Display
from backwalk.training import Progress

STEPS = [Progress(step, 5000, 1.5, 0.25 if step == 2000 else None, 0.1, step / 3000) for step in (1000, 2000, 3000)]


def show_training(monkeypatch, *, seconds, is_terminal, verbose=True):
    """Show three steps by a clock that moves by so many seconds whenever it is read."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    clock = itertools.count(1e6, seconds)
    monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
    with Display(verbose=verbose) as display:
        show = display.training()
        for step in STEPS:
            show(step)


def test_a_terminal_shows_step_loss_and_validation(monkeypatch, capsys):
    show_training(monkeypatch, seconds=1.0, is_terminal=True)
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("training  33%", "step 1,000", "training 100%", "step 3,000", "loss 1.5000", "validation 0.2500"):
        assert text in err
    assert err.endswith("\r")  # the bar is removed


@pytest.mark.parametrize(("verbose", "seconds", "is_terminal"), [(True, 0.1, True), (False, 60.0, True), (True, 1, 0)])
def test_nothing_is_shown_of_short_work_or_without_verbose(monkeypatch, capsys, verbose, seconds, is_terminal):
    show_training(monkeypatch, seconds=seconds, is_terminal=is_terminal, verbose=verbose)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys):
    show_training(monkeypatch, seconds=20.0, is_terminal=False)
    out, err = capsys.readouterr()
    assert (out, [line.split()[1] for line in err.splitlines()]) == ("", ["67%", "100%"])
    assert all("\r" not in line and "step" in line for line in err.splitlines())
