"""Draws of one column from its allowed values follow their conditional, and their probability is that of the model.

Statistical statements have a false-alarm rate of 1e-8 each.
"""

import dataclasses
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk.denoiser import Residual
from backwalk.diffusion import GaussianMixtureDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.fit.oracle import oracle_model
from backwalk.model import Allowed, Given, read_given, sample_rows
from backwalk.model.restricted import log_prob_of_allowed, restrict
from backwalk.streams import Stream

WEIGHTS, MEANS = np.array([0.4, 0.6]), np.array([[-1.2, 0.0, 0.0], [0.8, 1.0, -1.0]])
COVARIANCES = np.stack([0.5 * np.eye(3) + 0.3, 0.2 * np.eye(3) + 0.1])


@pytest.fixture(scope="module")
def mixture():
    """A model around the exact denoiser of a mixture of mean 0 in its first column."""
    exact = GaussianMixtureDenoiser(*(torch.from_numpy(part) for part in (WEIGHTS, MEANS, COVARIANCES)))
    schedule = NoiseSchedule.log_snr_uniform(400, log_snr_max=12.0, log_snr_min=-14.0)
    model = oracle_model(exact, Stream(0).normal(0, 100, 3), schedule)
    return dataclasses.replace(model, conditions="any")


def above(x, weights=WEIGHTS):
    """Return P(first column > x)."""
    return stats.norm.sf(np.asarray(x)[..., None], MEANS[:, 0], np.sqrt(COVARIANCES[:, 0, 0])) @ weights


def restricted(model, values, allowed):
    return restrict(Given.to_draw(model, np.atleast_2d(values)), allowed)


@pytest.mark.slow
@pytest.mark.parametrize("ends", [(3.22, np.inf), (-np.inf, -2.5), (0.3, 0.3001), (-1.0, 2.0)])
def test_a_range_of_a_number_is_drawn_from_however_rare_it_is(mixture, ends):
    """The first has a probability of 1e-6."""
    allowed, nothing = Allowed(0, *ends), np.full((1, 3), np.nan)
    expected = above(ends[0]) - above(ends[1])
    assert restricted(mixture, nothing, allowed).probability[0] == pytest.approx(expected, rel=0.01)
    rows = sample_rows(mixture, 0, 600, stream=Stream(1), given=Given.to_draw(mixture, nothing, allowed=(allowed,)))
    assert allowed.holds(rows).all()
    assert stats.kstest((above(ends[0]) - above(rows[:, 0])) / expected, "uniform").pvalue > 1e-8
    given = rows[:, :1] - MEANS[None, :, 0]
    weights = WEIGHTS * stats.norm.pdf(given, scale=np.sqrt(COVARIANCES[:, 0, 0]))
    slope = COVARIANCES[:, 0, 1] / COVARIANCES[:, 0, 0]
    left = np.sqrt(COVARIANCES[:, 1, 1] - slope * COVARIANCES[:, 0, 1])
    u = (weights * stats.norm.cdf(rows[:, 1:2], MEANS[:, 1] + slope * given, left)).sum(axis=1) / weights.sum(axis=1)
    assert stats.kstest(u, "uniform").pvalue > 1e-8


@pytest.mark.slow
def test_each_row_has_the_range_given_what_it_knows(mixture):
    values = np.array([[np.nan, 1.0, np.nan], [np.nan, -1.0, np.nan], [np.nan, 2.5, np.nan]])
    found = restricted(mixture, values, Allowed(0, 1.0))
    slope = COVARIANCES[:, 0, 1] / COVARIANCES[:, 1, 1]
    left = np.sqrt(COVARIANCES[:, 0, 0] - slope * COVARIANCES[:, 0, 1])
    weights = WEIGHTS * stats.norm.pdf(values[:, 1:2], MEANS[:, 1], np.sqrt(COVARIANCES[:, 1, 1]))
    expected = stats.norm.sf(1.0, MEANS[:, 0] + slope * (values[:, 1:2] - MEANS[:, 1]), left) * weights
    np.testing.assert_allclose(found.probability, expected.sum(axis=1) / weights.sum(axis=1), rtol=0.02)
    given = Given.to_draw(mixture, values, allowed=(Allowed(0, 1.0),))
    rows = sample_rows(mixture, 0, 3, stream=Stream(1), given=given)
    assert (rows[:, 0] >= 1.0).all()
    np.testing.assert_array_equal(rows[:, 1], values[:, 1])


