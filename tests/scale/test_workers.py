"""Several workers of torchrun: they fit the model of one process, bit for bit, and end with a checkpoint."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.errors import BackwalkError
from backwalk.table import as_table, write_table
from backwalk.training import ALONE
from backwalk.training.checkpoint import checkpoint_step
from tests.scale import fit_on_hosts, hosts

ENSEMBLE = ["--shards", "8", "--max-steps", "40"]  # of two members
ONE_MEMBER = ["--shards", "8", "--ddpm", "--epochs", "20"]
LONG = ["--shards", "8", "--max-steps", "400", "--checkpoint-every", "0.2"]
SECONDS = 240  # after which a test fails; a killed fit ends in seconds
ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    write_table(path, as_table(np.random.default_rng(0).normal([1.0, 20.0], [1.0, 5.0], size=(1500, 2))))
    return path


def environment():
    there = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": os.pathsep.join(there)}


def on_workers(size, *command, options=()):
    """Return the command that runs a module's or a script's command on so many workers."""
    return [*TORCHRUN, "--standalone", "--nproc-per-node", str(size), *options, *map(str, command)]


def fit(size, table, output, *options, launcher=()):
    command = ["-m", "backwalk", "fit", table, "-o", output, *options]
    return [sys.executable, *map(str, command)] if size == 0 else on_workers(size, *command, options=launcher)


def run(command, status=0):
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode != 0) == (status != 0), done.stderr
    return done


@contextmanager
def running(command):
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            for worker in workers_of(process):
                os.kill(worker, signal.SIGKILL)
            process.kill()
            process.communicate()


def workers_of(process):
    """Return the process numbers of a launcher's workers, in order."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (place / "stat").read_text().rsplit(")", 1)[1].split()[1]
            if int(parent) == process.pid:
                variables = dict(each.split(b"=", 1) for each in (place / "environ").read_bytes().split(b"\0") if each)
                found[int(variables.get(b"RANK", -1))] = int(place.name)
    return [pid for rank, pid in sorted(found.items()) if rank >= 0]


def step_of(checkpoint):
    with suppress(BackwalkError):
        return checkpoint_step(checkpoint)
    return 0


def digest(path):
    """Return a digest of a saved model, but of its seconds."""
    model = Diffusion.load(path).model_
    content = hashlib.sha256()
    for tensor in (*model.denoiser.state_dict().values(), model.denoising_error):
        content.update(tensor.numpy().tobytes())
    history = {name: value for name, value in vars(model.history).items() if name != "seconds"}
    content.update(repr(sorted(history.items())).encode())
    return content.hexdigest()


@pytest.mark.parametrize("options", [ENSEMBLE, ONE_MEMBER], ids=["ensemble", "one member"])
def test_any_number_of_workers_gives_the_model_of_one_process(table, tmp_path, options):
    found = {}
    for size in range(5):
        told = run(fit(size, table, tmp_path / str(size), *options, "--json")).stdout
        assert told.count('"model"') == 1  # by worker 0 alone
        found[size] = digest(tmp_path / str(size))
    assert len(set(found.values())) == 1, found


def test_members_alone_need_no_shards_and_idle_workers_are_told(table, tmp_path):
    for size in (0, 2, 3):
        told = run(fit(size, table, tmp_path / str(size), "--max-steps", "20")).stderr
        assert ("1 of 3 workers have nothing to do" in told) == (size == 3)
    assert len({digest(tmp_path / str(size)) for size in (0, 2, 3)}) == 1


@pytest.fixture(scope="module")
def whole(table, tmp_path_factory):
    """The digest of a fit that nothing has stopped."""
    path = tmp_path_factory.mktemp("whole") / "m"
    run(fit(0, table, path, *LONG))
    return digest(path)


@pytest.mark.parametrize(("rank", "size", "then"), [(1, 3, 2), (0, 2, 4)])
def test_a_killed_worker_ends_the_fit_with_a_checkpoint(table, tmp_path, whole, rank, size, then):
    output, checkpoint = tmp_path / "m", tmp_path / "m.checkpoint"
    with running(fit(size, table, output, *LONG)) as process:
        hosts.until(lambda: step_of(checkpoint) >= 10, seconds=SECONDS)
        killed_at, began = step_of(checkpoint), time.monotonic()
        os.kill(workers_of(process)[rank], signal.SIGKILL)
        _, told = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert time.monotonic() - began < 60  # no worker waits for the lost one
    who = "error: " if rank else "worker 1: error: "
    assert f"{who}Another worker was lost" in told
    assert step_of(checkpoint) >= killed_at
    assert not output.exists()
    run(fit(then, table, output, *LONG, "--resume"))
    assert digest(output) == whole
    assert not checkpoint.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_launcher_leaves_a_checkpoint(table, tmp_path, whole, number):
    output, checkpoint = tmp_path / "m", tmp_path / "m.checkpoint"
    with running(fit(2, table, output, *LONG)) as process:
        hosts.until(lambda: step_of(checkpoint) >= 10, seconds=SECONDS)
        process.send_signal(number)
        _, told = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    kept = step_of(checkpoint)
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert f"{word}; {checkpoint} keeps step {kept}: continue with torchrun ... -m backwalk fit" in told
    assert "worker 1:" not in told
    run(fit(0, table, output, *LONG, "--resume"))
    assert digest(output) == whole


