"""Writing files so that nothing is lost: the old one whole or the new one whole, never a mixture."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # elsewhere than on POSIX systems
    fcntl = None  # type: ignore[assignment]

_MOST_TURNS = 1000  # in which others take a name away before it is locked; some network file systems never end that


@contextmanager
def whole_file(path: str | Path, *, overwrite: bool = False, like: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name whole, on leaving the block, or not at all.

    It is written under a temporary name in the same folder, flushed to the disk and renamed, and the folder is flushed
    too. Whoever may read the file that it replaces (or `like`, where that is there) may read it, and nobody else, by
    its mode and its group; where the group cannot be kept, it loses its rights. A symbolic link is replaced, and never
    followed. Raises OSError, among others FileExistsError where it exists already and `overwrite` is False.
    """
    target = Path(path)
    check_writable(target, overwrite=overwrite)
    remove_parts(target)
    temporary, file, lock = _new_part(target)
    try:
        with file:
            _take_mode(file, like or target)
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(target)
        else:
            _put_where_nothing_is(temporary, target)
        sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def check_writable(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise OSError where `whole_file` could not write: what is there may not be replaced, or the folder not written.

    A device, a pipe or a folder is never replaced.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is no regular file; choose another name")
    if target.exists() and not overwrite:
        raise _exists_already()
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {target.parent}; make it first")
    check_folder_writable(target.absolute().parent)


def check_folder_writable(folder: Path) -> None:
    """Raise OSError where no file could be made in a folder, or the folder itself could not be made."""
    there = next((path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()), None)
    if there is None:  # a drive that is not there
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)} in {there}")


def remove_parts(path: str | Path) -> None:
    """Remove what writers of this file that were killed have left behind; those that still write hold a lock."""
    target = Path(path)
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        with suppress(OSError), part.open("rb") as file:
            if _lock_at_once(file.fileno()):
                part.unlink(missing_ok=True)


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Keep what stands, or will stand, under a name to this process: others that ask get BlockingIOError at once.

    The lock is on an empty file beside it, `.NAME.lock`, which is taken away in the end; one that a killed process left
    behind holds nobody up. On systems without `flock` nobody is kept away. Raises OSError where it cannot be made.
    """
    lock = path.with_name(f".{path.name}.lock")
    descriptor = _locked_file(lock)
    try:
        yield
    finally:
        if descriptor is not None:
            lock.unlink(missing_ok=True)
            os.close(descriptor)


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
        for _ in range(_MOST_TURNS):
            made += _make(folder)
            descriptor = _locked(folder)
            if descriptor is None or _is_at(descriptor, folder):
                break
            os.close(descriptor)  # whoever had it took it away while we waited
            descriptor = None
        else:
            raise _never_ours(folder)
        yield
    finally:
        _remove_empty(made)
        if descriptor is not None:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk, where the system can."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except PermissionError:  # a folder may be one to write to and not to read
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # of file systems that flush no folders
                raise
        finally:
            os.close(descriptor)


def _new_part(target: Path) -> tuple[Path, BinaryIO, int | None]:
    """Make a temporary file beside the target, and lock it; return its name, the file, and what holds the lock."""
    for _ in range(_MOST_TURNS):
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        file = part.open("xb")
        if fcntl is None:
            return part, file, None
        # A copy, as the lock has to outlive the file's closing: until it has its name.
        lock = os.dup(file.fileno())
        if _lock_at_once(lock) is not False and _is_at(lock, part):
            return part, file, lock
        file.close()  # somebody who clears up takes it for a dead writer's, as it was not locked yet
        os.close(lock)
        part.unlink(missing_ok=True)
    raise _never_ours(target)


def _lock_at_once(descriptor: int) -> bool | None:
    """Lock a file; return whether that was possible: False where another has it, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have none
        return None
    return True


def _make(folder: Path) -> list[Path]:
    """Make a folder and its parents, and return those that were made, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)
    return missing[::-1]


def _remove_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):  # not empty, as it should be
            folder.rmdir()


def _exists_already() -> FileExistsError:
    remedy = "choose another name, or overwrite it (overwrite=True, --force)"
    return FileExistsError(errno.EEXIST, f"it exists already; {remedy}")


def _take_mode(file: BinaryIO, like: Path) -> None:
    if os.name != "posix" or not like.exists():
        return
    of_like, own = like.stat(), os.fstat(file.fileno())
    mode = stat.S_IMODE(of_like.st_mode)
    if of_like.st_gid != own.st_gid:
        try:
            os.fchown(file.fileno(), -1, of_like.st_gid)
        except OSError:  # the user is not in that group
            mode &= ~stat.S_IRWXG
    os.fchmod(file.fileno(), mode)


def _put_where_nothing_is(temporary: Path, target: Path) -> None:
    """Give a file its name, unless somebody else has taken that name in the meantime."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError as error:
        raise _exists_already() from error
    except OSError:  # not all file systems have links; there a moment is left between the look and the renaming
        if target.exists():
            raise _exists_already() from None
        temporary.replace(target)


def _locked_file(lock: Path) -> int | None:
    if fcntl is None:
        return None
    for _ in range(_MOST_TURNS):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        if _lock_at_once(descriptor) is False:
            os.close(descriptor)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if _is_at(descriptor, lock):
            return descriptor
        os.close(descriptor)  # whoever had it took the file away before we locked it
    raise _never_ours(lock)


def _never_ours(path: Path) -> OSError:
    return OSError(errno.EIO, f"{path.name} was never the file that was locked; choose a folder on another disk")


def _locked(folder: Path) -> int | None:
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # some network file systems lock no folders
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
