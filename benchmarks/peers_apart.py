"""Peers in an environment of their own, as they do not work with today's versions of this project's dependencies.

The environment is made on first use, from `peers.txt`, in the folder that the environment variable BACKWALK_PEERS
names, or else out/peers. A peer runs as a child process, which is given a job and a Parquet file, and leaves another.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

HERE = Path(__file__).parent
_CHILD, _PACKAGES = HERE / "peer_child.py", HERE / "peers.txt"
_MOST_OVER_THE_LIMIT = 3.0
"""Times the limit after which a child is ended: estimates of a peer's time may be wrong."""


def interpreter() -> Path:
    """Return the Python that has the peers; its environment is made if it is not there or is of another `peers.txt`."""
    folder = Path(os.environ.get("BACKWALK_PEERS", HERE.parent / "out" / "peers"))
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = _PACKAGES.read_text()
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"installing {', '.join(wanted.split())} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(_PACKAGES)], check=True)
        stamp.write_text(wanted)
    return python


def run_apart(
    rows: NDArray[np.float64], columns: Sequence[str], job: Mapping[str, Any]
) -> tuple[NDArray[np.float64], float, str]:
    """Return a peer's draws, one below the other, its seconds, and its settings in words; see `peer_child.py`.

    Raises RuntimeError with its reason where it fails, or takes three times its limit.
    """
    python = interpreter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(dict(job)))
        pd.DataFrame(rows, columns=list(columns)).to_parquet(folder / "rows.parquet")
        _ended(
            subprocess.Popen(
                [str(python), str(_CHILD), str(folder)],
                start_new_session=True,
                # Threads that wait should leave the processor to those that work, in a peer's own processes too.
                env={**os.environ, "OMP_WAIT_POLICY": "passive"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ),
            _MOST_OVER_THE_LIMIT * job["limit"],
        )
        if not (folder / "done.json").exists():
            raise RuntimeError("its process ended without a result")
        done = json.loads((folder / "done.json").read_text())
        if "failed" in done:
            raise RuntimeError(done["failed"])
        drawn = pd.read_parquet(folder / "drawn.parquet")[list(columns)].to_numpy(float)
    return drawn, done["seconds"], done["choice"]


def _ended(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for a child, and end it with all of its processes when it is done, or after so many seconds."""
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done after {seconds:,.0f} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
