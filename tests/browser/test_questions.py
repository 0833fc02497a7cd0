"""The seven questions of docs/how-to/the-page.md: the page answers each of them by the clicks that stand there."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from backwalk import Diffusion, Sampler
from backwalk.assess.statistics import sliced_wasserstein
from backwalk.streams import Stream
from backwalk.web import shipped
from tests.browser.driving import value
from tests.browser.test_compare_and_field import compared
from tests.browser.test_particle import place, symbols

DOC = Path(__file__).parents[2] / "docs" / "how-to" / "the-page.md"
TABLE = DOC.read_text(encoding="utf-8").partition("## Seven questions")[2].partition("\n## ")[0]
QUESTIONS = re.findall(r"^\| ([^|]+\?) \|", TABLE, re.MULTILINE)


def click_on_a_point(tab):
    """Click on row 5 where it is in the picture, and return the row that the page took."""
    at = """async () => {
        const { session } = await import('/static/session.js'), { state } = await import('/static/state.js');
        const [stage] = session.stages, box = stage.view.getBoundingClientRect();
        const [x, y] = stage.place(stage.chain.between('backward', state.p, 5));
        return [box.left + x, box.top + y];
    }"""
    tab.page.mouse.click(*tab.page.evaluate(at))
    tab.page.wait_for_selector("table.symbols")
    return int(tab.page.input_value("#row"))


def x_0_hat(tab):
    """The estimate is the library's, and the formula holds with the printed numbers."""
    notebook = shipped.MODELS["notebook"]
    header, _ = tab.chain(lambda: tab.page.select_option("#model", label=notebook.title))
    tab.at_step(60)
    row = click_on_a_point(tab)
    tab.wait("() => document.querySelector('#particle-where').innerText.includes('from t = 60 to t = 59')")
    model = Diffusion.load(shipped.FOLDER / notebook.file)
    sampler = Sampler(header["sampler"]["solver"], header["sampler"]["n_evaluations"], header["sampler"]["eta"])
    states = {state.t: state for state in model.walk(row + 1, sampler=sampler, random_state=0)}
    x_t, estimate = (model.model_.codec.encode(rows)[row] for rows in (states[60].rows, states[59].x_0_hat))
    got = symbols(tab)
    np.testing.assert_allclose(got["x_t"], x_t, atol=0.001)
    np.testing.assert_allclose(got["x_0_hat"], estimate, atol=0.001)
    alpha_bar = float(model.model_.schedule.alpha_bar[60])
    inside = (got["x_t"] - math.sqrt(1 - alpha_bar) * got["eps_theta"]) / math.sqrt(alpha_bar)
    np.testing.assert_allclose(got["x_0_hat"], inside, atol=0.003)
    assert "the clean point that it expects" in tab.panel.inner_text()


def notebook_starts_wrong(tab):
    """The reason is in words, and its two numbers stand beside those of the defaults."""
    tab.page.click("#start-tour")
    _, table = compared(tab, lambda: tab.page.get_by_label("Step 7:").click())
    assert table["signal left"][0] == "0.3475"
    mismatch = [value(each) for each in table["prior mismatch, nats"]]
    assert mismatch[0] == pytest.approx(0.08, abs=0.003)
    assert mismatch[1] < 1e-4
    assert "starts wrong" in tab.tell("#tour-title")
    assert "at least 0.08 nats" in tab.tell("#tour")


def eta(tab):
    """One noise at the start; with eta = 1 fresh noise bends the paths, with 0 they are smooth."""
    tab.page.click("#start-tour")
    chains, table = compared(tab, lambda: tab.page.get_by_label("Step 5:").click())
    by_eta = {header["sampler"]["eta"]: arrays for header, arrays in chains if header["sampler"]["solver"] == "ddim"}
    random, smooth = by_eta[1.0], by_eta[0.0]
    np.testing.assert_array_equal(random["backward"][-1], smooth["backward"][-1])
    assert table["evaluations per row"] == ["20", "20"]
    bends = [np.abs(np.diff(each["backward"].astype(float), 2, axis=0)).mean() for each in (random, smooth)]
    assert bends[0] > 2 * bends[1]
    assert "nothing is random but the start" in tab.tell("#tour")


def one_step(tab):
    """The paper's step comes first, and its printed numbers add up; the model's own sampler is back outside."""
    click_on_a_point(tab)
    tab.wait("() => document.querySelectorAll('#particle-formulas .formula').length === 4")
    got, (t, t_next) = symbols(tab), place(tab)
    assert t > t_next
    assert "solver=ancestral" in tab.page.url
    printed = (
        tab.page.locator("#particle-formulas .formula")
        .nth(2)
        .evaluate(
            "box => [...[...box.querySelectorAll('math')].at(-1).querySelectorAll('mn')].map(node => node.textContent)"
        )
    )
    _, least, weight, _, error, variance, sigma = map(value, printed)
    assert variance == pytest.approx(least + weight**2 * error, rel=2e-3)
    assert sigma == pytest.approx(math.sqrt(variance), rel=1e-3)
    assert "standardised" in tab.panel.inner_text()
    tab.goto("watch")
    tab.until(lambda: "solver" not in tab.page.url)
    np.testing.assert_allclose(got["x_next"], got["mu_theta"] + got["sigma_t"] * got["z"], atol=0.002)


def learned_score(tab):
    """Two pictures, the map of the difference, and one number at each noise level."""
    tab.goto("field").page.wait_for_selector("#field-relative")
    assert tab.panel.locator("canvas:visible").count() == 3
    for index in (20, 60, 100):
        tab.at(index)
        assert 0.0 < value(tab.tell("#field-relative")) < 50.0


def best_possible(tab):
    """The entropy is below the other figures, but for their errors."""
    tab.goto("bound").page.wait_for_selector("#bound-ladder table")
    ladder = tab.table("#bound-ladder table")
    assert ladder[0][0].startswith("entropy")
    for _, figure in ladder[1:]:
        assert value(figure) > value(ladder[0][1]) - 6 * float(figure.partition("±")[2])


def how_many_steps(tab):
    """Five steps end farther from the data than a hundred, from the same noise."""
    tab.goto("compare")
    chains, _ = compared(tab, lambda: tab.page.click("text=5 and 100 steps"))
    (_, few), (_, many) = sorted(chains, key=lambda chain: chain[0]["sampler"]["n_evaluations"])
    np.testing.assert_array_equal(few["backward"][-1], many["backward"][-1])
    away = [sliced_wasserstein(each["backward"][0], each["forward"][0], stream=Stream(0)) for each in (few, many)]
    assert away[0] > 2 * away[1]


ANSWERS = (x_0_hat, notebook_starts_wrong, eta, one_step, learned_score, best_possible, how_many_steps)


@pytest.mark.parametrize(("question", "answer"), list(zip(QUESTIONS, ANSWERS, strict=True)))
def test_page_answers(tab, question, answer):
    tab.open("p=0.5")
    answer(tab)
