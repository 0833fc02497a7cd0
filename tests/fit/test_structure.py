"""Default noise levels: the finest scale is of what is left of a number given others; schedules have no mismatch."""

import numpy as np
import pytest
import torch

from backwalk.diffusion import moments, prior_mismatch
from backwalk.estimator import Diffusion
from backwalk.fit import default_schedule, finest_scale
from backwalk.streams import Stream

STREAM = Stream(4)


def normal(n, d):
    return STREAM.child("normal", d).normal(0, n, d).numpy()


@pytest.mark.parametrize("d", [2, 6])
def test_the_finest_scale_is_that_of_what_is_left_of_a_number_given_the_others(d):
    """Twice as thin is half the scale, whichever column it is, and however wide the others are."""
    rng, found = np.random.default_rng(0), []
    x = rng.normal(size=(4000, d - 1))
    left = rng.normal(size=4000)
    for thickness in (0.4, 0.2):
        z = np.column_stack([x, x[:, 0] + thickness * left])
        found.append(finest_scale(z, stream=STREAM))
        assert finest_scale(z[:, ::-1].copy(), stream=STREAM) == pytest.approx(found[-1], rel=0.3)
        assert 0.03 * thickness < found[-1] < 0.4 * thickness
    assert found[1] < 0.75 * found[0]


@pytest.mark.parametrize(
    "make", [lambda z: z, lambda z: np.where(np.random.default_rng(1).random(z.shape) < 0.1, np.nan, z)]
)
def test_modes_and_gaps_do_not_hide_a_fine_scale(make):
    """Two columns of four peaks each, of width .02, that do not depend on each other, and one alone."""
    rng = np.random.default_rng(0)
    z = make(
        np.sign(rng.normal(size=(3000, 2))) * (1.0 + rng.integers(0, 2, (3000, 2))) + 0.02 * rng.normal(size=(3000, 2))
    )
    assert finest_scale(z, stream=STREAM) < 0.02
    assert finest_scale(z[:, :1], stream=STREAM) < 0.02


@pytest.mark.parametrize(
    ("z", "scale"),
    [
        (np.zeros((50, 0)), 1 / 16),
        (np.array([[-1.0], [1.0]]), 1 / 16),
        (np.full((50, 2), np.nan), 1 / 16),
        (np.ones((50, 2)), 1 / 256),
        (np.repeat(normal(2, 2), 100, axis=0), 1 / 256),
        (10.0 * normal(300, 3), 1 / 16),
    ],
    ids=["no numbers", "two numbers", "gaps alone", "one point", "two points", "a wide cloud"],
)
def test_the_finest_scale_stays_within_limits(z, scale):
    assert finest_scale(z, stream=STREAM) == scale


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
    schedule = default_schedule(*moments(torch.from_numpy(z)), 0.1)
    covariance = np.atleast_2d(np.cov(z, rowvar=False, bias=True))
    assert prior_mismatch(torch.from_numpy(z.mean(0)), torch.from_numpy(covariance), schedule) <= 1e-4


@pytest.mark.parametrize("n_steps", [2, 37])
def test_the_schedule_is_even_in_log_snr_and_begins_below_the_floor(n_steps):
    schedule = default_schedule(*moments(torch.from_numpy(normal(500, 2))), 0.2, n_steps)
    assert schedule.n_steps == n_steps
    assert float(schedule.noise_level[1]) < 0.2 / 4
    steps = schedule.log_snr[1:].diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps))


def test_the_schedule_goes_from_an_eighth_of_the_floor_to_twenty_deviations():
    """Rows with the moments of noise and nothing else of it: by moments alone any end would do."""
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    levels = default_schedule(*moments(torch.from_numpy(corners)), 0.2).noise_level
    assert float(levels[1]) == pytest.approx(0.2 / 8)
    assert float(levels[-1]) == pytest.approx(20.0)