@pytest.fixture(scope="module")
def rain():
    """A fit of few steps to a number with spikes at 0 and 3, whole numbers and labels."""
    rng = np.random.default_rng(3)
    n = 400
    amount = np.where(rng.random(n) < 0.4, 0.0, np.where(rng.random(n) < 0.2, 3.0, rng.gamma(2.0, size=n)))
    days = rng.binomial(300, 0.5, n) + np.rint(5.0 * amount)
    rows = pd.DataFrame({"rain": amount, "days": days, "sky": np.where(amount > rng.random(n), "grey", "clear")})
    model = Diffusion(max_steps=40, denoiser=Residual(16, 1), random_state=0, verbose=False)
    return model.fit(rows)


GIVENS = [
    {"rain": (0.0, 1.0)},
    {"rain": (0.5, 3.0)},
    {"rain": {0.0, 3.0}},
    {"days": (None, 145)},
    {"days": (155.0, None)},
    {"days": {150.0, 152.0, 153.0}},
]


@pytest.mark.slow
@pytest.mark.parametrize("given", GIVENS, ids=str)
def test_allowed_values_are_drawn_as_often_as_among_all_draws(rain, given):
    """Beside draws without the condition, of which those that meet it are kept."""
    (column,) = given
    without = rain.sample(1500, random_state=1)
    drawn = rain.sample(400, given=given, random_state=2)
    allowed = given[column]
    if isinstance(allowed, tuple):
        low, high = (end if end is not None else sign * np.inf for end, sign in zip(allowed, (-1, 1), strict=True))
        meet = [table[column].between(low, high) for table in (without, drawn)]
    else:
        meet = [table[column].isin(allowed) for table in (without, drawn)]
    assert meet[1].all()
    (condition,) = read_given(rain.model_, given, 1).allowed
    p = restricted(rain.model_, np.full((1, 3), np.nan), condition).probability[0]
    assert stats.binomtest(int(meet[0].sum()), 1500, p).pvalue > 1e-8
    for name in ("rain", "days"):
        assert stats.ks_2samp(drawn[name], without[name][meet[0]]).pvalue > 1e-8


@pytest.mark.slow
def test_the_probabilities_of_all_whole_numbers_sum_to_one(rain):
    days = rain.model_.codec.columns[1]
    values = np.arange(days.value_range[0], days.value_range[1] + 1.0)
    nothing = np.full((1, 3), np.nan)
    p = [restricted(rain.model_, nothing, Allowed(1, levels=(value,))).probability[0] for value in values[::25]]
    ends = np.append(values[::25], values[-1] + 1.0)
    of_parts = [
        restricted(rain.model_, nothing, Allowed(1, low, high - 1.0)).probability[0] for low, high in pairwise(ends)
    ]
    assert sum(of_parts) == pytest.approx(1.0, abs=1e-3)
    assert (np.array(p) <= np.array(of_parts) + 1e-6).all()


@pytest.mark.slow
def test_the_probability_of_a_range_is_scored_given_each_row_and_adds_up(rain):
    rows = rain.sample(40, random_state=3)
    name, others, nothing = "days", ["rain", "sky"], rows[:1]
    low, high = rows[name].quantile([0.3, 0.7]).round()
    parts = [rain.score_samples(rows[others], columns={name: ends}) for ends in ((None, low - 1), (low, None))]
    np.testing.assert_allclose(np.exp(parts).sum(axis=0), 1.0, atol=1e-3)
    alone = rain.score_samples(nothing, given=[], columns={name: (low, high)})
    assert np.exp(alone[0]) == pytest.approx(rows[name].between(low, high).mean(), abs=0.45)
    for columns in ({name: 1.0}, {name: (low, high), others[0]: (0, 1)}, {}):
        with pytest.raises(InvalidInput, match="one column"):
            rain.score_samples(rows, columns=columns)
    with pytest.raises(InvalidInput, match="differ"):
        rain.score_samples(rows, given=[name], columns={name: (low, high)})
    whole = Diffusion(max_steps=1, verbose=False).fit(np.random.default_rng(0).normal(size=(50, 2)))
    with pytest.raises(InvalidInput, match='conditions="any"'):
        whole.score_samples(np.zeros((1, 2)), given=[], columns={0: (0.0, 1.0)})


@pytest.mark.slow
def test_a_model_states_the_probability_of_a_range_as_the_truth_is(mixture):
    values = np.array([[np.nan, 1.0, np.nan], [np.nan, np.nan, np.nan]])
    found = np.exp(log_prob_of_allowed(mixture, values, Allowed(0, 1.0)))
    assert found[1] == pytest.approx(above(1.0), rel=0.01)
    assert found[0] == pytest.approx(restricted(mixture, values[:1], Allowed(0, 1.0)).probability[0], rel=1e-6)
