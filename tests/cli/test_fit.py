"""`backwalk fit`: what it saves, when it stops, and how it continues."""

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

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.cli import program
from backwalk.files import file_lock
from backwalk.table import as_table, read_table, write_table

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
        (signal.SIGINT, 1, 130, "interrupted; {checkpoint} keeps step 4: continue with backwalk {command} --resume"),
        (signal.SIGTERM, 1, 143, "terminated; {checkpoint} keeps step 4: continue with backwalk {command} --resume"),
        (signal.SIGINT, 2, 130, "interrupted before there was anything to keep"),  # a second one waits for nothing
        (signal.SIGHUP, 2, 129, "hung up; {checkpoint} keeps step 4: continue with backwalk {command} --resume"),
    ],
)
def test_a_stopped_fit_says_how_to_go_on(run, rows_file, tmp_path, signal_at, number, times, status, words):
    """A shell and the system both send SIGHUP, so that a second one changes nothing."""
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("ignored here, as by nohup")
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    signal_at(number, 3, times=times)
    output = tmp_path / "other model"
    left, out, err = run("fit", rows_file, "-o", output, *QUICK)
    command = f"fit {rows_file} -o '{output}' --max-steps 5"
    assert (left, out) == (status, "")
    assert err.splitlines()[-1] == words.format(checkpoint=f"{output}.checkpoint", command=command)
    assert not output.exists()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


@pytest.mark.slow
def test_a_stopped_fit_goes_on_to_the_same_model(run, rows_file, model, tmp_path, stopped_fit):
    output = tmp_path / "other"
    checkpoint, arguments = stopped_fit(output), ("fit", rows_file, "-o", output, *QUICK)
    assert run(*arguments)[0] == 1  # which would lose the four steps
    assert checkpoint.exists()
    assert run(*arguments, "--resume")[0] == 0
    assert not checkpoint.exists()
    one, other = (Diffusion.load(path).model_ for path in (model, output))
    for name, tensor in one.denoiser.state_dict().items():
        assert tensor.numpy().tobytes() == other.denoiser.state_dict()[name].numpy().tobytes()
    assert one.history.loss == other.history.loss


@pytest.mark.slow
def test_force_starts_a_stopped_fit_over(run, rows_file, tmp_path, stopped_fit):
    checkpoint = stopped_fit(tmp_path / "other")
    arguments = ("fit", rows_file, "-o", tmp_path / "other", *QUICK)
    assert run(*arguments, "--seed", 1, "--resume")[0] == 1
    assert run(*arguments, "--seed", 1, "--force")[0] == 0
    assert not checkpoint.exists()


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
        stack.enter_context(file_lock(tmp_path / "m.checkpoint"))

    monkeypatch.setattr(Diffusion, "save", save)
    with ExitStack() as stack:
        assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK)[0] == 0
        assert (tmp_path / "m.checkpoint").exists()


@pytest.mark.parametrize("name", ["backwalk", "torch"])
def test_a_fit_by_other_versions_is_not_the_same_fit(run, rows_file, model, monkeypatch, name):
    """Found by review: defaults may be others by now."""
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "__version__", "9.9.9")
    status, _, err = run("fit", rows_file, "-o", model, *QUICK, "--resume")
    assert (status, "exists already" in err) == (1, True)


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n1,2\n"])
def test_force_deletes_no_checkpoint_before_the_new_data_are_read_and_checked(run, tmp_path, stopped_fit, content):
    """Found by review: a misspelt name of the data was enough to lose a night's training."""
    checkpoint = stopped_fit(tmp_path / "m")
    before = checkpoint.read_bytes()
    if content is not None:
        (tmp_path / "other.csv").write_text(content)
    assert run("fit", tmp_path / "other.csv", "-o", tmp_path / "m", *QUICK, "--force")[0] == 1
    assert checkpoint.read_bytes() == before


@pytest.mark.slow
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
    before = (tmp_path / "m").read_bytes()
    assert run("fit", rows_file, "-o", tmp_path / "m", *QUICK, "--seed", 1, "--resume")[0] == 1
    assert run("-q", "fit", rows_file, "-o", tmp_path / "m", *QUICK, "--resume") == (0, "", "")
    assert (tmp_path / "m").read_bytes() == before
    assert not (tmp_path / "m.checkpoint").exists()


@pytest.mark.slow
def test_resuming_does_not_replace_another_model(run, rows_file, tmp_path, stopped_fit):
    stopped_fit(tmp_path / "m")
    assert run("fit", rows_file, "-o", tmp_path / "other", *QUICK, "--seed", 1)[0] == 0
    (tmp_path / "other").rename(tmp_path / "m")
    status, _, err = run("fit", rows_file, "-o", tmp_path / "m", *QUICK, "--resume")
    assert (status, "exists already" in err) == (1, True)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_folder_is_refused_before_training(run, rows_file, tmp_path, monkeypatch, force):
    """Found by review: it was, but only after hours of it."""
    from backwalk.training import Trainer

    monkeypatch.setattr(Trainer, "take_step", lambda *_: pytest.fail("training began"))
    (tmp_path / "things").mkdir()
    status, _, err = run("fit", rows_file, "-o", tmp_path / "things", *QUICK, *force)
    assert (status, "should be a file, but is a folder" in err) == (1, True)


def test_a_signal_is_answered_as_such_beside_a_damaged_checkpoint(run, rows_file, tmp_path, monkeypatch):
    """Found by review: the damage was told of, with status 1."""
    (tmp_path / "m.checkpoint").write_bytes(b"a damaged backwalk-checkpoint")

    def read(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("backwalk.fit.columns.read_rows", read)
    status, _, err = run("fit", rows_file, "-o", tmp_path / "m", *QUICK, "--resume")
    assert (status, err) == (143, "terminated\n")


@pytest.mark.slow
def test_a_fit_that_is_done_is_not_done_again_by_resume(run, rows_file, model, tmp_path, monkeypatch):
    """Found by review: a queue that repeats its commands met an error, and --force would have begun anew."""
    before = model.read_bytes()
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
        assert run("fit", rows_file, "-o", model, *QUICK, "--resume")[2].endswith("(fitted before)\n")
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
    assert model.read_bytes() == before


@pytest.mark.slow
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
        deadline = time.monotonic() + 120.0
        while not (tmp_path / "m.checkpoint").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
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
