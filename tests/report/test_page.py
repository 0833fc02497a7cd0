import base64
import hashlib
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from backwalk.assess import assess
from backwalk.assess.statistics import Figure
from backwalk.assess.statistics.membership import Found
from backwalk.assess.topics.membership import MembershipTest
from backwalk.assess.words import significant
from backwalk.datasets import two_moons
from backwalk.denoiser import Residual
from backwalk.estimates import Estimate
from backwalk.estimator import Diffusion
from backwalk.report import render_report, report_record, write_report
from backwalk.report.blocks import Context, Heading, Text
from backwalk.report.sections import columns
from backwalk.report.sections.card import card_rows
from backwalk.report.sections.chain import chain_frames
from backwalk.report.sections.closeness import closeness_section
from backwalk.report.sections.likelihood import likelihood_section
from backwalk.report.sections.membership import membership_section
from backwalk.report.sections.rows import row_section, rows_text
from backwalk.report.sections.training import training_section
from backwalk.streams import Stream
from backwalk.table import Schema

NAMES = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script> & co\u202e\x1b[31m"]
SMALL = Residual(width=8, n_blocks=1, n_members=1)
MOONS = two_moons(noise=0.2)
ROWS, UNSEEN = MOONS.sample(300, random_state=0), MOONS.sample(100, random_state=1)


@cache
def model():
    frame = pd.DataFrame(ROWS, columns=NAMES)
    return Diffusion(n_steps=30, max_steps=40, denoiser=SMALL, random_state=0, verbose=False).fit(frame).model_


@cache
def fidelity():
    return assess(model(), UNSEEN, training=ROWS, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=100)


@cache
def page():
    commands = ["backwalk report '<b>moons</b>.csv'"]
    return render_report(fidelity(), model(), stream=Stream(1), commands=commands, title="<u>Moons</u>")


def context(of=None, **changed):
    return Context(replace(fidelity(), **changed), of or model(), Stream(1))


pytestmark = pytest.mark.usefixtures("cheap_scores")


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def pictures(text):
    """Return the pictures of a page: their labels and their SVG."""
    images = [attributes for tag, attributes in Elements(text).tags if tag == "img"]
    assert all(image["src"].startswith("data:image/svg+xml,") for image in images)
    return {image["alt"]: unquote(image["src"].partition(",")[2]) for image in images}


@pytest.mark.slow
def test_the_page_loads_nothing():
    for tag, attributes in Elements(page()).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert tag == "img" or "src" not in attributes
        assert not any(name in attributes for name in ("href", "srcset", "action", "formaction", "poster"))
    without_images = re.sub(r'<img src="[^"]*"', "", page())
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest", without_images)
    for svg in pictures(page()).values():
        assert not re.search(r'<script|href="(?!#|data:image/png;base64,)|url\((?!#)', svg)


@pytest.mark.slow
def test_markup_from_users_stays_text():
    elements = Elements(page())
    assert [tag for tag, _ in elements.tags].count("script") == 2
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    for text in ("<u>Moons</u>", "<b>moons</b>.csv", NAMES[0]):
        assert text in elements.text
    assert not {"u", "b"} & {tag for tag, _ in elements.tags}
    assert any(NAMES[0] in label for label in pictures(page()))
    url = row_section(context()).blocks[2].pictures[0].url
    assert "%3C" in url
    assert '"' not in url


def test_characters_that_control_or_reorder_text_are_written_as_escapes():
    """Found by an attack: U+202E in a column's name reordered the page."""
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f]", page())
    assert "co\\u202e\\x1b[31m" in Elements(page()).text


def test_the_policy_allows_the_page_s_own_style_and_script_alone():
    metas = [attributes for tag, attributes in Elements(page()).tags if tag == "meta"]
    (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page(), re.DOTALL)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def in_order(text, *parts):
    """Return whether these parts are in a text in this order."""
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


