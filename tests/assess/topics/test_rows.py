"""The rows of an assessment: which are scored, refused, left out, and compared with those of the fit."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from backwalk.assess import assess
from backwalk.assess.topics.rows import copied_share
from backwalk.errors import InvalidInput, RepeatedValueWarning
from backwalk.estimator import Diffusion
from backwalk.model import log_density
from backwalk.streams import Stream

from ..moons import MOONS, SMALL, SOME, TRAINING, UNSEEN, assessed, fitted

pytestmark = pytest.mark.usefixtures("cheap_scores")


def test_real_rows_without_a_known_density_are_split_and_give_no_gap():
    fidelity = assess(fitted(), UNSEEN[:100], training=TRAINING, stream=Stream(0), n_pairs=2, baselines=False)
    assert fidelity.real_rows == "2 random splits of the unseen rows into halves of 50"
    assert fidelity.model.gap is fidelity.likelihood.entropy is fidelity.likelihood.bound_gap is None
    assert fidelity.baselines == ()
    disjoint = assess(fitted(), UNSEEN, stream=Stream(0), n_pairs=2, n_rows=100)
    assert disjoint.real_rows == "2 pairs of 100 unseen rows, none of them used twice"
    assert disjoint.memorisation is None


@cache
def with_a_flag():
    """Return a model of two moons and a flag, of one site, and more such rows."""
    rows = np.column_stack([np.full(1000, 3.0), np.arange(1000) % 2, MOONS.sample(1000, random_state=2)])
    with pytest.warns(RepeatedValueWarning):
        fit = Diffusion(n_steps=20, max_steps=30, denoiser=SMALL, random_state=0, verbose=False).fit(rows[:600])
    return fit.model_, rows[:600], rows[600:]


def test_a_column_that_does_not_vary_among_the_judged_rows_is_judged_all_the_same():
    model, _, unseen = with_a_flag()
    quiet = unseen[unseen[:, 1] == 0.0]
    fidelity = assess(model, quiet, stream=Stream(0), n_pairs=2)
    assert [figure.name for figure in fidelity.columns.figures] == ["x₂", "x₃", "x₄"]
    assert fidelity.columns.figures[0].value > 0.3  # half of the generated flags are 1
    assert fidelity.columns.figures[0].null == 0.0


def test_training_rows_that_the_model_cannot_make_are_refused():
    model, training, unseen = with_a_flag()
    training[[7, 9], 0] = 4.0
    with pytest.raises(InvalidInput, match=r"training should hold .* but got 4 at row 7 .* 1 more row differs"):
        assess(model, unseen, training=training, stream=Stream(0), n_pairs=2)


def test_unseen_rows_that_the_model_cannot_make_are_left_out_and_told():
    """Found by review: a single one kept all others from being judged."""
    model, _, unseen = with_a_flag()
    others = np.concatenate([unseen[:2], unseen])
    others[:2, 0] = 4.0
    fidelity, expected = (assess(model, rows, stream=Stream(0), n_pairs=2) for rows in (others, unseen))
    assert (fidelity.checks.n_unseen, fidelity.checks.n_impossible, expected.checks.n_impossible) == (len(unseen), 2, 0)
    told = [line for line in fidelity.warnings if line not in expected.warnings]
    assert [f"2 of {len(others)} unseen rows" in line for line in told] == [True]
    assert fidelity.model.figures == expected.model.figures
    assert fidelity.likelihood.bound.total == expected.likelihood.bound.total
    unseen[19:, 0] = 4.0
    with pytest.raises(InvalidInput, match=r"unseen should hold .* but got 4 at row 19"):
        assess(model, unseen, stream=Stream(0), n_pairs=2)


@pytest.mark.slow
def test_nothing_is_known_by_rows_of_the_fit():
    """Found by a user: a report recommended a kernel density on the very rows that it was fitted to."""
    for rows, training in ((TRAINING, None), (TRAINING[:300], TRAINING)):
        fidelity = assess(fitted(), rows, training=training, **SOME)
        assert fidelity.checks.share_of_fit == 1.0
        assert fidelity.answers[0].text.startswith("Not known: 100%")
        assert "training rows" in fidelity.warnings[0] or "rows that the model was fitted to" in fidelity.warnings[0]
        answers = [f"{answer.question} {answer.text}" for answer in fidelity.answers]
        n = len(answers) + 2
        assert fidelity.lines()[:n] == [*answers, "Before you use it:", f"- {fidelity.warnings[0]}"]
        assert fidelity.code.startswith("from backwalk import Diffusion\n\nmodel = Diffusion.load(")
    assert assessed().checks.share_of_fit == 0.0
    assert not assessed().answers[0].text.startswith("Not known")


@pytest.mark.slow
def test_training_rows_that_are_not_the_fits_and_scored_rows_among_them_are_warned_of():
    """Found by review: with another table as training rows the report found no copies, and said so."""
    mixed = np.concatenate([UNSEEN[:300], TRAINING[:100]])
    fidelity = assess(fitted(), mixed, training=TRAINING[:-1], baselines=False, **SOME)
    assert fidelity.checks.copied_share == 0.25
    assert fidelity.checks.is_other_training
    assert "25%" in fidelity.warnings[0]
    assert "are not the rows of the fit" in fidelity.warnings[1]
    quiet = assess(fitted(), UNSEEN, training=TRAINING, baselines=False, **SOME)
    assert not quiet.checks.is_other_training
    assert quiet.checks.copied_share == 0.0


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
    """Found by review: scikit-learn's own error came, or rows were cut off the end."""
    with pytest.raises(InvalidInput, match="n_rows should be an integer >= 10"):
        assess(fitted(), UNSEEN, density=MOONS, stream=Stream(0), n_pairs=2, n_rows=n_rows)


