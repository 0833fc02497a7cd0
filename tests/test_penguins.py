"""The known density of a table is one: it sums and integrates to its marginals, and its draws follow it."""

import numpy as np
import pytest
from scipy import stats

from tests.penguins import Penguins

DENSITY = Penguins()
ROWS = DENSITY.sample(4_000, random_state=0)
GRID = np.linspace(-9.0, 9.0, 1801)


def test_labels_sum_out_and_numbers_integrate_out():
    row = ROWS[:1]
    for place, levels in ((0, 3), (2, 2)):
        each = np.repeat(row, levels, axis=0)
        each[:, place] = np.arange(levels)
        others = [name for j, name in enumerate(DENSITY.names) if j != place]
        total = np.exp(DENSITY.marginal_log_prob(each, DENSITY.names)).sum()
        assert total == pytest.approx(float(np.exp(DENSITY.marginal_log_prob(row, others))[0]), rel=1e-12)
    for place in (1, 3):
        each = np.repeat(row, len(GRID), axis=0)
        each[:, place] = GRID
        others = [name for j, name in enumerate(DENSITY.names) if j != place]
        p = np.exp(DENSITY.marginal_log_prob(each, DENSITY.names))
        assert np.trapezoid(p, GRID) == pytest.approx(
            float(np.exp(DENSITY.marginal_log_prob(row, others))[0]), rel=1e-6
        )
        below = np.trapezoid(p[row[0, place] >= GRID], GRID[row[0, place] >= GRID]) / np.trapezoid(p, GRID)
        assert below == pytest.approx(float(DENSITY.conditional_cdf(row, DENSITY.names[place])[0]), abs=0.01)


def test_draws_follow_the_conditionals():
    """With a false-alarm rate of 1e-8 each."""
    for name in ("x", "y"):
        assert stats.kstest(DENSITY.conditional_cdf(ROWS, name), "uniform").pvalue > 1e-8
    p = np.exp(DENSITY.level_log_probs(ROWS, "species", given=["x"]))
    np.testing.assert_allclose(p.sum(1), 1.0)
    drawn = np.bincount(ROWS[:, 0].astype(int), minlength=3)
    assert (np.abs(drawn - p.sum(0)) < stats.norm.isf(0.5e-8) * np.sqrt((p * (1 - p)).sum(0))).all()
    np.testing.assert_array_equal(DENSITY.from_frame(DENSITY.as_frame(ROWS)), ROWS)