def test_everything_asked_for_is_there_in_order():
    text = Elements(page()).text
    assert in_order(
        text,
        *("Is it good enough?", "For what?", "Does it give its training rows away?", "What to do next?"),
        *("Real rows beside generated", "How close are", *(figure.name for figure in fidelity().model.figures)),
        *("How likely are", *(scores.name for scores in fidelity().models), "Does it copy", "Without copying, 50"),
        *("Can its training rows be recognised?", "ln p minus that of", "Pairs told apart: "),
        *("Training", "The noise schedule", "Does the chain end", "The bound, term by term"),
        *("−log p of unseen rows, or its bound", "The truth", f"{MOONS.entropy:.4f}", "Probability-flow ODE"),
        *("error of the solver", "The model's chain", "30 steps"),
        *("The chain, forward and backward", "Axes: ", "Model card", "Commands"),
    )
    a, b = NAMES[0], NAMES[1].replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
    assert f"Axes: {a} across, {b} upwards, encoded units." in text
    assert sum("beside the entropy" in label or "to the truth" in label for label in pictures(page())) == 2
    tags = Elements(page()).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    (slider,) = [attributes for tag, attributes in tags if tag == "input"]
    assert (slider["type"], slider["min"], slider["max"]) == ("range", "0", "20")
    assert len(page()) < 4_000_000


@pytest.mark.parametrize(("errors", "bold"), [(2.3, False), (2.5, True)])
def test_a_difference_of_eight_pairs_is_bold_by_student_s_t(errors, bold):
    """2.43 errors, for the 2 of a normal."""
    figure = Figure("C2ST, boosting", 0.5, 0.1, 0.5, 0.1, errors * 0.1, 0.1, "accuracy", 100, 8)
    section = closeness_section(context(model=replace(fidelity().model, figures=(figure,)), baselines=()))
    (row,) = section.blocks[1].rows
    assert row.cells[1].matters is bold


@pytest.mark.parametrize(("area", "share", "bold"), [(0.53, 0.021, True), (0.515, 0.02, False), (0.47, 0.0, True)])
def test_training_rows_told_apart_by_more_than_chance_are_bold(area, share, bold):
    test = MembershipTest("ln p", Estimate(area, 0.01, 800), Found(share, 0.01, 0.03, 0.01, 0.02))
    scores = replace(fidelity().membership, tests=(test,), n_impossible=3)
    words, table, note = membership_section(context(membership=scores)).blocks
    assert "3 of the unseen rows hold values that the model cannot make" in words.text
    assert [cell.matters for cell in table.rows[0].cells] == [bold, share > 0.02]
    assert "false-alarm" not in note.text
    few = replace(scores, tests=(replace(test, found=None),), n_impossible=0)
    assert "Fewer than 99 unseen rows" in membership_section(context(membership=few)).blocks[-1].text


def test_the_blur_of_the_density_is_told_in_the_user_s_units():
    assert f"noise of standard deviation {model().blur[0]:.2g} in {model().schema.names[0]}" in Elements(page()).text
    nameless = replace(model(), schema=Schema(None, model().schema.dtypes, "numpy"))
    blocks = likelihood_section(context(nameless)).blocks
    notes = " ".join(block.text for block in blocks if isinstance(block, Text))
    assert re.search(r"standard deviation \S+ in x₁, \S+ in x₂", notes)


@pytest.mark.slow
def test_the_losses_are_named():
    text = training_section(context()).blocks[0].text
    assert "40 steps. Each step lowers the v-loss |v − v_θ|²" in text
    assert "held-out rows" in text
    notebook = replace(model().history, loss_name="L_simple", validation_step=(), validation_loss=())
    text = training_section(context(replace(model(), history=notebook))).blocks[0].text
    assert "L_simple = |ε − ε_θ|²" in text
    assert "held-out" not in text
    for stopped_by, words in (
        ("time limit", "40 steps of about 1,200, when its time limit ended"),
        ("overfitting", "40 steps of 1,200, as later weights were worse on held-out rows"),
    ):
        card = {**model().card, "stopped_by": stopped_by, "usual_steps": 1200}
        assert words in training_section(context(replace(model(), card=card))).blocks[0].text


