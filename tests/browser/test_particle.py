"""A particle's numbers are those of the chain's states, which the library computes here once more."""

import math
import re

import numpy as np
import pytest

from backwalk import Diffusion, Sampler
from backwalk.web import shipped
from tests.browser.driving import value

DIGITS = 0.00051  # numbers are shown with three decimals
FLOAT32 = 2e-4  # and tiles of other rows differ in bits
SOLVERS = {
    "ancestral": "solver=ancestral&evaluations=40&variance=beta_tilde",
    "ddim": "solver=ddim&evaluations=25&eta=0.5",
    "multistep": "solver=multistep&evaluations=15",
}


@pytest.fixture(scope="module")
def model():
    return Diffusion.load(shipped.FOLDER / shipped.MODELS["start"].file)


@pytest.fixture(scope="module")
def states(model):
    """The states of rows 0 to 8 of a chain, in encoded units, by t; and x_0_hat of the step that leaves each."""

    def walk(solver, n_evaluations, eta=0.0):
        found, estimates, before = {}, {}, None
        encoded = model.model_.codec.encode
        for state in model.walk(9, sampler=Sampler(solver, n_evaluations, eta), random_state=4):
            found[state.t] = encoded(state.rows)
            if before is not None:
                estimates[before] = encoded(state.x_0_hat)
            before = state.t
        return found, estimates

    return walk


def symbols(tab):
    """The numbers of the list of symbols: vectors, scalars, and None."""
    cells = tab.page.eval_on_selector_all(
        "table.symbols tr", "rows => rows.map(row => [row.dataset.symbol, row.querySelector('td.value').innerText])"
    )
    found = {}
    for name, text in cells:
        numbers = [float(each) for each in re.findall(r"-?[\d.]+", text.replace("−", "-"))]
        found[name] = None if text == "none" else np.array(numbers) if text.startswith("(") else numbers[0]
    return found


def place(tab):
    """The step that is shown: (t, t_next)."""
    found = re.search(r"from t = (\d+) to t = (\d+)", tab.tell("#particle-where"))
    return int(found[1]), int(found[2])


def shown(tab, index):
    """Move to a state, and wait until the particle's step leaves it."""
    tab.at(index)
    t = int(tab.reading[0])
    tab.wait("t => document.querySelector('#particle-where').innerText.includes(`from t = ${t} `)", t)
    return symbols(tab), place(tab)


def test_ancestral_step_is_the_papers(tab, model, states):
    tab.open(f"tab=particle&row=7&seed=4&p=0.5&side=backward&{SOLVERS['ancestral']}")
    tab.page.wait_for_selector("table.symbols")
    found, estimates = states("ddim", 40, 1.0)  # the ancestral step with beta_tilde
    times = sorted(found)
    schedule = model.model_.schedule.respace(times[1:])
    for index in (40, 21, 2, 1):
        got, (t, t_next) = shown(tab, index)
        assert (t, t_next) == (times[index], times[index - 1])
        x_t, x_0_hat, x_next = (each[7] for each in (found[t], estimates[t], found[t_next]))
        alpha_bar, alpha, beta = (float(each[index]) for each in (schedule.alpha_bar, schedule.alpha, schedule.beta))
        eps = (x_t - math.sqrt(alpha_bar) * x_0_hat) / math.sqrt(1 - alpha_bar)
        mu = (x_t - beta / math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha)
        sigma = math.sqrt(float(schedule.beta_tilde[index]))
        for name, true in {"x_t": x_t, "x_0_hat": x_0_hat, "mu_theta": mu, "x_next": x_next, "sigma_t": sigma}.items():
            np.testing.assert_allclose(got[name], true, atol=DIGITS + FLOAT32, err_msg=f"{name} at t = {t}")
        np.testing.assert_allclose(got["eps_theta"], eps, atol=DIGITS + FLOAT32 / math.sqrt(1 - alpha_bar))
        if index > 1:
            np.testing.assert_allclose(got["z"], (x_next - mu) / sigma, atol=DIGITS + FLOAT32 / sigma)
        else:
            assert got["z"] is None or not np.any(got["z"]), "the last step adds no noise"
            assert sigma == 0.0
            assert "The last step adds no noise." in tab.tell("#particle-formulas")


