import math

import pytest
import torch

from backwalk.diffusion import GaussianDenoiser, GaussianMixtureDenoiser, scales
from backwalk.diffusion.closed_forms import ENTRIES_AT_ONCE
from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from tests.empirical import EmpiricalDenoiser

MEANS = torch.tensor([[-2.0, 0.5], [1.0, -0.3], [0.0, 2.0]], dtype=torch.float64)
COVARIANCES = torch.tensor([[[0.05, 0.0], [0.0, 0.3]], [[0.4, 0.15], [0.15, 0.1]], [[1.0, 0.0], [0.0, 0.01]]]).double()
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MIXTURE = GaussianMixtureDenoiser(WEIGHTS, MEANS, COVARIANCES)
X_T = 1.5 * Stream(11).normal(0, 7, 2)
LEVELS = [-20.0, -3.0, 0.0, 3.0, 8.0]


def level(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("log_snr", LEVELS)
def test_gaussian_is_the_linear_regression_of_x_0_on_x_t(log_snr):
    a, b = (float(s) for s in scales(level(log_snr), X_T))
    marginal = a**2 * COVARIANCES[1] + b**2 * torch.eye(2, dtype=torch.float64)
    expected = MEANS[1] + (X_T - a * MEANS[1]) @ torch.linalg.solve(marginal, a * COVARIANCES[1])
    got = GaussianDenoiser(MEANS[1], COVARIANCES[1])(X_T, level(log_snr))
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 3.0])
def test_mixture_obeys_tweedies_formula(log_snr):
    # x_0_hat = (x_t + b^2 grad ln q(x_t)) / a, with the gradient by autograd of an independent mixture density.
    a, b = (float(s) for s in scales(level(log_snr), X_T))
    marginals = a**2 * COVARIANCES + b**2 * torch.eye(2, dtype=torch.float64)
    density = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(WEIGHTS), torch.distributions.MultivariateNormal(a * MEANS, marginals)
    )
    x = X_T.clone().requires_grad_()
    (score,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    torch.testing.assert_close(MIXTURE(X_T, level(log_snr)), (X_T + b**2 * score) / a, rtol=1e-9, atol=1e-10)


def test_mixture_of_one_is_the_gaussian_and_weights_need_no_scale():
    one = GaussianMixtureDenoiser(torch.tensor([7.0]), MEANS[:1], COVARIANCES[:1])
    torch.testing.assert_close(one(X_T, level(1.0)), GaussianDenoiser(MEANS[0], COVARIANCES[0])(X_T, level(1.0)))
    scaled = GaussianMixtureDenoiser(10 * WEIGHTS, MEANS, COVARIANCES)
    torch.testing.assert_close(scaled(X_T, level(1.0)), MIXTURE(X_T, level(1.0)), rtol=1e-13, atol=0)


@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 3.0, 6.0])
def test_empirical_is_the_mixture_of_spikes(log_snr):
    points = Stream(12).normal(0, 20, 2)
    spikes = GaussianMixtureDenoiser(torch.ones(20), points, torch.zeros(20, 2, 2))
    torch.testing.assert_close(
        EmpiricalDenoiser(points)(X_T, level(log_snr)), spikes(X_T, level(log_snr)), rtol=1e-9, atol=1e-11
    )