@pytest.mark.slow
def test_training_held_out_and_scored_rows_are_counted(undrawn):
    n, held_out = model().card["n_rows"], model().card["n_validation_rows"]
    assert n + held_out == 300
    text = rows_text(fidelity(), 2, 2)
    for words in (
        f"scored on 100 rows of 2 columns, and was trained on {n} rows",
        "300 rows given",
        f"other {held_out}",
    ):
        assert words in text
    checks = replace(fidelity().checks, is_other_training=True, n_training=80, n_given=80)
    text = rows_text(replace(fidelity(), checks=checks), 2, 2)
    assert "The 80 training rows given here are not the table of its fit." in text
    assert "trained on" not in text
    alone = assess(model(), UNSEEN, stream=Stream(0), n_pairs=2)
    text = Elements(render_report(alone, model(), stream=Stream(1))).text
    assert "its training rows were not given" in text
    assert "standard deviations of the scored rows" in text


@pytest.mark.slow
def test_columns_that_are_left_out_are_counted(monkeypatch):
    """Found by a user: six of 17 columns were drawn, and nothing said so."""
    headings = lambda: [block.text for block in row_section(context()).blocks if isinstance(block, Heading)]  # noqa: E731
    assert headings() == ["Column by column"]
    monkeypatch.setattr(columns, "MOST_HISTOGRAMS", 1)
    assert headings() == ["Column by column: the 1 of 2 columns that differ most"]


def test_frames_run_from_data_to_noise():
    frames = chain_frames(model(), ROWS, Stream(1), columns=(0, 1), n_points=100)
    assert frames.t[0] == 0.0
    assert frames.t[-1] == 30.0
    assert (np.diff(frames.log_snr) < 0).all()
    assert frames.forward.shape == frames.backward.shape == (21, 100, 2)  # x_N, and one after each evaluation
    # Of 300 rows a third at random: the head of a sorted table would be another cloud.
    encoded = model().codec.encode(ROWS)
    picked = np.abs(frames.forward[0][:, None] - encoded).max(axis=2).argmin(axis=1)
    np.testing.assert_allclose(frames.forward[0], encoded[picked], rtol=1e-12)
    assert len(set(picked)) == 100
    assert len(set(np.diff(np.sort(picked)))) > 2
    sent = frames.for_page()
    numbers = np.frombuffer(base64.b64decode(sent["forward"]), "<u2")
    assert numbers.size == frames.forward.size
    assert sent["log_snr"][0] is None


def test_frames_are_of_columns_that_vary(undrawn):
    frame = pd.DataFrame({"a": ROWS[:, 0], "one": 1.0})
    single = Diffusion(n_steps=10, max_steps=10, denoiser=SMALL, random_state=0, verbose=False).fit(frame).model_
    judged = assess(single, frame.to_numpy(), stream=Stream(0), n_pairs=2)
    page = Elements(render_report(judged, single, stream=Stream(0))).text
    assert "1 column is constant" in page
    assert "Axes: a across, spread out upwards" in page


@pytest.mark.slow
def test_files_are_not_written_over_others(tmp_path, undrawn):
    path = tmp_path / "report.html"
    write_report(path, fidelity(), model(), stream=Stream(0))
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_report(path, fidelity(), model(), stream=Stream(1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    record = json.loads(json.dumps(report_record(fidelity(), model()), allow_nan=False))
    assert [answer["text"] for answer in record["answers"]] == [answer.text for answer in fidelity().answers]
    assert record["card"]["n_columns"] == 2


def test_the_card_leaves_out_a_number_of_steps_that_is_only_a_limit():
    for seconds, there in ((None, True), (1.5, False)):
        card = {**model().card, "parameters": {**model().card["parameters"], "max_time": seconds}}
        names = [name for name, _ in card_rows(replace(model(), card=card))]
        assert ("training: max steps" in names) == there
        assert "training: batch size" in names


def test_the_card_has_no_empty_rows_and_plain_names():
    """Found by a user: rows of dashes, and "n rows" of 9,684 below a title of 10,000."""
    rows = dict(card_rows(model()))
    assert rows["training rows"] == str(model().card["n_rows"])
    assert not {"–", "None", ""} & set(rows.values())
    assert "max_time" in rows["parameters left to the fit"].split(", ")


@pytest.mark.slow
def test_the_columns_numbers_are_those_of_both():
    details = row_section(context()).blocks[-1]
    cells = [cell.value for cell in details.blocks[0].rows[0].cells]
    real, generated = fidelity().real[:, 0], fidelity().generated[:, 0]
    assert cells[2:4] == [significant(real.min()), significant(real.max())]
    assert cells[6:8] == [significant(generated.min()), significant(generated.max())]
