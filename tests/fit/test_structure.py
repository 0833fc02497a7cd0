"""Default noise levels: what is finer than any neighbourhood is learnt, and schedules have no mismatch."""

import numpy as np
import pytest
import torch

from backwalk.diffusion import moments, prior_mismatch
from backwalk.estimator import Diffusion
from backwalk.fit import FINEST, default_schedule
from backwalk.streams import Stream

STREAM = Stream(4)


def normal(n, d):
    return STREAM.child("normal", d).normal(0, n, d).numpy()


@pytest.mark.slow
def test_a_relation_that_holds_in_half_of_the_rows_to_a_fiftieth_is_learnt():
    """Half of the rows have y = sin 2x to .02, the others not at all: no neighbourhood is so thin.

    Whoever sees no half of the rows near the curve loses about half of ln(1 / .02), 2 nats. The standard error is .05.
    """
    rng = np.random.default_rng(0)

    def rows(n):
        x, is_near = rng.normal(size=n), rng.random(n) < 0.5
        return np.column_stack([x, np.where(is_near, np.sin(2.0 * x) + 0.02 * rng.normal(size=n), rng.normal(size=n))])

    def log_p(z):
        x, y = z.T
        near, far = -0.5 * ((y - np.sin(2.0 * x)) / 0.02) ** 2 - np.log(0.02), -0.5 * y**2
        return np.logaddexp(near, far) + np.log(0.5) - 0.5 * x**2 - np.log(2.0 * np.pi)

    model = Diffusion(max_steps=1500, random_state=0, verbose=False).fit(rows(5000))
    unseen = rows(1000)
    assert float(np.mean(log_p(unseen) - model.score_samples(unseen))) < 0.5


@pytest.mark.parametrize("factor", [1.0, 100.0])
@pytest.mark.parametrize("d", [1, 3])
def test_the_schedule_ends_in_noise_whatever_the_data(d, factor):
    z = factor * (1.0 + normal(500, d))
    schedule = default_schedule(*moments(torch.from_numpy(z)))
    covariance = np.atleast_2d(np.cov(z, rowvar=False, bias=True))
    assert prior_mismatch(torch.from_numpy(z.mean(0)), torch.from_numpy(covariance), schedule) <= 1e-4


@pytest.mark.parametrize("n_steps", [2, 37])
def test_the_schedule_is_even_in_log_snr_and_begins_below_the_floor(n_steps):
    schedule = default_schedule(*moments(torch.from_numpy(normal(500, 2))), n_steps)
    assert schedule.n_steps == n_steps
    assert float(schedule.noise_level[1]) < FINEST / 4
    steps = schedule.log_snr[1:].diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps))


def test_the_schedule_goes_from_an_eighth_of_the_floor_to_twenty_deviations():
    """Rows with the moments of noise and nothing else of it: by moments alone any end would do."""
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    levels = default_schedule(*moments(torch.from_numpy(corners)), floor=0.2).noise_level
    assert float(levels[1]) == pytest.approx(0.2 / 8)
    assert float(levels[-1]) == pytest.approx(20.0)
