"""Log-densities of whole rows: what a row's score depends on, its errors, and the user's units."""

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model import (
    bound,
    log_density,
)
from backwalk.streams import Stream

STREAM = Stream(11)


@pytest.fixture
def model(fitted):
    return fitted.model_


def test_the_log_density_of_a_row_does_not_depend_on_the_others(model, rows):
    together = log_density(model, rows[:5], n_intervals=4).log_prob
    for some in ([0], [3, 1], [4, 4, 0, 2]):
        alone = log_density(model, rows[some], n_intervals=4).log_prob
        torch.testing.assert_close(alone, together[some], rtol=1e-6, atol=1e-6)
    assert torch.equal(log_density(model, rows[:3], n_intervals=4).log_prob, together[:3])


@pytest.mark.parametrize("n", [65, 300, 2500])
def test_scores_do_not_depend_on_the_tile_that_a_row_is_in(model, rows, n):
    values = np.tile(rows[:50], (n // 50 + 1, 1))[:n]
    scores = log_density(model, values, n_intervals=2).log_prob
    assert scores.shape == (n,)
    first = log_density(model, rows[:50], n_intervals=2).log_prob
    torch.testing.assert_close(scores, first.repeat(n // 50 + 1)[:n], rtol=1e-6, atol=1e-6)


def test_random_signs_estimate_the_exact_divergence_within_their_standard_error(model, rows):
    # The mean of 64 sign products is normal enough; 6 standard errors are a false-alarm rate of 2e-9 a row.
    exact = log_density(model, rows[:40], n_intervals=4)
    estimate = log_density(model, rows[:40], n_intervals=4, n_probes=64)
    assert float(exact.standard_error.max()) == 0.0
    assert float(estimate.standard_error.min()) > 0.0
    assert ((estimate.log_prob - exact.log_prob).abs() <= 6 * estimate.standard_error + 1e-5).all()
    assert torch.equal(log_density(model, rows[:40], n_intervals=4, n_probes=64).log_prob, estimate.log_prob)


def test_the_density_integrates_to_one_in_the_user_s_units():
    x = np.random.default_rng(1).normal(50.0, 4.0, size=(200, 1))
    model = Diffusion(n_steps=20, max_steps=20, denoiser=Residual(8, 1), random_state=0, verbose=False).fit(x).model_
    grid = np.linspace(0.0, 100.0, 1001)[:, None]
    density = log_density(model, grid, n_intervals=12).log_prob.exp().numpy()
    assert trapezoid(density, grid[:, 0]) == pytest.approx(1.0, abs=2e-3)


def test_rows_beyond_float32_are_refused_by_their_number(model, rows):
    far = rows[:3].copy()
    far[2, 0] = 1e35
    for judge in (log_density, lambda *given: bound(*given, stream=STREAM)):
        with pytest.raises(InvalidInput, match="row 2"):
            judge(model, far)
