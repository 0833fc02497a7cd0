"""Samples under conditions: given cells, ranges and sets."""

import copy
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk.denoiser import Residual
from backwalk.diffusion import WrappedDenoiser
from backwalk.errors import InvalidInput, SamplingDiverged
from backwalk.estimator import Diffusion
from backwalk.model import read_given


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_row_at_a_spike_has_the_product_of_its_levels_and_of_the_number_given_them(with_spikes):
    """There the other number alone is left to the ODE: ln p(A, B) = ln p(B) + ln p(A | B) within the solver's error."""
    model, rows = with_spikes
    dry = rows[rows["rain"] == 0.0][:40]
    of_levels = model.score_samples(dry, columns=["sky", "rain"])
    of_rest = model.score_samples(dry, columns=["yield"], given=["sky", "rain"])
    np.testing.assert_allclose(model.score_samples(dry), of_levels + of_rest, atol=1e-3)


class WithoutNumbers(WrappedDenoiser):
    """A denoiser whose estimates of numbers are NaN, and whose probabilities of levels are right."""

    def __call__(self, x_t, log_snr):
        return self.denoiser(x_t, log_snr) * torch.nan

    def level_log_probs(self, x_t, log_snr, block):
        return self.denoiser.level_log_probs(x_t, log_snr, block)


@pytest.mark.parametrize("given", [None, {"x": 0.5}])
def test_numbers_that_are_none_are_told_in_tables_with_levels_too(penguins, given):
    broken = copy.copy(penguins)
    broken.model_ = replace(penguins.model_, denoiser=WithoutNumbers(penguins.model_.denoiser))
    with pytest.raises(SamplingDiverged, match=r"row 0 .* learning_rate"):
        broken.sample(3, given=given, random_state=0)


class WithoutNumbersAt(WithoutNumbers):
    """A denoiser whose estimates are NaN in rows with one value of a coordinate."""

    coordinate, value = 3, math.nan

    def __call__(self, x_t, log_snr):
        x_0_hat = self.denoiser(x_t, log_snr)
        return torch.where((x_t[:, self.coordinate] == self.value)[:, None], torch.nan, x_0_hat)


def test_a_row_that_diverges_is_named_by_its_number_in_the_sample(penguins):
    x, model = np.full(600, 0.25), penguins.model_
    x[500] = 0.5
    denoiser = WithoutNumbersAt(model.denoiser)
    denoiser.coordinate = int(model.codec.numbers[0])
    denoiser.value = float(np.float32(model.codec.encode(np.array([[0.0, 0.5, 0.0, 0.0]]))[0, denoiser.coordinate]))
    broken = copy.copy(penguins)
    broken.model_ = replace(model, denoiser=denoiser)
    with pytest.raises(SamplingDiverged, match=r"row 500 \(rows count from 0\)"):
        broken.sample(600, given={"x": x.tolist()}, random_state=0)