@pytest.mark.parametrize("solver", ["ddim", "multistep"])
def test_steps_of_other_solvers_are_weighted_sums(tab, states, solver):
    tab.open(f"tab=particle&row=2&seed=4&p=0.5&{SOLVERS[solver]}")
    tab.page.wait_for_selector("table.symbols")
    last = int(tab.page.get_attribute("#level", "max"))
    if solver == "multistep":
        found, estimates = states(solver, last)
    for index in (last - 1, last // 2):
        got, (t, t_next) = shown(tab, index)
        if solver == "multistep":
            np.testing.assert_allclose(got["x_t"], found[t][2], atol=DIGITS + FLOAT32)
            np.testing.assert_allclose(got["x_0_hat"], estimates[t][2], atol=DIGITS + FLOAT32)
            np.testing.assert_allclose(got["x_next"], found[t_next][2], atol=DIGITS + FLOAT32)
        weights, total = weighted_sum(tab)
        np.testing.assert_allclose(total, got["x_next"], atol=3 * DIGITS * (1 + np.abs(weights).sum()))


def weighted_sum(tab):
    """Evaluate the sum in the formula "the same in numbers", as it is printed: its weights, and its value."""
    tokens = tab.page.locator("#particle-formulas .formula").last.evaluate(
        """box => {
            const lines = [...box.querySelectorAll('math')];  // the formula in symbols, then in numbers
            const from = lines.findIndex(line => line.getAttribute('aria-label') === 'the same in numbers');
            const found = [], walk = (node) => {
                if (node.localName === 'mtable') found.push([...node.querySelectorAll('mn')].map(n => n.textContent));
                else if (['mn', 'mo'].includes(node.localName)) found.push(node.textContent);
                else [...node.children].forEach(walk);
            };
            lines.slice(from).forEach(walk);
            return found;
        }"""
    )
    numbers = [[value(part) for part in each] if isinstance(each, list) else each.replace("−", "-") for each in tokens]
    result, rest = np.array(numbers[0]), numbers[2:]
    sign, weight, weights, total = 1.0, 1.0, [], np.zeros(2)
    for each in rest:
        if each in ("+", "-"):
            sign = 1.0 if each == "+" else -1.0
        elif isinstance(each, list):
            weights.append(sign * weight)
            total, sign, weight = total + sign * weight * np.array(each), 1.0, 1.0
        elif re.fullmatch(r"[\d.]+", each):
            weight = float(each)
    np.testing.assert_allclose(total, result, atol=3 * DIGITS * (1 + np.abs(weights).sum()))
    return np.array(weights), total


def test_printed_formulas_hold(tab):
    tab.open(f"tab=particle&row=1&seed=4&p=0.5&{SOLVERS['ancestral']}")
    tab.page.wait_for_selector("table.symbols")
    got, _ = shown(tab, 20)
    np.testing.assert_allclose(got["x_next"], got["mu_theta"] + got["sigma_t"] * got["z"], atol=4 * DIGITS)
    a, b = (
        value(each)
        for each in re.search(r"is (\S+) times a clean point plus (\S+) times", tab.tell("#particle-where")).groups()
    )
    assert a**2 + b**2 == pytest.approx(1.0, abs=0.003)
    np.testing.assert_allclose(got["x_t"], a * got["x_0_hat"] + b * got["eps_theta"], atol=0.004)


def test_symbols_and_picture_light_up_together(tab):
    tab.open(f"tab=particle&row=1&p=0.5&{SOLVERS['ancestral']}")
    tab.page.wait_for_selector("table.symbols")
    lit = "() => [...new Set([...document.querySelectorAll('.lit')].map(n => n.getAttribute('data-symbol')))].join()"
    for symbol in ("x_0_hat", "mu_theta", "x_t"):
        tab.page.hover(f"table.symbols tr[data-symbol={symbol}] td.value")
        tab.wait(f"symbol => ({lit})() === symbol", symbol)
        assert tab.page.locator(f"#particle-formulas .lit[data-symbol={symbol}]").count() > 0
    tab.page.mouse.move(1, 1)
    tab.wait(f"() => ({lit})() === ''")
    tab.page.locator("#stages .view").first.scroll_into_view_if_needed()
    x, y = tab.page.evaluate(
        """async () => {
            const { session } = await import('/static/session.js'), [stage] = session.stages;
            const box = stage.view.getBoundingClientRect();
            const [x, y] = stage.place(stage.marks.find(m => m.symbol === 'x_next').at);
            return [box.left + x, box.top + y];
        }"""
    )
    tab.page.mouse.move(x, y)
    tab.wait(f"() => ({lit})() === 'x_next'")


def test_take_this_step_moves_one_state(tab):
    tab.open(f"tab=particle&row=1&p=0.5&{SOLVERS['ancestral']}")
    tab.page.wait_for_selector("table.symbols")
    before, (_, t_next) = shown(tab, 20)
    tab.page.click("text=Take this step")
    tab.wait("t => document.querySelector('#particle-where').innerText.includes(`from t = ${t} `)", t_next)
    after = symbols(tab)
    np.testing.assert_allclose(after["x_t"], before["x_next"], atol=1e-9)


def test_another_row_is_another_particle(tab):
    tab.open(f"tab=particle&row=1&p=0.5&{SOLVERS['ancestral']}")
    tab.page.wait_for_selector("table.symbols")
    before = symbols(tab)
    tab.set(row=6)
    tab.wait("() => document.querySelector('#particle-where').innerText.startsWith('Row 6')")
    assert not np.array_equal(symbols(tab)["x_t"], before["x_t"])
    tab.fragment("row=6")


def test_terms_of_a_long_chain_are_of_the_visits_before(tab):
    """They were those of the states that the page has, which are not all."""
    with tab.page.expect_response(lambda response: response.url.endswith("/particle")) as found:
        tab.open("tab=particle&row=2&p=0.5&solver=multistep&evaluations=300")
    steps = found.value.json()["steps"]
    _, (t, _) = shown(tab, 60)
    (step,) = (step for step in steps if step["t"] == t)
    before = step["past"][0]["t"]
    assert before not in [step["t"] for step in steps]
    assert f"({before})" in re.sub(r"\s", "", tab.tell("#particle-formulas"))


@pytest.mark.parametrize("p", ["0.1", "0.3", "0.5", "0.8"])
def test_labels_cover_no_label_and_no_mark(tab, p):
    tab.open(f"tab=particle&row=3&p={p}")
    tab.page.wait_for_selector("table.symbols")
    tab.wait("async () => (await import('/static/session.js')).session.stages[0].labels.length > 4")
    labels = tab.page.evaluate("async () => (await import('/static/session.js')).session.stages[0].labels")
    spots = tab.page.evaluate("async () => (await import('/static/session.js')).session.stages[0].spots")
    for i, one in enumerate(labels):
        for other in labels[i + 1 :]:
            wide = min(one["right"], other["right"]) - max(one["left"], other["left"])
            high = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
            assert min(wide, high) <= 1, (one["text"], other["text"])
        for spot in spots:
            inside = one["left"] < spot["x"] < one["right"] and one["top"] < spot["y"] < one["bottom"]
            assert not inside or spot["symbol"] == "eps_theta", (one["text"], spot)
