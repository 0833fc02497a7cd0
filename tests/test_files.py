"""Whole files or none."""

import errno
import os
import stat
from contextlib import nullcontext

import pytest

from backwalk.files import (
    atomic_write,
    check_folder_writable,
    check_writable,
)


def test_a_file_appears_whole_on_leaving(tmp_path):
    path = tmp_path / "a"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("before", [None, b"old"])
def test_an_interrupted_writer_leaves_what_was_there(tmp_path, before):
    path = tmp_path / "a"
    if before is not None:
        path.write_bytes(before)

    def interrupted():
        with atomic_write(path, overwrite=True) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == ([] if before is None else ["a"])
    assert before is None or path.read_bytes() == before


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError), atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    with atomic_write(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_another_writer_made_meanwhile_is_not_overwritten(tmp_path):
    def beaten():
        with atomic_write(tmp_path / "a") as file:
            file.write(b"new")
            (tmp_path / "a").write_bytes(b"another's")

    with pytest.raises(FileExistsError):
        beaten()
    assert (tmp_path / "a").read_bytes() == b"another's"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_is_overwritten_keeps_its_mode(tmp_path):
    """Found by review: a private file became one that everybody could read."""
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o600)
    with atomic_write(tmp_path / "a", overwrite=True) as file:
        file.write(b"new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with (
        pytest.raises(OSError, match=r"there is no folder .*no; make it first"),
        atomic_write(tmp_path / "no" / "a") as file,
    ):
        file.write(b"new")


def test_what_cannot_be_written_is_known_beforehand(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            check_writable(tmp_path / name, overwrite=True)
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    with pytest.raises(PermissionError, match="Permission denied in"):
        check_writable(tmp_path / "file")
    with pytest.raises(PermissionError):
        check_folder_writable(tmp_path / "new" / "newer")
    check_writable(tmp_path / "folder" / "file")


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_file_systems_that_flush_no_folders_are_written_to(tmp_path, monkeypatch, number, passes):
    """Found by review: every write failed there, though the file was in its place."""
    fsync = os.fsync

    def failing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    outcome = nullcontext() if passes else pytest.raises(OSError, match=os.strerror(number))
    with outcome, atomic_write(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
