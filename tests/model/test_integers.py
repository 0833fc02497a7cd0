"""Rows of integers are scored by their probabilities, and bounds lie above these: closed forms and a learned table."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk.denoiser import Residual
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput, UnseenValuesWarning
from backwalk.estimator import Diffusion
from backwalk.fit.oracle import oracle_model
from backwalk.model import log_density, log_prob_of_rows
from backwalk.model.integers import N_PLACES, log_mean, places_in_cells
from backwalk.streams import Stream
from backwalk.table import Codec, Grid, NumberColumn

SHARES = np.array([0.7, 0.3])


def codec_of(c):
    """A column on a continuous scale, and two of 0 and 1, dequantised by 1 + c cos(2 pi u)."""
    flag = NumberColumn(0.0, 1.0, 0.0, 1.0, grid=Grid(), dequantisation=c)
    return Codec((NumberColumn(0.0, 1.0), flag, flag))


def bumps(deviation):
    """Return the log-density of bumps at (0, 0), (0, 1), (1, 0), (1, 1) beside a normal column; rows; their ln P."""
    normal = stats.norm([0.0, 1.0], deviation)

    def log_density(x):
        flags = np.log(normal.pdf(x[:, 1:, None]) @ SHARES).sum(axis=1)
        return stats.norm.logpdf(x[:, 0]) + flags

    rows = np.column_stack([Stream(2).normal(0, 400, 1).numpy()[:, 0], Stream(3).uniform(0, 400, 2).numpy() < 0.3])
    of_cell = np.array([normal.cdf(x + 0.5) - normal.cdf(x - 0.5) for x in (0, 1)]) @ SHARES  # P(0), P(1)
    return log_density, rows, stats.norm.logpdf(rows[:, 0]) + np.log(of_cell)[rows[:, 1:].astype(int)].sum(axis=1)


# A bump of about the deviation of c = 0.9, a narrower and a wider one.
@pytest.mark.parametrize("deviation", [0.18, 0.14, 0.35])
@pytest.mark.parametrize("c", [0.0, 0.9])
def test_the_score_of_integers_is_their_log_probability(c, deviation):
    log_density, rows, log_p = bumps(deviation)
    error = {}
    for n_places in (16, 256):
        places, log_r = places_in_cells(codec_of(c), rows, n_places, stream=Stream(0))
        at_places = log_density(places.reshape(-1, 3)).reshape(log_r.shape)
        found, stated = log_mean(torch.from_numpy(at_places - log_r))
        error[n_places] = np.sqrt(np.square(found.numpy() - log_p).mean())
        # Stratified places err less than independent ones, of which the stated error is.
        assert error[n_places] < 1.1 * float(stated.square().mean().sqrt())
        # The estimate is one of P: its mean is right, within 5.6 standard errors, a false alarm of 1e-8.
        ratio = np.exp(found.numpy() - log_p)
        assert abs(ratio.mean() - 1.0) < 5.6 * ratio.std() / 20.0
    assert error[256] < 0.25 * error[16]  # as 1 / n_places at best, and 1 / 4 of independent places
    by_rows = log_prob_of_rows(log_density, codec_of(c), rows[:9], stream=Stream(0))
    places, log_r = places_in_cells(codec_of(c), rows[:9], N_PLACES, stream=Stream(0))
    by_hand = np.log(np.exp(log_density(places.reshape(-1, 3)).reshape(log_r.shape) - log_r).mean(axis=1))
    np.testing.assert_allclose(by_rows, by_hand, rtol=1e-12)


def of_many(log_density, n_columns, *, n=200, n_places=16):
    """Return the errors of ln P = 0 for rows of many columns of integers, and the stated errors."""
    codec = Codec((NumberColumn(0.0, 1.0, 0.0, 1e6, grid=Grid(), dequantisation=0.0),) * n_columns)
    rows = np.rint(1e6 * Stream(4).uniform(0, n, n_columns).numpy())  # all different, as equal rows err alike
    places, log_r = places_in_cells(codec, rows, n_places, stream=Stream(0))
    at_places = log_density(places.reshape(-1, n_columns)).reshape(log_r.shape)
    found, stated = log_mean(torch.from_numpy(at_places - log_r))
    return found.numpy(), stated.numpy()


def root_mean_square(x):
    return np.sqrt(np.square(x).mean())


def narrow(x):
    """Return the log-density of truncated normals of deviation 0.1 in all cells, whose own deviation is 0.29."""
    return stats.truncnorm.logpdf(x - np.rint(x), -5.0, 5.0, scale=0.1).sum(axis=1)


def wave(height):
    """Return the function that gives the log-density of 1 + c cos(2 pi u) in all cells, with c the height."""
    return lambda x: np.log1p(height * np.cos(2.0 * np.pi * x)).sum(axis=1)


@pytest.mark.parametrize("height", [0.2, 0.3])
def test_the_score_of_forty_integers_is_near_their_log_probability(height):
    error, stated = of_many(wave(height), 40)
    assert root_mean_square(error) < 0.4
    assert abs(error.mean()) < 0.15
    assert 0.4 < root_mean_square(error) / root_mean_square(stated) < 1.5


@pytest.mark.parametrize("n_columns", [2, 10, 20])
def test_a_density_that_is_flat_in_its_cells_has_its_probability(n_columns):
    """ln P = 0: at the edges of a cell q is .1, so places from q alone had errors of .4 to 1.3."""
    codec = Codec((NumberColumn(0.0, 1.0, 0.0, 1e6, grid=Grid(), dequantisation=0.9),) * n_columns)
    rows = np.rint(1e6 * Stream(4).uniform(0, 200, n_columns).numpy())
    _, log_r = places_in_cells(codec, rows, 16, stream=Stream(0))
    found, stated = log_mean(torch.from_numpy(-log_r))
    assert abs(float(found.mean())) < 0.1
    assert root_mean_square(found.numpy()) < 0.3
    assert root_mean_square(found.numpy()) < 2.0 * root_mean_square(stated.numpy())


@pytest.mark.parametrize("n_places", [1, 2, 3, 5, 7, 8, 19])
def test_any_number_of_places_estimates_the_probability(n_places):
    error, stated = of_many(wave(0.7), 2, n=2000, n_places=n_places)
    ratio = np.exp(error)
    assert abs(ratio.mean() - 1.0) < 5.6 * ratio.std() / 2000**0.5  # a false alarm of 1e-8
    assert np.isnan(stated).all() if n_places == 1 else np.isfinite(stated).all()


@pytest.fixture(scope="module")
def flags():
    """A table of three flags, the first two alike in nine of ten rows, the probabilities of all, and a small fit."""
    every = pd.DataFrame(list(itertools.product([0, 1], repeat=3)), columns=list("abc"))
    p = 0.5 * np.where(every["a"] == every["b"], 0.9, 0.1) * np.where(every["c"] == 1, 0.3, 0.7)
    rows = every.iloc[np.random.default_rng(0).choice(8, size=200, p=p)].reset_index(drop=True)
    kinds = dict.fromkeys("abc", "integer")
    model = Diffusion(denoiser=Residual(16, 1, 1), max_steps=60, random_state=0, verbose=False, columns=kinds)
    return every, np.asarray(p), model.fit(rows)


def test_the_probabilities_of_a_fit_sum_to_one(flags):
    every, p, model = flags
    found = model.log_density(every)
    probability = found.log_prob.exp().numpy()
    error = np.linalg.norm(probability * found.standard_error.numpy())
    assert 0.99 - 5.6 * error < probability.sum() < 1.0 + 5.6 * error
    assert error < 0.15
    # No distribution scores better, on average over the true one, than that itself: the entropy.
    error = np.linalg.norm(p * found.standard_error.numpy())
    assert (p * found.log_prob.numpy()).sum() < (p * np.log(p)).sum() + 5.6 * error


def test_the_bound_of_unseen_flags_lies_above_the_entropy(flags):
    every, p, model = flags
    unseen = every.iloc[np.random.default_rng(1).choice(8, size=200, p=p)]
    terms = model.bound(unseen, random_state=0)
    assert terms.total > -(p * np.log(p)).sum() - 5.6 * terms.total_standard_error
    again = model.bound(unseen, random_state=0)
    assert torch.equal(terms.per_row, again.per_row)


@pytest.fixture(scope="module")
def gaussian_with_an_integer():
    """A model whose coordinates are jointly Gaussian, in closed form, one of them of an integer, and rows of it."""
    d = 6
    a = torch.from_numpy(np.eye(d) + 0.4 * Stream(6).normal(0, d, d).numpy())
    count = NumberColumn(0.0, 2.0, -20.0, 20.0, grid=Grid(), dequantisation=0.0)
    codec = Codec((*[NumberColumn(0.0, 1.0)] * (d - 1), count))
    rows = codec.decode(Stream(7).normal(0, 300, d).numpy() @ a.numpy().T)
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-8.0)
    return oracle_model(GaussianDenoiser(torch.zeros(d), a @ a.T), rows, schedule, codec=codec), rows


@pytest.mark.slow
def test_the_noise_of_probes_is_no_bias_of_the_score_of_integers(gaussian_with_an_integer):
    model, rows = gaussian_with_an_integer
    exact, probed = (log_density(model, rows, n_intervals=4, n_probes=n_probes) for n_probes in (None, 2))
    error = (probed.log_prob - exact.log_prob).numpy()
    assert abs(error.mean()) < 5.6 * error.std() / 300**0.5
    # The stated error includes the error of the probes.
    of_probes = (probed.standard_error.square().mean() - exact.standard_error.square().mean()).sqrt()
    assert error.std() > 0.2
    assert 0.7 < error.std() / float(of_probes) < 1.4


def test_integers_beside_many_numbers_have_the_integral_over_their_cells():
    """The exact divergence tells how high the places of a narrow cell lie, in closed form for a Gaussian."""
    d, n = 12, 100
    root = torch.from_numpy(np.eye(d) + 0.4 * Stream(6).normal(0, d, d).numpy())
    count = NumberColumn(0.0, 10.0, -40.0, 40.0, grid=Grid(), dequantisation=0.0)
    codec = Codec((*[NumberColumn(0.0, 1.0)] * (d - 1), count))
    z = Stream(7).normal(0, n, d).numpy() @ root.numpy().T
    z[:, -1] = np.clip(np.rint(10.0 * z[:, -1]), -40, 40) / 10.0
    schedule = NoiseSchedule.log_snr_uniform(40, log_snr_max=8.0, log_snr_min=-8.0)
    rows = codec.decode(z)
    model = oracle_model(GaussianDenoiser(torch.zeros(d), root @ root.T), rows, schedule, codec=codec)
    found = log_density(model, rows)
    # The blurred Gaussian: all numbers but the last, and the last given them.
    blurred = (root @ root.T).numpy() + math.exp(-8.0) * np.eye(d)
    others, weights = z[:, :-1], np.linalg.solve(blurred[:-1, :-1], blurred[:-1, -1])
    mean, deviation = others @ weights, math.sqrt(blurred[-1, -1] - blurred[-1, :-1] @ weights)
    low, high = ((z[:, -1] + side * 0.05 - mean) / deviation for side in (-1, 1))
    expected = stats.multivariate_normal(cov=blurred[:-1, :-1]).logpdf(others) + np.log(
        stats.norm.cdf(high) - stats.norm.cdf(low)
    )
    inner = np.abs(z[:, -1]) < 3.95
    assert inner.mean() > 0.9
    assert np.abs(found.log_prob.numpy() - expected)[inner].max() < 0.02


def test_rows_that_hold_no_integers_are_impossible(flags):
    every, _, model = flags
    rows = every[:3].astype(float)
    rows.iloc[1, 2] = 0.5
    with pytest.warns(UnseenValuesWarning):
        assert np.isneginf(model.score_samples(rows)).tolist() == [False, True, False]
    with pytest.raises(InvalidInput, match=r"got 0\.5 at row 1 .*column 'c', which is integers 0 to 1"):
        model.bound(rows)
    for bad in (0, 2.0, True):
        with pytest.raises(InvalidInput, match="n_places should be an integer >= 1"):
            model.log_density(every, n_places=bad)
