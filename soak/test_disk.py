"""Disks that are full and folders that cannot be written: an error that names the path, nothing lost and no litter."""

import os
import resource
import signal
import subprocess
from contextlib import suppress

import numpy as np
import pytest

from backwalk import BackwalkError
from backwalk.table import as_table, write_table
from soak.children import forked, left
from soak.material import estimator, fitted, listing, rows

NOBODY = 65534
WRITERS = {
    "m": lambda path: fitted().save(path, overwrite=True),
    "c": lambda path: estimator(max_steps=3).fit(rows(), checkpoint=path, overwrite=True),
    "t.csv": lambda path: write_table(path, as_table(rows()), overwrite=True),
    "t.parquet": lambda path: write_table(path, as_table(rows()), overwrite=True),
    "t.npy": lambda path: write_table(path, as_table(rows()), overwrite=True),
}


def _write(name, path):
    """Write, and leave with status 1 if and only if our own error names the path."""
    try:
        WRITERS[name](path)
    except BackwalkError as error:
        raise SystemExit(1 if str(path) in str(error) else 2) from error


def _limited(limit):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _checked(name, place, prepare, *, is_before):
    """Write in a child after `prepare`: the whole file is there, or the old one and nothing else."""
    path = place / name
    fitted()
    if is_before:
        WRITERS[name](path)
    was, names = path.read_bytes() if is_before else None, listing(place)

    def work():
        prepare()
        _write(name, path)

    status = left(forked(work), 30.0)
    assert status in (0, 1), f"left with {status}"
    if status == 1:
        assert listing(place) == names
        assert was is None or path.read_bytes() == was, "what was there is lost"
    else:
        assert path.stat().st_size > 0
    return status


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.cases(short=2, full=20)
def test_a_limit_on_the_size_of_a_file_loses_nothing(name, case, tmp_path):
    limit = int(np.random.default_rng(case).integers(0, 3000))
    # A new fit removes an old checkpoint before it begins.
    _checked(name, tmp_path, lambda: _limited(limit), is_before=case % 2 == 1 and name != "c")


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.cases(short=1, full=6)
def test_a_full_disk_loses_nothing(name, case, tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here: it takes root")
    try:
        room = (tmp_path / "room").open("wb", buffering=0)
        with suppress(OSError), room:
            for _ in range(int(np.random.default_rng(case).integers(40, 65))):
                room.write(b"\0" * 1024)
        _checked(name, tmp_path, int, is_before=False)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_may_not_be_written_is_named(name, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("nobody else's folder can be tried: it takes root")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and str(folder) not in ("/", "/tmp"):
            folder.chmod(0o755)

    def prepare():
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    assert _checked(name, tmp_path, prepare, is_before=False) == 1


COMMANDS = (
    ["sample", "m", "-n", "2000", "--evaluations", "2"],
    ["sample", "m", "-n", "1", "--evaluations", "2"],
    ["score", "m", "rows.csv"],
    ["info", "m", "--json"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_device_as_standard_output_is_one_line_and_status_1(command, tmp_path, monkeypatch):
    from backwalk.cli import main

    monkeypatch.chdir(tmp_path)
    fitted().save(tmp_path / "m")
    write_table(tmp_path / "rows.csv", as_table(rows()))

    def work():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        main(command)

    status, text = left(forked(work, tmp_path / "log"), 30.0), (tmp_path / "log").read_text()
    assert status == 1, text[-300:]
    assert text.startswith("error: ")
    assert text.count("\n") == 1
