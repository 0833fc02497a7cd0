"""The state lies in the link, and the code that the page gives draws the very same rows."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.table import read_table
from backwalk.web.plane import unpack
from tests.browser.driving import PANELS

SHOWN = ("#reading", "#model-name", "#numbers-table")


def everything(tab):
    """What a tab shows of its state: the reading, the numbers, and all controls of the page."""
    tab.numbers()
    controls = """() => Object.fromEntries([...document.querySelectorAll('input[id], select[id]')]
        .filter(node => node.type !== 'file')
        .map(node => [node.id, ['checkbox', 'radio'].includes(node.type) ? node.checked : node.value]))"""
    return [tab.tell(each) for each in SHOWN], tab.page.evaluate(controls)


def test_link_shows_the_same_numbers_in_a_new_tab(opened):
    with opened() as tab, opened() as other:
        tab.open("p=0.5")
        tab.set(n_points=500, seed=11)
        tab.page.get_by_label("Sampler").first.select_option("ddim")
        tab.page.get_by_label("Evaluations").first.fill("25")
        tab.page.get_by_label("Evaluations").first.press("Tab")
        header, arrays = tab.chain(
            lambda: tab.page.get_by_label("η").first.fill("0.5") or tab.page.keyboard.press("Tab")
        )
        tab.page.locator("#side-both").check(force=True)
        tab.page.uncheck("#trails")
        tab.at(13)
        tab.fragment(
            "n=500", "seed=11", "solver=ddim", "evaluations=25", "eta=0.5", "side=both", "trails=false", "p=0.5200"
        )
        link = tab.page.evaluate("location.hash.slice(1)")
        assert header["sampler"]["solver"], header["sampler"]["n_evaluations"] == ("ddim", 25)

        with other.page.expect_response(lambda answered: answered.url.endswith("/chain")) as found:
            other.open(link)
        _, again = unpack(found.value.body())
        assert all(np.array_equal(arrays[name], again[name]) for name in arrays)
        assert everything(other) == everything(tab)
        assert other.page.evaluate("location.hash.slice(1)") == link


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_has_a_link(tab, name):
    tab.open("p=0.5")
    tab.goto(name)
    if name != "watch":
        tab.fragment(f"tab={name}")
    tab.page.reload()
    tab.settle()
    assert tab.panel.get_attribute("id") == f"panel-{name}"
    assert tab.page.get_attribute(f"#tab-{name}", "aria-selected") == "true"


def test_back_leads_through_the_panels(tab):
    tab.open("p=0.5")
    tab.goto("bound").goto("field")
    assert "tab=field" in tab.page.url
    for name in ("bound", "watch"):
        tab.page.go_back()
        tab.wait("name => document.querySelector(`#tab-${name}`).getAttribute('aria-selected') === 'true'", name)
    tab.page.go_forward()
    tab.wait("() => document.querySelector('#tab-bound').getAttribute('aria-selected') === 'true'")


def test_copied_link_is_the_address(tab):
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.open("tab=code&p=0.5&seed=3")
    tab.page.click("#copy-link")
    tab.wait("() => document.querySelector('#status').innerText === 'The link is copied.'")
    link = tab.page.evaluate("navigator.clipboard.readText()")
    assert link.startswith(f"{tab.own}/#")
    assert {"tab=code", "p=0.5000", "seed=3"} <= set(link.partition("#")[2].split("&"))
    assert "token" not in link


@pytest.fixture(scope="module")
def trained(opened):
    """A tab with a model of few rows after few training steps, and the chain that it shows."""
    with opened() as tab:
        tab.open("tab=train&p=0.5")
        tab.page.wait_for_selector("#train:not([disabled])")
        tab.set(n_rows=400)
        tab.wait("() => document.querySelector('#data-summary').innerText.startsWith('400 rows')")
        tab.page.click("#more-settings summary")
        tab.set(set_max_steps=20)
        with tab.page.expect_response(lambda answered: answered.url.endswith("/chain")) as found:
            tab.train()
        tab.body = found.value.body()
        yield tab


@pytest.mark.parametrize("name", ["watch", "train"])
def test_link_of_a_trained_model_trains_it_again(trained, opened, name):
    trained.goto(name)
    trained.wait("name => name === 'watch' || location.hash.includes(`tab=${name}`)", name)
    trained.wait("name => name !== 'watch' || !location.hash.includes('tab=')", name)
    link = trained.page.evaluate("location.hash.slice(1)")
    with opened() as other:
        with other.refused(404):
            other.open(link)
            assert "not on this machine" in other.problem
        with other.page.expect_response(
            lambda answered: "/start/" not in answered.url and answered.url.endswith("/chain")
        ) as found:
            other.page.click("text=Train it here")
        assert found.value.body() == trained.body
        other.trained()


def in_a_process(folder, *command):
    """Run a command in a folder, with this checkout's package."""
    path = os.pathsep.join(str(Path(each).resolve()) for each in sys.path)
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_python_and_commands_draw_the_pages_rows(trained, tmp_path):
    """The rows of both, of the page's file, and those of its chain's last state are one and the same."""
    tab = trained
    tab.goto("watch").set(n_points=500)
    header, arrays = tab.chain(lambda: tab.set(seed=8))
    tab.goto("code")
    tab.wait("() => /sample\\(500/.test(document.querySelector('#code-python').innerText)")
    assert tab.tell("#code-note") == "Both draw the very same rows as this page."

    names = {}
    exec(tab.tell("#code-python"), names)  # as a reader would, in a cell
    rows = names["rows"]
    assert rows.shape == (500, 2)

    for line in tab.tell("#code-shell").strip().splitlines():
        program, *words = shlex.split(line)
        assert program == "backwalk"
        in_a_process(tmp_path, "-m", "backwalk", *words)
    np.testing.assert_array_equal(read_table(tmp_path / "rows.csv").values, rows)

    tab.goto("rows").set(rows_n=500)
    for suffix in ("CSV", "Parquet"):
        with tab.page.expect_download() as found:
            tab.page.click(f"text=Rows as {suffix}")
        path = tmp_path / found.value.suggested_filename
        found.value.save_as(path)
        np.testing.assert_array_equal(read_table(path).values, rows)

    np.testing.assert_array_equal(on_the_page(names["model"], rows, header), arrays["backward"][0])


