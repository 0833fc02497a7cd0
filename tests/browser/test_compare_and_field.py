"""Two settings side by side, the learned field beside the exact one, and the bound."""

import re

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.datasets import two_moons
from backwalk.web import shipped
from backwalk.web.plane import unpack
from tests.browser.driving import value


@pytest.fixture(scope="module")
def models():
    return {name: Diffusion.load(shipped.FOLDER / own.file).model_ for name, own in shipped.MODELS.items()}


def compared(tab, act):
    """Return the two chains that an action asks for, in the order of the sides, and the table of both."""
    answers = []
    listen = lambda response: answers.append(response) if response.url.endswith("/chain") else None  # noqa: E731
    tab.page.on("response", listen)
    tab.page.eval_on_selector("#status", "node => { node.textContent = ''; }")
    act()
    tab.wait("() => document.querySelector('#status').innerText === 'Both chains are drawn.'")
    tab.page.remove_listener("response", listen)
    table = {"signal left" if "signal left" in row[0] else row[0]: row[1:] for row in tab.table("#compare-table table")}
    return [unpack(each.body()) for each in answers], table


def test_notebook_beside_the_default(tab, models):
    tab.open("tab=compare&p=0.5")
    _, table = compared(tab, lambda: tab.page.click("text=Notebook and default"))
    for side, name in enumerate(("notebook", "start")):
        model = models[name]
        assert value(table["signal left"][side]) == pytest.approx(float(model.schedule.alpha_bar[-1]), rel=1e-3)
        assert value(table["prior mismatch, nats"][side]) == pytest.approx(model.prior_mismatch, rel=1e-2)
        assert value(table["steps N"][side]) == model.schedule.n_steps
    assert table["signal left"][0] == "0.3475"


def test_both_sides_start_from_the_same_noise(tab):
    tab.open("tab=compare&p=1&n=500")
    chains, table = compared(tab, lambda: tab.page.click("text=5 and 100 steps"))
    assert table["evaluations per row"] == ["5", "100"]
    (_, few), (_, many) = sorted(chains, key=lambda chain: chain[0]["sampler"]["n_evaluations"])
    assert few["backward"].shape == (6, 500, 2)
    np.testing.assert_array_equal(few["backward"][-1], many["backward"][-1])
    assert not np.array_equal(few["backward"][0], many["backward"][0])
    assert tab.page.locator("#stages .view:visible").count() == 2


def test_both_have_figures_beside_those_of_real_rows(tab):
    """Figures stand under the pictures and in a table; five steps are worse, and -log p is the network's alone."""
    tab.open("tab=compare&p=0&n=500")
    compared(tab, lambda: tab.page.click("text=5 and 100 steps"))
    tab.wait("() => document.querySelector('#status').innerText === 'The figures of both are computed.'")
    table = {row[0]: row[1:] for row in tab.table("#compare-quality table")}
    few, many, real = (value(each) for each in table["C2ST"])
    assert few > many + 5 > real
    few, many, real = (value(each) for each in table["sliced distance"])
    assert few > 2 * many > real
    assert table["−log p, nats"][0] == table["−log p, nats"][1]
    assert value(table["−log p, nats"][2]) == pytest.approx(two_moons().entropy, abs=0.0006)
    captions = tab.page.locator("#stages figcaption").all_inner_texts()
    assert f"distance {table['sliced distance'][0].partition(' ')[0]}" in captions[0]


def test_both_pictures_have_one_scale(tab):
    tab.open("tab=compare&p=0&n=500")
    compared(tab, lambda: tab.page.click("text=Notebook and default"))
    ends = """async () => {
        const { session } = await import('/static/session.js');
        return session.stages.map(stage => [0, 1].map(k => stage.axes()[k].ticks.map(({ at, label }) =>
            [label, Math.round(stage.place([at, at])[k])])));
    }"""
    first, second = tab.page.evaluate(ends)
    assert first == second
    assert len(first[0]) > 2


