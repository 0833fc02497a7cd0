"""Rows under conditions, and scores of any columns given any others, in the user's terms."""

import datetime
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from backwalk.assess import rows_to_score
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model import read_given
from backwalk.table import Codec, LevelsColumn, NumberColumn, Schema


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"species": "Gento"}, "'species' has 'Gento': the nearest is 'Gentoo'"),
        ({"species": {"Adelie", "Rex"}}, "'species' has 'Rex'"),
        ({"specie": "Gentoo"}, "'specie': the nearest is 'species'"),
        ({"x": (2.0, 1.0)}, "low <= high"),
        ({"x": (1.0, 2.0, 3.0)}, "pair"),
        ({"species": ("Adelie", "Gentoo")}, "without an order"),
        ({"x": {1.0, 2.0}}, "continuous"),
        ({"sex": set()}, "'sex'"),
        ({"sex": 0.5}, r"'sex', .* 0\.5"),
        ({"x": [1.0, 2.0], "y": [1.0, 2.0, 3.0]}, "2, 3"),
        ({"x": "tall"}, "'tall'"),
        ({"x": [1.0, 2.0]}, r"has 2: .* a range, \(low, high\)"),
        ("Gentoo", r"a mapping .* \{column: 'Gentoo'\}"),
        ({"x": (50.0, None)}, "at least 1e-15"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(penguins, given, words, monkeypatch):
    monkeypatch.setattr("backwalk.model.sample.MOST_CANDIDATES", 256)
    with pytest.raises(InvalidInput, match=words):
        penguins.sample(1, given=given, random_state=0)


@pytest.mark.parametrize(
    ("values", "ends", "allowed"),
    [
        ((1.0, 2.0, 3.0, 5.0, np.nan), (2.5, None), (3.0, 5.0)),  # between levels, with gaps that are generated
        ((1.0, 2.0, 3.0, 5.0), (None, 4), (1.0, 2.0, 3.0)),
        ((10.0, 20.0, 30.0), (-5, 25), (10.0, 20.0)),
        ((3.0, 1.0, 2.0), (3, 1), (1.0, 3.0)),  # in an order of the user's own
        ((3.0, 1.0, 2.0), (None, None), (1.0, 2.0, 3.0)),
    ],
)
def test_ranges_of_ranks_are_those_of_values_or_of_the_users_order(penguins, values, ends, allowed):
    column = LevelsColumn(values, (1.0 / len(values),) * len(values), "ordered")
    schema = Schema(("stars",), ("float64",), "pandas")
    ranked = replace(penguins.model_, schema=schema, codec=Codec((column,)))
    (found,) = read_given(ranked, {"stars": ends}, 1).allowed
    assert np.sort(np.array(values)[found.contains(np.array(values))]).tolist() == list(allowed)
    if values[0] > values[1]:
        with pytest.raises(InvalidInput, match=r"'stars' .* 3, 1, 2, but got 2\.5"):
            read_given(ranked, {"stars": (2.5, None)}, 1)


def test_values_are_in_the_users_terms(penguins):
    """Labels, truth values, dates, and texts as in the cells of a file; a label without rows names the nearest."""
    model = penguins.model_
    found = read_given(model, {"species": "Gentoo", "sex": True, "x": "0.25"}, 1).values
    np.testing.assert_array_equal(found, [[2.0, 0.25, 1.0, np.nan]])
    schema = Schema(
        ("day", "grade"),
        ("date32[day]", "string"),
        "pyarrow",
        labels=(None, ("high", "low", "lower")),
        units=("D", None),
    )
    codec = Codec((NumberColumn(20_000.0, 9.0), LevelsColumn((0.0, 1.0), (0.5, 0.5), "ordered")))
    dated = replace(model, schema=schema, codec=codec)
    for day in (datetime.date(2024, 3, 1), "2024-03-01", np.datetime64("2024-03-01"), pd.Timestamp("2024-03-01")):
        assert read_given(dated, {"day": day}, 1).values[0, 0] == 19_783.0
    lasting = replace(
        dated, schema=replace(schema, dtypes=("duration[ms]", "string"), units=("s", None)), codec=dated.codec
    )
    assert read_given(lasting, {"day": "5000"}, 1).values[0, 0] == 5.0
    (within,) = read_given(dated, {"day": ("2024-03-01", None)}, 1).allowed
    assert (within.low, within.high) == (19_783.0, np.inf)
    assert read_given(dated, {"grade": ("low", "low")}, 1).allowed[0].levels == (1.0,)
    bounded = replace(dated, codec=Codec((NumberColumn(20_000.0, 9.0, 19_783.0, 19_790.0), codec.columns[1])))
    with pytest.raises(InvalidInput, match=r"'day' .* 2024-03-01 to 2024-03-08"):
        read_given(bounded, {"day": (None, "2024-02-28")}, 1)
    aside = replace(dated, schema=replace(schema, set_aside=("id",)))
    with pytest.raises(InvalidInput, match="'id', which the fit set aside"):
        read_given(aside, {"id": "a"}, 1)
    with pytest.raises(InvalidInput, match=r"2024'.* write them like 2021-12-31\.$"):
        read_given(dated, {"day": "01.03.2024"}, 1)
    with pytest.raises(InvalidInput, match=r"'0,5'.* write them like 1234\.5\.$"):
        read_given(model, {"x": "0,5"}, 1)
    with pytest.raises(InvalidInput, match=r"has 'Rex': there are .*\. Give a label of the fit\.$"):
        read_given(model, {"species": {"Gentoo", "Rex"}}, 1)
    with pytest.raises(InvalidInput, match=r"'lower' .* the nearest is 'low'"):
        read_given(dated, {"grade": "lower"}, 1)


def test_models_of_whole_rows_refuse_gaps_and_conditions(fitted, rows):
    gaps = rows[:3].copy()
    gaps[1, 0] = np.nan
    with pytest.raises(InvalidInput, match=r'row 1, column 0 .* conditions="any"'):
        fitted.score_samples(gaps)
    for call in (lambda: fitted.sample(2, given={0: 1.0}), lambda: fitted.score_samples(rows[:3], given=[0])):
        with pytest.raises(InvalidInput, match='conditions="any"'):
            call()
    with pytest.raises(InvalidInput, match="column 2 is both"):
        fitted.score_samples(rows[:3], given=[2], columns=[2])


@pytest.mark.slow
def test_sets_of_conditions_take_their_columns_and_no_others():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 3)), columns=["x", "y", "z"])
    model = Diffusion(n_steps=10, max_steps=3, conditions=[["x"]], random_state=0, verbose=False).fit(frame)
    assert (model.sample(3, given={"x": 1.5}, random_state=0)["x"] == 1.5).all()
    with pytest.raises(InvalidInput, match="y given"):
        model.sample(3, given={"y": 1.5})
    assert model.log_density(frame[:3], given=["x"], n_intervals=2).log_prob.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("conditions", [None, [["kind"]]])
