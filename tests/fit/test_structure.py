"""What the rows decide of the noise: their finest scale, and a schedule without mismatch."""

import numpy as np
import pytest
import torch

from backwalk.diffusion import moments, prior_mismatch
from backwalk.fit import default_schedule, finest_scale, structure
from backwalk.streams import Stream

STREAM = Stream(4)
LEAST, MOST = 0.016, 0.5


def normal(n, d):
    return STREAM.child("normal", d).normal(0, n, d).numpy()


def sine(n, thickness):
    """Rows on a curve, but for normal noise across it."""
    along = 3.0 * STREAM.child("along").uniform(0, n, 1).numpy()
    return np.hstack([along, np.sin(along)]) + thickness * normal(n, 2)


@pytest.mark.parametrize("thickness", [0.02, 0.03])
def test_the_finest_scale_is_the_thickness_of_a_curve(thickness):
    # sqrt(n) neighbours have to reach further along the curve than it is thick, so not too many rows.
    assert finest_scale(sine(1000, thickness), stream=STREAM) == pytest.approx(thickness, rel=0.3)


def test_the_finest_scale_is_that_of_all_rows_and_not_of_the_first(monkeypatch):
    """Tables are sorted, or come in groups."""
    z = np.concatenate([100.0 + 10.0 * normal(300, 2), sine(1700, 0.03)])
    assert finest_scale(z, stream=STREAM) == pytest.approx(0.03, rel=0.3)
    monkeypatch.setattr(structure, "MOST_SEARCHED", 300)
    assert finest_scale(z, stream=STREAM) < 0.1


def test_where_nothing_is_thin_the_finest_scale_is_what_so_many_rows_can_resolve():
    few, many = (finest_scale(normal(n, 2), stream=STREAM) for n in (100, 10_000))
    # sqrt(n) neighbours fill an area in proportion to 1 / sqrt(n), so a hundredfold n is a third in length.
    assert few / many == pytest.approx(100**0.25, rel=0.3)


@pytest.mark.parametrize(
    ("z", "scale"),
    [
        (np.array([[-1.0], [1.0]]), MOST),
        (normal(2, 5), LEAST),  # no more rows than columns are flat
        (np.ones((50, 2)), LEAST),
        (np.repeat(normal(2, 2), 100, axis=0), LEAST),
        (sine(900, 0.0), LEAST),
        (10.0 * normal(300, 3), MOST),
    ],
    ids=["two numbers", "two rows", "one point", "two points", "a curve", "a wide cloud"],
)
def test_the_finest_scale_stays_within_limits(z, scale):
    assert finest_scale(z, stream=STREAM) == scale


@pytest.mark.parametrize("factor", [1.0, 100.0])
@pytest.mark.parametrize("d", [1, 3])
def test_the_schedule_ends_in_noise_whatever_the_data(d, factor):
    z = factor * (1.0 + normal(500, d))
    schedule = default_schedule(*moments(torch.from_numpy(z)), 0.1)
    covariance = np.atleast_2d(np.cov(z, rowvar=False, bias=True))
    assert prior_mismatch(torch.from_numpy(z.mean(0)), torch.from_numpy(covariance), schedule) <= 1e-4


@pytest.mark.parametrize("n_steps", [2, 37])
def test_the_schedule_is_even_in_log_snr_and_begins_below_the_finest_scale(n_steps):
    schedule = default_schedule(*moments(torch.from_numpy(normal(500, 2))), 0.2, n_steps)
    assert schedule.n_steps == n_steps
    assert float(schedule.noise_level[1]) < 0.2 / 4
    steps = schedule.log_snr[1:].diff()
    torch.testing.assert_close(steps, steps.mean().expand_as(steps))


def test_the_schedule_goes_from_an_eighth_of_the_finest_scale_to_twenty_deviations():
    """Rows with the moments of noise and nothing else of it: by moments alone any end would do."""
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    levels = default_schedule(*moments(torch.from_numpy(corners)), 0.2).noise_level
    assert float(levels[1]) == pytest.approx(0.2 / 8)
    assert float(levels[-1]) == pytest.approx(20.0)
