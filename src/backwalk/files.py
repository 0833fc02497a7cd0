"""Write files whole or not at all.

`atomic_write` writes to a temporary file in the same folder, flushes it to the disk and renames it. A reader finds the
old file or the new one, never a mixture. A writer that is killed leaves its hidden temporary file behind.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name when the block ends without an error, or not at all.

    A file that replaces another takes its mode and its group; if the group cannot be kept, the group gets no rights. A
    symbolic link is replaced, not followed. Raises OSError; FileExistsError if the file exists and `overwrite` is
    False.

    >>> from backwalk.files import atomic_write
    >>> from pathlib import Path
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/a") as file:
    ...         _ = file.write(b"whole")
    ...     Path(folder, "a").read_text()
    'whole'
    """
    target = Path(path)
    check_writable(target, overwrite=overwrite)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            _copy_mode(target, file)
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(target)
        else:
            _rename_to_free_name(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def check_writable(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise OSError if `atomic_write` could not write `path`. Devices, pipes and folders are never replaced."""
    target = Path(path)
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file; choose another name")
    if target.exists() and not overwrite:
        raise _file_exists()
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


def _file_exists() -> FileExistsError:
    return FileExistsError(
        errno.EEXIST, "it exists already; choose another name, or overwrite it (overwrite=True, --force)"
    )


def _copy_mode(target: Path, file: BinaryIO) -> None:
    """Give a new file the mode and the group of the file that it replaces."""
    if os.name != "posix" or not target.exists():
        return
    old = target.stat()
    mode = stat.S_IMODE(old.st_mode)
    if old.st_gid != os.fstat(file.fileno()).st_gid:
        try:
            os.fchown(file.fileno(), -1, old.st_gid)
        except OSError:  # the user is not a member of that group
            mode &= ~stat.S_IRWXG
    os.fchmod(file.fileno(), mode)


def _rename_to_free_name(temporary: Path, target: Path) -> None:
    """Rename a file, unless another process has taken the name in the meantime."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError as error:
        raise _file_exists() from error
    except OSError:  # the file system has no hard links; the check and the rename are then not atomic
        if target.exists():
            raise _file_exists() from None
        temporary.replace(target)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    if os.name != "posix":  # other systems cannot open a folder
        return
    with suppress(PermissionError):  # the folder may be writable but not readable
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # the file system has no such operation
                raise
        finally:
            os.close(descriptor)
