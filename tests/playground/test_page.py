"""The page in a browser without a connection: it plays, trains, answers a student's questions, and tells mistakes."""

import re

import pytest

PANELS = ("watch", "data", "train", "particle", "field", "bound", "compare", "code")


def number(text):
    """Return the number that a text of the page begins with: a true minus sign, powers of ten."""
    found = re.match(r"\s*(-?[\d.]+)(?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", text.replace("−", "-").replace(",", ""))
    power = found[2].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) if found[2] else "0"
    return float(found[1]) * 10.0 ** int(power)


def test_it_moves_as_soon_as_it_opens(tab):
    tab.open()
    first = tab.tell("#reading")
    tab.page.wait_for_function("first => document.getElementById('reading').textContent !== first", arg=first)
    assert "two moons" in tab.tell("#model-name").lower()


def test_every_panel_opens(tab):
    tab.open()
    for name in PANELS:
        tab.goto(name)
        assert tab.page.locator(f"#panel-{name}").is_visible()


def test_the_same_address_is_the_same_picture(opened, page_file):
    address = "p=0.4000&n=500&solver=ddim&evaluations=20&trails=false&seed="
    pictures = []
    for seed in (7, 7, 8):
        tab = opened(page_file).open(f"{address}{seed}")
        tab.page.wait_for_function("() => document.querySelector('.stage canvas').width > 0")
        pictures.append(tab.page.locator(".stage .view").first.screenshot())
    assert pictures[0] == pictures[1] != pictures[2]


def test_a_network_trains_rests_and_is_reset(tab):
    tab.open("tab=train")
    page = tab.page
    page.wait_for_selector("#train:not([disabled])")
    page.click("#train")
    page.wait_for_function("() => /step [1-9]\\d\\d/.test(document.getElementById('training-reading').textContent)")
    page.click("#pause")
    page.wait_for_selector("#goOn:not([hidden])")
    before = int(re.search(r"step ([\d,]+)", tab.tell("#training-reading"))[1].replace(",", ""))
    page.click("#oneStep")
    page.wait_for_function(
        "n => document.getElementById('training-reading').textContent.replace(',', '').includes(`step ${n}`)",
        arg=before + 1,
    )
    page.wait_for_function("() => document.getElementById('training-quality').textContent.includes('Sliced')")
    page.click("#reset")
    page.wait_for_function("() => document.getElementById('training-reading').textContent.includes('first weights')")


def test_points_are_drawn_and_a_file_is_read(tab, tmp_path):
    tab.open("tab=data")
    page = tab.page
    page.click("label[for=way-draw]")
    box = page.locator("#board").bounding_box()
    for x, y in ((0.2, 0.2), (0.8, 0.3), (0.5, 0.8)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.click("text=Use this drawing")
    page.wait_for_function("() => document.getElementById('data-summary').textContent.includes('drawing')")
    table = tmp_path / "birds.csv"
    lines = [f'"{i % 3}, a",{0.1 * i:.1f},{(i * 7) % 11},' for i in range(60)]
    table.write_text("species,length,mass,note\n" + "\n".join(lines))
    page.set_input_files("#file", table)
    page.wait_for_function("() => document.getElementById('data-summary').textContent.includes('birds.csv')")
    assert "standardised" in tab.tell("#data-summary")
    assert page.locator("#file-columns select").first.locator("option").all_inner_texts() == ["length", "mass"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("texts.csv", "a,b\nx,y\nu,v\n", "should have two columns of numbers"),
        ("short.csv", "a,b\n1,2\n", "at least two rows"),
        ("open.csv", 'a,b\n1,"2\n3,4\n', "has no end"),
        ("flat.csv", "a,b\n" + "".join(f"{i},5\n" for i in range(30)), "should vary"),
        ("few.csv", "a,b\n1,2\n2,1\n3,3\n", "20 rows with both numbers"),
        ("wide.csv", "a,b\n" + "".join(f"{i}e300,{i % 7}\n" for i in range(30)), "too large to be squared"),
    ],
)
def test_a_bad_file_gets_a_sentence_and_loses_nothing(tab, tmp_path, name, text, expected):
    tab.open("tab=data")
    tab.page.wait_for_function("() => document.getElementById('data-summary').textContent.includes('5,000 rows')")
    tab.page.click("label[for=way-file]")
    file = tmp_path / name
    file.write_text(text)
    tab.page.set_input_files("#file", file)
    tab.page.wait_for_selector("#problem:not([hidden])")
    assert expected in tab.tell("#problem")
    assert "5,000 rows" in tab.tell("#data-summary")
    assert tab.page.is_enabled("#panel-data >> text=Train on these rows")
    tab.goto("train")
    tab.page.wait_for_selector("#train:not([disabled])")


