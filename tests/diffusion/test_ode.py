import math

import pytest
import torch
from scipy.integrate import solve_ivp

from backwalk.diffusion import (
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    NoiseSchedule,
    beta_variance,
    integrate_ode,
    log_density,
    variational_bound,
)
from backwalk.diffusion.closed_forms import ClosedForm
from backwalk.diffusion.ode import angle_grid, dormand_prince, gauss_legendre
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.5], [0.5, 0.4]], dtype=torch.float64)
GAUSSIAN = GaussianDenoiser(MEAN, COVARIANCE)
MIXTURE = GaussianMixtureDenoiser(
    torch.tensor([0.3, 0.7]), torch.tensor([[-1.2, 0.5], [0.6, -0.3]]).double(), torch.stack([COVARIANCE / 8] * 2)
)
X = Stream(20).normal(0, 6, 2)


def test_the_stepper_is_of_order_five():
    def slope_at(u, x):
        return x * math.cos(u)

    errors = []
    for n in (8, 16, 32):
        y = dormand_prince(slope_at, torch.ones(1, dtype=torch.float64), [3.0 * i / n for i in range(n + 1)])
        errors.append(abs(float(y) - math.exp(math.sin(3.0))))
    assert 20 < errors[0] / errors[1] < 60
    assert 20 < errors[1] / errors[2] < 60


def test_the_quadrature_is_exact_for_polynomials_in_the_grids_variable():
    for n in (1, 4, 9):
        angles, weights = torch.tensor(gauss_legendre(0.01, 20.0, n), dtype=torch.float64).T
        low, high = (math.log(math.atan(level) + 0.05) for level in (0.01, 20.0))
        u = torch.log(angles + 0.05)
        for degree in range(2 * n):  # d theta is (theta + 0.05) du
            integral = float((weights * u**degree / (angles + 0.05)).sum())
            exact = (high ** (degree + 1) - low ** (degree + 1)) / (degree + 1)
            assert integral == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize(("level_from", "level_to"), [(0.01, 20.0), (20.0, 0.01), (1.0, 2.0)])
def test_gaussian_transport_has_a_closed_form(level_from, level_to):
    # Unscaled points x(s) = sqrt(1 + s^2) x_t obey x(s) - m = sqrt((S + s^2) / (S + s_from^2)) (x - m) along each axis.
    variances, axes = torch.linalg.eigh(COVARIANCE)
    stretch = torch.sqrt((variances + level_to**2) / (variances + level_from**2))
    start, end = math.hypot(1.0, level_from), math.hypot(1.0, level_to)
    expected = (MEAN + ((start * X - MEAN) @ axes * stretch) @ axes.T) / end
    errors = []
    for n in (16, 32, 64):
        got, error = integrate_ode(GAUSSIAN, X, level_from, level_to, n)
        assert ((got - expected).abs() <= error + 1e-12).all()
        errors.append(float((got - expected).abs().max()))
    assert errors[2] < 1e-6
    assert errors[2] <= max(errors[0] / 100, 1e-12)


@pytest.mark.slow
def test_there_and_back_again():
    latent, _ = integrate_ode(MIXTURE, X, 0.01, 20.0, 256)
    back, _ = integrate_ode(MIXTURE, latent, 20.0, 0.01, 256)
    torch.testing.assert_close(back, X, rtol=1e-4, atol=1e-5)


def test_agrees_with_scipy_within_its_own_estimate():
    # scipy integrates the usual form, dx / d ln s = x - x_0_hat in unscaled points.
    def velocity(u, flat):
        x = torch.as_tensor(flat).reshape(6, 2)
        x_0_hat = MIXTURE(x / math.hypot(1.0, math.exp(u)), torch.tensor(-2.0 * u, dtype=torch.float64))
        return (x - x_0_hat).flatten().numpy()

    span = (math.log(20.0), math.log(0.01))
    start = math.hypot(1.0, 20.0) * X
    solved = solve_ivp(velocity, span, start.flatten().numpy(), method="DOP853", rtol=1e-10, atol=1e-11)
    expected = torch.as_tensor(solved.y[:, -1]).reshape(6, 2) / math.hypot(1.0, 0.01)
    got, error = integrate_ode(MIXTURE, X, 20.0, 0.01, 64)
    assert ((got - expected).abs() <= error + 1e-8).all()
    assert error.max() < 1e-3


