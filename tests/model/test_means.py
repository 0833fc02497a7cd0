"""Means of trained models are those of their draws, whichever columns may be given."""

import numpy as np
import pytest

from backwalk import Diffusion

N_DRAWS = 400


@pytest.mark.slow
@pytest.mark.parametrize("conditions", ["any", [[2]]])
def test_means_of_numbers_given_declared_columns_are_as_good_as_those_of_draws(conditions):
    """The first number is x_2^2 with noise .3, the second -x_2: the squared errors of both means agree within .02."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=2_000)
    rows = np.column_stack([x**2 + 0.3 * rng.normal(size=2_000), 0.1 * rng.normal(size=2_000) - x, x])
    model = Diffusion(max_steps=300, conditions=conditions, random_state=0, verbose=False).fit(rows[:1_500])
    unseen = rows[1_500:].copy()
    unseen[:, :2] = np.nan
    means = model.impute(unseen, statistic="mean", random_state=0)
    draws = np.mean(model.impute(unseen, n_draws=N_DRAWS, random_state=0), axis=0)
    errors = [np.square(found - rows[1_500:])[:, :2].mean(axis=0) for found in (means, draws)]
    np.testing.assert_allclose(*errors, atol=0.02)
