"""For everyone: axe's rules, the keyboard alone, a phone's width and touch, the tour."""

import pytest

from tests.browser.driving import PANELS

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
ZOOMED = {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2}  # 1,280 x 800 at 200 %
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": PHONE,
    "dark phone": {**PHONE, "color_scheme": "dark"},
    "200 %": ZOOMED,
}
CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex='0']"


def violations(tab):
    """Return what axe finds: rule, element, and why."""
    from axe_playwright_python.sync_playwright import Axe

    # It would look for imported styles beside the page, where they are not.
    found = Axe().run(tab.page, options={"preload": False}).response["violations"]
    return [
        f"{each['id']} at {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for each in found
        for node in each["nodes"]
    ]


@pytest.fixture(scope="module", params=LOOKS)
def look(request, opened):
    """A tab of each look, at rest."""
    with opened(**LOOKS[request.param]) as tab:
        tab.open("p=0.5&solver=ancestral&evaluations=20")
        yield tab


def test_axe_finds_what_is_wrong(tab):
    tab.open("p=0.5")
    tab.page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [each.split(" at ")[0] for each in violations(tab)] == ["button-name"]


@pytest.mark.parametrize("name", PANELS)
def test_axe_finds_nothing(look, name):
    look.goto(name)
    loaded = {
        "train": "#train:not([disabled])",
        "particle": "table.symbols",
        "field": "#field-relative",
        "bound": "#bound-ladder table",
        "compare": "#compare-table table",
        "code": "#code-note:not(:empty)",
    }
    if name in loaded:
        look.page.wait_for_selector(loaded[name])
    assert violations(look) == []


def test_axe_finds_nothing_in_what_opens(look):
    """The numbers, the frame times, more settings, a drawing, the tour, an error."""
    look.goto("train")
    for each in ("#numbers summary", "#frames summary", "#more-settings summary"):
        look.page.click(each)
    look.page.locator("#way-draw").check(force=True)
    look.page.focus("#board")
    look.page.keyboard.press(" ")
    with look.refused(400):
        look.set(n_rows=1)
        assert look.problem
    assert violations(look) == []
    look.page.click("#start-tour")
    look.page.wait_for_selector("#tour-title")
    assert violations(look) == []
    look.page.get_by_label("End the tour").click()


def test_phone_needs_no_sideways_scroll(opened):
    """On every panel the page is as wide as the phone, and every control can be brought into sight."""
    with opened(**PHONE) as tab:
        tab.open("p=0.5&solver=ancestral&evaluations=20")
        for name in PANELS:
            tab.page.tap(f"#tab-{name}")
            tab.settle()
            if name == "train":
                tab.page.wait_for_selector("#train:not([disabled])")
                tab.page.tap("#more-settings summary")
            wide = tab.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert wide == [390, 390], name
            outside = tab.page.evaluate(
                """selector => [...document.querySelectorAll(selector)].filter(node => {
                    if (node.classList.contains('skip') || !node.checkVisibility()) return false;
                    node.scrollIntoView({ block: 'center', inline: 'center' });
                    const box = (node.type === 'radio' ? node.labels[0] : node).getBoundingClientRect();
                    return box.width && (box.left < -1 || box.right > innerWidth + 1);
                }).map(node => node.id || node.outerHTML.slice(0, 80))""",
                CONTROLS,
            )
            assert outside == [], name


def seen(tab, selector):
    """Which share of the height of an element is in the window, and not below the picture."""
    shown = """selector => {
        const node = document.querySelector(selector), box = node.getBoundingClientRect();
        const above = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
        const isPicture = node.closest('#picture') !== null;
        const top = Math.max(box.top, isPicture ? 0 : above), bottom = Math.min(box.bottom, innerHeight);
        return Math.max(0, bottom - top) / box.height;
    }"""
    return tab.page.evaluate(shown, selector)  # at once: charts are replaced as they grow


