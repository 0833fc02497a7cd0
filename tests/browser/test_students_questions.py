"""The questions of a student who knows the course notebook alone, and the few clicks after which the page answers.

| question | clicks | answer |
|---|---|---|
| What is alpha_bar_N? | Watch, model *notebook* | in the line *chain*; *The schedule* draws it |
| What is predicted, and how is x_0_hat found? | a point | eps_theta, and the formula with its numbers |
| beta or beta_tilde? | a point, *Why?* beside the variance | the formula of the sigma^2 in use, and lesson 3.3 |
| DDIM or ancestral? | Compare, *Ancestral and DDIM* | both pictures, with C2ST, distance and -log p |
| Why is -log p below the bound? | Bound | the ladder, and Jensen's inequality in a sentence |
| Are 10 steps enough? | Compare, *10 and 100 steps*, *Draw the curve* | the distance of every sampler at 5 to 50 |
| What does the cosine schedule do? | Train, the settings, *cosine* | beta_t, alpha_bar_t and the SNR; lesson 1.4 |
| A schedule of my own? | Train, the settings, *linear*, the slider; Code | alpha_bar_N as the slider moves |
| A network of my own? | Code, *of your own* | a class that can be copied, and the command that opens it |
| A solver of my own? | Code, *of your own* | a class that can be copied |
| Where is an assignment? | Watch, *The course* | four lessons, twelve exercises, and how they are graded |
"""

import re

import numpy as np
import pytest

from backwalk import Diffusion, NoiseSchedule
from backwalk.web import shipped
from backwalk.web.code import OWN
from tests.browser.driving import value
from tests.browser.test_compare_and_field import compared
from tests.browser.test_particle import symbols
from tests.browser.test_questions import click_on_a_point


def settings_of(tab, schedule):
    """Open the settings of a fit, and choose a schedule."""
    tab.goto("train")
    tab.page.wait_for_selector("#train:not([disabled])")
    tab.page.click("#more-settings summary")
    tab.page.select_option("#set-schedule", schedule)
    tab.wait("name => document.querySelector('#schedule-drawn').innerText.includes(name)", f"NoiseSchedule.{schedule}(")


def own_code(tab):
    tab.goto("code")
    tab.page.click("#own summary")
    tab.wait("() => document.querySelector('#code-own').innerText.length > 0")
    return tab.tell("#code-own")


def alpha_bar_n(tab):
    tab.page.select_option("#model", "notebook")
    tab.until(lambda: "100 steps" in tab.tell("#panel-watch .facts"))
    model = Diffusion.load(shipped.FOLDER / shipped.MODELS["notebook"].file).model_
    assert f"= {float(model.schedule.alpha_bar[-1]):.4f}" in tab.tell("#panel-watch .facts")
    tab.page.click("#schedule > summary")
    tab.page.wait_for_selector("#schedule svg")
    assert tab.page.locator("#schedule svg").count() == 3
    assert tab.tell("#schedule .alpha-bar") == "0.3475"


def what_is_predicted(tab):
    click_on_a_point(tab)
    tab.wait("() => document.querySelectorAll('#particle-formulas .formula').length === 4")
    got, where = symbols(tab), tab.tell("#particle-where")
    signal, noise = (value(re.search(rf"([\d.]+) times {what}", where)[1]) for what in ("a clean point", "noise"))
    np.testing.assert_allclose(got["x_0_hat"], (got["x_t"] - noise * got["eps_theta"]) / signal, atol=0.004)
    assert "What the network says" in tab.tell("#particle-formulas")


def beta_or_beta_tilde(tab):
    click_on_a_point(tab)
    tab.page.click("#particle-formulas .why summary")
    assert "How much noise a step back should add" in tab.tell("#particle-formulas .why")
    assert "Fitted, between" in tab.tell("#particle-formulas")
    leads_to(tab, "#particle-formulas .why a", "3.3")


def leads_to(tab, link, section):
    """A link opens the course's page, at a section that is there."""
    with tab.context.expect_page() as opened:
        tab.page.click(link)
    course = opened.value
    course.wait_for_load_state()
    assert course.url.endswith(f"/static/course.html#{section}")
    heading = course.locator(f"[id='{section}']")
    assert heading.inner_text().startswith(section)
    assert -2 < heading.bounding_box()["y"] < 200
    assert course.locator("math").count() > 100
    course.close()