def test_both_ends():
    # Pure noise leaves the prior mean; no noise leaves the point, or the nearest one of a finite set.
    prior_mean = (WEIGHTS[:, None] * MEANS).sum(0).expand(7, 2)
    torch.testing.assert_close(MIXTURE(X_T, level(-math.inf)), prior_mean, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(MIXTURE(X_T, level(math.inf)), X_T, rtol=1e-12, atol=1e-12)
    points = Stream(12).normal(0, 20, 2)
    empirical = EmpiricalDenoiser(points)
    torch.testing.assert_close(empirical(X_T, level(-math.inf)), points.mean(0).expand(7, 2))
    assert torch.equal(empirical(X_T, level(math.inf)), points[torch.cdist(X_T, points).argmin(1)])


def test_without_noise_a_mixture_of_spikes_is_the_nearest_that_counts():
    """Found by review: squares over no noise overflowed, which made all spikes alike."""
    points = torch.tensor([[0.0], [4.0], [10.0]])
    spikes = GaussianMixtureDenoiser(torch.tensor([1.0, 0.0, 1.0]), points, torch.zeros(3, 1, 1))
    for log_snr in (math.inf, 90.0):
        assert spikes(torch.tensor([[3.0], [7.0], [-5.0]]), level(log_snr)).flatten().tolist() == [0.0, 10.0, 0.0]


def test_points_far_from_the_origin_are_told_apart():
    points = torch.tensor([[1e8], [1e8 + 1.0]]).double()
    for log_snr in (math.inf, 30.0):
        a = scales(level(log_snr), points)[0]
        assert torch.equal(EmpiricalDenoiser(points)(a * points, level(log_snr)), points)


def test_a_covariance_that_float32_has_rounded_is_accepted():
    skew = torch.tensor([[1.0, 1e-3], [1e-3 + 2e-9, 1.0]])
    assert GaussianDenoiser(torch.zeros(2), skew)(X_T, level(0.0)).isfinite().all()


def test_a_direction_without_variance_is_known_at_every_level():
    flat = GaussianDenoiser(torch.tensor([1.0, 3.0]), torch.diag(torch.tensor([2.0, 0.0])))
    for log_snr in (-math.inf, -2.0, 5.0, math.inf):
        assert (flat(X_T, level(log_snr))[:, 1] == 3.0).all()


@pytest.mark.parametrize("denoiser", [MIXTURE, EmpiricalDenoiser(MEANS), GaussianDenoiser(MEANS[0], COVARIANCES[0])])
def test_far_points_and_extreme_levels_stay_finite(denoiser):
    far = torch.tensor([[1e8, -1e8], [0.0, 0.0]], dtype=torch.float64)
    for log_snr in (-700.0, -40.0, 0.0, 40.0, 700.0):
        assert denoiser(far, level(log_snr)).isfinite().all()


@pytest.mark.parametrize("denoiser", [MIXTURE, EmpiricalDenoiser(MEANS), GaussianDenoiser(MEANS[0], COVARIANCES[0])])
def test_a_level_for_each_row_and_the_dtype_of_x_t(denoiser):
    levels = torch.linspace(-4, 4, 7, dtype=torch.float64)
    by_row = torch.cat([denoiser(x[None], log_snr) for x, log_snr in zip(X_T, levels, strict=True)])
    torch.testing.assert_close(denoiser(X_T, levels), by_row, rtol=1e-12, atol=1e-14)
    single = denoiser(X_T.float(), levels.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), by_row, rtol=1e-5, atol=1e-5)
    assert denoiser(X_T[:0], level(0.0)).shape == (0, 2)


def test_many_rows_are_taken_in_tiles():
    points = Stream(13).normal(0, 2**12, 1)
    n = ENTRIES_AT_ONCE // len(points) + 3
    x = Stream(14).normal(0, n, 1)
    got = EmpiricalDenoiser(points)(x, level(2.0))
    torch.testing.assert_close(got[-5:], EmpiricalDenoiser(points)(x[-5:], level(2.0)), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GaussianMixtureDenoiser(torch.ones(2), MEANS, COVARIANCES),
            r"weights and covariances should be \(3,\)",
        ),
        (lambda: GaussianMixtureDenoiser(-WEIGHTS, MEANS, COVARIANCES), "weights should be >= 0"),
        (lambda: GaussianDenoiser(torch.zeros(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])), "the least is -1"),
        (lambda: GaussianDenoiser(torch.zeros(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "entries differ by 0.5"),
    ],
)
def test_errors_give_rule_value_and_remedy(make, message):
    with pytest.raises(InvalidInput, match=message):
        make()