@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "200 %"])
def test_picture_stays_in_view_beside_the_text(opened, size):
    """Wherever the text of a panel is scrolled to, the picture and its slider are seen, and leave a third to it."""
    with opened(**size) as tab:
        tab.open("p=0.5&solver=ancestral&evaluations=20")
        for name in PANELS:
            tab.page.click(f"#tab-{name}")
            tab.settle()
            tab.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            assert seen(tab, "#stages .view") > 0.98, name
            assert seen(tab, "#level") > 0.98, name
            above = tab.page.evaluate("parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0")
            assert above < 0.65 * size["viewport"]["height"], name


@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "200 %"])
def test_a_tapped_point_shows_its_numbers_and_keeps_the_text_in_sight(opened, size):
    with opened(**size) as tab:
        tab.open("p=0.5")

        def tap(x, y):  # where the picture is now: `locator.click` may scroll
            box = tab.page.locator("#stages .view").first.bounding_box()
            tab.page.mouse.click(box["x"] + x, box["y"] + y)

        tap(100, 100)
        tab.wait("() => document.querySelectorAll('#particle-formulas .formula').length === 4")
        assert seen(tab, "#particle-where") > 0.95
        assert seen(tab, "table.symbols tr") > 0.95
        third, row = "#particle-formulas > :nth-child(3 of .formula)", tab.page.input_value("#row")
        tab.page.evaluate("selector => document.querySelector(selector).scrollIntoView()", third)
        tap(140, 120)
        tab.until(lambda: tab.page.input_value("#row") != row)
        row = tab.page.input_value("#row")
        tab.until(lambda: f"Row {row}," in tab.tell("#particle-where"))
        assert seen(tab, third) > 0.5, "what is read stays in sight"


def test_pressing_train_shows_the_loss(opened):
    """Without scrolling: also from the end of the settings, where the button is."""
    for size in ({"viewport": {"width": 1280, "height": 800}}, PHONE):
        with opened(**size) as tab:
            tab.open("tab=train&p=0.5")
            tab.page.wait_for_selector("#train:not([disabled])")
            tab.small(60)
            tab.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            tab.page.click("#train")
            tab.page.wait_for_selector("#training-chart svg")
            assert seen(tab, "#training-chart svg") > 0.95
            assert seen(tab, "#training-reading") > 0.95
            tab.trained()


def test_names_are_not_cut_and_nothing_lies_empty(opened):
    """At 1,280 x 800: the picture begins where the header does, and selects are as wide as what is chosen."""
    with opened(viewport={"width": 1280, "height": 800}) as tab:
        tab.open("p=0.5")
        left = tab.page.locator(".brand").bounding_box()["x"]
        assert tab.page.locator("#picture").bounding_box()["x"] == pytest.approx(left, abs=2)
        for name in ("watch", "compare", "train"):
            tab.goto(name)
            cut = tab.panel.evaluate("""panel => [...panel.querySelectorAll('select')].filter(node => {
                if (!node.checkVisibility() || !node.selectedOptions.length) return false;
                const pen = document.createElement('canvas').getContext('2d');
                pen.font = getComputedStyle(node).font;
                return pen.measureText(node.selectedOptions[0].text).width > node.clientWidth - 40;
            }).map(node => node.selectedOptions[0].text)""")
            assert cut == [], name


def test_taps_play_step_and_pick(opened):
    with opened(**PHONE) as tab:
        tab.open("p=0.5")
        tab.page.tap("#play")
        assert tab.has("playing")
        tab.page.tap("#play")
        assert not tab.has("playing")
        before = int(tab.page.input_value("#level"))
        tab.page.tap("#step-noise")
        assert int(tab.page.input_value("#level")) == before + 1
        tab.page.tap("label[for=side-forward]")
        tab.fragment("side=forward")
        tab.page.tap("#level")
        tab.page.locator("#stages .view").first.tap()
        tab.fragment("tab=particle")
        tab.page.wait_for_selector("table.symbols")


