"""Truncated priors of a normal parameter, theta ~ N(0, 1), with data x = theta + N(0, 1/100): all is in closed form.

Statistical tests have a false-alarm rate of 1e-8.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk import posterior
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit.oracle import oracle_model

PRIOR = torch.distributions.Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
X, EPSILON = 1.5, 0.02


@pytest.fixture(scope="module")
def of_theta():
    covariance = np.array([[1.0, 1.0], [1.0, 1.01]])
    denoiser = GaussianDenoiser(torch.zeros(2).double(), torch.from_numpy(covariance))
    schedule = NoiseSchedule.log_snr_uniform(100, log_snr_max=14.0, log_snr_min=-18.0)
    rows = np.random.default_rng(0).multivariate_normal(np.zeros(2), covariance, 200)
    return posterior(oracle_model(denoiser, rows, schedule), given=[1])


@pytest.fixture(scope="module")
def truncated(of_theta):
    return of_theta.truncated(PRIOR, [X], epsilon=EPSILON, random_state=0)


def ends(truncated):
    """Return the ends of the region, which is an interval."""
    grid = np.linspace(0.5, 2.5, 801)[:, None]
    within = grid[np.isfinite(truncated.log_prob(grid).numpy())]
    return within.min(), within.max()


def test_the_region_is_that_of_highest_density(truncated):
    law = stats.norm(X / 1.01, np.sqrt(1.0 - 1.0 / 1.01))
    low, high = ends(truncated)
    assert low + high == pytest.approx(2.0 * law.mean(), abs=0.01)
    # The threshold is an order statistic of 1,000 draws.
    k = int(EPSILON * 1001)
    assert 1e-8 < stats.beta(k + 1, 1000 - k).cdf(1.0 - law.cdf(high) + law.cdf(low)) < 1.0 - 1e-8


@pytest.mark.slow
def test_draws_are_those_of_the_prior_within_the_region(truncated):
    low, high = ends(truncated)
    drawn = truncated.sample((20, 30), random_state=1)
    assert drawn.shape == (20, 30, 1)
    assert drawn.dtype == torch.float64
    values = drawn.flatten().numpy()
    assert len(np.unique(values)) == 600
    assert stats.kstest(values, stats.truncnorm(low, high).cdf).pvalue > 1e-8
    assert torch.equal(truncated.sample((20, 30), random_state=1), drawn)
    assert truncated.sample(0).shape == (0, 1)


def test_the_density_is_that_of_the_prior_over_its_share(truncated):
    low, high = ends(truncated)
    share = stats.norm.cdf(high) - stats.norm.cdf(low)
    assert truncated.prior_share == pytest.approx(share, rel=0.3)
    middle = torch.tensor([[X]], dtype=torch.float64)
    expected = float(PRIOR.log_prob(middle)) - np.log(truncated.prior_share)
    assert float(truncated.log_prob(middle)) == pytest.approx(expected)
    assert torch.isneginf(truncated.log_prob(torch.tensor([[low - 0.1], [high + 0.1]]))).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.truncated(PRIOR, [[0.1], [0.2]]), "one observation"),
        (lambda p: p.truncated(PRIOR, [X], epsilon=0.0), "epsilon"),
        (lambda p: p.truncated(3.0, [X]), "log_prob"),
        (lambda p: p.truncated(torch.distributions.Uniform(50.0, 51.0), [X], epsilon=0.5), "x1"),
    ],
)
def test_what_cannot_be_truncated_is_refused(of_theta, call, words):
    with pytest.raises(InvalidInput, match=words):
        call(of_theta)


def test_labels_are_refused(penguins):
    with pytest.raises(InvalidInput, match="species"):
        posterior(penguins, given=["x", "sex", "y"]).truncated(
            PRIOR, pd.DataFrame({"x": [0.0], "sex": [True], "y": [0.0]})
        )