def test_a_model_of_whole_rows_takes_gaps_where_its_own_rows_had_some(tmp_path, conditions):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 24))
    frame = pd.DataFrame({"kind": rng.choice(["a", "b"], 24), "x": np.where(rng.random(24) < 0.2, np.nan, x), "y": y})
    settings = {"n_steps": 20, "max_steps": 5, "denoiser": Residual(8, 1), "conditions": conditions}
    model = Diffusion(**settings, random_state=0, verbose=False).fit(frame.assign(one=1.0))
    model.save(tmp_path / "m")
    model, frame = Diffusion.load(tmp_path / "m"), frame.assign(one=1.0)
    scores = model.score_samples(frame)
    assert np.isfinite(scores).all()
    assert np.isfinite(model.bound(frame[:6], random_state=0).per_row.numpy()).all()
    assert len(rows_to_score(frame, model.model_, "X")[0]) == 24
    other = frame.assign(y=np.where(np.arange(24) == 3, np.nan, y))
    with pytest.raises(InvalidInput, match=r"'y'.*conditions=.any"):
        model.score_samples(other)
    with pytest.raises(InvalidInput, match=r'y left out.*conditions="any"'):
        model.score_samples(frame, columns=["kind", "x"])
    with pytest.raises(InvalidInput, match=r'kind, y given.*conditions="any"'):
        model.impute(frame)
    if conditions:
        given = model.score_samples(frame, given=["kind"])
        of_kind = np.log(model.conditional(frame[["kind"]], "kind", given=[]).probabilities)
        own = of_kind[np.arange(24), (frame["kind"] == "b").astype(int)]
        np.testing.assert_allclose(given + own, scores, atol=1e-4)
        only_kind = frame.assign(x=np.nan, y=np.nan, one=np.nan)
        assert not model.impute(only_kind, random_state=0).isna().to_numpy().any()


@pytest.fixture(scope="module")
def rain():
    """A fit of few steps to amounts of rain, which are often 0, and temperatures of which some are missing."""
    generator = np.random.default_rng(3)
    amount = np.where(generator.random(200) < 0.5, 0.0, generator.gamma(2.0, size=200))
    rows = pd.DataFrame({"rain": amount, "warmth": generator.normal(size=200)})
    rows.loc[::4, "warmth"] = np.nan
    model = Diffusion(max_steps=5, denoiser=Residual(8, 1), missing="generate", random_state=0, verbose=False)
    return model.fit(rows)


@pytest.mark.slow
def test_a_range_of_a_number_whose_gaps_are_generated(rain):
    drawn = rain.sample(40, given={"warmth": (0.0, None)}, random_state=0)
    assert (drawn["warmth"] >= 0.0).all()
    with pytest.raises(InvalidInput, match=r"fitted values, .* \(1000\.0, None\)"):
        rain.sample(2, given={"warmth": (1000.0, None)})


def test_a_set_of_a_number_holds_values_that_have_a_probability(rain):
    assert (rain.sample(40, given={"rain": {0.0}}, random_state=0)["rain"] == 0.0).all()
    for given in ({"rain": {0.0, 1.5}}, {"warmth": {1.0}}):
        with pytest.raises(InvalidInput, match="continuous"):
            rain.sample(2, given=given)
