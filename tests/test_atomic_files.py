"""Whole files or none."""

import errno
import os
import stat
import threading
from contextlib import nullcontext

import pytest

from backwalk import atomic_files
from backwalk.atomic_files import (
    check_folder_writable,
    check_writable,
    held_alone,
    locked_folder,
    made_folder,
    remove_parts,
    whole_file,
    whole_files,
)


def test_a_file_appears_whole_on_leaving(tmp_path):
    path = tmp_path / "a"
    with whole_file(path) as file:
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
        with whole_file(path, overwrite=True) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == ([] if before is None else ["a"])
    assert before is None or path.read_bytes() == before


def test_nothing_is_overwritten_unasked(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError), whole_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    with whole_file(path, overwrite=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_another_writer_made_meanwhile_is_not_overwritten(tmp_path, monkeypatch, links):
    """Found by review: it was looked for at the beginning alone."""
    if not links:

        def none(*_):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr("pathlib.Path.hardlink_to", none)

    def beaten():
        with whole_file(tmp_path / "a") as file:
            file.write(b"new")
            (tmp_path / "a").write_bytes(b"another's")

    with pytest.raises(FileExistsError):
        beaten()
    assert (tmp_path / "a").read_bytes() == b"another's"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with whole_file(tmp_path / "b") as file:
        file.write(b"new")
    assert (tmp_path / "b").read_bytes() == b"new"


def test_a_file_that_is_overwritten_keeps_its_mode(tmp_path):
    """Found by review: a private file became one that everybody could read."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"old")
        (tmp_path / name).chmod(0o600)
    with whole_file(tmp_path / "a", overwrite=True) as file:
        file.write(b"new")
    with whole_file(tmp_path / "c", like=tmp_path / "b") as file:
        file.write(b"new")
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "c")] == [0o600, 0o600]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="files of other groups take root")
@pytest.mark.parametrize("member", [True, False])
def test_a_file_that_is_overwritten_keeps_its_group_or_shuts_it_out(tmp_path, monkeypatch, member):
    """Found by review: what a group had shared was readable for the writer's own group, and not for that one."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.chown(path, -1, 12345)
    path.chmod(0o640)
    if not member:
        monkeypatch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError(1, "not permitted")))
    with whole_file(path, overwrite=True) as file:
        file.write(b"new")
    assert stat.S_IMODE(path.stat().st_mode) == (0o640 if member else 0o600)
    assert (path.stat().st_gid == 12345) == member


def test_a_folder_that_cannot_be_read_is_written_to(tmp_path, monkeypatch):
    """Found by review: the file was there, and the writer said that it was not."""
    opened = os.open

    def refusing(path, *options, **more):
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *options, **more)

    monkeypatch.setattr(os, "open", refusing)
    with whole_file(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_lock_that_is_never_the_file_s_own_ends(tmp_path, monkeypatch):
    """Found by review: on a file system that tells other inodes it went on for ever, and left a file each time."""
    monkeypatch.setattr(atomic_files, "_is_at", lambda *_: False)
    with pytest.raises(OSError, match="choose a folder on another disk"), whole_file(tmp_path / "a"):
        pass
    with pytest.raises(OSError, match="choose a folder on another disk"), locked_folder(tmp_path / "m"):
        pass
    with pytest.raises(OSError, match="choose a folder on another disk"), held_alone(tmp_path / "c"):
        pass
    assert [path.name for path in tmp_path.iterdir() if path.name != ".c.lock"] == []


def test_a_new_folder_s_own_entry_is_flushed_too(tmp_path, monkeypatch):
    """Found by review."""
    flushed = []
    monkeypatch.setattr(atomic_files, "sync_folder", flushed.append)
    with made_folder(tmp_path / "a" / "b"):
        assert set(flushed) == {tmp_path, tmp_path / "a"}


def test_a_name_is_held_by_one_alone(tmp_path):
    with held_alone(tmp_path / "a"), held_alone(tmp_path / "b"):
        with pytest.raises(BlockingIOError), held_alone(tmp_path / "a"):
            pass
        assert {path.name for path in tmp_path.iterdir()} == {".a.lock", ".b.lock"}
    with held_alone(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "broken link", "content", "pipe"])
