"""Training in the page: figures improve, and it stops, goes on, begins again, and outlives a reload."""

import base64
import re

import numpy as np
import pytest
from safetensors.numpy import load

from backwalk.assess.statistics import sliced_wasserstein
from backwalk.datasets import two_moons
from backwalk.streams import Stream
from backwalk.web.plane import unpack
from tests.browser.driving import Tab, value

READINGS = """() => {
    window.readings = [];
    new MutationObserver(() => readings.push(document.querySelector('#training-reading').innerText))
        .observe(document.querySelector('#training-reading'), { childList: true, characterData: true, subtree: true });
}"""
ENDLESS = 10**6  # training steps


def opened_on_training(tab, steps=60, **more):
    tab.open("tab=train&p=0.5")
    tab.page.wait_for_selector("#train:not([disabled])")
    tab.small(steps, **more)
    return tab


def points(record):
    """The points of a snapshot, in encoded units."""
    left, right, bottom, top = record["limits"]
    unit = np.frombuffer(base64.b64decode(record["samples"]), "<u2").reshape(-1, 2) / 65535
    return np.array([left, bottom]) + unit * np.array([right - left, top - bottom])


def weights(tab):
    """The tensors of the model file that the page offers."""
    tab.goto("code")
    with tab.page.expect_download() as found:
        tab.page.click("#download-model")
    return load(found.value.path().read_bytes())


@pytest.fixture(scope="module")
def learned(opened):
    """A tab after a fit that learns two moons, with what was read on the way."""
    with opened() as tab:
        opened_on_training(tab, 800)
        tab.page.evaluate(READINGS)
        with tab.page.expect_response(lambda answered: answered.url.endswith("/chain")) as found:
            tab.train()
        tab.body = found.value.body()
        tab.readings = tab.page.evaluate("readings")
        yield tab


def test_loss_and_held_out_loss_fall(learned):
    losses = [value(found[1]) for each in learned.readings if (found := re.search(r"loss ([−\d.]+)", each))]
    held = [value(found[1]) for each in learned.readings if (found := re.search(r"held out ([−\d.]+)", each))]
    assert len(losses) > 3
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:3])
    assert min(held[-3:]) < held[0] - 0.3, "nats"
    assert learned.page.locator("#training-chart svg").count() == 2


def test_rows_come_closer_to_the_data(learned):
    """Sliced W1 to real rows, in encoded units: of the first snapshot, the last one, the model, other real rows."""
    header, arrays = unpack(learned.body)
    left, right, bottom, top = header["limits"]
    own = np.array([left, bottom]) + arrays["backward"][0] / 65535 * np.array([right - left, top - bottom])
    real = two_moons().sample(8000, random_state=9)
    real = (real - real.mean(axis=0)) / real.std(axis=0)
    snapshots = learned.events("snapshot")
    first, last, model, null = (
        sliced_wasserstein(rows[:1000], real[:4000], stream=Stream(0))
        for rows in (points(snapshots[0]), points(snapshots[-1]), own, real[4000:])
    )
    assert first > 4 * null, (first, null)
    assert last < 0.5 * first
    assert model < 0.5 * first
    assert [each["step"] for each in snapshots] == sorted({each["step"] for each in snapshots})


def test_model_opens_when_it_is_trained(learned):
    assert "10,000 rows of two moons" in learned.tell("#model-name")
    assert learned.page.locator("#stop").is_hidden()
    assert learned.page.locator("#go-on").is_visible()
    learned.goto("watch")
    titles = learned.page.eval_on_selector_all("#model option", "options => options.map(option => option.innerText)")
    assert learned.tell("#model-name") in titles
    learned.goto("train")


def test_training_stops_and_goes_on(tab):
    opened_on_training(tab, ENDLESS)
    tab.page.click("#train")
    tab.trains_beyond(-1)
    tab.page.click("#stop")
    first = tab.trained()
    assert tab.tell("#training-reading").startswith("Stopped")
    assert "stopped at step" in tab.tell("#model-name")
    steps = tab.events("progress")[-1]["step"]
    tab.page.click("#go-on")
    tab.wait("() => document.body.classList.contains('training')")
    tab.trains_beyond(steps)
    tab.page.click("#stop")
    second = tab.trained()
    assert second != first
    assert tab.events("done")[-1]["step"] > steps