def test_a_file_of_many_rows_and_of_two_columns_of_one_name_is_read(tab, tmp_path):
    tab.open("tab=data")
    file = tmp_path / "many.csv"
    file.write_text("a,a\n" + "".join(f"{i % 89},{i % 97}\n" for i in range(12_000)))
    tab.page.click("label[for=way-file]")
    tab.page.set_input_files("#file", file)
    tab.page.wait_for_function("() => document.getElementById('data-summary').textContent.includes('many.csv')")
    assert "first 10,000 of 12,000 rows" in tab.tell("#data-summary")
    names = tab.page.locator("#file-columns select").first.locator("option").all_inner_texts()
    assert names == ["a", "a (column 2)"]


def test_of_two_files_the_last_one_is_read(tab, tmp_path):
    tab.open("tab=data")
    tab.page.click("label[for=way-file]")
    for name in ("first", "last"):
        file = tmp_path / f"{name}.csv"
        file.write_text(f"{name} x,{name} y\n" + "".join(f"{i % 89},{i % 97}\n" for i in range(9_000)))
        tab.page.set_input_files("#file", file)
    tab.page.wait_for_function("() => document.getElementById('data-summary').textContent.includes('last.csv')")
    tab.page.wait_for_selector("#train:not([disabled])", state="attached")
    assert "last.csv" in tab.tell("#data-summary")
    assert tab.page.locator("#problem").is_hidden()


def test_settings_out_of_range_get_a_sentence(tab):
    tab.open("tab=train")
    tab.page.wait_for_selector("#train:not([disabled])")
    tab.page.click("#more-settings summary")
    tab.page.fill("#set-batch", "0")
    tab.page.click("#train")
    tab.page.wait_for_selector("#problem:not([hidden])")
    assert "Rows of a batch should be a number from 8 to 1,024" in tab.tell("#problem")


def test_a_number_that_is_being_typed_is_not_refused(tab):
    tab.open("tab=train")
    tab.page.wait_for_selector("#train:not([disabled])")
    tab.page.click("#more-settings summary")
    tab.page.wait_for_selector("#schedule-drawn svg")
    before = tab.tell("#schedule-drawn .alpha-bar")
    tab.page.fill("#set-batch", "6")  # of 64
    tab.page.wait_for_timeout(300)  # the schedule follows soon
    assert tab.page.locator("#problem").is_hidden()
    tab.page.fill("#set-batch", "64")
    tab.page.fill("#set-steps", "80")
    tab.page.wait_for_function(
        "was => document.querySelector('#schedule-drawn .alpha-bar').textContent !== was", arg=before
    )


def test_the_tour_leads_from_noise_to_the_bound_in_eight_steps(tab):
    tab.open()
    tab.page.click("#start-tour")
    titles = [tab.tell("#tour-title")]
    for _ in range(7):
        tab.page.click("#tour-next")
        tab.settle()
        titles.append(tab.tell("#tour-title"))
    assert len(set(titles)) == 8
    assert any("bound" in title.lower() for title in titles)
    tab.page.click("[aria-label^='Step 7']")
    cost = re.search(r"at least ([\d.]+) nats", tab.tell("#tour"))[1]
    tab.page.click("[aria-label='End the tour']")
    tab.page.select_option("#model", "notebook")
    tab.settle()
    assert cost in tab.tell("#panel-watch .notice")


