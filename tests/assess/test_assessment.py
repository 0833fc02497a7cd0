"""An assessment as a whole: one record, its text, its page and its progress."""

import json
from html import unescape

import numpy as np
import pytest

from backwalk.assess import assess, density
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model import log_density
from backwalk.streams import Stream

from .moons import MOONS, SOME, TRAINING, UNSEEN, assessed, fitted
from .tables import frame, model, table

pytestmark = pytest.mark.usefixtures("cheap_scores")


def test_it_is_shown_by_its_leading_figures_and_in_a_notebook_by_its_answers():
    fidelity = assessed()
    assert len(repr(fidelity)) < 150
    shown = unescape(fidelity._repr_html_())
    assert all(answer.text in shown for answer in fidelity.answers)
    assert all(warning in shown for warning in fidelity.warnings)


def test_the_same_stream_gives_the_same_figures_with_or_without_baselines(monkeypatch):
    again = assess(fitted(), UNSEEN, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=100, baselines=False).model
    assert [figure.name for figure in again.figures] == [figure.name for figure in assessed().model.figures]
    for one, other in zip(again.figures, assessed().model.figures, strict=True):
        # Without training rows the scale comes from the unseen ones, which moves distances but no ranks.
        if one.name in ("Worst column", "Associations"):
            assert one.value == pytest.approx(other.value, abs=1e-9)
    monkeypatch.setattr(density, "log_density", log_density)
    assert again.gap == assessed().model.gap


@pytest.mark.slow
def test_the_record_is_plain_json_without_rows():
    fidelity = assess(
        model(),
        frame(table(160, 2)),
        training=frame(table(400, 1)),
        stream=Stream(0),
        n_pairs=2,
        target="flag",
        n_rows=80,
    )
    for each in (assessed(), fidelity):
        text = json.dumps(each.to_dict(), allow_nan=False)
        record = json.loads(text)
        assert record["version"] == 8
        assert record["model"]["figures"][0]["null"] == each.model.figures[0].null
        assert len(text) < 60_000
        assert not {"real", "generated", "log_p_model"} & {
            key for part in record.values() if isinstance(part, dict) for key in part
        }
    assert record["levels"]["levels"][0]["n_levels"] == 3
    assert record["levels"]["utility"]["target"] == 2
    assert [scores.name for scores in fidelity.baselines] == ["Trees, column by column"]
    # The exact model loses nothing to the truth but its solver's error.
    assert fidelity.model.figure("C2ST, boosting").n_rows == 80


def test_an_estimator_in_the_place_of_its_model_is_told_so():
    with pytest.raises(InvalidInput, match=r"got Diffusion: give model.model_"):
        assess(Diffusion(), np.zeros((20, 2)), stream=Stream(0))


def test_what_is_no_density_is_refused():
    with pytest.raises(InvalidInput, match="density should be a Density or None, but got 5"):
        assess(fitted(), UNSEEN, density=5, stream=Stream(0))


@pytest.mark.slow
def test_progress_is_reported_from_0_to_1():
    seen = []
    watch = lambda share, stage: seen.append((share, stage))  # noqa: E731
    fidelity = assess(fitted(), UNSEEN, training=TRAINING, watch=watch, model_path="my 'moons'.backwalk", **SOME)
    assert all("load(\"my 'moons'.backwalk\")" in scores.code for scores in fidelity.models)
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
