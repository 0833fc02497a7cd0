"""A table of one's own: files and their errors, columns, given values, gaps, and the report."""

import re

import numpy as np
import pandas as pd
import pytest

from backwalk.web import security
from tests.browser.driving import value

MARKUP = '<img src=x onerror="alert(1)"> & <b>mass</b>'
COLUMNS = ("species", MARKUP, "flipper", "bill")
MASSES = {"Adelie": 3.0, "Chinstrap": 4.0, "Gentoo": 6.0}


def penguins(n=300):
    """Species, a mass that follows from it, in a column whose name is markup, a flipper with gaps, and a bill."""
    rng = np.random.default_rng(0)
    species = rng.choice(list(MASSES), n)
    mass = np.array([MASSES[each] for each in species]) + 0.3 * rng.standard_normal(n)
    flipper = 2.0 * mass + 0.5 * rng.standard_normal(n)
    flipper[rng.random(n) < 0.1] = np.nan
    numbers = {MARKUP: mass, "flipper": flipper, "bill": 5.0 - mass + rng.standard_normal(n)}
    columns = {name: values.round(3) for name, values in numbers.items()}
    return pd.DataFrame({"species": species, **columns, "id": np.arange(n)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("tables")
    table = penguins()
    table.to_csv(made / "penguins.csv", index=False)
    table.to_parquet(made / "penguins.parquet", index=False)
    (made / "garbage.csv").write_bytes(bytes(range(1, 256)) * 20)
    (made / "ragged.csv").write_text("a,b\n1,2\n3\n4,5,6\n")
    (made / "empty.csv").write_text("")
    (made / "broken.parquet").write_bytes((made / "penguins.parquet").read_bytes()[:-40])
    (made / "table.xlsx").write_bytes(b"PK\x03\x04 no table file of ours")
    return made


def on_files(tab):
    tab.open("tab=train&p=0.5")
    tab.page.wait_for_selector("#train:not([disabled])")
    tab.page.locator("#way-file").check(force=True)
    return tab


def uploaded(tab, path, n=300):
    tab.page.set_input_files("#file", path)
    tab.page.wait_for_selector(f"h3:text-is('{path.name}')")
    tab.wait("n => document.querySelector('#data-summary').innerText.startsWith(`${n} rows`)", n)
    return tab


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_file_is_read_and_its_columns_described(tab, folder, suffix):
    uploaded(on_files(tab), folder / f"penguins.{suffix}")
    names = [tab.page.get_by_label(f"Use {name}", exact=True) for name in COLUMNS]
    assert all(each.is_checked() for each in names), "the name of a column is text"
    rows = tab.table("table.columns")
    assert all(row[1].startswith(name) for row, name in zip(rows, COLUMNS, strict=True))
    assert f"{penguins()['flipper'].isna().sum()} gaps" in rows[2][1]
    assert tab.page.locator("table.columns img, table.columns b").count() == 0
    assert "Left out: id" in tab.panel.inner_text()
    assert tab.page.locator("#train").is_enabled()


def test_file_is_dropped_anywhere(tab, folder):
    tab.open("p=0.5")
    transfer = tab.page.evaluate_handle(
        "text => { const t = new DataTransfer(); t.items.add(new File([text], 'dropped.csv')); return t; }",
        penguins(60).to_csv(index=False),
    )
    tab.page.dispatch_event("#picture", "drop", {"dataTransfer": transfer})
    tab.page.wait_for_selector("h3:text-is('dropped.csv')")
    assert tab.panel.get_attribute("id") == "panel-train"
    tab.wait("() => document.querySelector('#data-summary').innerText.startsWith('60 rows')")


@pytest.mark.parametrize("name", ["garbage.csv", "ragged.csv", "empty.csv", "broken.parquet", "table.xlsx"])
def test_file_that_is_no_table_is_refused_in_words(tab, folder, name):
    on_files(tab)
    with tab.refused(400):
        tab.page.set_input_files("#file", folder / name)
        said = tab.problem
    assert name in said
    assert "Traceback" not in said
    assert len(said) < 400
    assert tab.page.locator("#train").is_disabled()
    uploaded(tab, folder / "penguins.csv")  # another file is taken
    assert tab.page.locator("#problem").is_hidden(), "what was wrong before"


def test_file_that_is_too_large_is_refused_in_words(tab, folder):
    path = folder / "large.csv"
    if not path.exists():
        with path.open("wb") as file:
            file.write(b"a,b\n")
            file.truncate(security.UPLOAD_BYTES + 1)
    on_files(tab)
    tab.page.set_input_files("#file", path)
    assert f"{security.UPLOAD_BYTES:,}" in tab.problem
    uploaded(tab, folder / "penguins.csv")  # the next one is taken


def test_columns_are_picked_and_their_kinds_set(tab, folder):
    uploaded(on_files(tab), folder / "penguins.csv")
    tab.page.get_by_label(f"Use {MARKUP}", exact=True).uncheck()
    tab.page.click("text=Use these columns")
    tab.wait("() => document.querySelector('#data-summary').innerText === '300 rows, 3 columns.'")
    tab.small(20)
    model = tab.train()
    columns = {column["name"]: column["kind"] for column in tab.fetch(f"/api/models/{model}").json()["columns"]}
    assert columns.keys() == {"species", "flipper", "bill"}
    assert columns["species"] == "levels"


def test_kind_that_a_column_cannot_have_is_refused(tab, folder):
    uploaded(on_files(tab), folder / "penguins.csv")
    tab.page.get_by_label("Kind of species", exact=True).select_option("number")
    with tab.refused(400):
        tab.page.click("text=Use these columns")
        assert "species" in tab.problem


@pytest.fixture(scope="module")
def model(opened, folder):
    """A tab with a model of the table, on the panel of rows."""
    with opened() as tab:
        uploaded(on_files(tab), folder / "penguins.csv")
        tab.small(400)
        tab.name = tab.train()
        tab.goto("rows")
        yield tab


def given(tab, **values):
    """Set the given values, and empty all others."""
    for name in COLUMNS:
        control = tab.panel.get_by_label(name, exact=True)
        text = str(values.get(name, ""))
        control.select_option(label=text or "not given") if name == "species" else control.fill(text)


def drawn(tab, n=50):
    """Draw rows, and return the table's cells by column."""
    tab.set(rows_n=n)
    with tab.page.expect_response(lambda answered: answered.url.endswith("/rows")):
        tab.page.click("#draw-rows")
    tab.wait("() => !document.querySelector('#draw-rows').disabled")
    head = tab.page.eval_on_selector_all("#rows-result thead th", "cells => cells.map(cell => cell.innerText)")
    cells = list(zip(*tab.table("#rows-result table"), strict=True))
    return dict(zip(head, cells, strict=True))


def mean(cells):
    return np.mean([value(cell) for cell in cells if cell != "–"])


def test_given_values_change_the_rows(model):
    means = {}
    for species in ("Adelie", "Gentoo"):
        given(model, species=species)
        rows = drawn(model)
        assert set(rows["species"]) == {species}
        means[species] = mean(rows[MARKUP])
    assert means["Gentoo"] - means["Adelie"] > 1.5, "the truth is 3, with a standard error of 0.06"
    given(model)
    assert len(set(drawn(model)["species"])) > 1
    assert model.page.locator("#rows-result img, #rows-result b").count() == 0


def test_given_number_changes_the_levels(model):
    shares = {}
    for mass in (3.0, 6.0):
        given(model, **{MARKUP: mass})
        model.page.select_option("#predict-column", label="species")
        with model.page.expect_response(lambda answered: answered.url.endswith("/conditional")):
            model.page.click("#predict")
        model.wait("() => !document.querySelector('#predict').disabled")
        shares[mass] = {row[0]: value(row[1]) for row in model.table("#rows-result table")}
        assert sum(shares[mass].values()) == pytest.approx(1.0, abs=0.003)
    assert shares[6.0]["Gentoo"] > 0.7 > shares[3.0]["Gentoo"] + 0.5


def test_number_has_a_distribution(model):
    given(model, species="Gentoo")
    model.page.select_option("#predict-column", label="flipper")
    with model.page.expect_response(lambda answered: answered.url.endswith("/conditional")):
        model.page.click("#predict")
    model.page.wait_for_selector("#rows-result svg")
    figures = {row[0]: value(row[1]) for row in model.table("#rows-result table")}
    assert figures["5 % quantile"] < figures["50 % quantile"] < figures["95 % quantile"]
    assert figures["mean"] == pytest.approx(12.0, abs=1.5)


def test_gap_is_filled_and_what_is_given_stays(model):
    given(model, species="Chinstrap", flipper="8.125")
    with model.page.expect_response(lambda answered: answered.url.endswith("/impute")):
        model.page.click("#fill-gaps")
    model.wait("() => document.querySelectorAll('#rows-result tbody tr').length === 10")
    _, species, masses, flippers, _ = zip(*model.table("#rows-result table"), strict=True)
    assert (set(species), set(flippers)) == ({"Chinstrap"}, {"8.125"})
    assert len(set(masses)) > 5
    assert mean(masses) == pytest.approx(4.0, abs=0.8)


def test_value_outside_the_table_is_refused_in_words(model):
    given(model, flipper="1e300")
    with model.refused(400):
        model.page.click("#draw-rows")
        assert model.problem
    given(model)
    model.page.click("#problem-close")


def test_pairs_of_columns_are_chosen(model):
    model.goto("watch")
    header, _ = model.chain(lambda: model.page.get_by_label("Column up").select_option(label="bill"))
    assert [axis["name"] for axis in header["axes"]] == [MARKUP, "bill"]
    model.fragment("columns")
    model.goto("rows")


def test_report_opens(model):
    assert model.page.locator("#report").is_hidden()
    model.page.click("#make-report")
    model.page.locator("#report-stage", has_text=" %").wait_for()
    model.page.wait_for_selector("#report", timeout=300_000)
    with model.context.expect_page() as found:
        model.page.click("#report")
    report = found.value
    report.wait_for_load_state()
    assert report.locator("h1").count() == 1
    assert "species" in report.content()
    assert not re.search(r"<img src=x", report.content())
    report.close()


def test_model_of_whole_rows_says_what_to_do(tab):
    tab.open("tab=rows&p=0.5")
    assert tab.page.locator("#fill-gaps").is_disabled()
    assert "any column may be given" in tab.panel.inner_text()