@pytest.mark.slow
def test_tables_are_judged_by_the_names_of_their_columns():
    """Found by review: columns in another order were taken by their place."""
    pd = pytest.importorskip("pandas")
    training = pd.DataFrame(TRAINING, columns=["a", "b"])
    model = Diffusion(n_steps=5, max_steps=2, denoiser=SMALL, random_state=0, verbose=False).fit(training).model_
    unseen = pd.DataFrame(UNSEEN, columns=["a", "b"])
    one, other = (
        assess(model, rows, training=training, stream=Stream(0), n_pairs=2, baselines=False)
        for rows in (unseen, unseen[["b", "a"]])
    )
    assert one.to_dict()["columns"] == other.to_dict()["columns"]
    with pytest.raises(InvalidInput, match="unseen lacks 'b' and also has 'c'"):
        assess(model, unseen.rename(columns={"b": "c"}), stream=Stream(0))


@pytest.mark.slow
def test_fractions_among_integers_are_left_out_and_named():
    """Found by an attack: half-integers in a column of integers were scored in silence."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"count": rng.integers(0, 9, 400).astype(float), "x": rng.normal(size=400)})
    settings = {"n_steps": 20, "max_steps": 20, "denoiser": SMALL, "columns": {"count": "integer"}}
    model = Diffusion(**settings, random_state=0, verbose=False).fit(frame[:200]).model_
    other = frame[200:].copy()
    other.iloc[:2, 0] = 2.5
    fidelity = assess(model, other, **SOME)
    assert (fidelity.checks.n_unseen, fidelity.checks.n_impossible) == (198, 2)
    assert any("2 of 200 unseen rows" in line for line in fidelity.warnings)
    assert log_density(model, other[:3].to_numpy()).log_prob.isinf().tolist() == [True, True, False]
    with pytest.raises(InvalidInput, match=r"2\.5 at row 0 .* column 'count', which is integers"):
        assess(model, frame[200:], training=other, **SOME)
