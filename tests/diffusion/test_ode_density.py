import math

import pytest
import torch
from scipy.integrate import solve_ivp
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from backwalk.diffusion import GaussianDenoiser, GaussianMixtureDenoiser, log_density
from backwalk.diffusion.derivatives import linearize
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

LEVELS = {"level_min": 0.01, "level_max": 50.0}
COVARIANCE = torch.tensor([[1.0, 0.5], [0.5, 0.4]], dtype=torch.float64)
GAUSSIAN = GaussianDenoiser(torch.tensor([0.3, -0.2]), COVARIANCE)
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-1.4, 0.7], [0.6, -0.3]], dtype=torch.float64)
COVARIANCES = torch.stack([0.05 * torch.eye(2).double(), 0.3 * COVARIANCE])
MIXTURE = GaussianMixtureDenoiser(WEIGHTS, MEANS, COVARIANCES)
X = MEANS[[0, 0, 1, 1, 1]] + 0.4 * Stream(21).normal(0, 5, 2)


@pytest.mark.parametrize("d", [1, 3])
def test_standard_normal_data_have_a_closed_form_and_nothing_lost(d):
    # Blurred by s_min, N(0, I) is N(0, (1 + s_min^2) I), and N(0, (1 + s_max^2) I) is exactly the end.
    x = Stream(22).normal(0, 5, d)
    got = log_density(GaussianDenoiser(torch.zeros(d), torch.eye(d)), x, **LEVELS, n_intervals=24)
    variance = 1 + LEVELS["level_min"] ** 2
    expected = -0.5 * (x.square().sum(1) / variance + d * math.log(2 * math.pi * variance))
    torch.testing.assert_close(got.log_prob, expected, rtol=1e-5, atol=1e-5)
    assert ((got.log_prob - expected).abs() <= got.solver_error + 1e-12).all()
    assert got.standard_error.tolist() == [0.0] * 5


def test_gaussian_data_end_at_the_wrong_prior_by_a_known_amount():
    # The ODE stretches each axis by sqrt((S + s_max^2) / (S + s_min^2)): its model is the last normal, pulled back.
    low, high = 0.01, 3.0
    mean, (variances, axes) = GAUSSIAN.mean.double(), torch.linalg.eigh(COVARIANCE)
    stretch = torch.sqrt((variances + high**2) / (variances + low**2))
    x_max = mean + ((X - mean) @ axes * stretch) @ axes.T
    normal = -0.5 * (x_max.square().sum(1) / (1 + high**2) + 2 * math.log(2 * math.pi * (1 + high**2)))
    got = log_density(GAUSSIAN, X, level_min=low, level_max=high, n_intervals=32)
    torch.testing.assert_close(got.log_prob, normal + stretch.log().sum(), rtol=0, atol=1e-5)


def test_at_an_infinite_level_nothing_is_lost():
    """At theta = pi / 2, zero terminal SNR, the blurred Gaussian has its own density, whatever its mean."""
    blurred = MultivariateNormal(GAUSSIAN.mean.double(), COVARIANCE + 0.01**2 * torch.eye(2).double())
    got = log_density(GAUSSIAN, X, level_min=0.01, level_max=math.inf, n_intervals=48)
    torch.testing.assert_close(got.log_prob, blurred.log_prob(X), rtol=0, atol=1e-5)
    assert got.solver_error.max() < 1e-3


def test_mixture_density_blurred_by_the_least_level():
    blurred = COVARIANCES + LEVELS["level_min"] ** 2 * torch.eye(2).double()
    expected = MixtureSameFamily(Categorical(WEIGHTS), MultivariateNormal(MEANS, blurred)).log_prob(X)
    got = log_density(MIXTURE, X, **LEVELS, n_intervals=40)
    # What is left is the mismatch at s_max = 50, of order 1 / s_max^2.
    torch.testing.assert_close(got.log_prob, expected, rtol=0, atol=5e-3)


@pytest.mark.slow
def test_agrees_with_scipy_within_its_own_estimate():
    def velocity(u, state):
        x = torch.as_tensor(state[:2])[None]

        def x_0_hat(y):
            return MIXTURE(y / math.hypot(1.0, math.exp(u)), torch.tensor(-2.0 * u, dtype=torch.float64))

        jacobian = torch.autograd.functional.jacobian(lambda y: x_0_hat(y)[0], x)[:, 0]
        slope = x - x_0_hat(x)
        return [*slope[0].tolist(), 2 - float(jacobian.trace())]

    got = log_density(MIXTURE, X[:2], **LEVELS, n_intervals=48)
    variance, span = 1 + LEVELS["level_max"] ** 2, (math.log(LEVELS["level_min"]), math.log(LEVELS["level_max"]))
    for row in range(2):
        end = solve_ivp(velocity, span, [*X[row].tolist(), 0.0], method="DOP853", rtol=1e-9, atol=1e-10).y[:, -1]
        expected = -0.5 * ((end[0] ** 2 + end[1] ** 2) / variance + 2 * math.log(2 * math.pi * variance)) + end[2]
        assert abs(float(got.log_prob[row]) - expected) <= float(got.solver_error[row]) + 1e-7
    assert got.solver_error.max() < 1e-3