def ddim_or_ancestral(tab):
    tab.goto("compare")
    _, table = compared(tab, lambda: tab.page.click("text=Ancestral and DDIM"))
    assert "ancestral" in table["sampler"][0]
    assert "ddim" in table["sampler"][1]
    tab.wait("() => document.querySelector('#status').innerText === 'The figures of both are computed.'")
    figures = {row[0]: [value(each) for each in row[1:]] for row in tab.table("#compare-quality table")}
    assert figures["sliced distance"][2] < min(figures["sliced distance"][:2])
    assert figures["−log p, nats"][0] == figures["−log p, nats"][1]


def below_the_bound(tab):
    tab.goto("bound").page.wait_for_selector("#bound-ladder table")
    _, ode, bound = tab.table("#bound-ladder table")
    assert value(ode[1]) < value(bound[1])
    assert "Jensen" in tab.panel.inner_text()


def ten_steps(tab):
    tab.goto("compare")
    compared(tab, lambda: tab.page.click("text=10 and 100 steps"))
    tab.page.click("#draw-curve")
    tab.wait("() => document.querySelector('#status').innerText === 'The curve is drawn.'")
    tab.page.click("#compare-curve summary")
    curve = {row[0]: [value(each) for each in row[1:]] for row in tab.table("#compare-curve table")}
    assert set(curve) == {"ancestral", "ddim", "multistep", "multistep-sde"}
    assert curve["ddim"][0] > 2 * curve["ddim"][3]
    assert curve["multistep"][0] < curve["ddim"][0]


def cosine(tab):
    settings_of(tab, "cosine")
    expected = float(NoiseSchedule.cosine(100).alpha_bar[-1])
    assert value(tab.tell("#schedule-drawn .alpha-bar")) == pytest.approx(expected, rel=1e-3)
    assert tab.page.locator("#schedule-drawn svg").count() == 3
    assert tab.page.locator("#set-beta_max").is_hidden()
    tab.page.click("#more-settings > .why summary")
    leads_to(tab, "#more-settings > .why a", "1.4")


def own_schedule(tab):
    settings_of(tab, "linear")
    assert tab.tell("#schedule-drawn .alpha-bar") == "0.3475"
    tab.page.locator("#set-beta_max").fill("0.1")
    tab.wait("() => document.querySelector('#schedule-drawn').innerText.includes('beta_max=0.1)')")
    expected = float(NoiseSchedule.linear(100, beta_max=0.1).alpha_bar[-1])
    assert value(tab.tell("#schedule-drawn .alpha-bar")) == pytest.approx(expected, rel=1e-3)
    assert "NoiseSchedule.from_beta(beta)" in own_code(tab)


def own_network(tab):
    text = own_code(tab)
    assert text.strip() == OWN.strip(), "it runs in tests/web/test_code.py"
    assert "class MyNetwork(torch.nn.Module)" in text
    assert "backwalk web own.backwalk --network my_code:MyNetwork" in tab.panel.inner_text()


def own_solver(tab):
    text = own_code(tab)
    assert "class MySolver(Solver)" in text
    assert 'sampler="my-solver"' in text


def assignment(tab):
    with tab.context.expect_page() as opened:
        tab.page.click("#course")
    course = opened.value
    course.wait_for_load_state()
    text = course.inner_text("main")
    assert [f"Exercise {k}" in text for k in range(1, 14)] == [True] * 12 + [False]
    assert "backwalk course lessons/" in text
    assert "backwalk course grade" in text


ANSWERS = (
    alpha_bar_n,
    what_is_predicted,
    beta_or_beta_tilde,
    ddim_or_ancestral,
    below_the_bound,
    ten_steps,
    cosine,
    own_schedule,
    own_network,
    own_solver,
    assignment,
)
QUESTIONS = re.findall(r"^\| ([^|]+\?) \|", __doc__, re.MULTILINE)


@pytest.mark.parametrize(("question", "answer"), list(zip(QUESTIONS, ANSWERS, strict=True)))
def test_a_few_clicks_answer(tab, question, answer):
    tab.open("p=0.5")
    answer(tab)
