"""The bar and the lines: sparse where there is neither terminal nor notebook, and whole where there is one."""

import IPython.display
import pytest
from rich.console import Console

from backwalk import progress
from backwalk.progress import progress_bar, progress_display
from backwalk.training import Progress

STEPS = [Progress(step, 5000, 1.5, 0.25 if step == 2000 else None, 0.1, step / 3000) for step in (1000, 2000, 3000)]


def show_all(verbose):
    with progress_bar(verbose) as show:
        for step in STEPS:
            show(step)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(progress, "_REFRESH", 0.0)


def test_a_run_on_a_terminal_shows_step_loss_and_validation(monkeypatch, terminal, capsys):
    monkeypatch.setattr(progress, "_MOMENT", 0.0)
    show_all(verbose=True)
    out, err = capsys.readouterr()
    assert out == ""
    for text in ("step 1,000", "step 3,000", "loss 1.5000", "validation 0.2500"):
        assert text in err


def test_a_run_of_a_moment_says_nothing(monkeypatch, terminal, capsys):
    monkeypatch.setattr(progress, "_MOMENT", 1e9)
    show_all(verbose=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("between", "n_lines"), [(1e9, 0), (0.0, 3)])
def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys, between, n_lines):
    monkeypatch.setattr(progress, "_MOMENT", 0.0)
    monkeypatch.setattr(progress, "_BETWEEN_LINES", between)
    show_all(verbose=True)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", n_lines)
    if n_lines:
        assert err.splitlines()[-1] == "training 100%  step 3,000  loss 1.5000  validation 0.2500  0 s"


def test_activities_follow_each_other_and_messages_remove_the_bar(monkeypatch, terminal, capsys):
    monkeypatch.setattr(progress, "_MOMENT", 0.0)
    with progress_display(verbose=True) as display:
        display.show("scoring", 0.5, "50 of 100 rows")
        display.clear()
        capsys.readouterr()
        display.show("scoring", 1.0, "100 of 100 rows")
        display.show("judging", 0.2, "baselines")
        assert "scoring" in capsys.readouterr().err
    with progress_display(verbose=False) as display:
        display.show("scoring", 0.5, "half")
    assert capsys.readouterr().out == ""


def test_a_log_s_line_says_how_long_is_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_BETWEEN_LINES", 0.0)
    with progress_display(verbose=True) as display:
        display.show("scoring", 0.05, "50 of 1,000 rows")
    assert " ".join(capsys.readouterr().err.split()) == "scoring 5% 50 of 1,000 rows 0 s, 0 s left"


def test_nothing_is_said_without_leave(monkeypatch, terminal, capsys):
    monkeypatch.setattr(progress, "_MOMENT", 0.0)
    show_all(verbose=False)
    assert capsys.readouterr() == ("", "")


def test_a_run_in_a_notebook_shows_one_line_that_changes(monkeypatch):
    lines = []

    class Handle:
        def update(self, line, *, raw):
            assert raw
            lines[-1] = line["text/plain"]

    def display(line, *, raw, display_id):
        assert (raw, display_id) == (True, True)
        lines.append(line["text/plain"])
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    monkeypatch.setattr(progress, "Console", lambda **_: Console(force_jupyter=True))
    monkeypatch.setattr(progress, "_MOMENT", 0.0)
    show_all(verbose=True)
    # Half a second has not gone by: the first line, and the last, as the run is done.
    assert lines == ["training 100%  step 3,000  loss 1.5000  validation 0.2500  0 s"]
    show_all(verbose=False)
    assert len(lines) == 1
