"""Samples in parts: the same values whatever the parts, the workers and the interruptions."""

import json

import numpy as np
import pandas as pd
import pyarrow.dataset
import pytest

from backwalk import Diffusion, InvalidInput, ModelFileError, TableFileError
from backwalk.pieces import PartsFolder, make_parts, run_piece, sample_parts, values_checksum
from backwalk.table import as_table, read_table

N = 5000


@pytest.mark.parametrize("part_rows", [2048, 4096, 8192])
def test_parts_of_any_size_hold_the_rows_of_one_sample(saved, drawn, tmp_path, part_rows):
    made = drawn(part_rows=part_rows)
    assert made.manifest.values == values_checksum(saved[1])
    found = pyarrow.dataset.dataset(tmp_path).to_table()
    assert found.equals(saved[1])
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path), saved[1].to_pandas())
    table = read_table(tmp_path)
    assert table.schema == as_table(saved[1]).schema
    np.testing.assert_array_equal(table.values, as_table(saved[1]).values)
    assert [part.start for part in made.manifest.parts] == list(range(0, N, part_rows))
    manifest = json.loads((tmp_path / "_backwalk" / "manifest.json").read_text())
    assert (manifest["values"], {part["job"] for part in manifest["parts"]}) == (made.manifest.values, {made.job.id})
    assert all(part["processor"] for part in manifest["parts"])


def test_ranges_make_every_part_once(saved, drawn, tmp_path):
    first = drawn(rows=(0, 2048))
    assert (len(first.parts), first.manifest) == (1, None)
    middle = drawn(rows=(1000, 3000))
    assert [part.start for part in middle.parts] == [2048]
    assert drawn(rows=(2100, 2200)).parts == ()
    with pytest.raises(InvalidInput, match="5,000"):
        drawn(rows=(5000, None))
    last = drawn(rows=(3000, None))
    assert [part.start for part in last.parts] == [4096]
    assert last.manifest.values == values_checksum(saved[1])


def test_only_what_is_missing_or_damaged_is_made(saved, drawn, tmp_path, made_anew):
    drawn(rows=(0, 4096))
    part = PartsFolder(tmp_path).path_of(0, 2048)
    whole = part.read_bytes()
    part.write_bytes(whole[:-1] + b"!")
    made_anew.clear()
    made = drawn()
    assert made_anew == [0, 4096]
    assert (made.n_found, made.manifest.values) == (2, values_checksum(saved[1]))
    assert part.read_bytes() == whole
    assert run_piece(tmp_path, 0, 2048) == made.parts[0]
    assert len(made_anew) == 2


def test_a_call_without_seed_continues_with_that_of_the_folder(saved, drawn, tmp_path):
    drawn(rows=(0, 2048))
    made = sample_parts(saved[0], tmp_path, n_evaluations=2)
    assert (made.job.rows, made.job.seed, made.job.part_rows) == (N, 3, 2048)
    assert made.manifest.values == values_checksum(saved[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "named"),
    [({"seed": 4}, "seed"), ({"n_evaluations": 3}, "sampler"), ({"part_rows": 4096}, "part_rows")],
)
def test_another_job_is_refused_and_named(saved, drawn, tmp_path, options, named):
    drawn(rows=(0, 2048))
    with pytest.raises(TableFileError, match=named):
        sample_parts(saved[0], tmp_path, N, **{"n_evaluations": 2, "seed": 3, "part_rows": 2048, **options})
    again = sample_parts(saved[0], tmp_path, N, **{"n_evaluations": 2, "seed": 3, **options, "overwrite": True})
    assert again.manifest is not None


def test_a_job_differs_by_conditions_on_columns_of_any_name(saved, drawn):
    job = drawn(rows=(0, 2048)).job
    for name in ("device", "path", "modified"):
        one, other = (job.model_copy(update={"work": job.work.model_copy(update={"given": {name: x}})}) for x in "ab")
        assert one.id != other.id
        assert one.differences(other) == ["work.given"]
    assert job.differences(job.model_copy(update={"device": "cuda"})) == []


@pytest.mark.parametrize("wrong", [{"n_samples": 0}, {"given": {"kind": "z"}}, {"given": {"none": 1}}])
def test_a_call_that_is_refused_clears_nothing(saved, drawn, tmp_path, wrong):
    drawn()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidInput):
        sample_parts(saved[0], tmp_path, **{"n_samples": N, **wrong, "overwrite": True})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_conditions_hold_in_parts(saved, drawn):
    given = {"x": (0.0, None), "kind": "a"}
    whole = Diffusion.load(saved[0]).sample(N, given=given, n_evaluations=2, random_state=3)
    assert drawn(given=given).manifest.values == values_checksum(whole)


@pytest.mark.slow
def test_a_model_that_changed_is_refused(saved, tmp_path):
    model = Diffusion.load(saved[0])
    model.save(tmp_path / "model")
    folder = tmp_path / "rows"
    sample_parts(tmp_path / "model", folder, N, rows=(0, 2048), part_rows=2048)
    model.model_.card["seed"] = 77
    model.save(tmp_path / "model", overwrite=True)
    with pytest.raises(ModelFileError, match="changed"):
        run_piece(folder, 2048, 4096)


def test_a_piece_that_is_no_part_is_refused(drawn, tmp_path):
    drawn(rows=(0, 2048))
    for start, stop in ((0, 4096), (2047, 4095), (6144, 8192)):
        with pytest.raises(InvalidInput, match="part"):
            run_piece(tmp_path, start, stop)


def test_folders_with_other_files_are_refused(drawn, tmp_path):
    (tmp_path / "mine.csv").write_text("a\n1\n")
    with pytest.raises(TableFileError, match=r"mine\.csv"):
        drawn()
    with pytest.raises(TableFileError, match=r"job\.json"):
        make_parts(tmp_path)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"part_rows": 2000}, "2000"),
        ({"rows": (5, 5)}, "5:5"),
        ({"rows": (5000, None)}, "5,000"),
        ({"workers": 0}, "0"),
        ({"engine": "abacus"}, "abacus"),
        ({"address": "head:6379"}, "--address"),
    ],
)
def test_bad_settings_are_named(drawn, tmp_path, options, value):
    with pytest.raises(InvalidInput, match=value):
        drawn(tmp_path / "rows", **options)