class TestQuestionsOfAStudent:
    """Each is answered by the clicks that docs/how-to/the-playground.md names."""

    def test_what_alpha_bar_n_costs(self, tab):
        tab.open()
        tab.page.select_option("#model", "notebook")
        tab.settle()
        assert "0.3475" in tab.tell("#panel-watch .facts")
        assert "nats" in tab.tell("#panel-watch .notice")

    def test_what_is_predicted_and_how_x_0_hat_follows(self, tab):
        tab.open("p=0.5000").page.click(".stage .view")
        tab.page.wait_for_selector("#panel-particle .symbols thead")
        assert tab.page.locator("#panel-particle .symbols thead th").all_inner_texts()[2:4] == ["learned", "exact"]
        assert tab.page.locator("#particle-formulas math").count() >= 4
        assert "Its own output is F" in tab.tell("#particle-formulas")
        tab.open("tab=particle&model=course").page.wait_for_selector("#particle-formulas math")
        assert "Its own output is the noise ε." in tab.tell("#particle-formulas")

    def test_two_settings_side_by_side(self, tab):
        tab.open("tab=compare")
        for chip in ("σ² = β and β̃", "Ancestral and DDIM", "10 and 100 steps", "Linear and cosine"):
            tab.page.click(f"#panel-compare button:has-text('{chip}')")
            tab.settle()
            tab.page.wait_for_function(
                "() => [...document.querySelectorAll('#compare-quality td')].every((cell) => cell.textContent !== '…')"
            )
            distances = [number(cell) for cell in tab.page.locator("#compare-quality td").all_inner_texts()[:3]]
            assert distances[0] != distances[1]
            assert min(distances) > 0.0
            assert tab.tell("#compare-words")

    def test_why_minus_log_p_is_below_the_bound(self, tab):
        tab.open("tab=bound&model=course")
        assert "Jensen" in tab.tell("#panel-bound")
        entropy, ode, bound = map(number, tab.page.locator("#bound-ladder table td").all_inner_texts())
        assert entropy < ode < bound

    def test_what_the_cosine_schedule_changes(self, tab):
        tab.open("tab=train")
        tab.page.wait_for_selector("#train:not([disabled])")
        tab.page.click("#more-settings summary")
        tab.page.wait_for_selector("#schedule-drawn svg")
        linear = number(tab.tell("#schedule-drawn .alpha-bar"))
        tab.page.select_option("#set-schedule", "cosine")
        tab.page.wait_for_function(
            "was => document.querySelector('#schedule-drawn .alpha-bar').textContent !== was",
            arg=tab.tell("#schedule-drawn .alpha-bar"),
        )
        assert number(tab.tell("#schedule-drawn .alpha-bar")) < linear

    def test_why_the_loss_is_flat(self, tab):
        tab.open("tab=train").page.click("#train:not([disabled])")
        tab.page.wait_for_selector("text=Why the loss hardly falls")
        tab.page.wait_for_selector("#training-chart svg")

    def test_what_the_exact_field_is(self, tab):
        tab.open("tab=field&p=0.4000")
        assert "mean of all clean points" in tab.tell("#panel-field")
        assert 0.0 < number(tab.tell("#field-relative")) < 20.0


def test_parts_of_the_bound_sum_to_it(tab):
    tab.open("tab=bound&model=course")
    rows = tab.page.locator("#panel-bound table:has(caption:text('Parts of the bound')) td").all_inner_texts()
    prior, bars, last, total = map(number, rows[:4])
    assert prior + bars + last == pytest.approx(total, abs=5e-4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, page_file, scheme):
    from axe_playwright_python.sync_playwright import Axe

    tab = opened(page_file, color_scheme=scheme, reduced_motion="reduce")
    tab.open()
    for name in PANELS:
        tab.goto(name)
        found = Axe().run(tab.page)
        assert found.violations_count == 0, found.generate_report()


def test_nothing_moves_for_people_who_ask_for_that(opened, page_file):
    tab = opened(page_file, reduced_motion="reduce").open()
    assert tab.tell("#play") == "Play"


@pytest.mark.parametrize("state", ["", "&solver=ddim&evaluations=10&eta=0.5"])
def test_a_phone_shows_the_formulas_whole(opened, page_file, state):
    tab = opened(page_file, viewport={"width": 390, "height": 844}).open(f"tab=particle&p=0.5000&row=3{state}")
    tab.page.wait_for_selector("#particle-formulas math")
    boxes = tab.page.locator("#panel-particle :is(.formula, .wide)")
    assert not any(boxes.evaluate_all("all => all.map((box) => box.scrollWidth > box.clientWidth)"))


@pytest.mark.parametrize(("width", "height"), [(390, 844), (640, 450)])  # a phone, and 1,280 x 900 at 200 %
def test_it_fits_narrow_windows(opened, page_file, width, height):
    tab = opened(page_file, viewport={"width": width, "height": height}).open()
    for name in PANELS:
        tab.goto(name)
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
