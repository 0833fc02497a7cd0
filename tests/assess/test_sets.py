"""The rows of an assessment: which are scored, refused, set aside, and compared with those of the fit."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from backwalk.assess import assess
from backwalk.assess.sets import copied_share
from backwalk.errors import InvalidInput, RepeatedValueWarning
from backwalk.estimator import Diffusion
from backwalk.streams import Stream

from .moons import MOONS, SMALL, SOME, TRAINING, UNSEEN, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")


@cache
def with_a_site():
    """Return a model of two moons, a flag and the label of a site, and more such rows."""
    rows = MOONS.sample(200, random_state=2)
    frame = pd.DataFrame({"flag": np.arange(200) % 2, "x": rows[:, 0], "y": rows[:, 1]})
    frame["site"] = np.array(["north", "south"])[np.arange(200) % 3 // 2]
    fit = Diffusion(n_steps=20, max_steps=10, denoiser=SMALL, random_state=0, verbose=False)
    return fit.fit(frame[:120]).model_, frame[:120], frame[120:]


def test_rows_with_an_unseen_label_are_set_aside_and_counted_among_scored_and_training_rows():
    model, training, unseen = with_a_site()
    strange = pd.concat([unseen[:2].assign(site="west"), unseen])
    more = pd.concat([training, training[:3].assign(site="east")])
    options = {"stream": Stream(0), "n_pairs": 2, "baselines": False}
    found, expected = (
        assess(model, strange, training=more, **options),
        assess(model, unseen, training=training, **options),
    )
    assert (found.checks.n_unseen, found.checks.n_impossible, expected.checks.n_impossible) == (80, 2, 0)
    assert (found.checks.n_given, found.checks.impossible_training.n_rows) == (120, 3)
    assert not found.checks.is_other_training  # what is left is the table of the fit
    of_training, of_unseen = (line for line in found.warnings if line not in expected.warnings)
    assert "3 of 123 training rows were set aside" in of_training
    assert "2 of 82 unseen rows were set aside" in of_unseen
    assert all("site" in line for line in (of_training, of_unseen))
    assert found.model.figures == expected.model.figures
    assert found.copies.n_impossible == 2
    with pytest.raises(InvalidInput, match="unseen should hold values that the model can make"):
        assess(model, unseen[:30].assign(site=["north"] * 19 + ["west"] * 11), **options)


@pytest.mark.slow
def test_nothing_is_known_by_rows_of_the_fit():
    for rows, training in ((TRAINING, None), (TRAINING[:300], TRAINING)):
        fidelity = assess(fitted(), rows, training=training, **SOME)
        assert fidelity.checks.share_of_fit == 1.0
        assert fidelity.answers[0].text.startswith("Not known: 100%")
        assert "training rows" in fidelity.warnings[0] or "rows that the model was fitted to" in fidelity.warnings[0]
        assert fidelity.code.startswith("from backwalk import Diffusion\n\nmodel = Diffusion.load(")


@pytest.mark.slow
def test_training_rows_that_are_not_the_fits_and_scored_rows_among_them_are_warned_of():
    mixed = np.concatenate([UNSEEN[:300], TRAINING[:100]])
    fidelity = assess(fitted(), mixed, training=TRAINING[:-1], baselines=False, **SOME)
    assert fidelity.checks.copied_share == 0.25
    assert fidelity.checks.is_other_training
    assert "25%" in fidelity.warnings[0]
    assert "are not the rows of the fit" in fidelity.warnings[1]
    assert "Not known" in fidelity.answers[-2].text


def test_rows_that_repeat_by_nature_are_no_copies():
    """Of 32 possible rows, most training rows occur twice, and so do unseen ones among them."""
    flags = np.random.default_rng(0).integers(0, 2, (400, 5)).astype(float)
    assert copied_share(flags[:200], flags[200:]) < 0.05
    assert copied_share(UNSEEN[:20], np.concatenate([TRAINING, UNSEEN[:10]])) == 0.5


@pytest.mark.parametrize(
    ("unseen", "words"),
    [(UNSEEN[:19], "at least 20 rows"), (np.zeros((50, 3)), "unseen has 3 features")],
)
def test_unfit_rows_are_refused(unseen, words):
    with pytest.raises(InvalidInput, match=words):
        assess(fitted(), unseen, stream=Stream(0))


@pytest.mark.parametrize("n_rows", [9, 0, -1, 20.5, True])
def test_sets_too_small_for_the_classifiers_are_refused(n_rows):
    with pytest.raises(InvalidInput, match="n_rows should be an integer >= 10"):
        assess(fitted(), UNSEEN, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=n_rows)


@pytest.mark.slow
def test_a_column_that_does_not_vary_among_the_judged_rows_is_judged_all_the_same():
    rows = np.column_stack([np.arange(1000) % 2, MOONS.sample(1000, random_state=2)])
    with pytest.warns(RepeatedValueWarning):
        fit = Diffusion(n_steps=20, max_steps=30, denoiser=SMALL, random_state=0, verbose=False).fit(rows[:600])
    quiet = rows[600:][rows[600:, 0] == 0.0]
    fidelity = assess(fit.model_, quiet, stream=Stream(0), n_pairs=2)
    assert fidelity.columns.figures[0].value > 0.3  # half of the generated flags are 1
    assert fidelity.columns.figures[0].null == 0.0
