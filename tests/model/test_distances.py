"""Distances of given values, which are Mahalanobis' for Gaussian rows, and how rare they are."""

import numpy as np
import pytest
import torch
from scipy import stats

from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.fit.oracle import oracle_model
from backwalk.model import measure_distances, rarity

FACTOR = np.array([[1.0, 0.0, 0.0], [0.3, 0.9, 0.0], [1.1, 0.5, 0.5]])
COVARIANCE = FACTOR @ FACTOR.T


@pytest.mark.parametrize("given", [[1, 2], [2]])
def test_the_distance_of_gaussian_rows_is_that_of_mahalanobis(given):
    denoiser = GaussianDenoiser(torch.zeros(3).double(), torch.from_numpy(COVARIANCE))
    rows = np.random.default_rng(0).normal(size=(20, 3)) @ FACTOR.T * 3.0
    model = oracle_model(denoiser, rows, NoiseSchedule.log_snr_uniform(50, log_snr_max=9.0, log_snr_min=-9.0))
    x, covariance = rows[:, given], COVARIANCE[np.ix_(given, given)]
    expected = (x * np.linalg.solve(covariance, x.T).T).sum(axis=1)
    np.testing.assert_allclose(measure_distances(model, rows, given), expected, rtol=0.05, atol=0.01)


def test_labels_and_gaps_take_part(penguins):
    """The distance is 0 where no number is given, and grows with that of a number; labels are not needed."""
    model = penguins.model_
    rows = np.full((3, model.codec.n_columns), np.nan)
    number = model.schema.names.index("x")
    assert not measure_distances(model, rows, [number]).any()
    rows[:, number] = [0.0, 5.0, 50.0]
    distances = measure_distances(model, rows, [number])
    assert (np.diff(distances) > 0.0).all()
    assert np.isfinite(distances).all()


def test_ranks_are_uniform_and_the_tail_goes_beyond_them():
    """1,000 chi-square distances of 3 coordinates among 1,000; p-values at three quantiles within six errors."""
    draws = stats.chi2(3).rvs(size=2_000, random_state=0)
    found = rarity(draws[:1_000], draws[1_000:])
    for share in (0.5, 0.8):
        assert np.mean(found < share) == pytest.approx(share, abs=6.0 * np.sqrt(2.0 * share * (1.0 - share) / 1_000))
    beyond = rarity(stats.chi2(3).isf([1e-3, 1e-6]), draws[1_000:])
    assert 1e-3 < beyond[0] < 6e-3  # on the safe side
    assert 1e-6 < beyond[1] < 1e-3
    assert np.mean(found < 1e-3) <= 0.003
    assert rarity(np.array([np.inf]), draws)[0] == 0.0


def test_few_held_out_rows_tell_nothing():
    assert rarity(np.array([1e9]), np.arange(20.0)).tolist() == [1.0]
    assert rarity(np.array([1e9, 1.0]), np.ones(60)).tolist() == pytest.approx([1.0 / 61.0, 1.0])
