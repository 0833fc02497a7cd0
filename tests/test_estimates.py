"""Rows at random, and means with their errors. False-alarm rate 1e-8 for each statistical test."""

import math

import numpy as np
import pytest
from scipy import stats

from backwalk.estimates import mean_estimate, random_rows
from backwalk.streams import Stream

Z = stats.norm.isf(0.5e-8)


def test_random_rows_are_a_subset():
    rows = np.arange(50.0)[:, None]
    assert len(np.unique(random_rows(rows, 20, stream=Stream(0)))) == 20
    assert sorted(random_rows(rows, 80, stream=Stream(0))[:, 0]) == list(range(50))
    some = random_rows(np.arange(10_000.0)[:, None], 1000, stream=Stream(0))
    assert abs(some.mean() - 4999.5) < Z * 10_000 * math.sqrt(0.9 / 12 / 1000)  # of all, and not of the first


def test_mean_estimate_is_mean_and_error():
    values = Stream(0).normal(0, 30, 1).numpy()[:, 0]
    estimate = mean_estimate(values)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.standard_error == pytest.approx(stats.sem(values))
