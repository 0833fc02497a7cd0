"""SIGKILL and other signals at random moments: what is on the disk is whole, and a resumed fit equals the whole one."""

import os
import signal
import time
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.table import as_table, read_table, write_table
from soak.children import forked, left
from soak.material import appeared, bits, estimator, fitted, listing, notebook, rows

MODELS = (
    estimator,
    notebook,
    partial(estimator, random_state=5, validation_fraction=0.0, max_steps=60),
    partial(estimator, scale=False, max_steps=25, random_state=2),
)
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@cache
def _whole(which):
    """Return an uninterrupted model, and the seconds of its fit."""
    began = time.monotonic()
    return bits(MODELS[which]().fit(rows())), time.monotonic() - began


def _fit(which, place):
    model = MODELS[which]()
    model.fit(rows(), checkpoint=place / "c", resume=True, checkpoint_every=0.0)
    model.save(place / "m", overwrite=True)


@pytest.mark.cases(short=4, full=50)
def test_a_killed_fit_goes_on_to_the_same_bits(case, tmp_path):
    rng, which = np.random.default_rng(case), case % len(MODELS)
    whole, seconds = _whole(which)
    for _ in range(rng.integers(1, 4)):
        pid = forked(partial(_fit, which, tmp_path), tmp_path / "log")
        if case % 4 != 3:
            appeared(tmp_path / "c", pid)
        left(pid, rng.uniform(0.0, 1.1 * seconds))  # killed, where it has not ended by itself
    assert left(forked(partial(_fit, which, tmp_path), tmp_path / "log"), 60.0) == 0, (tmp_path / "log").read_text()
    assert bits(Diffusion.load(tmp_path / "m", device="cpu")) == whole
    assert not [name for name in listing(tmp_path) if name.endswith(".part")]


@pytest.mark.cases(short=6, full=30)
def test_rows_are_the_old_or_the_new_ones_whole(case, tmp_path):
    from backwalk.cli import main

    path = tmp_path / f"rows{('.csv', '.parquet', '.npy')[case % 3]}"
    old, new = (fitted().sample(n, random_state=n % 2, n_evaluations=2) for n in (50, 3001))
    write_table(path, as_table(old))
    fitted().save(tmp_path / "model")
    command = ["sample", str(tmp_path / "model"), "-n", "3001", "--evaluations", "2", "--seed", "1", "--force", "-o"]
    pid = forked(lambda: main([*command, str(path)]), tmp_path / "log")
    status = left(pid, 60.0 if case % 4 == 3 else np.random.default_rng(case).uniform(0.0, 0.1))
    values = read_table(path).values
    assert status in (None, 0), (tmp_path / "log").read_text()[-300:]
    assert status is None or len(values) == len(new), "it was done, and the old rows are still there"
    np.testing.assert_array_equal(values, old if len(values) == len(old) else new)


def _command(place, *options):
    from backwalk.cli import main

    Path(place / "began").write_text("")
    main(["fit", str(place / "rows.csv"), "-o", str(place / "m"), "--max-steps", "150", *options])


@cache
def _whole_command():
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_table(place / "rows.csv", as_table(rows()))
        began = time.monotonic()
        assert left(forked(partial(_command, place), place / "log"), 60.0) == 0
        return bits(Diffusion.load(place / "m", device="cpu")), time.monotonic() - began


@pytest.mark.parametrize("is_twice", [False, True])
@pytest.mark.cases(short=3, full=20)
def test_a_signal_ends_a_command_soon_and_resume_gives_the_whole_model(case, is_twice, tmp_path):
    rng, number = np.random.default_rng(case), SIGNALS[case % (2 if is_twice else 3)]
    whole, seconds = _whole_command()
    write_table(tmp_path / "rows.csv", as_table(rows()))
    pid = forked(partial(_command, tmp_path), tmp_path / "log")
    assert appeared(tmp_path / "began", pid)
    time.sleep(0.02 + rng.uniform(0.0, seconds))
    os.kill(pid, number)
    if is_twice:
        time.sleep(rng.uniform(0.0, 0.01))
        os.kill(pid, number)  # who is done waits to be waited for, and does not mind
    status, log = left(pid, 1.0 if is_twice else 5.0), (tmp_path / "log").read_text()
    # In its last moment the system's own handlers are back: a shell tells 128 + the signal for that too.
    assert status in (0, 128 + number, -number), f"left with {status}: {log[-300:]}"
    assert "Traceback" not in log, log
    assert not [name for name in listing(tmp_path) if name.endswith(".part")]
    if not (tmp_path / "m").exists():
        again = left(forked(partial(_command, tmp_path, "--resume"), tmp_path / "log"), 60.0)
        assert again == 0, (tmp_path / "log").read_text()[-300:]
    assert bits(Diffusion.load(tmp_path / "m", device="cpu")) == whole
    assert not (tmp_path / "m.checkpoint").exists()


N_WRITERS, N_READERS = 4, 2


@cache
def _versions():
    return [estimator(max_steps=k + 1).fit(rows()) for k in range(4)]


def _which(path):
    """Load a model, and return which of the versions it is."""
    found = bits(Diffusion.load(path, device="cpu"))
    return [bits(version) for version in _versions()].index(found)


def _write(path, seed, n):
    for k in np.random.default_rng(seed).integers(4, size=n):
        _versions()[k].save(path, overwrite=True)


@pytest.mark.cases(short=1, full=10)
def test_readers_meet_whole_models_beside_writers(case, tmp_path):
    path, stop = tmp_path / "m", tmp_path / "stop"
    _versions()[0].save(path)

    def read():
        while not stop.exists():
            _which(path)

    readers = [forked(read, tmp_path / f"r{i}") for i in range(N_READERS)]
    writers = [forked(partial(_write, path, 100 * case + i, 10), tmp_path / f"w{i}") for i in range(N_WRITERS)]
    assert [left(pid, 300.0) for pid in writers] == [0] * N_WRITERS
    stop.write_text("")
    assert [left(pid, 30.0) for pid in readers] == [0] * N_READERS, (tmp_path / "r0").read_text()[-300:]
    assert not [name for name in listing(tmp_path) if name.endswith(".part")]


@pytest.mark.cases(short=5, full=35)
def test_a_killed_writer_leaves_a_whole_model_and_the_next_writes(case, tmp_path):
    path = tmp_path / "m"
    _versions()[0].save(path)
    left(forked(partial(_write, path, case, 1000), tmp_path / "log"), np.random.default_rng(case).uniform(0.0, 0.05))
    assert _which(path) >= 0
    _versions()[1].save(path, overwrite=True)
    assert _which(path) == 1
