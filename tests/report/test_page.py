import base64
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from backwalk.assess import assess
from backwalk.assess.words import with_error
from backwalk.datasets import two_moons
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.evaluation import Figure
from backwalk.report import chain_frames, render_report, tables, write_report
from backwalk.report.words import dataset_words, loss_words, prior_words
from backwalk.streams import Stream

NAMES = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script> & co"]
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
    frames = chain_frames(model(), ROWS, Stream(1), n_points=50)
    commands = ["backwalk report '<b>moons</b>.csv'"]
    return render_report(
        fidelity(), model(), data=ROWS, generated=UNSEEN, frames=frames, commands=commands, title="<u>Moons</u>"
    )


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


def test_the_page_loads_nothing():
    for tag, attributes in Elements(page()).tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base")
        assert not any(name in attributes for name in ("src", "srcset", "action", "formaction", "poster"))
        for name in ("href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"https?:|@import|url\((?!#)|fetch\(|XMLHttpRequest", page())


def test_markup_from_users_stays_text():
    elements = Elements(page())
    assert [tag for tag, _ in elements.tags].count("script") == 2
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    for text in ("<u>Moons</u>", "<b>moons</b>.csv", NAMES[0]):
        assert text in elements.text
    assert not {"u", "b"} & {tag for tag, _ in elements.tags}


def test_everything_asked_for_is_there_in_order():
    text = Elements(page()).text
    headings = ["Data beside generated", "How near is it", "Training", "The noise schedule", "Does the chain end"]
    headings += ["The bound, term by term", "The chain, there and back", "Model card", "What made this"]
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    for figure in fidelity().model.figures:
        assert figure.name in text
    for contender in fidelity().contenders:
        assert contender.name in text


@pytest.mark.parametrize(("errors", "bold"), [(2.3, False), (2.5, True)])
def test_a_difference_of_eight_pairs_is_bold_by_student_s_t(errors, bold):
    """2.43 errors, for the 2 of a normal."""
    figure = Figure("C2ST", 0.5, 0.1, 0.5, 0.1, errors * 0.1, 0.1, "accuracy", 100, 8)
    assert tables._figure_cell(figure, percent=False)["shown"] is bold


def test_bounds_stand_beside_the_entropy_and_the_textbook_s_setting_is_told():
    text = Elements(page()).text
    table = text[text.index("−log p of unseen rows, or its bound") :]
    names = [
        "The truth",
        f"{MOONS.entropy:.4f}",
        "Probability-flow ODE",
        "solver error",
        "The model's chain",
        "30 steps",
    ]
    names += [
        "σ² = β",
        "σ² = β̃",
        "σ² fitted",
        "full covariance",
        "The course notebook's chain",
        "on the same 100 unseen rows",
    ]
    places = [table.index(name) for name in names]
    assert places == sorted(places)
    assert f"would lose at least {fidelity().textbook_mismatch:.3f} nats of the bound" in text
    assert "whatever the network" in text
    labels = [a.get("aria-label", "") for tag, a in Elements(page()).tags if tag == "svg"]
    assert sum("beside the entropy" in label or "to the truth" in label for label in labels) == 2


def test_memory_stands_beside_chance_and_is_told_level_by_level():
    text = Elements(page()).text
    n = fidelity().nearest_row_share.n
    chance = with_error(0.5, 0.5 / n**0.5, percent=True).replace(" ", "\u00a0")
    assert f"Without any copying it would be {chance} by the luck of the draw" in text
    assert "level by level, with the same noise" in text
    assert any(a.get("aria-label", "").startswith("L_simple") for tag, a in Elements(page()).tags if tag == "svg")


def test_the_blur_of_the_density_is_told_in_the_user_s_units():
    assert f"noise of standard deviation {model().blur[0]:.2g} in {model().schema.names[0]}" in Elements(page()).text


def test_the_losses_are_told_for_what_they_are():
    text = " ".join(Elements(page()).text.split())
    assert "40 steps were taken. Each aims to lower the v-loss = |v − v_θ|²" in text
    assert "it compares with no other number on this page" in text
    notebook = replace(model().history, loss_name="L_simple", validation_step=(), validation_loss=())
    words = loss_words(notebook)
    assert "L_simple = |ε − ε_θ|²" in words
    assert "kept apart" not in words


def test_ids_differ():
    elements = Elements(page()).tags
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert any(tag == "clippath" for tag, _ in elements)
    links = [value for _, attributes in elements for name, value in attributes.items() if "href" in name]
    used = [link.removeprefix("#") for link in links if link.startswith("#")]
    used += re.findall(r"url\(#([^)]+)\)", page())
    assert used
    assert set(used) <= set(ids)


def test_there_is_one_scrubber_over_all_frames():
    sliders = [a for tag, a in Elements(page()).tags if tag == "input"]
    assert [(a["type"], a["min"], a["max"]) for a in sliders] == [("range", "0", "20")]


def test_the_page_is_small():
    assert len(page()) < 4_000_000


def test_rows_are_called_what_they_are():
    assert "300 training rows of 2 columns; judged by 100 others" in Elements(page()).text
    assert "100 rows, some of which" in dataset_words(ROWS, replace(fidelity(), are_others=False), (0, 1))
    alone = assess(model(), UNSEEN, stream=Stream(0), n_pairs=2)
    frames = chain_frames(model(), UNSEEN, Stream(1), n_points=50)
    text = Elements(render_report(alone, model(), data=UNSEEN, generated=UNSEEN, frames=frames)).text
    assert "100 rows of 2 columns, by which the model is judged; its training rows were not given" in text
    assert "standard deviations of the judged rows" in text


def test_frames_run_from_data_to_noise():
    frames = chain_frames(model(), ROWS, Stream(1), n_points=100)
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


def test_frames_are_of_columns_that_vary():
    frame = pd.DataFrame({"a": ROWS[:, 0], "one": 1.0})
    single = Diffusion(n_steps=10, max_steps=10, denoiser=SMALL, random_state=0, verbose=False).fit(frame).model_
    frames = chain_frames(single, frame.to_numpy(), Stream(0), n_points=20, n_frames=5)
    assert frames.labels == ("a", "spread out")
    with pytest.raises(InvalidInput, match="constant"):
        chain_frames(single, frame.to_numpy(), Stream(0), columns=(0, 1))
    judged = assess(single, frame.to_numpy(), stream=Stream(0), n_pairs=2)
    text = render_report(judged, single, data=frame, generated=frame, frames=frames)
    assert "1 of the columns hold" in text


def test_files_are_written_whole_and_not_over_others(tmp_path):
    path, numbers = tmp_path / "report.html", tmp_path / "report.json"
    write_report(path, fidelity(), model(), data=ROWS, stream=Stream(0), json_path=numbers)
    record = json.loads(numbers.read_text())
    assert record["verdict"] == fidelity().verdict
    assert record["card"]["n_columns"] == 2
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write_report(path, fidelity(), model(), data=ROWS, stream=Stream(1))
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_the_card_leaves_out_a_number_of_steps_that_the_clock_made_meaningless():
    for seconds, there in ((None, True), (1.5, False)):
        card = {**model().card, "parameters": {**model().card["parameters"], "max_time": seconds}}
        names = [name for name, _ in tables.card_rows(replace(model(), card=card))]
        assert ("training: max steps" in names) == there
        assert "training: batch size" in names


def test_the_page_says_what_its_chain_draws():
    """Found by review: of many columns two were drawn, and nothing said which."""
    a, b = model().schema.names
    assert f"Drawn: {a} across,\n  {b} up, in encoded units." in Elements(page()).text


def test_no_sentence_points_at_a_line_that_is_not_there():
    """Found by review: of a network that does not reach so far, the textbook's bound was said to stand in a table."""
    words, schedule = "stands in the table of the bounds", model().schedule
    assert words in prior_words(fidelity(), schedule)
    assert words not in prior_words(replace(fidelity(), textbook_chain=None), schedule)


def test_the_columns_numbers_are_those_of_both():
    (row, *_) = tables.column_rows(ROWS, UNSEEN, fidelity(), model().schema, [0])
    assert row["cells"][2:4] == [tables.significant(ROWS[:, 0].min()), tables.significant(ROWS[:, 0].max())]
    assert row["cells"][6:8] == [tables.significant(UNSEEN[:, 0].min()), tables.significant(UNSEEN[:, 0].max())]