def test_again_from_the_same_weights_gives_the_same_model(tab):
    opened_on_training(tab, 40, fit_seed=5)
    first_model, rows = None, []
    for button in ("#train", "#again"):
        tab.goto("train")
        with tab.page.expect_response(lambda answered: answered.url.endswith("/chain")) as found:
            model = tab.train(button)
        rows.append(found.value.body())
        assert model != first_model
        first_model = model
    assert rows[0] == rows[1]
    second = weights(tab)
    tab.goto("watch")
    with tab.page.expect_response(lambda answered: answered.url.endswith("/chain")):
        tab.page.select_option("#model", index=2)
    tab.settle()
    first = weights(tab)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_another_seed_gives_another_model(tab):
    opened_on_training(tab, 20, fit_seed=5)
    tab.train()
    first = weights(tab)
    tab.goto("train").set(fit_seed=6)
    tab.train("#again")
    second = weights(tab)
    assert any(not np.array_equal(first[name], second[name]) for name in first)


def test_reload_in_the_middle_goes_on(tab):
    opened_on_training(tab, ENDLESS)
    tab.page.click("#train")
    tab.trains_beyond(-1)
    fit, before = tab.stored("backwalk-fit"), tab.step
    tab.page.reload()
    tab.settle()
    assert tab.stored("backwalk-fit") == fit
    tab.wait("() => document.body.classList.contains('training')")
    tab.trains_beyond(before)
    tab.page.click("#stop")
    tab.trained()
    assert tab.tell("#training-reading").startswith("Stopped")


def test_two_tabs_are_apart(opened):
    """Two tabs of one browser, with one cookie, train at once: each sees its own fit and its own models."""
    with opened() as tab:
        opened_on_training(tab, 30)
        other = Tab(tab.context, tab.address, tab.faults)
        opened_on_training(other, 30, fit_seed=1)
        assert tab.stored("backwalk-workspace") != other.stored("backwalk-workspace")
        tab.page.click("#train")
        other.page.click("#train")
        models = tab.trained(), other.trained()
        names = [{each["title"] for each in one.fetch("/api/models").json()} for one in (tab, other)]
        assert [len(each) for each in names] == [3, 3]
        assert len(names[0] ^ names[1]) == 2, "each has one of its own"
        assert all(models)


def test_settings_that_cannot_be_are_refused_at_their_place(tab):
    opened_on_training(tab, 20)
    tab.page.select_option("#set-preset", "ddpm")
    tab.set(set_schedule="log_snr")
    with tab.refused(400):
        tab.page.click("#train")
        assert "linear and cosine" in tab.problem
    tab.page.click("#problem-close")
    assert tab.page.locator("#problem").is_hidden()
    assert tab.page.locator("#train").is_enabled()


def test_rows_are_drawn_by_pointer(tab):
    tab.open("tab=train&p=0.5")
    tab.page.locator("#way-draw").check(force=True)
    tab.page.locator("#board").scroll_into_view_if_needed()
    box = tab.page.locator("#board").bounding_box()
    mouse, middle = tab.page.mouse, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    radius = 0.35 * box["width"]
    for k in range(25):
        angle = 2 * np.pi * k / 24
        at = middle[0] + radius * np.cos(angle), middle[1] + radius * np.sin(angle)
        mouse.move(*at)
        if k == 0:
            mouse.down()
    mouse.up()
    tab.set(n_rows=500)
    tab.page.click("text=Use this drawing")
    tab.wait("() => document.querySelector('#data-summary').innerText === '500 rows, 2 columns.'")
    tab.wait("() => location.hash.includes('data=points')")
    tab.small(30)
    tab.train()
    assert "drawn points" in tab.tell("#model-name")
    tab.goto("field")
    tab.wait("() => /%/.test(document.querySelector('#panel-field .figure-line').innerText)")  # its density is known


def test_rows_are_drawn_by_keys(tab):
    tab.open("tab=train&p=0.5")
    tab.page.locator("#way-density").focus()
    tab.page.keyboard.press("ArrowRight")
    tab.page.wait_for_selector("#board", state="visible")
    tab.page.focus("#board")
    for keys in (["ArrowRight"] * 5, [" "], ["ArrowUp"] * 5, [" "], ["ArrowLeft"] * 9, [" "], [" "], ["Backspace"]):
        for key in keys:
            tab.page.keyboard.press(key)
    assert tab.tell("#status") == "Pen at -0.4, 0.5; 3 points."
    tab.set(n_rows=300)
    tab.page.focus("text=Use this drawing")
    tab.page.keyboard.press("Enter")
    tab.wait("() => document.querySelector('#data-summary').innerText.startsWith('300 rows')")
    tab.wait("() => location.hash.includes('data=points')")
    data = tab.fragment()["data"].split(":")
    assert len(data[1]) == 3 * 4, "two letters a number, two numbers a point"
