"""Running one measurement in a fresh process, so that its time and memory are its own.

`in_fresh_process("benchmarks.sampling:to_file", n=1000, max_steps=9)` would call that function there with those
arguments; what it returns, and the peak of its memory, comes back as JSON in the last line of its output.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def in_fresh_process(function: str, **arguments: Any) -> dict[str, Any]:
    """Return what module:function returns in a new process, with its "peak_bytes". Raises RuntimeError if it fails."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fresh", function, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"the process ended with status {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def peak_bytes() -> int:
    """Return the most memory that this process has held since `forget_peak`, or since it began."""
    return _from_status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RUSAGE_UNIT


def held_bytes() -> int:
    """Return the memory that this process holds now, or its peak where the system does not tell."""
    return _from_status("VmRSS") or peak_bytes()


def forget_peak() -> None:
    """Start the peak anew from what is in use now, where the system can.

    What was freed and is kept for later goes back to the system first: it would hide as much of what comes.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # of other systems than Linux with glibc
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


_RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024


def _from_status(field: str) -> int | None:
    # Not getrusage, whose peak a child inherits from the process that started it.
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), None)


def _main(function: str, arguments: str) -> None:
    module, name = function.split(":")
    result = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    print(json.dumps({**result, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
