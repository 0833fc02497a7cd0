"""Checkpoints: the state of a run on disk, from which a stopped or killed run can be resumed.

A checkpoint is one file (`checksummed.py`), replaced as a whole: the `fingerprint` of the run, and the tensors and the
record of `Trainer.state`. It is written between two steps: at intervals, at the end, and when the run is stopped by
Ctrl-C, SIGTERM, SIGHUP or by closing the generator. Except for the seconds in its history, a resumed run equals an
uninterrupted one bit for bit; one with `max_time` does not, as its rates follow the time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

import backwalk
from backwalk.checksummed import ChecksummedFile, NotChecksummed, checksummed_bytes, open_checksummed
from backwalk.errors import CheckpointError, TrainingDiverged
from backwalk.files import atomic_write, file_lock, remove_temporaries
from backwalk.formatting import one_line
from backwalk.signals import HeldSignals
from backwalk.streams import Stream
from backwalk.training.loop import Trainer
from backwalk.training.pace import Progress

FORMAT: Final = "backwalk-checkpoint"
VERSION: Final = 8
SECONDS_BETWEEN = 30.0
_HEAD_BYTES = 1024  # a checksummed file names its format within these


class CheckpointFacts(NamedTuple):
    """The seed and the number of steps of a checkpoint's run, and the slowness that the run was planned for."""

    seed: int
    step: int
    slowness: float


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
    resumed run returns as its result. The checkpoint of a finished run stays, and resuming it returns the result again;
    a run that `max_time` ended may take a few steps more, where setting up was faster this time.

    `slowness`, which the plan of a fit with `max_time` was based on, is stored as well.

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
        header = {"fingerprint": fingerprint(trainer), "seed": trainer.stream.seed, "slowness": slowness}
        if resume and path.exists():
            restore(trainer, path)
        elif overwrite:
            with _file_errors(path, "replaced"):
                path.unlink(missing_ok=True)
        else:
            refuse_begun(path)
        remove_temporaries(path)
        try:
            yield from _run(trainer, path, every, header)
        except TrainingDiverged as error:
            good = trainer.give_up()
            if good is None:
                raise
            _write(trainer, path, header)
            raise TrainingDiverged(f"{error} {path} keeps the weights of step {good}: resume to use them.") from error


def _run(trainer: Trainer, path: Path, every: float, header: dict[str, Any]) -> Iterator[Progress]:
    due = time.monotonic() + every
    with HeldSignals() as held:
        for progress in trainer.run():
            stop = held.waiting  # read once; for a later signal the state is written at the next step
            if time.monotonic() >= due or trainer.done or stop:
                _write(trainer, path, header)
                due = time.monotonic() + every
            if stop:
                held.deliver()
            try:
                yield progress
            except GeneratorExit:
                _write(trainer, path, header)
                raise


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


def checkpoint_facts(path: Path) -> CheckpointFacts:
    """Return the facts of a checkpoint's run. Raises CheckpointError for an invalid checkpoint."""
    with _opened(path) as file:
        seed, step, slowness = (file.record[name] for name in CheckpointFacts._fields)
        return CheckpointFacts(int(seed), int(step), max(1.0, float(slowness)))


def fingerprint(trainer: Trainer) -> dict[str, str]:
    """Return everything that determines a run's result: data, initial weights, settings, seed and versions.

    Bits also depend on the kind of processor, which is left out, so that another machine can continue a fit. Noise
    levels are identified by a draw.
    """
    denoiser, drawn = trainer.denoiser, trainer.noise_levels.draw(1, 4096, stream=Stream(0))
    sizes = {name: value for name, value in vars(denoiser).items() if isinstance(value, (int, float, tuple))}
    rows = trainer.rows
    noise = _digest([drawn, trainer.noise_levels.weight(drawn)])
    timing = "timed" if trainer.max_time is not None else "not timed"
    return {
        "data": _digest([rows.x_0, rows.eps, rows.weight, rows.x_validation, rows.validation_weight]),
        "network": f"{_digest([*trainer.initial_weights, *denoiser.buffers()])} {sizes}",
        "settings": f"{trainer.training} {trainer.patterns} {noise} {timing} on {rows.x_0.device.type}",
        "seed": f"{trainer.stream.seed} {trainer.stream.path}",
        "versions": f"backwalk {backwalk.__version__}, torch {torch.__version__}, numpy {np.__version__}",
    }


def _digest(tensors: Iterable[Tensor | None]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            digest.update(b"none")
            continue
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.numpy().reshape(-1).data)
    return digest.hexdigest()[:32]


def _write(trainer: Trainer, path: Path, header: dict[str, Any]) -> None:
    """Write a run's state. Raises CheckpointError where it cannot be written."""
    tensors, record = trainer.state()
    with _file_errors(path, "written"), atomic_write(path, overwrite=True) as file:
        file.write(checksummed_bytes({**header, **record}, tensors, form=FORMAT, version=VERSION))


def restore(trainer: Trainer, path: Path) -> None:
    """Set a run to the state in its checkpoint. Raises CheckpointError for a damaged one and for another run's."""
    with _opened(path) as file:
        tensors = file.tensors()  # first, as this verifies the checksum
        ours, theirs = fingerprint(trainer), dict(file.record["fingerprint"])
        other = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if other:
            raise CheckpointError(
                f"{path} belongs to another fit, as {' and '.join(other)} differ: give the same data, settings, "
                "device, seed and versions, or delete the file to start again."
            )
        trainer.restore(tensors, file.record)


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
    except (NotChecksummed, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} holds no whole state of such a fit: {one_line(error).rstrip('.')}. Delete it to start again."
        ) from error
