"""`backwalk data`: the table that comes along, as a file."""

import pyarrow.parquet
import pytest

from backwalk.datasets import penguins
from backwalk.table import as_table, read_table


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "parquet"])
def test_the_written_table_is_the_one_of_the_package(run, tmp_path, suffix):
    path = tmp_path / f"birds.{suffix}"
    assert run("data", "penguins", "-o", path)[0] == 0
    written, original = read_table(path), as_table(penguins())
    assert (written.schema.columns, written.schema.dtypes) == (original.schema.columns, original.schema.dtypes)
    if suffix == "parquet":
        assert pyarrow.parquet.read_table(path).equals(penguins())


def test_it_is_named_after_the_table_and_replaces_nothing_unasked(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("data", "penguins")[0] == 0
    (tmp_path / "penguins.csv").write_text("mine")
    status, _, err = run("data", "penguins")
    assert (status, "--force" in err, (tmp_path / "penguins.csv").read_text()) == (1, True, "mine")
    assert run("data", "penguins", "--force")[0] == 0
    assert len((tmp_path / "penguins.csv").read_text().splitlines()) == 345
    assert len(run("data", "penguins", "-o", "-")[1].splitlines()) == 345
