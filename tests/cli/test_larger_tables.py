"""`fit` of several files, and of tables that do not fit into its memory."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk.cli.console import Console
from backwalk.cli.tables import read_training
from backwalk.estimator import Diffusion
from backwalk.fit import is_of_the_fit
from backwalk.table import priorities_of

N = 10_000
FIT = ["--max-steps", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of one table, in which one row alone has a level, and the largest number."""
    place, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    x, kind = rng.normal(size=N), rng.choice(["a", "b"], size=N).astype(object)
    row = int(np.flatnonzero(priorities_of(np.arange(N)) > 0.9)[0])
    x[row], kind[row] = 99.0, "rare"
    rows = pa.table({"x": x, "kind": kind, "y": rng.normal(size=N)})
    for i, (start, stop) in enumerate(((0, 3_000), (3_000, 7_000), (7_000, N))):
        pa.parquet.write_table(rows.slice(start, stop - start), place / f"{i}.parquet", data_page_size=2**13)
    return place


def loaded(path):
    return Diffusion.load(path, device="cpu")


@pytest.mark.slow
def test_a_table_beyond_the_memory_is_fitted_to_rows_chosen_by_number(run, folder, tmp_path):
    model = tmp_path / "m"
    status, _, err = run("fit", folder, "-o", model, "--memory", "1MiB", *FIT)
    assert status == 0
    assert f"{N:,} rows in 3 files, of which the fit takes" in err
    fitted = loaded(model)
    card, (x, kind, _) = fitted.model_.card, fitted.model_.codec.columns
    n = card["n_rows"] + card["n_validation_rows"]
    assert N / 4 < n < 0.9 * N
    assert card["n_table_rows"] == N
    assert f"{n:,} of {N:,} rows" in card["description"]
    assert x.largest == 99.0
    assert min(kind.frequencies) == 1 / N
    facts = json.loads(run("info", model, "--json")[1])
    assert facts["n_table_rows"] == N
    rows = read_training(Console(), str(folder), fitted.model_, drop_missing=False)
    assert is_of_the_fit(card, rows.values)
    again = Diffusion(max_steps=4, random_state=0, verbose=False).fit(folder, memory="1MiB")
    assert again.sample(20, random_state=0) == fitted.sample(20, random_state=0)


def test_a_folder_is_described(run, folder):
    facts = json.loads(run("info", folder, "--json")[1])
    assert (facts["files"], facts["rows"], facts["n_columns"]) == (3, N, 3)
    assert facts["columns"][1]["levels"] == ["a", "b", "rare"]
    assert facts["columns"][0]["largest"] == "99"


def test_what_cannot_be_meant_is_told_before_reading(run, folder, tmp_path):
    for data, options, status, words in (
        (folder, ["--memory", "much"], 2, "no number of bytes"),
        (folder, ["--memory", "3kB"], 2, "at least 1.0 MiB"),
        (folder, ["--rows", "5"], 2, "--rows goes with a built-in density"),
        (f"{tmp_path}/*.parquet", [], 1, "matches none"),
        (tmp_path / "no.parquet", [], 1, "existing file, but got"),
        ("two_moon", [], 1, "existing file or one of two_moons"),
        (tmp_path, [], 1, "holds none"),
    ):
        found, _, err = run("fit", data, *options)
        assert (found, words in " ".join(err.split())) == (status, True), err
