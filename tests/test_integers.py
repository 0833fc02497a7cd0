"""Rows of integers are scored by their probabilities, and bounds lie above these: closed forms and a learned table."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model import log_prob_of_rows
from backwalk.model.integers import log_mean, places_in_cells
from backwalk.streams import Stream
from backwalk.table import Codec, IntegerColumn, NumberColumn

SHARES = np.array([0.7, 0.3])


def codec_of(density):
    """A column on a continuous scale, and two of 0 and 1."""
    flag = IntegerColumn(NumberColumn(0.0, 1.0), 0.0, 1.0, density)
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


# A bump of the cosine's own deviation, a narrower and a wider one.
@pytest.mark.parametrize("deviation", [0.18, 0.14, 0.35])
@pytest.mark.parametrize("density", ["uniform", "cosine"])
def test_the_score_of_integers_is_their_log_probability(density, deviation):
    log_density, rows, log_p = bumps(deviation)
    error = {}
    for n_places in (16, 256):
        places, log_r = places_in_cells(codec_of(density), rows, n_places, stream=Stream(0))
        at_places = log_density(places.reshape(-1, 3)).reshape(log_r.shape)
        found, stated = log_mean(torch.from_numpy(at_places - log_r))
        error[n_places] = np.sqrt(np.square(found.numpy() - log_p).mean())
        # Stratified places err less than independent ones, of which the stated error is.
        assert error[n_places] < 1.1 * float(stated.square().mean().sqrt())
        # The estimate is one of P: its mean is right, within 5.6 standard errors, a false alarm of 1e-8.
        ratio = np.exp(found.numpy() - log_p)
        assert abs(ratio.mean() - 1.0) < 5.6 * ratio.std() / 20.0
    assert error[256] < 0.25 * error[16]  # as 1 / n_places at best, and 1 / 4 of independent places
    by_rows = log_prob_of_rows(log_density, codec_of(density), rows[:9], stream=Stream(0))
    places, log_r = places_in_cells(codec_of(density), rows[:9], 16, stream=Stream(0))
    by_hand = np.log(np.exp(log_density(places.reshape(-1, 3)).reshape(log_r.shape) - log_r).mean(axis=1))
    np.testing.assert_allclose(by_rows, by_hand, rtol=1e-12)


def test_places_are_spread_evenly_in_the_cells_of_integers_alone():
    _, rows, _ = bumps(0.2)
    places, _ = places_in_cells(codec_of("uniform"), rows[:5], 16, stream=Stream(0))
    assert (places[..., 0] == rows[:5, None, 0]).all()
    u = places[..., 1:] - rows[:5, None, 1:] + 0.5
    assert ((u > 0.0) & (u < 1.0)).all()
    # One place in each sixteenth of a cell, from somewhere on.
    gaps = np.diff(np.sort(u, axis=1), axis=1)
    np.testing.assert_allclose(gaps, 1.0 / 16.0, atol=1e-12)


def test_without_integers_rows_are_scored_where_they_stand():
    log_density, rows, _ = bumps(0.2)
    codec = Codec((NumberColumn(0.0, 1.0),) * 3)
    np.testing.assert_array_equal(log_prob_of_rows(log_density, codec, rows, stream=Stream(0)), log_density(rows))


@pytest.fixture(scope="module")
def flags():
    """A table of three flags, the first two alike in nine of ten rows, the probabilities of all, and a small fit."""
    every = pd.DataFrame(list(itertools.product([0, 1], repeat=3)), columns=list("abc"))
    p = 0.5 * np.where(every["a"] == every["b"], 0.9, 0.1) * np.where(every["c"] == 1, 0.3, 0.7)
    rows = every.iloc[np.random.default_rng(0).choice(8, size=200, p=p)].reset_index(drop=True)
    model = Diffusion(denoiser=Residual(32, 2, 1), max_steps=300, random_state=0, verbose=False)
    return every, np.asarray(p), model.fit(rows)


def test_the_probabilities_of_a_fit_sum_to_one(flags):
    """Found by review: those of five flags summed to 1.86, as the noise in the cells was drawn once and learnt.

    What the model blurs beyond 0 and 1, and `sample` reflects, is not in the sum.
    """
    every, p, model = flags
    found = model.log_density(every)
    probability = found.log_prob.exp().numpy()
    error = np.linalg.norm(probability * found.standard_error.numpy())
    assert 0.9 - 5.6 * error < probability.sum() < 1.0 + 5.6 * error
    assert error < 0.15
    # No distribution scores better, on average over the true one, than that itself: the entropy.
    error = np.linalg.norm(p * found.standard_error.numpy())
    assert (p * found.log_prob.numpy()).sum() < (p * np.log(p)).sum() + 5.6 * error


def test_the_bound_of_unseen_flags_lies_above_the_entropy(flags):
    """Found by review: at the centres of the cells it fell below."""
    every, p, model = flags
    unseen = every.iloc[np.random.default_rng(1).choice(8, size=1000, p=p)]
    terms = model.bound(unseen, steps=20, random_state=0)
    assert terms.total > -(p * np.log(p)).sum() - 5.6 * terms.total_standard_error
    again = model.bound(unseen, steps=20, random_state=0)
    assert torch.equal(terms.per_row, again.per_row)


def test_equal_rows_score_equal_alone_and_in_any_batch(flags):
    every, _, model = flags
    together = model.score_samples(pd.concat([every, every[:3]]))
    np.testing.assert_array_equal(together[:3], together[8:])
    np.testing.assert_array_equal(model.score_samples(every[2:3]), together[2:3])
    assert (model.log_density(every, random_state=1).log_prob.numpy() != together[:8]).all()
    one = model.log_density(every, n_places=1)
    assert one.standard_error.isnan().all()


def test_rows_that_hold_no_integers_are_impossible(flags):
    """Found by review: half-integers were scored in silence."""
    every, _, model = flags
    rows = every[:3].astype(float)
    rows.iloc[1, 2] = 0.5
    assert np.isneginf(model.score_samples(rows)).tolist() == [False, True, False]
    with pytest.raises(InvalidInput, match=r"got 0\.5 at row 1 .*column 'c', which is integers 0 to 1"):
        model.bound(rows)
    for bad in (0, 2.0, True):
        with pytest.raises(InvalidInput, match="n_places should be an integer >= 1"):
            model.log_density(every, n_places=bad)
