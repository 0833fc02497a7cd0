"""Writing files so that nothing is lost: the old one whole or the new one whole, never a mixture."""

from __future__ import annotations

import errno
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the system can."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
