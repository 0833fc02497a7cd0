"""What goes wrong around a part: a full disk, a dead worker, damage of the job, and another process."""

import errno
import json
import threading
import time

import pyarrow.parquet
import pytest

from backwalk import TableFileError
from backwalk.pieces import PartsFolder, make_parts, run_piece, values_checksum


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_nothing_behind(saved, drawn, tmp_path, monkeypatch):
    drawn(rows=(0, 2048))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pyarrow.parquet.ParquetWriter, "write_table", full)
        with pytest.raises(TableFileError, match=r"part-000000002048-000000004096.*No space left"):
            drawn()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_backwalk", "part-000000000000-000000002048.parquet"]
    assert drawn().manifest.values == values_checksum(saved[1])


def test_a_folder_that_cannot_be_made_is_named(drawn, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TableFileError, match="file"):
        drawn(tmp_path / "file" / "rows")


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"format": "backwalk-job"}'])
def test_a_damaged_job_is_refused(drawn, tmp_path, text):
    drawn(rows=(0, 2048))
    (tmp_path / "_backwalk" / "job.json").write_text(text)
    for call in (drawn, lambda: make_parts(tmp_path), lambda: run_piece(tmp_path, 2048, 4096)):
        with pytest.raises(TableFileError, match=r"job\.json is damaged"):
            call()


def test_a_job_that_asks_for_impossible_numbers_is_refused(drawn, tmp_path):
    drawn(rows=(0, 2048))
    path = tmp_path / "_backwalk" / "job.json"
    job = json.loads(path.read_text())
    for wrong in ({"rows": 0}, {"rows": 10**13}, {"part_rows": 100}, {"seed": -1}, {"device": None}, {"run": "rm"}):
        path.write_text(json.dumps({**job, **wrong}))
        with pytest.raises(TableFileError, match=next(iter(wrong))):
            make_parts(tmp_path)


def test_a_part_that_another_process_makes_is_waited_for(drawn, tmp_path, made_anew):
    drawn(rows=(0, 2048))
    place, found = PartsFolder(tmp_path), []
    whole = place.path_of(0, 2048).read_bytes()
    place.path_of(0, 2048).unlink()
    made_anew.clear()
    other = threading.Thread(target=lambda: found.append(run_piece(tmp_path, 0, 2048)))
    with place.locked(0, 2048):
        other.start()
        time.sleep(0.05)
        assert not found
        place.path_of(0, 2048).write_bytes(whole)
    other.join()
    assert found[0] == place.part(0, 2048)
    assert made_anew == []