def test_python_of_own_settings_draws_the_pages_rows(tab):
    """The command line has no options for them, and the page says so."""
    tab.open("tab=train&p=0.5&n=500")
    tab.page.wait_for_selector("#train:not([disabled])")
    tab.page.select_option("#set-preset", "ddpm")
    tab.page.click("#more-settings summary")
    tab.set(set_schedule="cosine", set_n_steps=50, set_epochs=1)
    with tab.page.expect_response(lambda answered: answered.url.endswith("/chain")) as found:
        tab.train()
    header, arrays = unpack(found.value.body())
    tab.goto("code")
    tab.wait("() => document.querySelector('#code-python').innerText.includes('ddpm')")
    names = {}
    exec(tab.tell("#code-python"), names)
    np.testing.assert_array_equal(on_the_page(names["model"], names["rows"], header), arrays["backward"][0])
    assert "backwalk fit" in tab.tell("#code-note")


def on_the_page(model, rows, header):
    """Rows as the page's chain has them: 16 bits across the picture."""
    left, right, bottom, top = header["limits"]
    unit = (model.model_.codec.encode(rows) - [left, bottom]) / [right - left, top - bottom]
    return np.rint(unit.clip(0, 1) * 65535)


def test_model_downloads_and_draws_the_same_rows(trained, tmp_path):
    tab = trained
    tab.goto("code")
    with tab.page.expect_download() as found:
        tab.page.click("#download-model")
    found.value.save_as(tmp_path / "model.safetensors")
    model = Diffusion.load(tmp_path / "model.safetensors")
    tab.goto("rows").set(rows_n=20)
    tab.page.click("#draw-rows")
    tab.page.wait_for_selector("#rows-result table")
    seed = int(tab.fragment().get("seed", 0))
    shown = np.array([[float(cell.replace("−", "-")) for cell in row[1:]] for row in tab.table("#rows-result table")])
    np.testing.assert_allclose(shown, model.sample(20, random_state=seed), rtol=6e-5, atol=1e-9)


def test_picture_downloads(tab, tmp_path):
    tab.open("tab=code&p=0.2")
    with tab.page.expect_download() as found:
        tab.page.get_by_role("button", name="Picture").click()
    assert found.value.suggested_filename == "backwalk.png"
    assert found.value.path().read_bytes().startswith(b"\x89PNG")


def test_shipped_models_give_code(tab):
    tab.open("tab=code&p=0.5&seed=2")
    tab.wait("() => document.querySelector('#code-python').innerText.includes('random_state=2')")
    python, shell = tab.tell("#code-python"), tab.tell("#code-shell")
    compile(python, "code", "exec")
    assert "from backwalk import Diffusion" in python
    assert shell.splitlines()[-1].startswith("backwalk sample")
