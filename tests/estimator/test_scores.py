"""What an estimator says of rows, and of itself by rows: ranks, folds with a constant column, assess and report."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from backwalk.assess import Fidelity
from backwalk.denoiser import Residual
from backwalk.errors import ImpossibleRowsWarning, InvalidInput, UnseenValuesWarning
from backwalk.estimator import Diffusion
from backwalk.fit import progress
from backwalk.model import rank_scores


def tiny(**settings):
    given = {"n_steps": 10, "max_steps": 3, "denoiser": Residual(8, 1), "random_state": 0, "verbose": False}
    return Diffusion(**{**given, **settings})


def test_a_rank_is_the_share_of_the_reference_that_is_no_more_likely():
    reference = np.array([3.0, 1.0, 2.0, 2.0])
    assert rank_scores(np.array([-math.inf, 0.9, 1.0, 2.0, 2.5, 9.0]), reference).tolist() == [
        0,
        0,
        0.25,
        0.75,
        0.75,
        1,
    ]
    assert rank_scores(np.array([1.0]), np.array([])).tolist() == [0.0]


def test_what_cannot_be_answered_is_said_before_any_work(tmp_path):
    """A name that is taken was found after minutes of scoring, and ranks among no rows were 0."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = tiny().fit(X)
    (tmp_path / "there.html").write_text("mine")
    with pytest.raises(FileExistsError):
        model.report(tmp_path / "there.html", None)
    for reference in (np.empty(0), np.array([1.0, math.nan])):
        with pytest.raises(InvalidInput, match="reference should hold log-densities"):
            model.score_ranks(X, reference)


@pytest.mark.slow
def test_a_score_leaves_out_rows_that_the_model_cannot_make_and_says_so(fitted, rows):
    other = rows[:3].copy()
    other[1, 1] += 1e-9
    with pytest.warns(ImpossibleRowsWarning, match=r"at row 1 .* column 1.* 7.25.*leaves .* out") as caught:
        score = fitted.score(other)
    assert score == fitted.score(rows[[0, 2]])
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UnseenValuesWarning, match="column 1"):
        assert fitted.score_samples(other)[1] == -math.inf
    with pytest.warns(ImpossibleRowsWarning):
        assert fitted.score(other[1:2]) == -math.inf


@pytest.mark.slow
def test_a_column_that_is_constant_in_a_fold_does_not_spoil_a_search():
    """Found by an attack: the mean was -inf for every candidate, and none was chosen."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    X[:, 1] = 0.0
    X[50, 1] = 1.0
    folds = [(np.arange(50), np.arange(50, 60))]
    search = GridSearchCV(
        tiny(validation_fraction=0.0), {"max_steps": [1, 300]}, cv=folds, refit=False, error_score="raise"
    )
    with pytest.warns(ImpossibleRowsWarning, match="column 1"):
        search.fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert scores[0] != scores[1]


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_scores", "undrawn")
def test_a_model_judges_itself_and_writes_its_report(fitted, rows, tmp_path, monkeypatch, capsys):
    """Found by trying: the README's first hour needed `model_` and `Stream`."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    loud = copy.copy(fitted).set_params(verbose=True)
    assert isinstance(loud.assess(rows[:60], baselines=False, n_pairs=2), Fidelity)
    assert any(line.startswith("scoring 100%") for line in capsys.readouterr().err.splitlines())
    fidelity = fitted.report(tmp_path / "r.html", rows[:60], training=rows[60:])
    assert fidelity.baselines
    page = (tmp_path / "r.html").read_text()
    assert fidelity.baselines[0].name in page
    with pytest.raises(FileExistsError):
        fitted.report(tmp_path / "r.html", rows[:60])


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_scores", "undrawn")
def test_a_table_of_levels_alone_is_reported_without_a_chain(tmp_path):
    """Found by trying: it ended in an error of its bound, and then of its chain."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.choice(list("xyz"), 120), "b": rng.choice(list("uv"), 120)})
    tiny().fit(table[:80]).report(tmp_path / "r.html", table[80:])
    page = (tmp_path / "r.html").read_text()
    assert "forward and backward" not in page
    assert page.count("<section") >= 6


@pytest.fixture(scope="module")
def frame(penguins_density):
    rows = penguins_density.sample(16, random_state=4)
    frame = penguins_density.as_frame(rows)
    return frame.assign(species=frame["species"].astype("string"), sex=rows[:, 2] == 1.0)


@pytest.mark.parametrize(
    ("given", "columns"),
    [((), ["species"]), ((), ["x", "species"]), (["species"], None), (["x", "sex"], ["y"]), (["x"], ["sex"])],
)
def test_any_columns_are_scored_given_any_others(penguins, penguins_density, frame, given, columns):
    rows = penguins_density.from_frame(frame.assign(sex=np.where(frame["sex"], "m", "f")))
    asked = [name for name in penguins_density.names if name not in given] if columns is None else columns
    expected = penguins_density.marginal_log_prob(rows, [*asked, *given])
    if given:
        expected = expected - penguins_density.marginal_log_prob(rows, given)
    found = penguins.log_density(frame, given=given, columns=columns).log_prob
    np.testing.assert_allclose(found, expected, atol=5e-3)
    with pytest.raises(InvalidInput, match="should name a column at least"):
        penguins.score_samples(frame, columns=[])


@pytest.mark.slow
def test_rows_with_gaps_have_the_density_of_what_is_observed(penguins, penguins_density, frame):
    gaps = frame.drop(columns="y").assign(y=np.nan)
    expected = penguins.score_samples(frame, columns=["species", "x", "sex"])
    np.testing.assert_allclose(penguins.score_samples(gaps), expected, atol=1e-6)
    assert penguins.score(gaps) == pytest.approx(expected.mean(), abs=1e-6)
    terms = penguins.bound(gaps[:5], random_state=0)
    assert terms.per_row.shape == (5,)
