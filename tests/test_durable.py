"""Whole files or none."""

import pytest

from backwalk.durable import whole_file


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


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="No such file"), whole_file(tmp_path / "no" / "a") as file:
        file.write(b"new")