def test_what_is_no_lock_file_is_not_locked_and_stays(tmp_path, kind):
    """Found by attack: a symbolic link was followed, and a file made or locked where it leads."""
    lock, elsewhere = tmp_path / ".a.lock", tmp_path / "elsewhere"
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "content":
        lock.write_text("mine")
    else:
        lock.symlink_to(elsewhere)
        if kind == "link":
            elsewhere.touch()
    with pytest.raises(OSError, match=r"lock file|symbolic links"), held_alone(tmp_path / "a"):
        pass
    assert os.path.lexists(lock)
    assert elsewhere.exists() == (kind == "link")


def pair(folder, overwrite, text, *, fault=None):
    with whole_files(folder / "t", folder / "u", overwrite=overwrite) as files:
        for file in files:
            file.write(text)
        if fault is not None:
            raise fault


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("before", [{}, {"t": b"old"}, {"u": b"old"}, {"t": b"old", "u": b"old"}], ids=len)
def test_of_two_files_both_appear_or_none(tmp_path, before, overwrite):
    for name, text in before.items():
        (tmp_path / name).write_bytes(text)
    with pytest.raises(KeyboardInterrupt):
        pair(tmp_path, True, b"half", fault=KeyboardInterrupt())
    assert contents(tmp_path) == before
    if before and not overwrite:
        with pytest.raises(FileExistsError):
            pair(tmp_path, overwrite, b"new")
        assert contents(tmp_path) == before
    else:
        pair(tmp_path, overwrite, b"new")
        assert contents(tmp_path) == {"t": b"new", "u": b"new"}


@pytest.mark.parametrize("before", [{}, {"t": b"old"}, {"t": b"old", "u": b"old"}], ids=len)
@pytest.mark.parametrize("renames", range(5))
def test_two_files_are_never_of_two_writers(tmp_path, monkeypatch, before, renames):
    """Found by attack: killed between its two files, a split left new training rows beside old unseen ones.

    After some renames the next one fails, or the process is killed, as the state of the folder then shows.
    """
    for name, text in before.items():
        (tmp_path / name).write_bytes(text)
    replace, done, if_killed = atomic_files.Path.replace, [], []

    def failing(path, target):
        if len(done) == renames:
            if_killed.append({name: text for name, text in contents(tmp_path).items() if name in ("t", "u")})
            done.append(None)
            raise OSError(errno.ENOSPC, "No space left on device")
        done.append(None)
        return replace(path, target)

    monkeypatch.setattr(atomic_files.Path, "replace", failing)
    if renames < 2 + len(before):
        with pytest.raises(OSError, match="No space left"):
            pair(tmp_path, True, b"new")
        assert contents(tmp_path) == before
        assert len(set(if_killed[0].values())) <= 1
    else:
        pair(tmp_path, True, b"new")
        assert contents(tmp_path) == {"t": b"new", "u": b"new"}


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with (
        pytest.raises(OSError, match=r"there is no folder .*no; make it first"),
        whole_file(tmp_path / "no" / "a") as file,
    ):
        file.write(b"new")


