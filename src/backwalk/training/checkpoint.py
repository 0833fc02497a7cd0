"""Checkpoints: the state of a run on disk, from which a stopped or killed run can be resumed.

A checkpoint is one file (`checksummed.py`), replaced as a whole. It is written between two steps: at intervals, at the
end, and when the run is stopped by Ctrl-C, SIGTERM, SIGHUP or by closing the generator. Except for the seconds in its
history, a resumed run equals an uninterrupted one bit for bit; one with `max_time` does not, as its rates follow the
time.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from backwalk.checksummed import ChecksummedFile, NotChecksummed, checksummed_bytes, open_checksummed
from backwalk.errors import CheckpointError, TrainingDiverged, WorkerLost
from backwalk.files import atomic_write, file_lock, remove_temporaries
from backwalk.formatting import one_line
from backwalk.signals import HeldSignals
from backwalk.training.history import Progress
from backwalk.training.loop import Trainer
from backwalk.training.state import TrainerState, seconds, whole_number

FORMAT: Final = "backwalk-checkpoint"
VERSION: Final = 6
SECONDS_BETWEEN = 30.0
_HEAD_BYTES = 1024  # a checksummed file names its format within these
_LARGEST_SHARE = 0.05  # of the run's time that writing may take, for networks of any size


def checkpointed(
    trainer: Trainer,
    path: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    every: float = SECONDS_BETWEEN,
    slowness: float = 1.0,
) -> Generator[Progress]:
    """Train as `trainer.run` does, and write a checkpoint at `path` about every `every` seconds.

    With `resume` the run continues from an existing checkpoint; with `overwrite` an existing checkpoint is deleted.
    Files of other programs are never deleted. After a divergence the checkpoint holds the chosen weights, which a
    resumed run returns as its result. After the loss of a worker it holds the newest state of all workers that is known
    here. The checkpoint of a finished run stays, and resuming it returns the result again.

    `slowness`, which the plan of a fit with `max_time` was based on, is stored as well (`checkpoint_slowness`).

    Raises CheckpointError where a checkpoint exists and neither option is set, where it is damaged, belongs to another
    run or is being written by another process, and where it cannot be written.
    """
    with ExitStack() as stack:
        with _file_errors(path, "written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(file_lock(path))
            except BlockingIOError as error:
                raise CheckpointError(
                    f"{path} should belong to one fit, but another one is writing it: wait for it, or choose another "
                    "name."
                ) from error
        refuse_foreign(path)
        if resume and path.exists():
            restore(trainer, path)
        elif overwrite:
            with _file_errors(path, "replaced"):
                path.unlink(missing_ok=True)
        else:
            refuse_begun(path)
        remove_temporaries(path)
        yield from _checkpointed(trainer, path, every, slowness)


def refuse_foreign(path: Path) -> None:
    """Raise CheckpointError where `path` is a file of another program, which must not be deleted."""
    if not path.is_file():
        return
    with _file_errors(path, "read"), path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head and FORMAT.encode() not in head:
        raise CheckpointError(
            f"{path} should be a checkpoint, but is another file: move it away, or choose another name."
        )


def refuse_begun(path: Path) -> None:
    """Raise CheckpointError where a checkpoint exists."""
    if path.exists():
        raise CheckpointError(f"{path} holds a fit that was begun: resume it, or delete the file.")


def _checkpointed(trainer: Trainer, path: Path, every: float, slowness: float) -> Iterator[Progress]:
    due = time.monotonic() + every
    try:
        with HeldSignals() as held:
            try:
                for progress in trainer.run():
                    began = time.monotonic()
                    stop = held.waiting  # read once; for a later signal the state is written at the next step
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
            except WorkerLost as error:
                newest = trainer.newest_state
                if newest is not None:
                    write_state(newest, trainer, path, slowness)
                held.drop()  # a launcher's request to end, after the same loss
                kept = f"{path} keeps step {newest.record['step']}" if newest else "There was nothing to keep yet"
                raise WorkerLost(f"{error} {kept}: resume with any number of workers.") from error
    except TrainingDiverged as error:
        good = trainer.give_up()
        if good is None:
            raise
        write(trainer, path, slowness)
        raise TrainingDiverged(f"{error} {path} keeps the weights of step {good}: resume to use them.") from error


def write(trainer: Trainer, path: Path, slowness: float = 1.0) -> None:
    """Write a run's state. Raises CheckpointError where it cannot be written."""
    write_state(trainer.state(), trainer, path, slowness)


def write_state(state: TrainerState, trainer: Trainer, path: Path, slowness: float) -> None:
    """Write a state of a run. Raises CheckpointError where it cannot be written."""
    record = {**state.record, "fingerprint": trainer.fingerprint, "slowness": slowness}
    with _file_errors(path, "written"), atomic_write(path, overwrite=True) as file:
        file.write(checksummed_bytes(record, state.tensors, form=FORMAT, version=VERSION))


def checkpoint_seed(path: Path) -> int:
    """Return the seed of a checkpoint's run. Raises CheckpointError for an invalid checkpoint."""
    with _opened(path) as file:
        return whole_number(int(file.record["fingerprint"]["seed"]), "seed")


def checkpoint_slowness(path: Path) -> float:
    """Return the slowness that a checkpoint's run was planned for. Raises CheckpointError for an invalid checkpoint."""
    with _opened(path) as file:
        return max(1.0, seconds(file.record["slowness"]))


def checkpoint_step(path: Path) -> int:
    """Return the number of steps of a checkpoint's run. Raises CheckpointError for an invalid checkpoint."""
    with _opened(path) as file:
        return whole_number(file.record["step"], "step")


def restore(trainer: Trainer, path: Path) -> None:
    """Set a run to the state in its checkpoint. Raises CheckpointError for a damaged one and for another run's."""
    with _opened(path) as file:
        tensors = file.tensors()  # first, as this verifies the checksum
        ours, theirs = trainer.fingerprint, dict(file.record["fingerprint"])
        other = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if other:
            raise CheckpointError(
                f"{path} belongs to another fit, as {' and '.join(other)} differ: give the same data, settings, seed, "
                "device and versions, or delete the file to start again."
            )
        trainer.restore(TrainerState(tensors, file.record))


@contextmanager
def _file_errors(path: Path, done: str) -> Iterator[None]:
    """Turn errors of files into a CheckpointError of one line: `path` cannot be `done`."""
    try:
        yield
    except (OSError, NotChecksummed) as error:
        raise CheckpointError(f"{path} cannot be {done}: {one_line(error)}.") from error


@contextmanager
def _opened(path: Path) -> Iterator[ChecksummedFile]:
    """Open a checkpoint. Errors in opening and reading it become CheckpointError."""
    try:
        with open_checksummed(path, form=FORMAT, version=VERSION) as file:
            yield file
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {one_line(error)}.") from error
    except NotChecksummed as error:
        raise CheckpointError(f"{path} is not a whole checkpoint: {error} Delete it to start again.") from error
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} holds no state of such a fit: {one_line(error)}. Delete it to start again."
        ) from error