def test_density_integrates_to_one_for_any_denoiser():
    # A change of variables is a density whatever the network: also for one with no probabilistic meaning.
    class Wiggly:
        log_snr_range = (-math.inf, math.inf)

        def __call__(self, x_t, log_snr):
            return torch.sigmoid(log_snr) * (0.8 * x_t + 0.3 * torch.sin(2 * x_t))

    x = torch.linspace(-12, 12, 1201, dtype=torch.float64)[:, None]
    got = log_density(Wiggly(), x, level_min=0.1, level_max=10.0, n_intervals=32)
    assert float(torch.trapezoid(got.log_prob.exp(), x[:, 0])) == pytest.approx(1.0, abs=1e-5)


def test_solver_error_sees_a_grid_that_is_too_coarse():
    fine = log_density(MIXTURE, X, **LEVELS, n_intervals=48)
    for n_intervals in (4, 12):
        got = log_density(MIXTURE, X, **LEVELS, n_intervals=n_intervals)
        assert (got.log_prob - fine.log_prob).abs().max() <= got.solver_error.max()
    assert fine.solver_error.max() < 1e-3


@pytest.mark.slow
def test_divergences_are_few_and_a_path_takes_six_evaluations_a_step():
    class Counting:
        log_snr_range = MIXTURE.log_snr_range
        evaluations, divergences = 0, 0

        def __call__(self, x_t, log_snr):
            self.evaluations += 1
            return MIXTURE(x_t, log_snr)

        def linearize(self, x_t, log_snr):
            self.divergences += 1
            return linearize(MIXTURE, x_t, log_snr)

    counting = Counting()
    got = log_density(counting, X, **LEVELS, n_intervals=16)
    assert (counting.divergences, counting.evaluations) == (16 + 8, 6 * (16 + 8 + 2) - 16 - 8)
    exact = log_density(MIXTURE, X, **LEVELS, n_intervals=96).log_prob
    assert float((got.log_prob - exact).abs().max()) < 2e-3


def test_float32_agrees_with_float64():
    single, double = (log_density(MIXTURE, x, **LEVELS, n_intervals=20) for x in (X.float(), X))
    assert single.log_prob.dtype == torch.float64
    torch.testing.assert_close(single.log_prob, double.log_prob, rtol=0, atol=1e-4)


def test_a_row_does_not_depend_on_the_others():
    alone = torch.cat([log_density(MIXTURE, x[None], **LEVELS, n_intervals=4).log_prob for x in X])
    torch.testing.assert_close(log_density(MIXTURE, X, **LEVELS, n_intervals=4).log_prob, alone, rtol=1e-12, atol=1e-12)


def test_all_sign_vectors_give_the_exact_divergence():
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double()[:, None, :].expand(2, 5, 2)
    exact = log_density(MIXTURE, X, **LEVELS, n_intervals=8)
    probed = log_density(MIXTURE, X, **LEVELS, n_intervals=8, divergence=signs)
    torch.testing.assert_close(probed.log_prob, exact.log_prob, rtol=1e-10, atol=1e-10)
    # With two probes, half the difference between their estimates is the standard error of their mean.
    first, second = (log_density(MIXTURE, X, **LEVELS, n_intervals=8, divergence=s[None]).log_prob for s in signs)
    torch.testing.assert_close(probed.standard_error, (first - second).abs() / 2)


def test_random_signs_estimate_the_density_within_their_standard_error():
    # The estimate of a probe depends on the product of its two signs alone, which is +-1 with probability 1/2. So the
    # mean of 100 is off by 8 of its standard errors if 82 or more have one sign: a false-alarm rate of 1e-10 a row.
    signs = (Stream(23).uniform(0, 100 * 5, 2) - 0.5).sign().reshape(100, 5, 2)
    exact = log_density(MIXTURE, X, **LEVELS, n_intervals=4)
    probed = log_density(MIXTURE, X, **LEVELS, n_intervals=4, divergence=signs)
    assert ((probed.log_prob - exact.log_prob).abs() <= 8 * probed.standard_error).all()
    assert log_density(MIXTURE, X, **LEVELS, n_intervals=2, divergence=signs[:1]).standard_error.isnan().all()


def test_errors_give_rule_value_and_remedy():
    with pytest.raises(InvalidInput, match="level_min should not lie above level_max"):
        log_density(MIXTURE, X, level_min=2.0, level_max=1.0, n_intervals=8)
    with pytest.raises(InvalidInput, match=r"probes should be \(k, 5, 2\)"):
        log_density(MIXTURE, X, **LEVELS, n_intervals=8, divergence=torch.ones(5, 2))
    with pytest.raises(InvalidInput, match='divergence should be "exact"'):
        log_density(MIXTURE, X, **LEVELS, n_intervals=8, divergence="hutchinson")


def test_a_chain_of_one_level_gives_the_density_of_noise_there():
    """Found by review: chains of one step were fitted and sampled, but not scored."""
    result = log_density(MIXTURE, X, level_min=0.7, level_max=0.7, n_intervals=4)
    spread = torch.tensor(1.0 + 0.7**2, dtype=torch.float64).sqrt()
    expected = torch.distributions.Normal(torch.zeros(2).double(), spread).log_prob(X).sum(-1)
    torch.testing.assert_close(result.log_prob, expected, rtol=1e-12, atol=1e-12)
