"""The local engine: parts are made in this process, or in several worker processes on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread

import torch

from backwalk.errors import InvalidInput
from backwalk.pieces.folder import Entry
from backwalk.pieces.run import run_piece
from backwalk.pieces.worker import entry_of, worker_environment

_MOST_DEATHS = 3  # of workers at the same piece


def local(folder: str, pieces: Sequence[tuple[int, int]], workers: int, on_done: Callable[[Entry], None], /) -> None:
    """Make pieces of the job in a folder, and call `on_done` in this thread with the entry of each.

    One worker is this process; more are processes of their own, among which torch's threads are divided. The piece of a
    worker that is killed is made by another. Raises the first error of a worker, and InvalidInput if three workers in a
    row are killed at the same piece.
    """
    n_workers = min(workers, len(pieces))
    if n_workers <= 1:
        for start, stop in pieces:
            on_done(run_piece(folder, start, stop))
        return
    crew = _Crew(folder, pieces, max(torch.get_num_threads() // n_workers, 1))
    try:
        crew.start(n_workers)
        for _ in pieces:
            on_done(crew.next_entry())
    finally:
        crew.stop()


class _Crew:
    """Threads that each drive one worker process, and start another where it is killed."""

    def __init__(self, folder: str, pieces: Sequence[tuple[int, int]], n_threads: int) -> None:
        self._command = [sys.executable, "-m", "backwalk.pieces.worker", folder, str(n_threads)]
        self._todo, self._done = deque(pieces), SimpleQueue[Entry | BaseException]()
        self._lock, self._is_stopped = Lock(), False
        self._processes, self._threads = list[subprocess.Popen[str]](), list[Thread]()

    def start(self, n: int) -> None:
        self._threads = [Thread(target=self._drive, daemon=True) for _ in range(n)]
        for thread in self._threads:
            thread.start()

    def next_entry(self) -> Entry:
        found = self._done.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def stop(self) -> None:
        """End all workers at once; a part that one of them was writing does not appear."""
        with self._lock:
            self._is_stopped = True
            for process in self._processes:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _drive(self) -> None:
        process = None
        try:
            while (piece := self._next()) is not None:
                answer, status = "", 0
                for _ in range(_MOST_DEATHS):
                    process = process or self._started()
                    answer = _answer(process, *piece)
                    if answer:
                        break
                    status, process = _ended(process), None
                if not answer:
                    raise InvalidInput(
                        f"Workers should end with their work, but {_MOST_DEATHS} ended at rows {piece[0]:,} to "
                        f"{piece[1]:,} (status {status}): take fewer workers or smaller parts if memory ran out."
                    )
                self._done.put(entry_of(answer))
        except _Stopped:
            pass
        except BaseException as error:  # raised again in the thread that waits
            self._done.put(error)
        finally:
            if process is not None:
                _ended(process)

    def _next(self) -> tuple[int, int] | None:
        with self._lock:
            return None if self._is_stopped or not self._todo else self._todo.popleft()

    def _started(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._is_stopped:
                raise _Stopped
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=worker_environment(),
            )
            self._processes.append(process)
        return process


class _Stopped(Exception):
    pass


def _answer(process: subprocess.Popen[str], start: int, stop: int) -> str:
    """Return a worker's answer to a piece, or an empty text if the worker ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        print(start, stop, file=process.stdin, flush=True)
    except OSError:
        return ""
    answer = process.stdout.readline()
    return answer if answer.endswith("\n") else ""


def _ended(process: subprocess.Popen[str]) -> int:
    """Let a worker end, and return its status."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):  # the pipe of a killed worker
        process.stdin.close()
    process.stdout.close()
    return process.wait()
