"""Values that the fit did not see: settled where they are given, impossible where they are scored, counted once."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backwalk.errors import InvalidInput, UnseenValuesWarning
from backwalk.estimator import Diffusion
from backwalk.model import Given, check_unseen, read_given
from backwalk.model.unseen import settle_given
from backwalk.table import Codec, ConstantColumn, LevelsColumn, NumberColumn, Schema
from backwalk.table.grids import Grid
from backwalk.table.maps import Boundary


@pytest.fixture(scope="module")
def birds(penguins):
    """Rows of which the first two have a species that the fit did not see, and the same rows with gaps in its place."""
    rows = penguins.sample(6, random_state=1)
    strange = rows.assign(species=["Rex", "Emu", *rows["species"][2:]])
    return strange, strange.assign(species=[None, None, *rows["species"][2:]])


def told(words):
    return pytest.warns(UnseenValuesWarning, match=words)


@pytest.mark.slow
def test_a_given_label_that_the_fit_did_not_see_counts_as_missing(penguins, birds):
    strange, missing = birds
    counted = r"X has .* as missing in column 'species' \(2 cells\)"
    with told(counted) as caught:
        found = penguins.conditional(strange, "sex").probabilities
    assert [warning.filename for warning in caught] == [__file__]
    np.testing.assert_array_equal(found, penguins.conditional(missing, "sex").probabilities)
    with told(counted):
        scores = penguins.score_samples(strange, given=["species"], columns=["x"])
    np.testing.assert_array_equal(scores, penguins.score_samples(missing, given=["species"], columns=["x"]))
    given = [frame.drop(columns="x") for frame in birds]
    with told(counted.replace("X", "given")):
        drawn = penguins.sample(6, given=given[0], random_state=2)
    pd.testing.assert_frame_equal(drawn, penguins.sample(6, given=given[1], random_state=2))


@pytest.mark.parametrize("options", [{}, {"statistic": "mean"}])
def test_observed_cells_that_the_fit_did_not_see_stay_as_they_are(penguins, birds, options):
    strange, missing = (frame.assign(x=np.nan) for frame in birds)
    with told(r"\(2 cells\)") as caught:
        filled = penguins.impute(strange, random_state=0, **options)
    assert len(caught) == 1
    assert filled["species"].tolist() == strange["species"].tolist()
    expected = penguins.impute(missing, random_state=0, **options)
    pd.testing.assert_frame_equal(filled.drop(columns="species"), expected.drop(columns="species"))


def test_a_scored_label_that_the_fit_did_not_see_is_impossible(penguins, birds):
    strange, _ = birds
    with told(r"-inf in column 'species' \(2 cells\)") as caught:
        scores = penguins.score_samples(strange)
    assert len(caught) == 1
    np.testing.assert_array_equal(np.isneginf(scores), [True, True, False, False, False, False])
    of_species = penguins.conditional(strange, "species")  # whose own cells are not looked at
    np.testing.assert_array_equal(np.isneginf(of_species.log_prob(strange["species"])), np.isneginf(scores))


@pytest.mark.slow
def test_columns_that_a_call_does_not_use_are_not_checked(penguins, birds):
    """Any warning would fail this test."""
    strange, missing = (frame.head(2) for frame in birds)
    for given, columns in ((["x"], ["y"]), ([], ["sex"])):
        scores = [penguins.score_samples(frame, given=given, columns=columns) for frame in (strange, missing)]
        np.testing.assert_array_equal(*scores)
    penguins.conditional(strange, "species")
    penguins.conditional(strange, "x", given=["sex"])


@pytest.mark.parametrize(
    "call",
    [
        lambda model, X: model.conditional(X, "y"),
        lambda model, X: model.score_samples(X),
        lambda model, X: model.score(X),
        lambda model, X: model.impute(X),
        lambda model, X: model.sample(6, given=X),
        lambda model, X: model.assess(X),
    ],
)
@pytest.mark.parametrize("column", ["species", "sex"])
def test_values_that_the_fit_did_not_see_are_refused_where_that_is_asked_for(penguins, birds, call, column):
    model = Diffusion(verbose=False, unseen="error")
    model.model_ = penguins.model_
    X = birds[0] if column == "species" else birds[1].assign(species="Adelie", sex=np.array([7, 1, 0, 1, 0, 1]))
    with pytest.raises(InvalidInput, match=f"'{column}'"):
        call(model, X)
    with pytest.raises(InvalidInput, match=r"unseen should .* 'never'"):
        call(model.set_params(unseen="never"), X)


@pytest.fixture
def kinds(penguins):
    """A model of columns of several kinds, whose network is of no use."""
    columns = (
        LevelsColumn((0.0, 2.0, 3.0), (0.2, 0.5, 0.3), "ordered"),  # of the ordered labels a, b, c, d
        LevelsColumn((1.0, 2.0, 5.0), (0.2, 0.5, 0.3), "one-hot"),
        ConstantColumn(7.0),
        NumberColumn(0.0, 1.0, -10.0, 10.0, grid=Grid(), dequantisation=0.0),
        NumberColumn(0.0, 1.0, -1.0, 1.0, bounds=Boundary((-0.5, 0.5), (-1.0, 1.0), low=-1.0, high=1.0)),
        NumberColumn(0.0, 1.0, -3.0, 3.0),
    )
    names, labels = ("grade", "stars", "one", "count", "share", "x"), (("a", "b", "c", "d"), *(None,) * 5)
    schema = Schema(names, ("category[str, ordered]", *("float64",) * 5), "pandas", labels=labels)
    return replace(penguins.model_, codec=Codec(columns), schema=schema)


def test_what_is_given_is_the_nearest_that_the_model_can_make(kinds):
    """Of ordered labels, levels, a constant, a grid and bounds; a label without a place in the order is missing."""
    given = np.array([[1.0, 4.0, 8.0, 2.4, 1.5, 9.0], [4.0, 0.0, 7.0, 11.0, -1.0, np.nan]])
    settled, known = settle_given(kinds, given, ~np.isnan(given))
    expected = np.array([[2.0, 5.0, 7.0, 2.0, 1.0, 9.0], [np.nan, 1.0, 7.0, 11.0, -1.0, np.nan]])
    np.testing.assert_array_equal(settled, expected)
    np.testing.assert_array_equal(known, ~np.isnan(expected))
    np.testing.assert_array_equal(Given.to_draw(kinds, given).values, expected)
    nearest, missing = "count as the nearest ones", "count as missing"
    assert check_unseen(kinds, given, given=range(6), unseen="nearest") == {
        (nearest, "column 'grade'"): 1,
        (missing, "column 'grade'"): 1,
        (nearest, "column 'stars'"): 2,
        (nearest, "column 'one'"): 1,
        (nearest, "column 'count'"): 1,
        (nearest, "column 'share'"): 1,
    }
    assert not check_unseen(kinds, given, given=[5], scored=[], unseen="error")


def test_whole_numbers_that_are_never_drawn_are_impossible(kinds):
    """Also where their steps are finer than the model resolves; rounding errors do not count."""
    for dequantisation in (0.0, None):
        of_whole, of_tenths = (
            NumberColumn(0.0, 1.0, grid=grid, dequantisation=dequantisation) for grid in (Grid(), Grid(per=10.0))
        )
        assert of_whole.supports(np.array([2.0, 2.5, np.nan]), None)[:2].tolist() == [True, False]
        assert of_tenths.supports(np.array([0.1 + 0.2]), None).all()


def test_one_condition_names_a_level_and_lists_may_hold_others(penguins):
    with told(r"missing in column 'species' \(1 cell\)"):
        drawn = penguins.sample(3, given={"species": ["Rex", "Gentoo", "Adelie"]}, random_state=0)
    assert drawn["species"].tolist()[1:] == ["Gentoo", "Adelie"]
    for condition in ("Rex", ["Rex"], {"Rex", "Gentoo"}):
        with pytest.raises(InvalidInput, match="'Rex'"):
            penguins.sample(1, given={"species": condition})
    with pytest.raises(InvalidInput, match=r"has 2: draw as many rows, or give .* set"):
        penguins.sample(5, given={"species": ["Gentoo", "Adelie"]})


def test_a_given_number_beyond_the_fitted_range_is_told_and_an_end_of_a_range_is_not(penguins):
    columns = list(penguins.model_.codec.columns)
    columns[1] = replace(columns[1], least=-2.0, largest=2.0)
    model = Diffusion(verbose=False)
    model.model_ = replace(penguins.model_, codec=Codec(tuple(columns)))
    with told(r"^given has .* beyond the fitted range in column 'x' \(1 cell\)\.$"):
        model.sample(2, given={"x": 2.5}, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_given(model.model_, {"x": (0.0, 2.5), "y": 1e3}, 1)
