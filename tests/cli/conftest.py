"""What tests of the command line share: a runner, a small table, a small saved model, and one demo."""

import contextlib
import io
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import backwalk.assess
from backwalk.cli import main
from backwalk.denoiser import Residual

QUICK = ["--max-steps", "5"]
TINY = Residual(width=16, n_blocks=1, n_members=2)


@contextlib.contextmanager
def small_and_fast():
    """Make every fit and report small, as the commands and not the models are tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("backwalk.fit.plan.default_architecture", lambda *_, **__: TINY)
        patch.setattr("backwalk.cli.tables.USUALLY_DRAWN", 200)
        patch.setattr("backwalk.cli.demo.ROWS", 300)
        patch.setattr("backwalk.assess.sets.MOST_IN_A_SET", 50)
        yield


@pytest.fixture(autouse=True)
def _small_and_fast():
    """For each test and not for the session, whose later tests of other folders would meet these settings."""
    with small_and_fast():
        yield


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit status, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return call


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A table of 120 rows and a model of it, saved once; tests get copies."""
    folder = tmp_path_factory.mktemp("saved")
    values = np.random.default_rng(0).normal([1.0, 20.0], [1.0, 5.0], size=(120, 2))
    rows, model = folder / "rows.csv", folder / "model.backwalk"
    rows.write_text("length,weight\n" + "\n".join(f"{a!r},{b!r}" for a, b in values.tolist()) + "\n")
    with small_and_fast():
        assert quietly("-q", "fit", rows, "-o", model, *QUICK)[0] == 0
    return rows, model


@pytest.fixture
def rows_file(saved, tmp_path):
    return Path(shutil.copy(saved[0], tmp_path / "rows.csv"))


@pytest.fixture
def model(saved, tmp_path):
    return Path(shutil.copy(saved[1], tmp_path / "model.backwalk"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """One whole demo: its folder, status, stdout, stderr, and the `Fidelity` that its report shows."""
    folder, found, assess = tmp_path_factory.mktemp("demo") / "the demo", [], backwalk.assess.assess

    def kept(*given, **options):
        found.append(assess(*given, **{**options, "n_pairs": 2}))
        return found[-1]

    with small_and_fast(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(backwalk.assess, "assess", kept)
        done = quietly("demo", "-o", folder, "--max-steps", 20, "--device", "cpu", "--seed", 3, "--json")
    return folder, *done, found[0]


@pytest.fixture
def judged(demo, monkeypatch):
    """Let `report` find the demo's figures, and write no page; gives what judging and writing were called with."""
    calls = {}

    def assess(model, unseen, **options):
        calls.update(model=model, unseen=unseen, **options)
        return demo[-1]

    def write_report(path, *_, **options):
        calls.update(path=path, **options)

    monkeypatch.setattr("backwalk.assess.assess", assess)
    monkeypatch.setattr("backwalk.assess.write_report", write_report)
    return calls


@pytest.fixture
def signal_at(monkeypatch):
    """Have a signal come within a training step, once or several times."""
    from backwalk.training import Trainer

    update = Trainer.take_step

    def arm(number, step, times=1):
        left = [number] * times

        def signalled(self, *given):
            while self.step == step and left:
                signal.raise_signal(left.pop())
            return update(self, *given)

        monkeypatch.setattr(Trainer, "take_step", signalled)

    return arm


def quietly(*arguments):
    """Run the command line where pytest captures nothing yet: exit status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main([str(argument) for argument in arguments])
    return left.value.code, out.getvalue(), err.getvalue()
