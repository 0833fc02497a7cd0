"""A fit by a worker on each of two hosts, for `test_workers.py`: `python -m tests.scale.fit_on_hosts first FOLDER`.

With `lost` after it, the second host is killed during training.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from backwalk import Diffusion
from backwalk.training import torchrun_workers
from tests.scale import hosts

PORT, SECONDS_TO_WAIT = 29500, 15
SECONDS = 180


def model(folder, workers):
    """Fit the same model on any workers, going on from a checkpoint."""
    X = np.random.default_rng(0).normal(size=(600, 2))
    made = Diffusion(max_steps=300, shards=8, random_state=0, verbose=False)
    return made.fit(X, workers=workers, checkpoint=folder / "checkpoint", resume=True, checkpoint_every=0.2)


def worker(folder):
    with torchrun_workers(SECONDS_TO_WAIT) as workers:
        made = model(folder, workers)
        if workers.rank == 0:
            made.save(folder / "model", overwrite=True)


def launcher(rank, folder):
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1", "--nnodes", "2"),
        *("--node-rank", str(rank), "--master-addr", hosts.FIRST, "--master-port", str(PORT)),
        *("-m", "tests.scale.fit_on_hosts", "worker", folder),
    ]


def first(folder, *lost):
    from tests.scale.test_workers import step_of

    os.environ["GLOO_SOCKET_IFNAME"] = "cable"
    second = hosts.Second(*launcher(1, folder))
    ours = subprocess.Popen(launcher(0, folder))
    if lost:
        hosts.until(lambda: step_of(Path(folder) / "checkpoint") >= 10, seconds=SECONDS)
        second.kill()
    status = ours.wait(SECONDS)
    assert (status != 0) == bool(lost)


if __name__ == "__main__":
    worker(Path(sys.argv[2])) if sys.argv[1] == "worker" else first(*sys.argv[2:])
