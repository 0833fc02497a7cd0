"""Gradients of log-densities and maxima of a linear Gaussian simulator, which have closed forms."""

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk import Diffusion, Number, Residual, posterior
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule
from backwalk.errors import InvalidInput
from backwalk.fit.oracle import oracle_model
from backwalk.inference.gradients import climb
from backwalk.table import Boundary, Codec, NumberColumn

JOINT_MEAN = np.array([0.5, -0.3, 0.2, 0.1])
FACTOR = np.array([[1.0, 0.0, 0.0, 0.0], [0.3, 0.9, 0.0, 0.0], [1.1, 0.5, 0.5, 0.0], [-0.2, 1.1, 0.2, 0.6]])
JOINT = FACTOR @ FACTOR.T
X = np.array([0.7, -0.9])
GAIN = np.linalg.solve(JOINT[2:, 2:], JOINT[2:, :2]).T
MEAN, COVARIANCE = JOINT_MEAN[:2] + GAIN @ (X - JOINT_MEAN[2:]), JOINT[:2, :2] - GAIN @ JOINT[2:, :2]
THETA = np.random.default_rng(1).multivariate_normal(MEAN, COVARIANCE, 6).reshape(3, 2, 2)
LOG_SNR_MAX = 9.0  # of the chain: densities are blurred by its noise
SCORE = -np.linalg.solve(COVARIANCE + np.exp(-LOG_SNR_MAX) * np.eye(2), (THETA - MEAN)[..., None])[..., 0]


@pytest.fixture(scope="module")
def of_theta():
    denoiser = GaussianDenoiser(torch.from_numpy(JOINT_MEAN), torch.from_numpy(JOINT))
    schedule = NoiseSchedule.log_snr_uniform(100, log_snr_max=LOG_SNR_MAX, log_snr_min=-18.0)
    rows = np.random.default_rng(0).multivariate_normal(JOINT_MEAN, JOINT, 200)
    return posterior(oracle_model(denoiser, rows, schedule), given=[2, 3])


@pytest.fixture(scope="module")
def bounded():
    """theta ~ U(0, 1), x = theta + noise, and labels: a hardly trained model."""
    rng = np.random.default_rng(0)
    theta, group = rng.uniform(size=400), rng.integers(3, size=400)
    rows = pd.DataFrame(
        {"theta": theta, "x": theta + 0.3 * rng.normal(size=400), "group": np.array(list("abc"))[group]}
    )
    options = {"denoiser": Residual(width=16, n_blocks=1), "random_state": 0, "verbose": False}
    return Diffusion(max_steps=40, conditions="any", columns={"theta": Number(bounds=(0.0, 1.0))}, **options).fit(rows)


@pytest.mark.parametrize(
    ("call", "dtype"), [("log_prob", torch.float32), ("potential", torch.float64), ("log_prob_batched", torch.float64)]
)
def test_autograd_finds_the_closed_form(of_theta, call, dtype):
    theta = torch.from_numpy(THETA).to(dtype).requires_grad_()
    x = np.tile(X, (2, 1)) if call == "log_prob_batched" else X
    log_p = getattr(of_theta, call)(theta, x)
    assert log_p.shape == (3, 2)
    (2.0 * log_p.sum()).backward()
    assert theta.grad.dtype == dtype
    np.testing.assert_allclose(theta.grad, 2.0 * SCORE, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        without = getattr(of_theta, call)(theta, x)
    assert not without.requires_grad
    torch.testing.assert_close(log_p.detach(), without)


@pytest.mark.parametrize(("mean", "expected"), [(0.3, 0.3), (-0.5, 0.0), (4.0, 1.0)])
def test_the_maximum_is_found_within_the_bounds_and_at_them(mean, expected):
    codec = Codec((NumberColumn(0.5, 0.3, 0.0, 1.0, bounds=Boundary((-1.0, 1.0), (-0.8, 0.9), -5.0 / 3, 5.0 / 3)),))

    def log_normal(x):
        return -50.0 * np.square(x - mean)[:, 0], -100.0 * (x - mean)

    np.testing.assert_allclose(climb(log_normal, codec, np.array([0.6])), expected, atol=2e-3)


@pytest.mark.slow
def test_gradients_include_the_map_to_the_bounds_and_vanish_beyond_them(bounded):
    of_theta, x = posterior(bounded, given=["x", "group"]), {"x": 0.2, "group": "b"}
    at = torch.tensor([[0.02], [0.3], [0.9], [-0.1], [1.1]], dtype=torch.float64).requires_grad_()
    log_p = of_theta.log_prob(at, x)
    log_p.exp().sum().backward()
    with torch.no_grad():
        ends = of_theta.log_prob(at + torch.tensor([-2e-3, -1e-3, 1e-3, 2e-3])[:, None, None], x).exp()
    slope = (ends[0] - 8.0 * ends[1] + 8.0 * ends[2] - ends[3]) / 12e-3
    torch.testing.assert_close(at.grad[:3, 0], slope[:3], rtol=1e-2, atol=1e-2)
    assert torch.isneginf(log_p[3:]).all()
    assert not at.grad[3:].any()


def test_what_has_no_gradient_is_refused(of_theta, bounded):
    theta = torch.zeros(1, 2).requires_grad_()
    with pytest.raises(InvalidInput, match="2 rows"):
        of_theta.log_prob(theta, np.tile(X, (2, 1)))
    with pytest.raises(InvalidInput, match="2 rows"):
        of_theta.map(np.tile(X, (2, 1)))
    with pytest.raises(InvalidInput, match="detach"):
        of_theta.log_prob(theta, torch.from_numpy(X).requires_grad_())
    of_both = posterior(bounded, given=["x"])
    with pytest.raises(InvalidInput, match="group"):
        of_both.log_prob(theta, [0.2])
    with pytest.raises(InvalidInput, match="group"):
        of_both.map([0.2])
    with pytest.raises(InvalidInput, match="create_graph"):
        torch.autograd.grad(of_theta.log_prob(theta, X), theta, create_graph=True)
