"""What goes wrong around a part: a full disk, a dead worker, damage of the job, and another process."""

import errno
import io
import json
import sys
import threading
import time

import pyarrow.parquet
import pytest

from backwalk import InvalidInput, ModelFileError, TableFileError
from backwalk.pieces import PartsFolder, make_parts, run_piece, values_checksum
from backwalk.pieces.worker import entry_of, work


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


def test_a_worker_answers_with_entries_and_errors_as_text(saved, drawn, tmp_path):
    drawn(rows=(0, 2048))
    answers = io.StringIO()
    work(str(tmp_path), ["2048 4096\n", "1 2\n", "4096 5000\n"], answers)
    first, second, third = answers.getvalue().splitlines()
    assert [entry_of(answer).start for answer in (first, third)] == [2048, 4096]
    with pytest.raises(InvalidInput, match="1 to 2"):
        entry_of(second)
    with pytest.raises(ModelFileError, match="gone"):
        entry_of('{"error": "ModelFileError", "message": "gone"}')
    with pytest.raises(RuntimeError, match="ZeroDivisionError in a worker: x"):
        entry_of('{"error": "ZeroDivisionError", "message": "x"}')
    assert make_parts(tmp_path).manifest.values == values_checksum(saved[1])


def test_workers_that_end_without_an_answer_are_an_error(drawn, tmp_path, monkeypatch):
    drawn(rows=(0, 2048))
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(InvalidInput, match="ended at rows"):
        make_parts(tmp_path, workers=2)


def test_a_part_that_another_process_makes_is_waited_for(drawn, tmp_path, made_anew):
    drawn(rows=(0, 2048))
    place, found = PartsFolder(tmp_path), []
    whole = place.part(0, 2048).read_bytes()
    place.part(0, 2048).unlink()
    made_anew.clear()
    other = threading.Thread(target=lambda: found.append(run_piece(tmp_path, 0, 2048)))
    with place.held(0, 2048):
        other.start()
        time.sleep(0.05)
        assert not found
        place.part(0, 2048).write_bytes(whole)
    other.join()
    assert found[0] == place.entry(0, 2048)
    assert made_anew == []