@pytest.mark.parametrize("hold", [made_folder, locked_folder])
def test_a_folder_that_was_made_for_nothing_goes_again(tmp_path, hold):
    with hold(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with hold(tmp_path / "mine"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with hold(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "c").write_text("x")
    assert (tmp_path / "a" / "b" / "c").read_text() == "x"


def test_whoever_asks_for_a_locked_folder_waits_and_finds_it(tmp_path):
    """Also where the one before takes it away, having written nothing."""
    order = []

    def second():
        with locked_folder(tmp_path / "a"):
            order.append("second")
            (tmp_path / "a" / "file").write_text("x")

    with locked_folder(tmp_path / "a"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert (tmp_path / "a" / "file").exists()


def test_only_parts_of_one_file_are_removed(tmp_path):
    """Found by attack: a user's `.z.csv.my-draft.part` was removed."""
    parts = {".z.csv.01234567.part", ".[z].csv.89abcdef.part"}
    others = {".z.csv.my-draft.part", ".z.csv.0123.part", ".z.csv.part", ".z.csv.x.01234567.part", ".b.01234567.part"}
    for name in {*parts, *others, "z.csv", "z"}:
        (tmp_path / name).write_text("x")
    (tmp_path / ".z.csv.ffffffff.part").symlink_to(tmp_path / "z")
    os.mkfifo(tmp_path / ".z.csv.eeeeeeee.part")
    for name in ("z", "z.csv", "[z].csv"):
        remove_parts(tmp_path / name)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, "z.csv", "z", ".z.csv.ffffffff.part", ".z.csv.eeeeeeee.part"}


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(tmp_path):
    path, other = tmp_path / "rows.csv", tmp_path / ".other.csv.0123abcd.part"
    abandoned = [tmp_path / f".rows.csv.{name}.part" for name in ("0123abcd", "89ef4567")]
    for part in (*abandoned, other):
        part.write_text("half")
    with whole_file(path) as first:
        first.write(b"first")
        assert not any(part.exists() for part in abandoned)
        with whole_file(path) as second:  # a second writer at the same time takes the first one's part for no litter
            second.write(b"second")
        with pytest.raises(FileExistsError), whole_file(path) as third:
            third.write(b"third")
        assert len(list(tmp_path.glob(".rows.csv.*.part"))) == 1
        path.unlink()
    assert path.read_bytes() == b"first"
    assert sorted(each.name for each in tmp_path.iterdir()) == [other.name, "rows.csv"]


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


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_end(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, atomic_files.Path.replace

    def noted_fsync(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "bytes")
        fsync(descriptor)

    def noted_replace(part, target):
        done.append("name")
        return replace(part, target)

    def noted_link(target, part):
        done.append("name")
        os.link(part, target)

    monkeypatch.setattr(atomic_files.os, "fsync", noted_fsync)
    monkeypatch.setattr(atomic_files.Path, "replace", noted_replace)
    monkeypatch.setattr(atomic_files.Path, "hardlink_to", noted_link)
    for overwrite in (False, True):
        done.clear()
        with whole_file(tmp_path / "a", overwrite=overwrite) as file:
            file.write(b"new")
        assert done == ["bytes", "name", "folder"]


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_file_systems_that_flush_no_folders_are_written_to(tmp_path, monkeypatch, number, passes):
    """Found by review: every write failed there, though the file was in its place."""
    fsync = os.fsync

    def failing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(atomic_files.os, "fsync", failing)
    outcome = nullcontext() if passes else pytest.raises(OSError, match=os.strerror(number))
    with outcome, whole_file(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_part_that_somebody_clears_up_is_left_to_him(tmp_path, monkeypatch):
    """Found by review: a writer whose part was just being looked at went on with it, unlocked, and lost it."""
    fcntl = pytest.importorskip("fcntl")
    names, try_lock = iter(["aa", "bb"]), atomic_files._try_lock
    monkeypatch.setattr(atomic_files.secrets, "token_hex", lambda _: next(names))
    others = []

    def lock(descriptor):
        if not others:  # who clears up is a moment earlier
            others.append((tmp_path / ".a.aa.part").open("rb"))
            fcntl.flock(others[0].fileno(), fcntl.LOCK_EX)
        return try_lock(descriptor)

    monkeypatch.setattr(atomic_files, "_try_lock", lock)
    with whole_file(tmp_path / "a") as file:
        assert file.name.endswith(".a.bb.part")
        (tmp_path / ".a.aa.part").unlink(missing_ok=True)
        file.write(b"new")
    others[0].close()
    assert (tmp_path / "a").read_bytes() == b"new"