def test_drawing_by_touch(opened):
    with opened(**PHONE) as tab:
        tab.open("tab=train&p=0.5")
        tab.page.wait_for_selector("#train:not([disabled])")
        tab.page.tap("label[for=way-draw]")
        board = tab.page.locator("#board")
        board.scroll_into_view_if_needed()
        box = board.bounding_box()
        for share in (0.2, 0.5, 0.8):
            tab.page.touchscreen.tap(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
        tab.page.tap("text=Use this drawing")
        tab.wait("() => location.hash.includes('data=points')")
        assert len(tab.fragment("data")["data"].split(":")[1]) == 3 * 4


def focused(tab):
    """The element with the focus, in words."""
    return tab.page.evaluate("document.activeElement.id || document.activeElement.tagName")


def tab_to(tab, selector, most=150):
    """Press Tab until an element has the focus, which must be seen."""
    for _ in range(most):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("selector => document.activeElement.matches(selector)", selector):
            seen = """() => {
                const now = document.activeElement, radio = now.type === 'radio' && now.labels[0];
                const nodes = [now, ...(radio ? [radio, ...radio.querySelectorAll('*')] : [])];
                return nodes.some(node => {
                    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(node);
                    return (outlineStyle !== 'none' && parseFloat(outlineWidth) > 0) || boxShadow !== 'none';
                });
            }"""
            assert tab.page.evaluate(seen), f"the focus on {selector} cannot be seen"
            return
    raise AssertionError(f"Tab does not come to {selector}")


def test_everything_by_keyboard(tab):
    """From opening to a trained model, its particle and its code, without a mouse."""
    keys = tab.page.keyboard
    tab.open("p=0.5")
    tab_to(tab, "a.skip")
    keys.press("Enter")
    tab_to(tab, "#tab-watch")
    keys.press("ArrowRight")
    assert focused(tab) == "tab-train"
    tab_to(tab, "#density-two_moons")
    keys.press("ArrowRight")
    tab.wait("() => document.querySelector('#data-summary').innerText !== ''")
    assert tab.page.evaluate("document.querySelector('[name=density]:checked').id") != "density-two_moons"
    keys.press("ArrowLeft")
    tab_to(tab, "#n-rows")
    keys.press("Control+A")
    keys.type("400")
    tab_to(tab, "#more-settings summary")
    keys.press("Enter")
    tab_to(tab, "#set-network")
    keys.press("ArrowDown")  # the first network
    tab_to(tab, "#set-max_steps")
    keys.type("20")
    tab.wait("() => document.querySelector('#data-summary').innerText.startsWith('400 rows')")
    tab_to(tab, "#train")
    keys.press("Enter")
    tab.trained()
    assert focused(tab) != "BODY", "the focus is not lost where a button goes away"
    tab.page.focus("#tab-train")
    keys.press("ArrowRight")
    tab.page.wait_for_selector("table.symbols")
    tab_to(tab, "table.symbols button")
    assert tab.page.locator("#particle-formulas .lit").count() > 0
    tab.page.focus("#tab-particle")
    keys.press("End")
    assert focused(tab) == "tab-code"
    tab.wait("() => document.querySelector('#code-python').innerText.includes('two_moons')")
    keys.press("Home")
    assert focused(tab) == "tab-watch"


def test_every_control_of_a_panel_is_reached_by_tab(tab):
    tab.open("tab=watch&p=0.5")
    tab.page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(80):
        tab.page.keyboard.press("Tab")
        here = tab.page.evaluate("document.activeElement.id")
        reached.add(here)
    there = tab.page.evaluate(
        """selector => [...document.querySelectorAll(selector)].filter(node => node.id && !node.disabled
            && node.tabIndex === 0 && node.checkVisibility() && (node.type !== 'radio' || node.checked))
            .map(node => node.id)""",
        CONTROLS,
    )
    assert set(there) <= reached, set(there) - reached


def test_tour_leads_through_seven_steps(tab):
    tab.open("p=0.5")
    tab.page.click("#start-tour")
    titles = []
    for number in range(1, 8):
        tab.wait("number => document.querySelector('#tour .overline').innerText.includes(`${number} of 7`)", number)
        tab.settle()
        titles.append(tab.tell("#tour-title"))
        assert tab.page.locator("#tour math").count() > 0
        assert focused(tab) == "tour-title", "a screen reader reads on from there"
        tab.fragment(f"tour={number}")
        if number < 7:
            tab.page.click("#tour-next")
    assert len(set(titles)) == 7
    tab.page.click("#tour >> text=Done")
    assert tab.page.locator("#tour").is_hidden()
    tab.wait("() => !location.hash.includes('tour=')")
