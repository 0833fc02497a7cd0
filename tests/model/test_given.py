"""Rows under conditions, and scores of any columns given any others, in the user's terms."""

import copy
import datetime
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk.assess import matched_rows
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.estimator import Diffusion
from backwalk.model import read_given, sample_numbered, sample_rows
from backwalk.model.given import user_terms
from backwalk.sampling import RowNoise
from backwalk.streams import Stream
from backwalk.table import Codec, LevelsColumn, NumberColumn, Schema

pytestmark = pytest.mark.usefixtures("small_tiles")


@pytest.fixture(scope="module")
def frame(penguins_density):
    rows = penguins_density.sample(40, random_state=4)
    frame = penguins_density.as_frame(rows)
    return frame.assign(species=frame["species"].astype("string"), sex=rows[:, 2] == 1.0)


def test_given_values_come_back_and_the_others_follow_their_conditional(penguins, penguins_density):
    """By the conditional distribution functions: a false alarm in 1e8."""
    drawn = penguins.sample(600, given={"species": "Gentoo", "x": 0.3}, random_state=1)
    assert (drawn["species"] == "Gentoo").all()
    assert (drawn["x"] == 0.3).all()
    assert drawn.dtypes.astype(str).tolist() == ["string", "float64", "bool", "float64"]
    rows = np.column_stack([np.full(600, 2.0), drawn["x"], drawn["sex"], drawn["y"]]).astype(float)
    p = np.exp(penguins_density.level_log_probs(rows[:1], "sex", given=["species", "x"]))[0]
    assert stats.binomtest(int(rows[:, 2].sum()), 600, p[1]).pvalue > 1e-8
    u = penguins_density.conditional_cdf(rows, "y")
    assert stats.kstest(u, "uniform").pvalue > 1e-8


def test_ranges_and_sets_draw_from_the_conditional_within_them(penguins, penguins_density):
    """The shares of the levels, by Pearson's chi-squared: a false alarm in 1e8."""
    drawn = penguins.sample(400, given={"x": (0.0, 1.0), "species": {"Adelie", "Gentoo"}}, random_state=2)
    assert drawn["x"].between(0.0, 1.0).all()
    assert set(drawn["species"]) == {"Adelie", "Gentoo"}
    real = penguins_density.sample(200_000, random_state=5)
    real = real[(real[:, 1] >= 0.0) & (real[:, 1] <= 1.0) & (real[:, 0] != 1.0)]
    shares = np.histogram2d(real[:, 0], real[:, 2], bins=[[-1, 1, 3], [-1, 0.5, 2]])[0].ravel() / len(real)
    codes = drawn["species"].map({"Adelie": 0, "Gentoo": 2}).to_numpy(float)
    observed = np.histogram2d(codes, drawn["sex"].to_numpy(float), bins=[[-1, 1, 3], [-1, 0.5, 2]])[0].ravel()
    assert stats.chisquare(observed, 400 * shares).pvalue > 1e-8
    assert stats.ks_2samp(drawn["y"], real[:, 3]).pvalue > 1e-8


@pytest.mark.parametrize("given", [{"species": "Adelie"}, {"x": (0.5, None)}])
def test_a_row_does_not_depend_on_how_many_are_drawn(penguins, given):
    few, many = (penguins.sample(n, given=given, random_state=3) for n in (3, 60))
    pd.testing.assert_frame_equal(few, many.head(3))


def test_each_row_has_its_own_conditions(penguins):
    table = pd.DataFrame({"x": [0.1, np.nan, 0.3], "species": ["Gentoo", "Adelie", None]})
    drawn = penguins.sample(3, given=table, random_state=0)
    assert drawn["x"].iloc[[0, 2]].tolist() == [0.1, 0.3]
    assert drawn["species"].iloc[:2].tolist() == ["Gentoo", "Adelie"]
    lists = penguins.sample(3, given={"x": [0.1, np.nan, 0.3], 0: ["Gentoo", "Adelie", None]}, random_state=0)
    pd.testing.assert_frame_equal(drawn, lists)
    with pytest.raises(InvalidInput, match=r"each of 5 .* has 3"):
        penguins.sample(5, given=table)
    model = replace(penguins.model_, schema=replace(penguins.model_.schema, set_aside=("id",)))
    found = read_given(model, table.assign(id=["a", "b", "c"]), 3)
    np.testing.assert_array_equal(found.values, read_given(model, table, 3).values)


def test_nothing_given_is_a_sample(penguins):
    expected = penguins.sample(4, random_state=0)
    for given in ({}, {"x": None}, {"species": np.nan}):
        pd.testing.assert_frame_equal(penguins.sample(4, given=given, random_state=0), expected)


def test_a_row_of_a_sample_is_drawn_by_its_number(penguins):
    rows = sample_rows(penguins.model_, 0, 40, stream=Stream(3))
    numbers = np.array([7, 0, 39, 38])
    np.testing.assert_allclose(sample_numbered(penguins.model_, numbers, stream=Stream(3)), rows[numbers], atol=1e-5)


