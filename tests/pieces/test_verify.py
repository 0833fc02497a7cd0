"""`verify`: every fault of a part is found, and a bad part is made again with its old values."""

import json
import shutil

import pyarrow.dataset
import pytest

from backwalk.pieces import PartsFolder, values_checksum, verify

FIRST, SECOND, THIRD = (0, 2048), (2048, 4096), (4096, 5000)


def damage(place, piece, kind, drawn, tmp_path):
    part, entry = place.part(*piece), place.path / "_backwalk" / place.part(*piece).with_suffix(".json").name
    if kind == "missing":
        part.unlink()
    elif kind == "one byte":
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)
    elif kind == "truncated":
        part.write_bytes(part.read_bytes()[:-100])
    elif kind == "without an entry":
        entry.unlink()
    elif kind == "an entry that is no JSON":
        entry.write_text("{")
    elif kind == "the entry of another part":
        shutil.copy(entry.with_name(place.part(*THIRD).with_suffix(".json").name), entry)
    else:
        other = tmp_path / "other"
        drawn(other, seed=4)
        shutil.copy(other / part.name, part)
        shutil.copy(other / "_backwalk" / entry.name, entry)


@pytest.mark.parametrize(
    ("kind", "fault", "outcome"),
    [
        ("missing", "missing", "restored"),
        ("one byte", "damaged", "restored"),
        ("truncated", "damaged", "restored"),
        ("without an entry", "damaged", "made"),
        ("an entry that is no JSON", "damaged", "made"),
        ("the entry of another part", "damaged", "made"),
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
    shutil.copy(place.part(*FIRST), tmp_path / "part-000000002048-000000003000.parquet")
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
