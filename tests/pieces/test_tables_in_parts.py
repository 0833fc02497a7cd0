"""Scores and filled tables in parts: those of the whole, whatever the parts and the files."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.parquet
import pytest

from backwalk import Diffusion, InvalidInput, TableFileError, UnseenValuesWarning
from backwalk.pieces import (
    Imputing,
    PartsFolder,
    Scoring,
    impute_parts,
    run_piece,
    sample_parts,
    score_parts,
    values_checksum,
)

N, TOGETHER = 2100, 2048


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    for module in ("table.row_ranges", "model.impute"):
        monkeypatch.setattr(f"backwalk.{module}.BLOCK_ROWS", TOGETHER)
    for work in (Scoring, Imputing):
        monkeypatch.setattr(work, "rows_together", TOGETHER)


@pytest.fixture(scope="module")
def rows():
    """Rows with gaps, an identifier, and a column that the model does not have."""
    rng = np.random.default_rng(1)
    gap = rng.random((2, N)) < [[0.02], [0.05]]
    return pa.table(
        {
            "id": [f"0{i}" for i in range(N)],
            "x": pa.array(rng.normal(size=N).round(2), mask=gap[0]),
            "other": pa.array(rng.integers(0, 99, N)),
            "kind": pa.array(rng.choice(["a", "b"], N), mask=gap[1]),
        }
    )


@pytest.fixture(scope="module")
def text(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "rows.csv"
    pyarrow.csv.write_csv(rows, path)
    return path


@pytest.fixture(scope="module")
def folder(rows, tmp_path_factory):
    place = tmp_path_factory.mktemp("source")
    for i, (first, last) in enumerate(((0, 1000), (1000, 2060), (2060, N))):
        pyarrow.parquet.write_table(rows[first:last], place / f"{i}.parquet")
    (place / "_SUCCESS").write_text("")
    return place


def read(folder):
    return pyarrow.dataset.dataset(folder).to_table()


@pytest.mark.slow
def test_scores_in_parts_are_those_of_the_whole(saved, rows, folder, tmp_path):
    made = score_parts(saved[0], folder, tmp_path, id="id", part_rows=2048)
    found = read(tmp_path)
    assert found.column_names == ["id", "log_density", "solver_error", "standard_error"]
    assert found["id"].to_pylist() == rows["id"].to_pylist()
    expected = Diffusion.load(saved[0]).log_density(rows.select(["x", "kind"]))
    np.testing.assert_array_equal(found["log_density"], expected.log_prob)
    assert made.manifest.values == values_checksum(found, together=TOGETHER)


@pytest.mark.slow
def test_rows_with_gaps_are_left_out_and_the_others_numbered(saved, rows, text, tmp_path):
    asked = {"columns": ["x"], "given": ["kind"]}
    made = score_parts(saved[0], text, tmp_path, drop_missing=True, **asked, part_rows=2048, rows=(2048, None))
    whole = np.flatnonzero(~np.asarray(rows["x"].is_null()) & ~np.asarray(rows["kind"].is_null()))
    whole = whole[whole >= 2048]
    found = read(tmp_path)
    np.testing.assert_array_equal(found["row"], whole)
    assert made.parts[0].rows == len(whole) < N - 2048
    complete = rows.take(whole).select(["x", "kind"])
    np.testing.assert_array_equal(found["log_density"], Diffusion.load(saved[0]).score_samples(complete, **asked))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"), [("folder", {}), ("text", {"n_draws": 2}), ("folder", {"statistic": "mean"})]
)
def test_filled_rows_in_parts_are_those_of_the_whole(saved, rows, text, folder, tmp_path, kind, options):
    impute_parts(saved[0], {"text": text, "folder": folder}[kind], tmp_path, seed=5, part_rows=2048, **options)
    found = read(tmp_path)
    whole = Diffusion.load(saved[0]).impute(rows.select(["x", "kind"]), random_state=5, **options)
    for m, expected in enumerate(whole if isinstance(whole, list) else [whole], 1):
        draw = found.filter(pa.compute.equal(found["imputation"], m)) if "n_draws" in options else found
        assert draw["id"].to_pylist() == rows["id"].to_pylist()
        assert draw["other"].cast(pa.int64()).equals(rows["other"])
        assert draw.select(["x", "kind"]).equals(expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:given has .* beyond the fitted range:backwalk.UnseenValuesWarning")
def test_rows_are_drawn_given_those_of_a_file(saved, rows, tmp_path):
    given = rows.select(["kind", "x"])
    pyarrow.parquet.write_table(given, tmp_path / "given.parquet")
    options = {"given_file": tmp_path / "given.parquet", "n_evaluations": 2, "seed": 3}
    made = sample_parts(saved[0], tmp_path / "rows", part_rows=2048, **options)
    whole = Diffusion.load(saved[0]).sample(N, given=given, n_evaluations=2, random_state=3)
    assert made.manifest.values == values_checksum(whole)
    with pytest.raises(InvalidInput, match="2,100"):
        sample_parts(saved[0], tmp_path / "more", 2101, **options)


@pytest.mark.slow
def test_values_that_the_fit_did_not_see_are_counted_over_all_parts(saved, rows, tmp_path):
    """One label in each of two parts: a warning when they are made and when they are found, none of unused columns."""
    kinds = rows["kind"].to_pylist()
    kinds[5], kinds[N - 1] = "never", "seen"
    path = tmp_path / "rows.parquet"
    strange = rows.set_column(3, "kind", pa.array(kinds))
    pyarrow.parquet.write_table(strange, path)
    for _ in range(2):
        with pytest.warns(UnseenValuesWarning, match=r"-inf in column 'kind' \(2 cells\)") as caught:
            score_parts(saved[0], path, tmp_path / "scores", part_rows=2048)
        assert len(caught) == 1
    assert np.flatnonzero(np.isneginf(read(tmp_path / "scores")["log_density"])).tolist() == [5, N - 1]
    score_parts(saved[0], path, tmp_path / "of x", columns=["x"], part_rows=2048)
    with pytest.warns(UnseenValuesWarning, match=r"as missing in column 'kind' \(2 cells\)"):
        impute_parts(saved[0], path, tmp_path / "filled", part_rows=2048)
    filled = read(tmp_path / "filled")["kind"].to_pylist()
    assert [filled[5], filled[N - 1], None in filled] == ["never", "seen", False]
    given = {"given_file": path, "n_evaluations": 2, "seed": 3}
    pyarrow.parquet.write_table(strange.select(["kind"]), path)
    with pytest.warns(UnseenValuesWarning, match=r"given has .* as missing in column 'kind' \(2 cells\)"):
        sample_parts(saved[0], tmp_path / "drawn", part_rows=2048, **given)
    drawn = read(tmp_path / "drawn")["kind"].to_pylist()
    assert all(new in ("a", "b") and old in (new, None, "never", "seen") for old, new in zip(kinds, drawn, strict=True))
    with pytest.raises(InvalidInput, match=r"'never' at row 5"):
        sample_parts(saved[0], tmp_path / "refused", part_rows=2048, unseen="error", **given)


@pytest.mark.slow
def test_a_table_that_changed_is_refused(saved, rows, tmp_path):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(rows, path)
    score_parts(saved[0], path, tmp_path / "scores", part_rows=2048, rows=(0, 1))
    pyarrow.parquet.write_table(rows.take(list(range(N))[::-1]), path)
    with pytest.raises(TableFileError, match=r"rows\.parquet.*changed"):
        run_piece(tmp_path / "scores", 2048, N)
    with pytest.raises(TableFileError, match="another job, which differs in data"):
        score_parts(saved[0], path, tmp_path / "scores", part_rows=2048, rows=(0, 1))


def test_what_cannot_be_done_is_refused_before_a_folder_is_made(saved, rows, tmp_path):
    path, place = tmp_path / "rows.parquet", tmp_path / "parts"
    pyarrow.parquet.write_table(rows, path)
    pyarrow.parquet.write_table(rows.drop_columns(["x"]), tmp_path / "less.parquet")
    for call, word in (
        (lambda: score_parts(saved[0], path, place, id="name"), "name"),
        (lambda: score_parts(saved[0], path, place, id="row"), "row"),
        (lambda: score_parts(saved[0], path, place, given=["x"], columns=["x"]), "'x'"),
        (lambda: score_parts(saved[0], path, place, part_rows=1000), "1000"),
        (lambda: score_parts(saved[0], tmp_path / "less.parquet", place), "'x'"),
        (lambda: impute_parts(saved[0], path, place, n_draws=2, statistic="mean"), "statistic"),
        (lambda: impute_parts(saved[0], tmp_path / "none.parquet", place), r"none\.parquet"),
        (lambda: sample_parts(saved[0], place), "None"),
    ):
        with pytest.raises((InvalidInput, TableFileError), match=word):
            call()
    assert not PartsFolder(place).path.exists()