def test_torchrun_starts_a_fit_again_after_a_loss(table, tmp_path, whole):
    output, checkpoint = tmp_path / "m", tmp_path / "m.checkpoint"
    with running(fit(2, table, output, *LONG, "--resume", launcher=["--max-restarts", "1"])) as process:
        hosts.until(lambda: step_of(checkpoint) >= 10, seconds=SECONDS)
        os.kill(workers_of(process)[1], signal.SIGKILL)
        _, told = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, told
    assert digest(output) == whole


def test_worker_0_s_clock_ends_a_fit_with_a_time_limit(table, tmp_path):
    run(fit(2, table, tmp_path / "m", "--max-time", "3", "--shards", "8"))
    card = Diffusion.load(tmp_path / "m").model_.card
    assert card["stopped_by"] == "time limit"


SCRIPT = """
import sys
import numpy as np
from backwalk import Diffusion
from backwalk.training import torchrun_workers

X = np.random.default_rng(0).normal(size=(300, 2))
model = Diffusion(max_steps=30, shards=4, verbose=False, random_state=None, callbacks=[lambda p: p.step == 20])
if "alone" in sys.argv:
    model.fit(X)
with torchrun_workers() as workers:
    if "other rows" in sys.argv and workers.rank == 1:
        X = X + 1.0
    for _ in range(2):
        model.fit(X, workers=workers)
    rows = model.sample(3, random_state=0)
    print(f"worker {workers.rank}: {model.history_.n_steps} steps, {model.model_.card['stopped_by']}, {rows.tolist()}")
"""


def script(tmp_path, *arguments, status=0):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return run(on_workers(2, path, *arguments), status)


def test_a_script_s_workers_fit_one_model(tmp_path):
    """With a random seed and a callback of worker 0, and several fits one after the other."""
    told = sorted(line for line in script(tmp_path).stdout.splitlines() if line.startswith("worker"))
    assert [line.split(":")[0] for line in told] == ["worker 0", "worker 1"]
    assert "20 steps, callback" in told[0]
    assert told[0].removeprefix("worker 0") == told[1].removeprefix("worker 1")


def test_a_script_that_names_no_workers_is_refused(tmp_path):
    assert (
        "InvalidInput: workers should be given in a process of torchrun" in script(tmp_path, "alone", status=1).stderr
    )


def test_other_rows_of_a_worker_are_noticed_before_training(tmp_path):
    told = script(tmp_path, "other rows", status=1).stderr
    assert "worker 1 and worker 0 differ in: table" in told


def test_a_host_each_gives_the_model_of_one_process(has_hosts, tmp_path):
    """Before the fit is done the second host dies with its network, and the fit goes on here."""
    for name, lost in (("whole", []), ("lost", ["lost"])):
        (tmp_path / name).mkdir()
        command = hosts.alone(*hosts.python("fit_on_hosts", "first", tmp_path / name, *lost))
        told = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS)
        assert told.returncode == 0, told.stderr
    assert "WorkerLost: Another worker was lost" in told.stderr
    assert 10 <= step_of(tmp_path / "lost" / "checkpoint") < 300
    (tmp_path / "one").mkdir()
    for name in ("one", "lost"):
        fit_on_hosts.model(tmp_path / name, ALONE).save(tmp_path / name / "model")
    assert len({digest(tmp_path / name / "model") for name in ("one", "whole", "lost")}) == 1


def test_only_fit_runs_on_workers(table, tmp_path):
    told = run(on_workers(2, "-m", "backwalk", "info", table), status=1).stderr
    assert "Only fit runs on workers of torchrun, but got info" in told
    told = run(on_workers(2, "-m", "backwalk", "fit", "-", "-o", tmp_path / "m"), status=1).stderr
    assert "DATA should be a file for several workers" in told
