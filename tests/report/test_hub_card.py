"""The model card for the Hugging Face hub."""

import json
from dataclasses import fields, replace

import pytest

from backwalk.assess import Calibration
from backwalk.assess.words import estimate_text, figure_texts
from backwalk.estimator import Diffusion
from backwalk.report import render_hub_card

from ..assess.moons import assessed, fitted


def test_its_figures_are_those_of_the_report():
    card = render_hub_card(assessed(), fitted())
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    metadata = {key: json.loads(value) for key, _, value in (line.partition(": ") for line in head.splitlines())}
    (result,) = metadata["model-index"][0]["results"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    for figure in assessed().model.figures:
        assert values[figure.name] == figure.value
        assert figure_texts(figure)[0] in body
        assert figure_texts(figure)[1] in body
    for scores in assessed().models:
        assert estimate_text(scores.negative_log_density) in body
    assert all(answer.question in body for answer in assessed().answers)
    assert 'Diffusion.load("model.backwalk")' in body


def test_calibration_alone_has_answers_and_no_figures():
    calibration = Calibration(**{field.name: getattr(assessed(), field.name) for field in fields(Calibration)})
    card = render_hub_card(calibration, fitted())
    assert assessed().answers[0].question in card
    assert "model-index" not in card
    assert "## How good it is" not in card


def test_texts_of_a_table_stay_text():
    hostile = "<script>alert(1)</script> | [a](b)\n# `code` \u202e"
    card = render_hub_card(replace(assessed(), warnings=(hostile,)), fitted())
    assert r"- \<script\>alert(1)\</script\> \| \[a\](b) \# \`code\` \\u202e" in card


def test_a_file_is_kept_unless_it_may_be_overwritten(tmp_path):
    model, path = Diffusion(), tmp_path / "README.md"
    model.model_ = fitted()
    model.to_card(path, assessed())
    assert path.read_text() == render_hub_card(assessed(), fitted())
    with pytest.raises(FileExistsError):
        model.to_card(path, assessed())
    model.to_card(path, assessed(), overwrite=True)