def test_float32_is_kept():
    got, error = integrate_ode(GAUSSIAN, X.float(), 0.01, 20.0, 32)
    assert got.dtype == error.dtype == torch.float32
    torch.testing.assert_close(got.double(), integrate_ode(GAUSSIAN, X, 0.01, 20.0, 32)[0], rtol=1e-4, atol=1e-4)


def test_errors_give_rule_value_and_remedy():
    with pytest.raises(InvalidInput, match="noise levels should be > 0, but got 0"):
        integrate_ode(GAUSSIAN, X, 0.0, 1.0, 8)
    for n in (0, 1, 7, 16.0):
        with pytest.raises(InvalidInput, match=f"n_intervals should be even and at least 2, .* got {n}"):
            integrate_ode(GAUSSIAN, X, 0.1, 1.0, n)


@pytest.mark.slow
@pytest.mark.parametrize("has_linearize", [True, False])
def test_the_gradient_of_a_log_density_has_a_closed_form(has_linearize):
    class Plain(ClosedForm):  # a denoiser that autograd differentiates
        def __call__(self, x_t, log_snr):
            return GAUSSIAN(x_t, log_snr)

    x, grid = X.clone().requires_grad_(), {"level_min": 0.01, "level_max": 1e4, "n_intervals": 32}
    log_prob = log_density(GAUSSIAN if has_linearize else Plain(), x, **grid).log_prob
    (found,) = torch.autograd.grad(log_prob.sum(), x)
    expected = -torch.linalg.solve(COVARIANCE + 0.01**2 * torch.eye(2), (X - MEAN).T).T
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    without = log_density(GAUSSIAN, X, **grid).log_prob
    assert not without.requires_grad
    torch.testing.assert_close(log_prob.detach(), without)


def test_standard_normal_data_stay_where_they_are():
    got, error = integrate_ode(GaussianDenoiser(torch.zeros(2), torch.eye(2)), X, 0.01, 50.0, 2)
    torch.testing.assert_close(got, X, rtol=0, atol=1e-13)
    assert error.max() < 1e-13


def test_the_grid_goes_from_level_to_level_and_is_closest_in_between():
    up, down = (torch.tensor(angle_grid(*ends, 16)) for ends in ((0.004, 20.0), (20.0, 0.004)))
    torch.testing.assert_close(up, down.flip(0))
    assert (float(up[0]), float(up[-1])) == pytest.approx((math.atan(0.004), math.atan(20.0)))
    widths = up.tan().log().diff()
    assert up.diff().min() > 0
    assert 0.05 < float(up.tan()[widths.argmin()]) < 1.0


def test_levels_outside_the_denoisers_range_are_refused():
    class Narrow(GaussianDenoiser):
        log_snr_range = (-1.0, 5.0)

    narrow, short = Narrow(MEAN, COVARIANCE), NoiseSchedule.linear(10)
    with pytest.raises(InvalidInput, match="log-SNR should stay within"):
        integrate_ode(narrow, X, 0.5, 20.0, 4)
    with pytest.raises(InvalidInput, match="log-SNR should stay within"):
        log_density(narrow, X, level_min=0.01, level_max=1.5, n_intervals=4)
    with pytest.raises(InvalidInput, match="log-SNR should stay within"):
        variational_bound(narrow, X, short, beta_variance(short), stream=Stream(0))
    integrate_ode(narrow, X, 0.5, 1.5, 4)
