"""A table of texts, decimals in steps, whole numbers, few-valued numbers and gaps, through all commands."""

import csv
import json
import shlex

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from backwalk import Diffusion, Number
from backwalk.table import Table, TextPath, read_table
from tests.cli.conftest import quietly, small_and_fast

QUICK = ["--max-steps", "5"]
SPECIES, ISLANDS = ["Adelie", "Chinstrap", "Gentoo"], ["Biscoe", "Dream"]


def _birds(n=150):
    """Rows like those of the Palmer penguins, as texts; one cell in nine of two columns is missing."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        kind = int(rng.integers(3))
        row = [
            f"bird {i}",
            SPECIES[kind],
            ISLANDS[int(rng.random() < 0.2 + 0.3 * kind)],
            f"{round(rng.normal(39 + 4 * kind, 2.5), 1)}",
            str(25 * round(rng.normal(150 + 20 * kind, 15))),
            rng.choice(["female", "male"]),
            str(rng.integers(2007, 2010)),
        ]
        row = ["NA" if j in (3, 5) and rng.random() < 1 / 9 else cell for j, cell in enumerate(row)]
        rows.append(row)
    return rows


HEADER = ["bird", "species", "island", "bill", "mass", "sex", "year"]
BIRDS = _birds()


@pytest.fixture(scope="session")
def birds(tmp_path_factory):
    """The table and a model of it that was fitted without options, with what the fit printed."""
    folder = tmp_path_factory.mktemp("birds")
    table, model = folder / "birds.csv", folder / "birds.backwalk"
    table.write_text("\n".join(",".join(row) for row in [HEADER, *BIRDS]) + "\n")
    with small_and_fast():
        status, _, err = quietly("fit", table, "-o", model, *QUICK)
    assert status == 0, err
    return table, model, err


def _rows(text):
    return list(csv.reader(text.splitlines()))


def test_a_table_goes_from_csv_to_model_to_csv_without_options(run, birds):
    _, model, _ = birds
    status, out, err = run("sample", model, "-n", 400, "--seed", 1)
    assert (status, err) == (0, "")
    header, *rows = _rows(out)
    assert header == HEADER[1:]  # identifiers are set aside
    real, new = (list(zip(*part, strict=True)) for part in ([row[1:] for row in BIRDS], rows))
    for j in (0, 1, 4, 5):  # no level but the data's, and all of them
        assert set(new[j]) == set(real[j]) - {"NA"}
    bill, mass = np.array(new[2], dtype=float), np.array(new[3], dtype=int)
    known = np.array([float(cell) for cell in real[2] if cell != "NA"])
    assert known.min() <= bill.min() <= bill.max() <= known.max()
    assert all(len(cell.partition(".")[2]) <= 1 for cell in new[2])
    assert min(map(int, real[3])) <= mass.min() <= mass.max() <= max(map(int, real[3]))
    assert not (mass % 25).any()


def test_info_tells_kinds_of_a_table_and_of_a_model(run, birds):
    table, model, _ = birds
    of_table, of_model = (json.loads(run("info", path, "--json")[1]) for path in (table, model))
    kinds = {column["name"]: column.get("kind") for column in of_table["columns"]}
    assert kinds == {
        "bird": None,
        "species": "levels",
        "island": "levels",
        "bill": "rounded",
        "mass": "rounded",
        "sex": "levels",
        "year": "levels",
    }
    assert "150 different texts" in of_table["columns"][0]["set_aside"]
    columns = {column["name"]: column for column in of_model["columns"]}
    assert {name: column["kind"] for name, column in columns.items()} == {
        name: kind for name, kind in kinds.items() if kind
    }
    assert columns["species"]["levels"] == SPECIES
    assert columns["mass"]["least"] == str(min(int(row[4]) for row in BIRDS))
    assert (of_model["set_aside"], of_model["missing"], of_model["conditions"]) == (["bird"], "absent", "any")
    assert "levels = Adelie, Chinstrap, Gentoo" in run("info", model)[1]


def test_info_says_why_a_table_cannot_be_fitted(run, tmp_path):
    (tmp_path / "t.csv").write_text("Unnamed: 0,b\n5,1.5\n1,2.5\n")
    status, _, err = run("info", tmp_path / "t.csv")
    assert (status, "--drop 'Unnamed: 0'" in err) == (1, True)


@pytest.mark.slow
def test_a_columns_kind_gaps_and_conditions_are_chosen(run, birds, tmp_path):
    table, _, _ = birds
    model = tmp_path / "m"
    options = ["--column", "year=levels", "--column", "mass=number", "--column", "bill=0.."]
    options += ["--missing", "generate", "--conditions", "species; species,island"]
    status, _, err = run("fit", table, "-o", model, *options, *QUICK)
    assert status == 0, err
    facts = json.loads(run("info", model, "--json")[1])
    columns = {column["name"]: column for column in facts["columns"]}
    assert (columns["year"]["dtype"], columns["year"]["levels"]) == ("string", ["2007", "2008", "2009"])
    assert (columns["bill"]["gaps"], facts["missing"]) == ("generated", "generated")
    assert facts["conditions"] == "species; species, island"
    estimator = Diffusion.load(model)
    assert estimator.columns == {"year": "levels", "mass": "number", "bill": Number(bounds=(0.0, None))}
    assert estimator.conditions == [["species"], ["species", "island"]]
    status, out, _ = run("sample", model, "-n", 200, "--seed", 0, "--given", "species=Gentoo")
    header, *rows = _rows(out)
    assert {row[0] for row in rows} == {"Gentoo"}
    assert "" in {row[header.index("sex")] for row in rows}
    status, _, err = run("sample", model, "-n", 5, "--given", "island=Dream")
    assert (status, "species; species, island" in err) == (1, True)
    for wrong in ("mass=9..1", "mass=a..b"):
        status, _, err = run("fit", table, "-o", tmp_path / "other", "--column", wrong)
        assert (status, f"'{wrong}' should have two increasing numbers" in err) == (2, True)
    for wrong in (["--column", "year=ordered"], ["--column", "year"], ["--conditions", "species;;"]):
        assert run("fit", table, "-o", tmp_path / "other", *wrong)[0] == 2
    status, _, err = run("fit", table, "-o", tmp_path / "other", "--column", "yaer=levels")
    assert (status, "'yaer'" in err, "'year'" in err) == (1, True, True)


@pytest.mark.slow
def test_rows_are_drawn_under_conditions(run, birds, tmp_path):
    _, model, _ = birds
    conditions = ["--given", "species=Gentoo", "--given", "bill=40..50", "--given", "year=2007|2009"]
    _, out, _ = run("sample", model, "-n", 60, "--seed", 2, *conditions)
    rows = _rows(out)[1:]
    assert {row[0] for row in rows} == {"Gentoo"}
    assert all(40.0 <= float(row[2]) <= 50.0 for row in rows)
    assert {row[5] for row in rows} <= {"2007", "2009"}
    file = tmp_path / "conditions.csv"
    file.write_text("year,species\n2007,Adelie\n,Gentoo\n2008,\n")
    _, out, _ = run("sample", model, "--given-file", file, "--seed", 2)
    rows = _rows(out)[1:]
    assert (len(rows), rows[0][0], rows[1][0], rows[0][5], rows[2][5]) == (3, "Adelie", "Gentoo", "2007", "2008")


@pytest.mark.parametrize(
    ("condition", "status", "words"),
    [
        ("species=Gento", 1, "the nearest is 'Gentoo'"),
        ("spezies=Gentoo", 1, "the nearest is 'species'"),
        ("species", 1, "NAME=VALUE"),
        ("mass=heavy", 1, "'heavy'"),
        ("mass=4000..3000", 1, "low <= high"),
        ("species=Adelie..Gentoo", 1, "without an order"),
        ("bill=1000..", 1, "bill"),
    ],
)
def test_conditions_that_cannot_be_are_refused(run, birds, condition, status, words):
    found, _, err = run("sample", birds[1], "-n", 2, "--given", condition)
    assert (found, words in err) == (status, True), err


@pytest.mark.slow
def test_columns_are_scored_given_others_and_rows_with_gaps_by_their_marginal(run, birds, tmp_path):
    table, model, _ = birds
    scores = tmp_path / "scores.csv"
    assert run("score", model, table, "--given", "species,island", "--columns", "sex", "-o", scores)[0] == 0
    estimator, rows = Diffusion.load(model), read_table(table)
    found = read_table(scores).values[:, 0]
    known = Table(rows.values[:, 1:], rows.schema.taken(range(1, len(rows.columns))))
    expected = estimator.score_samples(known, given=["species", "island"], columns=["sex"])
    np.testing.assert_array_equal(found, expected)
    narrow = tmp_path / "narrow.csv"  # columns that are integrated out may be absent
    narrow.write_text("\n".join(",".join((row[1], row[5])) for row in [HEADER, *BIRDS]) + "\n")
    assert run("score", model, narrow, "--columns", "sex", "--given", "species", "-o", tmp_path / "s.csv")[0] == 0
    assert run("score", model, table, "--given", "sex", "--columns", "sex")[0] == 2
    assert run("score", model, table, "--given", "sex", "--bound", "optimal")[0] == 2
    status, _, err = run("score", model, table, "--given", "sxe")
    assert (status, "the nearest is 'sex'" in err) == (1, True)


def test_gaps_are_filled_and_observed_cells_stay_as_they_are_written(run, birds, tmp_path):
    _, model, _ = birds
    table = tmp_path / "gaps.csv"
    rows = [["bird", "note", "year", "species", "island", "mass", "bill", "sex"]]
    rows += [["007", '"a, b"', "2007", "Gentoo", "Dream", "4500", " 41.50", "NA"]]
    rows += [["008", "", "2009", "", "Biscoe", "", "", "male"]]
    table.write_text("\r\n".join(",".join(row) for row in rows) + "\r\n", newline="")
    status, out, err = run("impute", model, table, "--seed", 3)
    assert (status, "filled 4 gaps in 2 rows" in err) == (0, True)
    lines = out.split("\r\n")
    assert lines[0] == ",".join(rows[0])
    assert lines[1] in {f'007,"a, b",2007,Gentoo,Dream,4500, 41.50,{sex}' for sex in ("female", "male")}
    note, year, species, island, mass, bill, sex = _rows(lines[2])[0][1:]
    assert (note, year, island, sex) == ("", "2009", "Biscoe", "male")
    assert species in SPECIES
    assert int(mass) % 25 == 0
    assert len(bill.partition(".")[2]) <= 1


@pytest.mark.slow
def test_values_that_the_fit_did_not_see_are_told_in_one_warning_or_refused(run, birds, tmp_path):
    """A new species in two rows, and a new year in one."""
    _, model, _ = birds
    rows = [row[1:] for row in BIRDS[:30]]
    rows[3][0] = rows[8][0] = "Emperor"
    rows[8][5] = "2031"
    table = tmp_path / "later.csv"
    table.write_text("\n".join(",".join(row) for row in [HEADER[1:], *rows]) + "\n")
    for arguments in (
        ["score", model, table],
        ["impute", model, table],
        ["sample", model, "--given-file", table, "--evaluations", 2],
    ):
        status, _, err = run(*arguments)
        assert (status, err.count("warning: "), "column 'species' (2 cells)" in err) == (0, 1, True), err
        status, _, err = run(*arguments, "--unseen", "error")
        assert (status, "'Emperor' at row 3" in err) == (1, True), err


@pytest.mark.slow
def test_several_draws_are_numbered_and_means_are_one_table(run, birds, tmp_path):
    table, model, _ = birds
    path = tmp_path / "draws.csv"
    status, out, _ = run("impute", model, table, "--draws", 3, "-o", path, "--json")
    assert (status, json.loads(out)["draws"]) == (0, 3)
    drawn = read_table(path)
    assert drawn.columns == ("imputation", *HEADER)
    assert drawn.observed.all()
    np.testing.assert_array_equal(drawn.values[:, 0], np.repeat([1, 2, 3], len(BIRDS)))
    assert run("impute", model, table, "--statistic", "mean", "-o", tmp_path / "mean.csv")[0] == 0
    assert "NA" not in (tmp_path / "mean.csv").read_text()
    assert run("impute", model, table, "--statistic", "mean", "--draws", 2)[0] == 2
    assert run("impute", model, "-")[0] == 2
    status, _, err = run("impute", model, path, "--draws", 2)
    assert (status, "'imputation'" in err) == (1, True)


def test_filled_columns_of_parquet_keep_their_types(run, birds, tmp_path):
    _, model, _ = birds
    categories = pa.DictionaryArray.from_arrays(
        pa.array([2, None, 0], pa.int8()), ["Gentoo", "?", "Adelie"], ordered=True
    )
    table = pa.table(
        {
            "species": categories,
            "island": pa.array(["Dream", "Dream", None], pa.large_string()),
            "bill": pa.array([40.5, None, float("nan")], pa.float32()),
            "mass": pa.array([4000, None, 3500], pa.int16()),
            "sex": ["male", "female", None],
            "year": pa.array([None, 2008, 2007], pa.int64()),
            "note": pa.array([None, "x", None]),
        }
    )
    source, filled = tmp_path / "gaps.parquet", tmp_path / "filled.parquet"
    pyarrow.parquet.write_table(table, source)
    assert run("impute", model, source, "-o", filled)[0] == 0
    found = pyarrow.parquet.read_table(filled)
    assert found.schema.equals(table.schema)
    assert found["species"].chunk(0).dictionary.to_pylist()[:3] == ["Gentoo", "?", "Adelie"]
    assert found["note"].to_pylist() == [None, "x", None]
    for name in table.column_names[:-1]:
        pairs = list(zip(table[name].to_pylist(), found[name].to_pylist(), strict=True))
        assert all(old is None or old != old or old == new for old, new in pairs), name
        assert all(new is not None and new == new for _, new in pairs), name


@pytest.mark.slow
def test_a_messy_file_goes_through_every_command(run, tmp_path):
    """Semicolons, decimal commas, days that no cell shows to be days, a sign for missing values, letters of Windows."""
    data, model, options = tmp_path / "sales.csv", tmp_path / "sales.backwalk", []
    rows = [f"0{1 + i % 9}/0{1 + i % 7}/2021;{i % 13},{i % 10}5;{['Köln', 'Bonn'][i % 3 > 1]}" for i in range(200)]
    data.write_bytes("\n".join(["day;price;place", *rows, "01/02/2021;?;Köln", ""]).encode("cp1252"))
    for remedy in ("--encoding cp1252", "--dates day", "--na '?'"):
        status, _, err = run("fit", data, "-o", model, *QUICK, *options)
        assert status == 1
        assert remedy in err
        options += shlex.split(remedy)
    assert run("fit", data, "-o", model, *QUICK, *options)[0] == 0
    facts = {each["name"]: each for each in json.loads(run("info", data, "--json", *options)[1])["columns"]}
    assert (facts["price"]["missing"], facts["day"]["largest"], facts["place"]["n_levels"]) == (1, "2021-07-09", 2)
    assert len(_rows(run("score", model, data, *options)[1])) == 202
    assert run("impute", model, data, "-o", tmp_path / "filled.csv", *options)[0] == 0
    before = read_table(TextPath(data, encoding="cp1252", na="?", dates="day")).values
    filled = read_table(tmp_path / "filled.csv").values  # as we write: our cells could not stand beside others
    assert np.isnan(before).sum() == 1
    np.testing.assert_array_equal(filled[:-1], before[:-1])
    assert run("split", data, tmp_path / "a.csv", tmp_path / "b.csv", *options)[0] == 0
    assert (tmp_path / "b.csv").read_text().startswith("day;price;place\n")
