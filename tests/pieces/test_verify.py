"""`verify`: every fault of a part is found, and a bad part is made again with its old values."""

import json
import shutil

import pyarrow.dataset
import pytest

from backwalk.errors import TableFileError
from backwalk.pieces import PartsFolder, values_checksum, verify

FIRST, SECOND, THIRD = (0, 2048), (2048, 4096), (4096, 5000)


def damage(place, piece, kind, drawn, tmp_path):
    path = place.path_of(*piece)
    record = place.path / "_backwalk" / path.with_suffix(".json").name
    if kind == "missing":
        path.unlink()
    elif kind == "one byte":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "without a record":
        record.unlink()
    elif kind == "a record that is no JSON":
        record.write_text("{")
    elif kind == "the record of another part":
        shutil.copy(record.with_name(place.path_of(*THIRD).with_suffix(".json").name), record)
    else:
        other = tmp_path / "other"
        drawn(other, seed=4)
        shutil.copy(other / path.name, path)
        shutil.copy(other / "_backwalk" / record.name, record)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "fault", "outcome"),
    [
        ("missing", "missing", "restored"),
        ("one byte", "damaged", "restored"),
        ("truncated", "damaged", "restored"),
        ("without a record", "damaged", "made"),
        ("a record that is no JSON", "damaged", "made"),
        ("the record of another part", "damaged", "made"),
        ("of another job", "foreign", "made"),
    ],
)
def test_a_bad_part_is_found_and_made_again(saved, drawn, tmp_path, kind, fault, outcome):
    folder = tmp_path / "rows"
    drawn(folder)
    assert not verify(folder).faults
    damage(PartsFolder(folder), SECOND, kind, drawn, tmp_path)
    found = verify(folder)
    assert (found.faults.parts, found.left.parts) == ({SECOND: fault}, {SECOND: fault})
    mended = verify(folder, repair=True)
    assert not mended.left
    assert getattr(mended, outcome) == (SECOND,)
    assert mended.manifest.values == values_checksum(saved[1])
    assert not verify(folder).faults


def test_stray_parts_are_found_and_removed_and_other_files_stay(saved, drawn, tmp_path):
    drawn()
    place = PartsFolder(tmp_path)
    shutil.copy(place.path_of(*FIRST), tmp_path / "part-000000002048-000000003000.parquet")
    own = ("mine.parquet", "part-00000-7.snappy.parquet")  # the second as Spark names files
    for name in own:
        (tmp_path / name).write_text("?")
    found = verify(tmp_path, repair=True)
    assert found.faults.strays == ("part-000000002048-000000003000.parquet",)
    assert (found.left.strays, found.left.others) == ((), own)
    for name in own:
        (tmp_path / name).unlink()
    assert not verify(tmp_path).faults
    assert pyarrow.dataset.dataset(tmp_path).to_table().equals(saved[1])


@pytest.mark.parametrize("kind", ["folder", "link to a device"])
def test_what_is_no_file_under_a_part_s_name_is_named_and_stays(saved, drawn, tmp_path, kind):
    """Found by attack: the repair of all other parts stopped there, without naming it."""
    drawn()
    paths = [PartsFolder(tmp_path).path_of(*rows) for rows in (FIRST, SECOND)]
    for path in paths:
        path.unlink()
    if kind == "folder":
        paths[0].mkdir()
    else:
        paths[0].symlink_to("/dev/zero")
    found = verify(tmp_path, repair=True)
    assert (found.made, found.restored) == ((), (SECOND,))
    assert (found.left.parts, found.left.others) == ({FIRST: "damaged"}, (paths[0].name,))
    with pytest.raises(TableFileError, match=paths[0].name):
        drawn()
    paths[0].rmdir() if kind == "folder" else paths[0].unlink()
    assert not verify(tmp_path, repair=True).left


def test_half_an_output_is_completed(saved, drawn, tmp_path, made_anew):
    drawn(rows=(0, 4096))
    found = verify(tmp_path)
    assert (found.faults.parts, found.manifest) == ({THIRD: "missing"}, None)
    made_anew.clear()
    assert verify(tmp_path, repair=True).manifest.values == values_checksum(saved[1])
    assert made_anew == [4096]


def test_another_kind_of_processor_and_other_bits_are_said(drawn, tmp_path, monkeypatch):
    drawn()
    damage(PartsFolder(tmp_path), FIRST, "missing", drawn, tmp_path)
    entry = tmp_path / "_backwalk" / "part-000000000000-000000002048.json"
    known = json.loads(entry.read_text())
    entry.write_text(json.dumps({**known, "values": "0" * 64}))
    monkeypatch.setattr("backwalk.pieces.run.processor_kind", lambda _: "abacus")
    found = verify(tmp_path, repair=True)
    assert (found.changed, found.restored) == ((FIRST,), ())
    assert found.processors == {"abacus": 1, known["processor"]: 2}
