"""`backwalk split` and `backwalk info`, and rows and columns that are left out."""

import json

import numpy as np
import pytest

from backwalk.datasets import two_moons
from backwalk.table import read_table


@pytest.mark.slow
def test_split_deals_every_row_into_one_of_two_files(run, tmp_path):
    table = tmp_path / "all.csv"
    table.write_text("id,y\n" + "".join(f"{i},{i / 8}\n" for i in range(50)))
    training, unseen, other = (tmp_path / f"{name}.csv" for name in ("training", "unseen", "other"))
    assert run("split", table, training, unseen, "--share", 0.3)[0] == 0
    kept, held = read_table(training), read_table(unseen)
    assert (len(kept.values), len(held.values), kept.columns, held.schema) == (35, 15, ("id", "y"), kept.schema)
    dealt = np.concatenate([kept.values, held.values])
    np.testing.assert_array_equal(dealt[dealt[:, 0].argsort()], read_table(table).values)
    for part in (kept, held):  # at random, but in their order; 15 rows in a row are one of 10^12 deals
        assert (np.diff(part.values[:, 0]) > 0).all()
    assert (np.diff(held.values[:, 0]) > 1).any()
    status, out, _ = run("split", table, training, other, "--share", 0.3, "--force", "--json")
    assert (status, json.loads(out)["unseen_rows"], other.read_bytes()) == (0, 15, unseen.read_bytes())
    assert run("split", table, training, other, "--share", 0.3, "--force", "--seed", 1)[0] == 0
    assert other.read_bytes() != unseen.read_bytes()


def test_a_split_that_cannot_be_is_refused_and_leaves_no_file(run, tmp_path):
    (tmp_path / "all.csv").write_text("x\n1\n2\n3\n")
    (tmp_path / "there.csv").write_text("mine")
    for places, options, words in (
        (("a.csv", "a.csv"), (), "should be three different files"),
        (("all.csv", "a.csv"), ("--force",), "should be three different files"),
        (("-", "a.csv"), (), "should be three different files"),
        (("a.csv", "b.csv"), ("--share", 0.1), "0.1 of 3 rows are 0: give another --share"),
        (("a.csv", "there.csv"), ("--share", 0.4), "overwrite it (overwrite=True, --force)"),
        (("a.csv", "b.txt"), ("--share", 0.4), ".tsv.gz, .parquet"),
        (("a.csv", "no/b.csv"), ("--share", 0.4), "there is no folder"),
    ):
        places = [place if place == "-" else tmp_path / place for place in places]
        status, _, err = run("split", tmp_path / "all.csv", *places, *options)
        assert (status, words in err) == (1, True), err
        assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_info_describes_tables_and_densities(run, tmp_path):
    names = ["a" * 60, "a" * 60 + "b", "two\nlines"]
    (tmp_path / "t.csv").write_text(f'{names[0]},{names[1]},"{names[2]}"\n1,2,5\n3,6,6\n')
    facts = json.loads(run("info", tmp_path / "t.csv", "--json")[1])["columns"]
    found = {"name": names[1], "dtype": "int64", "kind": "levels", "levels": ["2", "6"]}
    assert {name: facts[1][name] for name in found} == found
    lines = run("info", tmp_path / "t.csv")[1].splitlines()
    assert [line.split()[0] for line in lines[3:]] == [*names[:2], "two\\nlines"]
    assert "dtype = int64, kind = levels, n levels = 2, levels = 2, 6, " in lines[4]
    assert "d = 2" in run("info")[1]
    facts = json.loads(run("info", "two_moons", "--json")[1])
    assert (facts["density"], facts["d"], facts["entropy_nats"]) == ("two_moons", 2, pytest.approx(two_moons().entropy))
