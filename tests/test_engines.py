"""Samples by Ray Data and by Dask: the rows of one process, though one of two workers is killed on the way.

`python -m tests.test_engines ray MODEL MARKER` draws in a process of its own, and prints a hash of the rows.
"""

import hashlib
import os
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion, InvalidInput, ModelFileError
from backwalk.denoiser import Residual
from backwalk.engines import dask_dataframe, ray_dataset

N, GIVEN = 20_000, {"kind": {"a", "b"}}
ROWS = {"random_state": 7, "rows_of_a_task": 1_000}
LONGEST = 300


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x": rng.normal(size=300), "kind": rng.choice(["a", "b", "c"], 300), "n": rng.poisson(3, 300)})
    network = Residual(width=16, n_blocks=1, n_members=1)
    path = tmp_path_factory.mktemp("model") / "model"
    Diffusion(n_steps=30, max_steps=30, denoiser=network, random_state=0, verbose=False).fit(rows).save(path)
    return path


class Deadly(dict):
    """Conditions of which the third reading kills the process that reads them, if none was killed before."""

    marker = Path()

    def values(self):
        n_read = int(os.environ.get("N_READ", 0)) + 1  # the class itself may be made anew for each task
        os.environ["N_READ"] = str(n_read)
        if n_read == 3 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().values()


def sha256(frame):
    """Return a hash of rows in any order, and whatever library's types they have."""
    return hashlib.sha256(repr(sorted(map(tuple, frame.to_numpy(dtype=object).tolist()))).encode()).hexdigest()


def by_ray(model, given):
    import ray

    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20)
    return ray_dataset(model, N, given=given, **ROWS).to_pandas()


def by_dask(model, given):
    from dask.distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
    ):
        rows = dask_dataframe(model, N, given=given, **ROWS)
        assert rows.divisions[1] == ROWS["rows_of_a_task"]
        found = rows.compute()
    assert (found.index == np.arange(N)).all()
    return found


@pytest.mark.scale
@pytest.mark.parametrize(("engine", "package"), [("ray", "ray"), ("dask", "distributed")])
def test_a_killed_worker_costs_time_alone(model, tmp_path, engine, package):
    if os.environ.get("CI") != "true":  # where it has to be there
        pytest.importorskip(package)
    marker = tmp_path / "killed"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "-m", "tests.test_engines", engine, str(model), str(marker)]
    done = subprocess.run(
        command, env={**os.environ, **token}, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    assert done.returncode == 0, done.stderr
    assert marker.exists()
    whole = Diffusion.load(model).sample(N, given=GIVEN, random_state=7)
    assert done.stdout.splitlines()[-1] == sha256(whole)


@pytest.mark.parametrize("make", [ray_dataset, dask_dataframe])
def test_what_cannot_be_drawn_is_refused_at_once(model, tmp_path, make):
    pytest.importorskip(make.__name__.partition("_")[0])
    for wrong in ({"n_samples": 0}, {"rows_of_a_task": 1.5}, {"random_state": None}, {"given": {"kind": "z"}}):
        with pytest.raises(InvalidInput):
            make(model, **{"n_samples": 5, **ROWS, **wrong})
    with pytest.raises(ModelFileError):
        make(tmp_path / "none", 5, random_state=0)


@pytest.mark.parametrize("make", [ray_dataset, dask_dataframe])
def test_a_library_that_is_missing_is_named_with_its_extra(model, make, monkeypatch):
    name = make.__name__.partition("_")[0]
    for module in ("ray", "ray.data", "dask", "dask.dataframe"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"backwalk\[{name}\]"):
        make(model, 5, random_state=0)


if __name__ == "__main__":
    engine, model, marker = sys.argv[1:]
    given = Deadly(GIVEN)
    given.marker = Path(marker)
    print(sha256({"ray": by_ray, "dask": by_dask}[engine](model, given)))
