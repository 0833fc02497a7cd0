"""Writing files so that nothing is lost: the old one whole or the new one whole, never a mixture."""

from __future__ import annotations

import errno
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # elsewhere than on POSIX systems
    fcntl = None  # type: ignore[assignment]


@contextmanager
def whole_file(path: str | Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name whole, on leaving the block, or not at all.

    It is written under a temporary name in the same folder, flushed to the disk and renamed, and the folder is flushed
    too. Raises OSError, among others FileExistsError where it exists already and `overwrite` is False.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    if target.exists() and not overwrite:
        raise FileExistsError(errno.EEXIST, "it exists already; choose another name or ask to overwrite it")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_parts(path: str | Path) -> None:
    """Remove what writers of this file that were killed have left behind. Not while another one may be writing it."""
    target = Path(path)
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Make a folder where it is not there; if it is still empty in the end, as writing failed, take it away again."""
    made = _make(folder)
    try:
        yield
    finally:
        _remove_empty(made)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a folder, made as by `made_folder`, so that others who ask for it wait until the block is left.

    On systems without `flock` nobody waits. Raises OSError.
    """
    made: list[Path] = []
    descriptor = None
    try:
        while True:
            made += _make(folder)
            descriptor = _locked(folder)
            if descriptor is None or _is_at(descriptor, folder):
                break
            os.close(descriptor)  # whoever had it took it away while we waited
        yield
    finally:
        _remove_empty(made)
        if descriptor is not None:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the system can."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _make(folder: Path) -> list[Path]:
    """Make a folder and its parents, and return those that were made, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _remove_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):  # not empty, as it should be
            folder.rmdir()


def _locked(folder: Path) -> int | None:
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # some network file systems lock no folders
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_at(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False
