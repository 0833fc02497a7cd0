"""The page opens on a moving chain; the slider, the keys and the buttons move it."""

import numpy as np
import pytest

from backwalk.web import shipped
from backwalk.web.plane import unpack
from tests.browser.driving import PANELS


def test_opens_on_a_chain_that_moves(tab):
    tab.open()
    assert tab.has("playing")
    assert tab.tell("#model-name") == shipped.MODELS["start"].title
    tab.has_moved_from(tab.reading[0])
    assert tab.page.evaluate("backwalkFrames().n") > 1
    tab.page.click("#play")
    assert not tab.has("playing")
    assert tab.page.locator("#tabs [role=tab]").count() == len(PANELS)


def test_reading_is_the_schedules(tab):
    tab.open("p=0.5")
    header, arrays = unpack((shipped.FOLDER / "chain.bin").read_bytes())
    for place in (0, 3, len(arrays["t"]) - 1):
        t, signal, log_snr = tab.at(place).reading
        assert t == arrays["t"][place]
        assert signal == pytest.approx(100 * arrays["alpha_bar"][place], abs=0.0501)
        assert log_snr == (np.inf if place == 0 else pytest.approx(arrays["log_snr"][place], abs=0.00501))
    assert header["n"] == 2000


def test_numbers_behind_the_picture_are_the_chains(tab):
    tab.open("p=0.5")
    header, arrays = unpack((shipped.FOLDER / "chain.bin").read_bytes())
    left, right, bottom, top = header["limits"]
    for place in (0, 7, len(arrays["t"]) - 1):
        shown = tab.at(place).numbers()
        assert [row[0] for row in shown] == [str(row) for row in range(12)]
        for name, cells in zip(("forward", "backward", "x_0_hat"), list(zip(*shown, strict=True))[1:], strict=True):
            said = np.array([[float(part.replace("−", "-")) for part in cell.split(", ")] for cell in cells])
            unit = arrays[name][place, :12] / 65535
            true = np.array([left, bottom]) + unit * np.array([right - left, top - bottom])
            np.testing.assert_allclose(said, true, atol=0.00051)


def test_slider_moves_by_mouse_and_by_keys(tab):
    tab.open("p=0.5")
    level = tab.page.locator("#level")
    last = int(level.get_attribute("max"))
    box = level.bounding_box()
    tab.page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] / 2)
    assert int(level.input_value()) >= last - 1
    level.focus()
    tab.page.keyboard.press("Home")
    tab.wait("() => document.querySelector('#reading').innerText.startsWith('t = 0 ')")
    tab.page.keyboard.press("ArrowRight")
    tab.wait("() => document.querySelector('#level').value === '1'")
    tab.page.keyboard.press("End")
    tab.wait("last => document.querySelector('#level').value === last", str(last))
    tab.wait("() => document.querySelector('#reading').innerText.startsWith('t = 1,000 ')")
    assert level.get_attribute("aria-valuetext") == tab.tell("#reading"), "what a screen reader says"
    tab.fragment("p=1.0000")


def test_page_plays_and_steps_by_keys_and_buttons(tab):
    tab.open("p=0.5")
    place = lambda: int(tab.page.input_value("#level"))  # noqa: E731
    assert not tab.has("playing"), "a link with a place rests there"
    here = place()
    tab.page.click("#step-noise")
    assert place() == here + 1
    tab.page.click("#step-data")
    assert place() == here
    tab.page.evaluate("document.activeElement.blur()")
    tab.page.keyboard.press("ArrowRight")
    assert place() == here + 1
    tab.page.keyboard.press("ArrowLeft")
    assert place() == here
    tab.page.keyboard.press(" ")
    assert tab.has("playing")
    tab.page.keyboard.press(" ")
    assert not tab.has("playing")
    tab.page.click("#slow")
    assert tab.page.get_attribute("#slow", "aria-pressed") == "true"


@pytest.mark.parametrize("side", ["backward", "forward", "both", "estimate"])
def test_every_side_is_drawn(tab, side):
    tab.open("p=0.5")
    tab.page.locator(f"#side-{side}").check(force=True)
    fragment = tab.fragment(f"side={side}") if side != "backward" else tab.fragment()
    assert fragment.get("side", "backward") == side
    inked = """() => {
        const canvas = document.querySelectorAll('#stages .view canvas')[1];
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.some((value, i) => i % 4 === 3 && value > 0);
    }"""
    tab.wait(inked)


def test_ten_thousand_points_are_drawn_frame_by_frame(tab):
    tab.open("p=0.5")
    header, arrays = tab.chain(lambda: tab.set(n_points=10000))
    assert header["n"] == 10_000
    assert arrays["backward"].shape[1:] == (10_000, 2)
    tab.page.evaluate("backwalkResetFrames()")
    tab.page.click("#play")
    tab.wait("() => backwalkFrames().n > 20")
    frames = tab.page.evaluate("backwalkFrames()")
    assert all(frames[name] > 0 for name in ("mean_ms", "p95_ms", "draw_ms", "frames_per_second"))


def test_reduced_motion_rests(opened):
    with opened(reduced_motion="reduce") as tab:
        tab.open()
        before = tab.reading
        for _ in range(20):
            tab.page.evaluate("new Promise(requestAnimationFrame)")
        assert not tab.has("playing")
        assert tab.reading == before
        tab.page.click("#play")  # who asks for it gets it
        assert tab.has("playing")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_color_scheme_is_the_readers(opened, scheme):
    with opened(color_scheme=scheme) as tab:
        tab.open("p=0.5")
        luminance = """name => {
            const [r, g, b] = getComputedStyle(document.body)[name].match(/[\\d.]+/g).map(Number);
            return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
        }"""
        ground, ink = (tab.page.evaluate(luminance, name) for name in ("backgroundColor", "color"))
        assert (ground < 0.25 < 0.6 < ink) if scheme == "dark" else (ink < 0.25 < 0.8 < ground)


def test_click_on_the_picture_picks_the_particle_there(tab):
    tab.open("p=0&solver=multistep-sde")  # without a choice, the picture changes to the paper's chain
    _, arrays = unpack((shipped.FOLDER / "chain.bin").read_bytes())
    row = 5
    x, y = arrays["backward"][0, row] / 65535
    box = tab.page.locator("#stages .view").first.bounding_box()
    tab.page.mouse.click(box["x"] + x * box["width"], box["y"] + (1 - y) * box["height"])
    tab.fragment("tab=particle")
    picked = int(tab.page.input_value("#row"))
    apart = np.linalg.norm((arrays["backward"][0, picked].astype(float) - arrays["backward"][0, row]) / 65535)
    assert apart * box["width"] < 2.0, "pixels between the point that was clicked and the one that was picked"


def test_panels_are_opened_before_the_model_has_loaded(tab):
    """They read properties of a model that was not there yet."""
    held = []
    tab.page.route("**/api/models/start", lambda route: held.append(route))
    tab.page.goto(f"{tab.address}#p=0.35")
    tab.page.wait_for_selector("#tab-code")
    tab.until(lambda: held)
    for name in (*PANELS, "code"):
        tab.page.click(f"#tab-{name}")
    tab.page.click("#tab-watch")
    tab.set(seed=3)
    tab.page.click("#tab-particle")
    tab.set(row=5)
    tab.page.click("#tab-code")
    assert tab.page.locator("#problem").is_hidden()
    held[0].continue_()
    tab.settle()
    tab.wait("() => document.querySelector('#code-python').innerText.includes('random_state=3')")
    assert "/api/models/start/download" in tab.page.get_attribute("#download-model", "href")
