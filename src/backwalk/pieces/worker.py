"""A worker process: it reads pieces from standard input, a line each, and answers each with a line of JSON.

Only paths and numbers go in, and only an entry or an error comes out: nothing is pickled. The process ends when its
standard input does, so that it does not outlive the process that started it by more than one piece.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TextIO

import torch

import backwalk
from backwalk import errors
from backwalk.errors import BackwalkError
from backwalk.pieces.folder import Entry
from backwalk.pieces.run import run_piece

_PACKAGES = str(Path(backwalk.__file__).parents[1])


def work(folder: str, requests: Iterable[str], answers: TextIO) -> None:
    """Make the part of each request, a line "START STOP", and write an answer to each."""
    for line in requests:
        start, stop = map(int, line.split())
        print(answer_of(partial(run_piece, folder, start, stop)), file=answers, flush=True)


def answer_of(make: Callable[[], Entry]) -> str:
    """Return the entry that a function returns, or the error that it raises, as a line of JSON."""
    try:
        return json.dumps({"entry": make().model_dump(mode="json")})
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> str:
    """Return an error as a line of JSON."""
    return json.dumps({"error": type(error).__name__, "message": str(error) or type(error).__name__})


def worker_environment() -> dict[str, str]:
    """Return the environment of a process that imports this very backwalk."""
    paths = os.pathsep.join(filter(None, (_PACKAGES, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": paths}


def entry_of(answer: str) -> Entry:
    """Return the entry of an answer, or raise the error that it reports."""
    found = json.loads(answer)
    if "entry" in found:
        return Entry.model_validate(found["entry"])
    kind = getattr(errors, found["error"], None)
    if isinstance(kind, type) and issubclass(kind, BackwalkError):
        raise kind(found["message"])
    raise RuntimeError(f"{found['error']} in a worker: {found['message']}")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the one that started this ends it
    torch.set_num_threads(int(sys.argv[2]))
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        work(sys.argv[1], sys.stdin, answers)