def test_a_stream_of_rows_is_that_of_their_numbers_and_candidates():
    numbers, candidates = np.array([5, 900, 6, 5]), np.array([0, 0, 2, 2])
    noise = RowNoise(Stream(1, ("a",)), numbers, candidates)
    expected = [
        Stream(1, ("a", "candidate", candidate, "b")).uniform(i, i + 1, 3)[0]
        for i, candidate in zip(numbers.tolist(), candidates.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(noise.uniform("b", width=3), np.stack(expected))
    plain = RowNoise(Stream(1), np.array([900, 3, 4, 4])).normal("b", width=3)
    np.testing.assert_array_equal(plain, Stream(1).child("b").normal(0, 901, 3, torch.float32)[[900, 3, 4, 4]])


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
        ({"x": (50.0, None)}, "held for 0 of 2,048"),
    ],
)
def test_conditions_that_cannot_be_met_are_refused(penguins, given, words, monkeypatch):
    monkeypatch.setattr("backwalk.model.sample.MOST_CANDIDATES", 2048)
    with pytest.raises(InvalidInput, match=words):
        penguins.sample(1, given=given, random_state=0)


def test_a_given_number_between_levels_counts_as_the_nearest_in_draws_and_scores():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"stars": rng.integers(1, 6, 200), "x": rng.normal(size=200)}).astype(float)
    model = Diffusion(n_steps=20, max_steps=2, denoiser=Residual(8, 1), random_state=0, verbose=False).fit(frame)
    assert model.codec_.columns[0].coding == "value"
    between, level = (frame.head(3).assign(stars=stars) for stars in (2.4, 2.0))
    scores = model.score_samples(level, given=["stars"])
    np.testing.assert_array_equal(model.score_samples(between, given=["stars"]), scores)
    assert np.isneginf(model.score_samples(between)).all()
    drawn = [model.sample(3, given={"stars": stars}, random_state=0) for stars in (2.4, 2.0)]
    pd.testing.assert_series_equal(*(rows["x"] for rows in drawn))


@pytest.fixture(scope="module")
def with_spikes():
    """A fit of few steps to rows with a number that is often 0, of which the other columns tell much."""
    generator = np.random.default_rng(3)
    is_dry = generator.random(300) < 0.5
    rain = np.where(is_dry, 0.0, generator.gamma(2.0, size=300))
    sky = np.where(generator.random(300) < np.where(is_dry, 0.8, 0.3), "clear", "grey")
    rows = pd.DataFrame({"sky": sky, "rain": rain, "yield": rain + generator.normal(size=300)})
    model = Diffusion(max_steps=60, denoiser=Residual(16, 1), random_state=0, verbose=False)
    return model.fit(rows), rows


@pytest.mark.parametrize("amount", [0.0, 1.5])
def test_a_number_at_its_spike_is_a_condition_like_any_other(with_spikes, amount):
    """Draws, probabilities and scores agree. Levels by a binomial test: a false alarm in 1e8."""
    model, rows = with_spikes
    row = rows[:1].assign(rain=amount)
    p = np.asarray(model.conditional(row.assign(**{"yield": np.nan}), "sky").probabilities)[0]
    assert 0.05 < p[1] < 0.95
    for i, sky in enumerate(("clear", "grey")):
        scored = model.score_samples(row.assign(sky=sky), columns=["sky"], given=["rain"])
        assert np.exp(scored[0]) == pytest.approx(p[i], abs=1e-5)
    drawn = model.sample(600, given={"rain": amount}, random_state=1)
    assert (drawn["rain"] == amount).all()
    assert stats.binomtest(int((drawn["sky"] == "grey").sum()), 600, p[1]).pvalue > 1e-8


def test_gaps_beside_a_spike_are_filled_where_all_numbers_are_known(with_spikes):
    model, rows = with_spikes
    gaps = rows[:40].assign(sky=None)
    filled = model.impute(gaps, random_state=0)
    assert set(filled["sky"]) == {"clear", "grey"}
    pd.testing.assert_frame_equal(filled[["rain", "yield"]], gaps[["rain", "yield"]])


def test_probabilities_that_are_no_numbers_are_not_drawn_from(with_spikes):
    model, rows = copy.deepcopy(with_spikes)
    for weight in model.model_.denoiser.parameters():
        weight.data.fill_(np.nan)
    for act in (
        lambda: model.sample(3, random_state=0),
        lambda: model.conditional(rows[:3].assign(sky=None), "sky"),
        lambda: model.impute(rows[:3].assign(**{"yield": np.nan}), statistic="mean"),
    ):
        with pytest.raises(SamplingDiverged, match="learning_rate"):
            act()


