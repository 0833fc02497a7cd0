"""Disks that are full and folders that cannot be written: a loud end, the path named, nothing lost and no litter."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np

from backwalk.errors import BackwalkError
from backwalk.model_file import load
from backwalk.table import as_table, read_table, write_table
from backwalk.training import Progress
from soak.campaign import Skipped, outcome_of
from soak.children import forked, left
from soak.material import bits, estimator, fitted, listing, rows

_NOBODY = 65534
_WRITERS: list[tuple[str, Callable[[Path], object]]] = [
    ("m", lambda path: fitted().save(path, overwrite=True)),
    ("m.safetensors", lambda path: fitted().save(path, overwrite=True)),
    ("c", lambda path: estimator(max_steps=3).fit(rows(), checkpoint=path, resume=True)),
    ("t.csv", lambda path: write_table(path, as_table(rows()), overwrite=True)),
    ("t.parquet", lambda path: write_table(path, as_table(rows()), overwrite=True)),
    ("t.npy", lambda path: write_table(path, as_table(rows()), overwrite=True)),
]


def file_size(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of writing under a limit on a file's size, as on a disk that fills up in the middle of it."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        place, before = _place(folder, i), i // len(_WRITERS) % 2 == 0
        yield outcome_of(partial(_limited, place, _WRITERS[i % len(_WRITERS)], int(rng.integers(0, 3000)), before))


def small_disk(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of writing to a file system of 32 KiB with less and less room."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        place = folder / str(i)
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            raise Skipped("a tmpfs cannot be mounted here: it takes root")
        try:
            before, taken = i // len(_WRITERS) % 2 == 1, int(rng.integers(16, 33)) * 1024
            yield outcome_of(partial(_limited, place, _WRITERS[i % len(_WRITERS)], None, before, taken))
        finally:
            subprocess.run(["umount", str(place)], check=True)


def read_only(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of writing to a folder that only another user may write."""
    del seed
    if os.geteuid() != 0:
        raise Skipped("nobody else's folder can be tried: it takes root")
    folder.chmod(0o755)
    for i in range(n):
        yield outcome_of(partial(_forbidden, _place(folder, i), _WRITERS[i % len(_WRITERS)]))


def full_device(n: int, seed: int, folder: Path) -> Iterator[str]:
    """Yield outcomes of commands whose standard output is /dev/full."""
    del seed
    fitted().save(folder / "m")
    write_table(folder / "rows.csv", as_table(rows()))
    commands = [
        ["sample", str(folder / "m"), "-n", "2000", "--evaluations", "2"],
        ["sample", str(folder / "m"), "-n", "1", "--evaluations", "2"],
        ["score", str(folder / "m"), str(folder / "rows.csv")],
        ["info", str(folder / "m"), "--json"],
    ]
    for i in range(n):
        yield outcome_of(partial(_to_full, commands[i % len(commands)], folder / "log"))


def _place(folder: Path, i: int) -> Path:
    place = folder / str(i)
    place.mkdir()
    return place


def _old(path: Path) -> None:
    """Put something whole where a writer is to fail."""
    if path.name.startswith("m"):
        estimator(max_steps=1).fit(rows()).save(path)
    elif path.name.startswith("t"):
        write_table(path, as_table(rows()[:2]))
    else:
        with suppress(_Enough):
            estimator(max_steps=3, callbacks=[_one_step]).fit(rows(), checkpoint=path, checkpoint_every=0)


class _Enough(Exception):
    pass


def _one_step(progress: Progress) -> None:
    raise _Enough


def _content(path: Path) -> object:
    if path.name.startswith("m"):
        return bits(load(path), seconds=True)
    return read_table(path).values.tobytes() if path.name.startswith("t") else path.read_bytes()


def _limited(
    place: Path, writer: tuple[str, Callable[[Path], object]], limit: int | None, before: bool, taken: int = 0
) -> None:
    """Write, over something old where `before`, with a limit on a file's size, or so many bytes of the disk taken."""
    name, write = writer
    path = place / name
    fitted()
    if before:
        _old(path)
    if taken:
        with suppress(OSError), (place / "room").open("wb", buffering=0) as room:
            for _ in range(taken // 1024):
                room.write(b"\0" * 1024)
    was, names = _content(path) if before else None, listing(place)

    def work() -> None:
        if limit is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            free: Callable[[], object] = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (hard, hard))
        else:
            free = int
        _told(write, path, free)

    log = place.with_name(f"{place.name}.log")
    status = left(forked(work, log))
    if status == 0:
        assert _content(path)
        return
    assert status == 1, f"left with {status}: {log.read_text()[-300:]}"
    assert listing(place) == names, f"{listing(place)} after {names}"
    assert not before or _content(path) == was, "what was there is lost"


def _forbidden(place: Path, writer: tuple[str, Callable[[Path], object]]) -> None:
    name, write = writer
    fitted()

    def work() -> None:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        _told(write, place / name)

    log = place.with_name(f"{place.name}.log")
    status = left(forked(work, log))
    assert status == 1, f"left with {status}: {log.read_text()[-300:]}"
    assert listing(place) == []


def _told(write: Callable[[Path], object], path: Path, free: Callable[[], object] = int) -> None:
    """Write, and leave with status 1 if and only if our own error names the path; `free` lifts limits for telling."""
    try:
        write(path)
    except BackwalkError as error:
        free()
        print(error)
        if str(path) in str(error):
            raise SystemExit(1) from error
        raise


def _to_full(command: list[str], log: Path) -> None:
    from backwalk.cli import main

    def work() -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, 1)
        main(command)

    status = left(forked(work, log))
    text = log.read_text()
    assert status == 1, f"left with {status}: {text[-300:]}"
    assert text.startswith("error: "), text
    assert text.count("\n") == 1, text
