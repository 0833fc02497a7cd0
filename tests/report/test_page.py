"""The report as a page: it loads nothing, text stays text, and each section stands in its place."""

import base64
import hashlib
import itertools
import json
import re
from functools import cache
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from backwalk.assess import assess, render_report, report_record, write_report
from backwalk.datasets import two_moons
from backwalk.denoiser import Residual
from backwalk.estimator import Diffusion
from backwalk.report.card import card_rows
from backwalk.report.chain import chain_frames
from backwalk.streams import Stream
from tests.assess.tables import frame, table
from tests.assess.tables import model as table_model

NAMES = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script> & co\u202e\x1b[31m"]
SMALL = Residual(width=8, n_blocks=1, n_members=1)
MOONS = two_moons(noise=0.2)
ROWS, UNSEEN = MOONS.sample(300, random_state=0), MOONS.sample(100, random_state=1)

pytestmark = pytest.mark.usefixtures("cheap_scores")


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


@pytest.mark.slow
def test_characters_that_control_or_reorder_text_are_written_as_escapes():
    assert not re.search(r"[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f\x7f]", page())
    assert "co\\u202e\\x1b[31m" in Elements(page()).text


@pytest.mark.slow
def test_the_policy_allows_the_page_s_own_style_and_script_alone():
    metas = [attributes for tag, attributes in Elements(page()).tags if tag == "meta"]
    (policy,) = [meta["content"] for meta in metas if meta.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for rule, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page(), re.DOTALL)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.slow
def test_a_table_has_pictures_of_its_kinds():
    judged = assess(
        table_model(), frame(table(160, 2)), training=frame(table(400, 1)), stream=Stream(0), n_pairs=2, target="flag"
    )
    labels = list(pictures(render_report(judged, table_model(), stream=Stream(0))))
    for label in ("Levels of region", "Histograms of rain", "Calibration of the levels of flag", "Ranks of rain"):
        assert any(each.startswith(label) for each in labels)
    assert sum(each.startswith("Associations") for each in labels) == 3


@pytest.mark.slow
def test_a_single_column_beside_a_constant_is_shown(undrawn):
    rows = pd.DataFrame({"a": ROWS[:, 0], "one": 1.0})
    single = Diffusion(n_steps=10, max_steps=10, denoiser=SMALL, random_state=0, verbose=False).fit(rows).model_
    judged = assess(single, rows.to_numpy(), stream=Stream(0), n_pairs=2)
    text = Elements(render_report(judged, single, stream=Stream(0))).text
    assert "1 column is constant" in text
    assert "its training rows were not given" in text
    assert "Axes: a across, spread out upwards" in text


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


def test_a_page_grows_section_by_section_into_the_whole_one():
    made, pages = {}, []

    def show(record):
        pages.append(render_report(record, model(), stream=Stream(1), is_unfinished=True, made=made))

    options = {"training": ROWS, "stream": Stream(0), "n_pairs": 2}
    judged = assess(model(), UNSEEN, show=show, **options)
    whole = render_report(judged, model(), stream=Stream(1), made=made)
    headings = [re.findall("<h2>(.*?)</h2>", page) for page in (*pages, whole)]
    assert headings[0][0].startswith("Training")
    for fewer, more in itertools.pairwise(headings):
        assert set(fewer) <= set(more) | {"Before you use it"}
    assert len(headings[0]) < len(headings[1]) < len(headings[2]) < len(headings[-1])
    assert all("Not finished" in page and 'http-equiv="refresh"' in page for page in pages)
    assert "Not finished" not in whole
    assert whole == render_report(judged, model(), stream=Stream(1))


def test_a_quick_judgement_takes_fewer_rows_and_pairs(monkeypatch):
    monkeypatch.setattr("backwalk.assess.assessment.QUICK_ROWS", 60)
    judged = assess(model(), UNSEEN, training=ROWS, stream=Stream(0), quick=True)
    assert judged.checks.n_unseen == len(judged.density.rows) == len(judged.density.trained) == 60
    assert {figure.n_pairs for figure in judged.model.figures} == {3}


def test_frames_run_from_data_to_noise():
    frames = chain_frames(model(), ROWS, Stream(1), columns=(0, 1), n_points=100)
    assert frames.t[0] == 0.0
    assert frames.t[-1] == 30.0
    assert (np.diff(frames.log_snr) < 0).all()
    assert frames.forward.shape == frames.backward.shape
    # Of 300 rows a third at random: the head of a sorted table would be another cloud.
    encoded = model().codec.encode(ROWS)
    picked = np.abs(frames.forward[0][:, None] - encoded).max(axis=2).argmin(axis=1)
    np.testing.assert_allclose(frames.forward[0], encoded[picked], rtol=1e-12)
    assert len(set(picked)) == 100
    sent = frames.for_page()
    assert np.frombuffer(base64.b64decode(sent["forward"]), "<u2").size == frames.forward.size
    assert sent["log_snr"][0] is None


def test_the_card_has_no_empty_rows_and_plain_names():
    rows = dict(card_rows(model()))
    assert rows["training rows"] == str(model().card["n_rows"])
    assert not {"–", "None", ""} & set(rows.values())
    assert "max_time" in rows["parameters left to the fit"].split(", ")


def test_the_chain_is_shown_by_numbers_of_rows_that_are_at_no_atom(tmp_path):
    """A price that all but four rows repeat is left out of the picture, and without another number the section is."""
    generator = np.random.default_rng(0)
    prices = generator.choice(10**6, 34, replace=False)
    rows = pd.DataFrame({"price": np.append(np.repeat(prices[:30], 10), prices[30:])})
    for name, others in (("alone", {}), ("both", {"width": generator.normal(size=304)})):
        table = rows.assign(red=generator.random(304) < 0.5, **others)
        fitted = Diffusion(max_steps=20, random_state=0, verbose=False).fit(table)
        fitted.report(tmp_path / f"{name}.html", table.iloc[:100], quick=True)
        page = (tmp_path / f"{name}.html").read_text()
        assert ("Axes: width across, spread out upwards" in page) == (name == "both")
        assert ("The chain, forward and backward" in page) == (name == "both")