def test_sides_are_chosen_by_hand(tab):
    tab.open("tab=compare&p=0.5&n=500")
    tab.wait("() => document.querySelector('#status').innerText === 'Both chains are drawn.'")
    second = tab.panel.locator("fieldset").nth(1)
    _, table = compared(tab, lambda: second.get_by_label("Sampler").select_option("multistep"))
    assert "multistep" in table["sampler"][1]
    _, table = compared(tab, lambda: second.get_by_label("Model").select_option("notebook"))
    assert table["steps N"] == ["1,000", "100"]
    tab.goto("watch")
    assert tab.page.locator("#stages .view:visible").count() == 1


def _is_told(tab, header, name):
    told = value(tab.tell("#field-relative")) == pytest.approx(100 * header["relative"], rel=0.06)
    return told and header["what"] == name


@pytest.mark.parametrize(("name", "view"), [("score", "score"), ("x_0_hat", "x_0_hat"), ("eps", "eps")])
def test_learned_field_is_close_to_the_exact_one(tab, name, view):
    tab.open("tab=field&p=0.5")
    tab.wait("() => /%/.test(document.querySelector('#panel-field .figure-line').innerText)")
    tab.settle()
    answers = []
    tab.page.on("response", lambda answered: answers.append(answered) if answered.url.endswith("/field") else None)
    tab.set(field_view=view) if view != "score" else tab.at(61)
    # The slider may pass places on its way: the panel ends with the field of the last answer.
    tab.until(lambda: answers and _is_told(tab, unpack(answers[-1].body())[0], name))
    header, arrays = unpack(answers[-1].body())
    assert arrays["learned"].shape == arrays["exact"].shape
    assert header["relative"] < 0.3
    assert tab.panel.locator("canvas:visible").count() == 3


def test_density_differs_by_few_nats(tab):
    tab.open("tab=field&view=density&p=0.5")
    tab.page.wait_for_selector("#density-difference")
    assert abs(value(tab.tell("#density-difference"))) < 0.1
    assert "±" in tab.tell("#density-difference")


def test_bound_is_a_sum_and_the_ladder_stands_in_order(tab, models):
    tab.open("p=0.5")
    with tab.page.expect_response(lambda answered: answered.url.endswith("/bound")) as found:
        tab.page.click("#tab-bound")
    answer = found.value.json()
    tab.page.wait_for_selector("#bound-ladder table")
    ladder = {row[0].split()[0]: row[1] for row in tab.table("#bound-ladder table")}
    entropy, ode, bound = (value(ladder[name]) for name in ("entropy", "−log", "bound"))
    assert entropy == pytest.approx(two_moons().entropy, abs=0.0006)
    for name in ("−log", "bound"):
        error = float(re.search(r"± ([\d.]+)", ladder[name])[1])
        assert value(ladder[name]) > entropy - 6 * error
    said = {rung["name"]: rung["value"] for rung in answer["ladder"]}
    assert (ode, bound) == (pytest.approx(said["ode"], abs=0.0006), pytest.approx(said["bound"], abs=0.0006))
    total = answer["prior"] + sum(term["value"] for term in answer["terms"]) + answer["reconstruction"]
    assert total == pytest.approx(answer["bound"], abs=1e-6)
    assert tab.page.locator("#bound-bars svg").count() == 1


def test_models_of_the_watch_panel_switch(tab, models):
    tab.open("p=1")
    _, arrays = tab.chain(lambda: tab.page.select_option("#model", "notebook"))
    assert tab.tell("#model-name") == shipped.MODELS["notebook"].title
    assert arrays["t"][-1] == 100
    t, signal, _ = tab.reading
    assert (t, signal) == (100, pytest.approx(34.75, abs=0.06))
    assert "mismatch" in tab.tell("#panel-watch .notice").lower() or "noise" in tab.tell("#panel-watch .notice").lower()
    tab.fragment("model=notebook")
