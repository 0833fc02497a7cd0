"""Atomic file replacement: a reader finds the old file or the new file, never a mixture of both."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

PART: Final = r"\.[0-9a-f]{8}\.part"  # how the temporary name of a file ends, after a dot and the file's own name
_MOST_ATTEMPTS = 1000  # to lock a name that others keep replacing; some network file systems never succeed
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@contextmanager
def whole_file(path: str | Path, *, overwrite: bool = False, like: Path | None = None) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when the block ends without an error, or not at all.

    The file is written under a temporary name in the same folder, flushed to the disk and renamed; then the folder is
    flushed. The new file takes the mode and the group of the file that it replaces, or of `like` where that exists; if
    the group cannot be kept, the group gets no rights. A symbolic link is replaced, not followed. Raises OSError;
    FileExistsError if the file exists and `overwrite` is False.
    """
    with whole_files(path, overwrite=overwrite, like=like) as (file,):
        yield file


@contextmanager
def whole_files(
    *paths: str | Path, overwrite: bool = False, like: Path | None = None
) -> Iterator[tuple[BinaryIO, ...]]:
    """Open several files as `whole_file` opens one, and replace them together.

    Old files are moved aside before the first new file gets its name. If a rename fails, the old files are restored. If
    the process is killed between two renames, files may be missing, but old and new files are never mixed.
    """
    targets = [Path(path) for path in paths]
    for target in targets:
        check_writable(target, overwrite=overwrite)
    with ExitStack() as stack:
        parts = []
        for target in targets:
            remove_parts(target)
            parts.append(stack.enter_context(_part(target, like or target)))
        yield tuple(file for _, file in parts)
        for _, file in parts:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        _rename([(part, target) for (part, _), target in zip(parts, targets, strict=True)], overwrite=overwrite)
        for folder in {target.parent for target in targets}:
            sync_folder(folder)


def check_writable(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise OSError if `whole_file` could not write `path`.

    Devices, pipes and folders are never replaced.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file; choose another name")
    if target.exists() and not overwrite:
        raise _exists_already()
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {target.parent}; make it first")
    check_folder_writable(target.absolute().parent)


def check_folder_writable(folder: Path) -> None:
    """Raise OSError if no file could be created in a folder, or the folder itself could not be created."""
    there = next((path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()), None)
    if there is None:  # a missing drive
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"{os.strerror(errno.EACCES)} in {there}")


def remove_parts(path: str | Path) -> None:
    """Remove temporary files of writers of `path` that were killed; files of running writers are locked, and stay."""
    target = Path(path)
    of_target = re.compile(rf"\.{re.escape(target.name)}{PART}")
    for part in target.parent.glob(".*.part"):
        if of_target.fullmatch(part.name):
            with suppress(OSError):
                descriptor = os.open(part, os.O_RDONLY | _NO_FOLLOW)
                try:
                    if stat.S_ISREG(os.fstat(descriptor).st_mode) and _try_lock(descriptor):
                        part.unlink(missing_ok=True)
                finally:
                    os.close(descriptor)


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Lock a name for this process; another process that asks for it gets BlockingIOError at once.

    The lock is on an empty file, `.NAME.lock`, which is removed at the end; if a process is killed, its lock file stays
    but locks nobody out. A symbolic link or a file with content under that name is left alone, with OSError. On systems
    without `flock` nothing is locked.
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
    """Create a folder if it is missing, and remove it at the end if it is still empty because writing failed."""
    made = _make(folder)
    try:
        yield
    finally:
        _remove_empty(made)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create a folder as `made_folder` does, and lock it: others that ask for the lock wait until the block ends.

    On systems without `flock` nobody waits. Raises OSError.
    """
    made: list[Path] = []
    descriptor = None
    try:
        for _ in range(_MOST_ATTEMPTS):
            made += _make(folder)
            descriptor = _locked(folder)
            if descriptor is None or _is_at(descriptor, folder):
                break
            os.close(descriptor)  # the previous holder removed the folder during the wait
            descriptor = None
        else:
            raise _lock_failed(folder)
        yield
    finally:
        _remove_empty(made)
        if descriptor is not None:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, if the system can."""
    if os.name == "posix":  # other systems cannot open a folder
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except PermissionError:  # the folder may be writable but not readable
            return
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # no such operation
                raise
        finally:
            os.close(descriptor)


