"""Checkpoints: a run's state on disk, so that a run that was killed goes on as if it had not been.

A checkpoint is one file (`checksummed.py`), replaced whole. It is written between two steps: at intervals, at the
end, and when the run is stopped by Ctrl-C, SIGTERM, SIGHUP or by whoever takes its progress. A resumed run equals one
that was never stopped, bit for bit, but for the seconds in its history; a run with `max_time` follows the clock and
does not.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from backwalk.atomic_files import held_alone, made_folder, remove_parts, whole_file
from backwalk.checksummed import NotChecksummed, checksummed_bytes, open_checksummed
from backwalk.errors import CheckpointError, TrainingDiverged
from backwalk.formatting import one_line
from backwalk.signals import HeldSignals
from backwalk.training.history import Progress
from backwalk.training.loop import Trainer
from backwalk.training.state import TrainerState, seconds, whole_number

FORMAT: Final = "backwalk-checkpoint"
VERSION: Final = 3
SECONDS_BETWEEN = 30.0
_HEAD_BYTES = 1024  # in which a checksummed file names its format
_LARGEST_SHARE = 0.05  # of the time that may go into writing, however large the network


def checkpointed(
    trainer: Trainer,
    path: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    every: float = SECONDS_BETWEEN,
    slowness: float = 1.0,
) -> Generator[Progress]:
    """Train to the end as `trainer.run` does, and keep a checkpoint at `path`, written every so many seconds.

    With `resume` the run goes on from the checkpoint that is there, or begins where there is none; with `overwrite` it
    begins, and what is there is deleted, unless it is no checkpoint at all. After a divergence the checkpoint holds the
    last good weights, and resuming takes them for the result. The checkpoint stays when the run is done: resuming then
    gives the result again at once. Raises CheckpointError where a checkpoint is there and neither is asked for, where
    it is damaged or belongs to another run, where another process keeps it, and where it cannot be written.

    `slowness`, by which a fit with a time limit was planned, is kept too (`checkpoint_slowness`).
    """
    with ExitStack() as stack:
        with _told(path, "written"):
            stack.enter_context(made_folder(path.parent))
            try:
                stack.enter_context(held_alone(path))
            except BlockingIOError as error:
                raise CheckpointError(
                    f"{path} should be one fit's, but another one is writing it: wait for it, or choose another name."
                ) from error
        refuse_foreign(path)
        if resume and path.exists():
            restore(trainer, path)
        elif overwrite:
            with _told(path, "replaced"):
                path.unlink(missing_ok=True)
        else:
            refuse_begun(path)
        remove_parts(path)
        yield from _checkpointed(trainer, path, every, slowness)


def refuse_foreign(path: Path) -> None:
    """Raise CheckpointError where another program's file stands under a checkpoint's name: it is never deleted."""
    if not path.is_file():
        return
    with _told(path, "read"), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head and FORMAT.encode() not in head:
        raise CheckpointError(
            f"{path} should be a checkpoint, but is another file: move it away, or choose another name for the fit's."
        )


def refuse_begun(path: Path) -> None:
    """Raise CheckpointError where a checkpoint is there."""
    if path.exists():
        raise CheckpointError(f"{path} holds a fit that was begun: resume it, or delete the file.")


def _checkpointed(trainer: Trainer, path: Path, every: float, slowness: float) -> Iterator[Progress]:
    due = time.monotonic() + every
    try:
        with HeldSignals() as held:
            for progress in trainer.run():
                began = time.monotonic()
                stop = held.waiting  # once: a signal that comes later finds its state written at the next step
                if began >= due or trainer.done or stop:
                    write(trainer, path, slowness)
                    took = time.monotonic() - began
                    due = began + took + max(every, took / _LARGEST_SHARE)
                if stop:
                    held.deliver()
                try:
                    yield progress
                except GeneratorExit:
                    write(trainer, path, slowness)
                    raise
    except TrainingDiverged as error:
        good = trainer.give_up()
        if good is None:
            raise
        write(trainer, path, slowness)
        raise TrainingDiverged(
            f"{error} {path} keeps the weights of step {good}: resume to make a model of them."
        ) from error


def write(trainer: Trainer, path: Path, slowness: float = 1.0) -> None:
    """Write a run's state. Raises CheckpointError where that is not possible."""
    state = trainer.state()
    record = {**state.record, "fingerprint": trainer.fingerprint, "slowness": slowness}
    with _told(path, "written"), whole_file(path, overwrite=True) as file:
        file.write(checksummed_bytes(record, state.tensors, form=FORMAT, version=VERSION))


def checkpoint_seed(path: Path) -> int:
    """Return the seed of the run that a checkpoint is of. Raises CheckpointError where it is none."""
    with _reading(path), open_checksummed(path, form=FORMAT, version=VERSION) as file:
        return whole_number(int(file.record["fingerprint"]["seed"]), "seed")


def checkpoint_slowness(path: Path) -> float:
    """Return the slowness by which a checkpoint's run was planned. Raises CheckpointError where it is none."""
    with _reading(path), open_checksummed(path, form=FORMAT, version=VERSION) as file:
        return max(1.0, seconds(file.record["slowness"]))


def checkpoint_step(path: Path) -> int:
    """Return the number of steps that a checkpoint's run had taken. Raises CheckpointError where it is none."""
    with _reading(path), open_checksummed(path, form=FORMAT, version=VERSION) as file:
        return whole_number(file.record["step"], "step")


def restore(trainer: Trainer, path: Path) -> None:
    """Bring a run to the state in a checkpoint of its own. Raises CheckpointError where it is damaged or another's."""
    with _reading(path), open_checksummed(path, form=FORMAT, version=VERSION) as file:
        tensors = file.tensors()  # first, as this alone tells a damaged file from another fit's
        ours, theirs = trainer.fingerprint, dict(file.record["fingerprint"])
        other = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if other:
            raise CheckpointError(
                f"{path} belongs to another fit, as {' and '.join(other)} differ: give the same data, settings, seed, "
                "device and versions, or delete it to begin anew."
            )
        trainer.restore(TrainerState(tensors, file.record))


@contextmanager
def _told(path: Path, done: str) -> Iterator[None]:
    """Turn what keeps a file from being dealt with into one line that names it."""
    try:
        yield
    except (OSError, NotChecksummed) as error:
        raise CheckpointError(f"{path} cannot be {done}: {one_line(error)}.") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {one_line(error)}.") from error
    except NotChecksummed as error:
        raise CheckpointError(f"{path} is not a whole checkpoint: {error} Delete it to begin anew.") from error
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} holds no state of such a fit: {one_line(error)}. Delete it to begin anew."
        ) from error