def test_a_missing_value_is_told_as_such():
    """Found by review: of a truth value it was "False"."""
    schema = Schema(("wet", "x"), ("boolean", "float64"), "pandas")
    assert [user_terms(schema, j, np.nan) for j in range(2)] == ["missing", "missing"]
    assert user_terms(schema, 0, 1.0) == "True"


def test_a_row_at_a_spike_has_the_product_of_its_levels_and_of_the_number_given_them(with_spikes):
    """There the other number alone is left to the ODE: ln p(A, B) = ln p(B) + ln p(A | B) within the solver's error."""
    model, rows = with_spikes
    dry = rows[rows["rain"] == 0.0][:40]
    of_levels = model.score_samples(dry, columns=["sky", "rain"])
    of_rest = model.score_samples(dry, columns=["yield"], given=["sky", "rain"])
    np.testing.assert_allclose(model.score_samples(dry), of_levels + of_rest, atol=1e-3)


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
    column = LevelsColumn(values, (1.0 / len(values),) * len(values), "rank")
    schema = Schema(("stars",), ("float64",), "pandas")
    ranked = replace(penguins.model_, schema=schema, codec=Codec((column,)))
    assert read_given(ranked, {"stars": ends}, 1).allowed[0].levels == allowed
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
    codec = Codec((NumberColumn(20_000.0, 9.0), LevelsColumn((0.0, 1.0), (0.5, 0.5), "rank")))
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
    with pytest.raises(InvalidInput, match=r"'lower' .* the nearest is 'low'"):
        read_given(dated, {"grade": "lower"}, 1)


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
    found = penguins.log_density(frame, given=given, columns=columns, n_intervals=8).log_prob
    np.testing.assert_allclose(found, expected, atol=5e-3)
    if columns is not None:
        np.testing.assert_array_equal(
            penguins.log_density(frame[[*columns, *given]], given=given, columns=columns, n_intervals=8).log_prob, found
        )


def test_rows_with_gaps_have_the_density_of_what_is_observed(penguins, penguins_density, frame):
    gaps = frame.drop(columns="y").assign(y=np.nan)
    expected = penguins.score_samples(frame, columns=["species", "x", "sex"])
    np.testing.assert_allclose(penguins.score_samples(gaps), expected, atol=1e-6)
    assert penguins.score(gaps) == pytest.approx(expected.mean(), abs=1e-6)
    terms = penguins.bound(gaps[:5], steps=3, random_state=0)
    assert terms.per_row.shape == (5,)


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


def test_sets_of_conditions_take_their_columns_and_no_others():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(100, 3)), columns=["x", "y", "z"])
    model = Diffusion(n_steps=10, max_steps=3, conditions=[["x"]], random_state=0, verbose=False).fit(frame)
    assert (model.sample(3, given={"x": 1.5}, random_state=0)["x"] == 1.5).all()
    with pytest.raises(InvalidInput, match="y given"):
        model.sample(3, given={"y": 1.5})
    assert model.log_density(frame[:3], given=["x"], n_intervals=2).log_prob.isfinite().all()


@pytest.mark.parametrize("conditions", [None, [["kind"]]])
def test_a_model_of_whole_rows_takes_gaps_where_its_own_rows_had_some(tmp_path, conditions):
    """Found by review: a fit without conditions on any columns refused to score the rows that it was fitted to."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60))
    frame = pd.DataFrame({"kind": rng.choice(["a", "b"], 60), "x": np.where(rng.random(60) < 0.2, np.nan, x), "y": y})
    settings = {"n_steps": 20, "max_steps": 5, "denoiser": Residual(8, 1), "conditions": conditions}
    model = Diffusion(**settings, random_state=0, verbose=False).fit(frame.assign(one=1.0))
    model.save(tmp_path / "m")
    model, frame = Diffusion.load(tmp_path / "m"), frame.assign(one=1.0)
    scores = model.score_samples(frame)
    assert np.isfinite(scores).all()
    assert np.isfinite(model.bound(frame[:20], steps=3, random_state=0).per_row.numpy()).all()
    assert len(matched_rows(frame, model.model_, "X")) == 60
    other = frame.assign(y=np.where(np.arange(60) == 3, np.nan, y))
    with pytest.raises(InvalidInput, match=r"'y'.*conditions=.any"):
        model.score_samples(other)
    with pytest.raises(InvalidInput, match=r'y left out.*conditions="any"'):
        model.score_samples(frame, columns=["kind", "x"])
    with pytest.raises(InvalidInput, match=r'kind, y given.*conditions="any"'):
        model.impute(frame)
    if conditions:
        given = model.score_samples(frame, given=["kind"])
        of_kind = np.log(model.conditional(frame[["kind"]], "kind", given=[]).probabilities)
        own = of_kind[np.arange(60), (frame["kind"] == "b").astype(int)]
        np.testing.assert_allclose(given + own, scores, atol=1e-4)
        only_kind = frame.assign(x=np.nan, y=np.nan, one=np.nan)
        assert not model.impute(only_kind, random_state=0).isna().to_numpy().any()
