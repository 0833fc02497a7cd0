"""An assessment as a whole: one set of nulls, one record, progress and threads."""

import json
from html import unescape

import numpy as np
import pytest
import torch

from backwalk.assess import assess, assessment
from backwalk.assess.topics import likelihood
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model import log_density
from backwalk.streams import Stream

from .moons import MOONS, SOME, TRAINING, UNSEEN, assessed, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")


def test_it_is_shown_by_its_leading_figures_and_in_a_notebook_by_its_answers():
    fidelity = assessed()
    assert len(repr(fidelity)) < 150
    assert f"{fidelity.model.negative_log_density.value:.1f}" in repr(fidelity)
    shown = unescape(fidelity._repr_html_())
    assert all(answer.text in shown for answer in fidelity.answers)
    assert all(warning in shown for warning in fidelity.warnings)


def test_all_models_are_compared_with_the_same_nulls():
    names = [figure.name for figure in assessed().model.figures]
    assert len(names) == 7
    for scores in assessed().models:
        assert [figure.name for figure in scores.figures] == names
        for own, other in zip(scores.figures, assessed().model.figures, strict=True):
            assert own.null == other.null
            assert own.difference == pytest.approx(own.value - own.null, abs=1e-12)


def test_densities_are_scored_on_all_threads(monkeypatch):
    """Found by review: on one, as what takes small pieces of work is."""
    before, seen, score = torch.get_num_threads(), [], assessment.score_likelihood

    def noted(*given, **options):
        seen.append(torch.get_num_threads())
        return score(*given, **options)

    monkeypatch.setattr(assessment, "score_likelihood", noted)
    torch.set_num_threads(3)
    try:
        assess(fitted(), UNSEEN[:60], stream=Stream(0), n_pairs=2, n_rows=15)
    finally:
        torch.set_num_threads(before)
    assert seen == [3]


def test_the_same_stream_gives_the_same_figures_with_or_without_baselines(monkeypatch):
    monkeypatch.setattr(likelihood, "log_density", log_density)
    again = assess(fitted(), UNSEEN, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=100, baselines=False).model
    assert [figure.name for figure in again.figures] == [figure.name for figure in assessed().model.figures]
    for one, other in zip(again.figures, assessed().model.figures, strict=True):
        # Without training rows the scale comes from the unseen ones, which moves distances but no ranks.
        if one.unit != "standard deviations" and not one.name.startswith(("C2ST, near", "Coverage")):
            assert one.value == pytest.approx(other.value, abs=1e-9)
    assert again.gap == assessed().model.gap


def test_the_record_is_plain_json():
    record = json.loads(json.dumps(assessed().to_dict(), allow_nan=False))
    assert record["version"] == 7
    assert record["likelihood"]["bound"]["n_rows"] == 400
    assert len(record["likelihood"]["bound"]["transitions"]) == 41
    assert "per_row" not in record["likelihood"]["bound"]
    assert record["model"]["figures"][0]["null"] == assessed().model.figures[0].null


def test_an_estimator_in_the_place_of_its_model_is_told_so():
    with pytest.raises(InvalidInput, match=r"got Diffusion: give model.model_"):
        assess(Diffusion(), np.zeros((20, 2)), stream=Stream(0))


@pytest.mark.slow
def test_progress_is_reported_from_0_to_1():
    seen = []
    watch = lambda share, stage: seen.append((share, stage))  # noqa: E731
    fidelity = assess(fitted(), UNSEEN, training=TRAINING, watch=watch, model_path="my 'moons'.backwalk", **SOME)
    assert all("load(\"my 'moons'.backwalk\")" in scores.code for scores in fidelity.models)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert len({stage for _, stage in seen}) > 6