@contextmanager
def _part(target: Path, like: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a locked temporary file beside a target, with the mode and group of `like`, and remove it at the end."""
    part, file, lock = _new_part(target)
    try:
        with file:
            _take_mode(file, like)
            yield part, file
    finally:
        part.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)


def _rename(parts: list[tuple[Path, Path]], *, overwrite: bool) -> None:
    """Give each temporary file its target's name, or none of them if one rename fails."""
    set_aside = []
    with ExitStack() as undo:
        if overwrite and len(parts) > 1:
            for _, target in parts:
                if target.exists():
                    set_aside.append(_part_name(target))
                    undo.callback(_put_back, set_aside[-1], target)
                    target.replace(set_aside[-1])
            for folder in {target.parent for _, target in parts}:
                sync_folder(folder)  # so that a power failure does not leave old and new files together
        for part, target in parts:
            if overwrite:
                part.replace(target)
            else:
                _put_where_nothing_is(part, target)
            if len(parts) > 1:
                undo.callback(target.unlink, missing_ok=True)
        undo.pop_all()
    for old in set_aside:
        old.unlink(missing_ok=True)


def _put_back(old: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        old.replace(target)


def _part_name(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def _new_part(target: Path) -> tuple[Path, BinaryIO, int | None]:
    """Create and lock a temporary file beside the target; return its name, the file and the lock's descriptor."""
    for _ in range(_MOST_ATTEMPTS):
        part = _part_name(target)
        file = part.open("xb")
        if fcntl is None:
            return part, file, None
        lock = os.dup(file.fileno())  # a copy, because the lock is held until the rename, after the file is closed
        if _try_lock(lock) is not False and _is_at(lock, part):
            return part, file, lock
        file.close()  # another writer is removing it as a leftover, because it was not locked yet
        os.close(lock)
        part.unlink(missing_ok=True)
    raise _lock_failed(target)


def _try_lock(descriptor: int) -> bool | None:
    """Lock a file without waiting; return False if another holds the lock, and None if there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return None
    return True


def _make(folder: Path) -> list[Path]:
    """Create a folder and its parents, and return those that were missing, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)
    return missing[::-1]


def _remove_empty(folders: list[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):  # not empty
            folder.rmdir()


def _exists_already() -> FileExistsError:
    return FileExistsError(
        errno.EEXIST, "it exists already; choose another name, or overwrite it (overwrite=True, --force)"
    )


def _take_mode(file: BinaryIO, like: Path) -> None:
    if os.name != "posix" or not like.exists():
        return
    of_like, own = like.stat(), os.fstat(file.fileno())
    mode = stat.S_IMODE(of_like.st_mode)
    if of_like.st_gid != own.st_gid:
        try:
            os.fchown(file.fileno(), -1, of_like.st_gid)
        except OSError:  # the user is not a member of that group
            mode &= ~stat.S_IRWXG
    os.fchmod(file.fileno(), mode)


def _put_where_nothing_is(temporary: Path, target: Path) -> None:
    """Rename a file, unless another process has taken the name in the meantime."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError as error:
        raise _exists_already() from error
    except OSError:  # the file system has no hard links; the check and the rename are then not atomic
        if target.exists():
            raise _exists_already() from None
        temporary.replace(target)


def _locked_file(lock: Path) -> int | None:
    if fcntl is None:
        return None
    for _ in range(_MOST_ATTEMPTS):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode) or os.fstat(descriptor).st_size:
                raise OSError(errno.EEXIST, f"{lock.name} should be an empty lock file, but is not; move it away")
            if _try_lock(descriptor) is False:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError:
            os.close(descriptor)
            raise
        if _is_at(descriptor, lock):
            return descriptor
        os.close(descriptor)  # the previous holder removed the file before we locked it
    raise _lock_failed(lock)


def _lock_failed(path: Path) -> OSError:
    return OSError(errno.EIO, f"{path.name} cannot be locked here; choose a folder on another disk")


def _locked(folder: Path) -> int | None:
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # some network file systems do not lock folders
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
