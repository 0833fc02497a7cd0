"""Conditionals and marginals by a log-SNR for each coordinate, against the closed forms of Gaussians and mixtures."""

import math

import pytest
import torch

from backwalk.diffusion import (
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    NoiseSchedule,
    beta_variance,
    denoising_error,
    log_density,
    log_snr_by_coordinate,
    q_sample_at,
    score_from_x_0,
    simple_loss_at,
    variational_bound,
)
from backwalk.streams import Stream
from tests.conditional import conditional_of
from tests.empirical import EmpiricalDenoiser
from tests.jacobian import value_and_jacobian

STREAM = Stream(81)
D, N = 4, 5
KNOWN = torch.tensor([False, True, False, False])
ABSENT = torch.tensor([False, False, False, True])
FREE = ~(KNOWN | ABSENT)
ROOTS = STREAM.child("roots").normal(0, 3 * D, D).reshape(3, D, D)
MEANS = STREAM.child("means").normal(0, 3, D)
COVARIANCES = ROOTS @ ROOTS.mT * torch.tensor([1.0, 0.3, 0.1]).double()[:, None, None]
WEIGHTS = torch.tensor([0.5, 0.3, 0.2]).double()
GAUSSIAN = GaussianDenoiser(MEANS[0], COVARIANCES[0])
MIXTURE = GaussianMixtureDenoiser(WEIGHTS, MEANS, COVARIANCES)
X = MEANS.repeat(2, 1)[:N] + STREAM.child("rows").normal(0, N, D)
LEVELS = [-math.inf, -30.0, -3.0, 0.0, 3.0, 12.0, 30.0, math.inf]


def level(value):
    return torch.tensor(value, dtype=torch.float64)


def exact_conditional(row, known=KNOWN, free=FREE):
    """Return the mixture of the free coordinates given a row's known ones, by Schur complements and Bayes' rule."""
    gain = torch.linalg.solve(COVARIANCES[:, known][:, :, known], COVARIANCES[:, known][:, :, free]).mT
    means = MEANS[:, free] + (gain @ (row - MEANS)[:, known, None])[..., 0]
    covariances = COVARIANCES[:, free][:, :, free] - gain @ COVARIANCES[:, known][:, :, free]
    of_known = torch.distributions.MultivariateNormal(MEANS[:, known], COVARIANCES[:, known][:, :, known])
    log_weights = WEIGHTS.log() + of_known.log_prob(row[known])
    return GaussianMixtureDenoiser(torch.softmax(log_weights, 0), means, 0.5 * (covariances + covariances.mT))


def exact_gaussian(row, known=KNOWN, free=FREE):
    mixture = exact_conditional(row, known, free)
    return GaussianDenoiser(mixture.means[0], mixture.covariances[0])


CASES = [(GAUSSIAN, exact_gaussian), (MIXTURE, exact_conditional)]
by_case = pytest.mark.parametrize(("joint", "exact"), CASES, ids=["gaussian", "mixture"])


def close(got, expected, tolerance=1e-10):
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


@by_case
@pytest.mark.parametrize("log_snr", LEVELS)
def test_a_conditional_is_the_denoiser_of_the_schur_complement(joint, exact, log_snr):
    conditional = conditional_of(joint, X, KNOWN, ABSENT)
    x_t = 2 * STREAM.child("x_t").normal(0, N, 2)
    expected = torch.cat([exact(row)(x[None], level(log_snr)) for row, x in zip(X, x_t, strict=True)])
    close(conditional(x_t, level(log_snr)), expected)


@by_case
@pytest.mark.parametrize("log_snr", LEVELS)
def test_a_marginal_is_the_denoiser_of_the_block(joint, exact, log_snr):
    del exact
    x_t = 2 * STREAM.child("x_t").normal(0, N, 2)
    k = 1 if joint is GAUSSIAN else 3
    expected = GaussianMixtureDenoiser(WEIGHTS[:k], MEANS[:k, :2], COVARIANCES[:k, :2, :2])
    marginal = conditional_of(joint, torch.zeros(1, D), torch.zeros(D).bool(), torch.arange(D) >= 2)
    close(marginal(x_t, level(log_snr)), expected(x_t, level(log_snr)))


@by_case
def test_equal_levels_of_coordinates_are_a_level_of_the_row(joint, exact):
    del exact
    levels = torch.linspace(-6, 9, N, dtype=torch.float64)
    close(joint(X, levels[:, None].expand(N, D)), joint(X, levels))
    close(joint(X, level([[0.3]]).expand(N, D)), joint(X, level(0.3)))


def test_a_gaussian_at_any_levels_is_the_regression_of_x_0_on_x_t():
    # E[x_0 | x_t] = m + S A (A S A + B^2)^-1 (x_t - A m), and by Tweedie's formula from the score of q(x_t).
    levels = 3 * STREAM.child("levels").normal(0, N, D)
    for x, log_snr in zip(X, levels, strict=True):
        a, b_sq = torch.diag(torch.sigmoid(log_snr).sqrt()), torch.diag(torch.sigmoid(-log_snr))
        marginal = a @ COVARIANCES[0] @ a + b_sq
        u = torch.linalg.solve(marginal, x - a @ MEANS[0])
        got = GAUSSIAN(x[None], log_snr[None])
        close(got[0], MEANS[0] + COVARIANCES[0] @ a @ u)
        close(score_from_x_0(x[None], got, log_snr[None])[0], -u, 1e-8)


def test_a_mixture_at_any_levels_obeys_tweedies_formula():
    levels = 2 * STREAM.child("levels").normal(0, N, D)
    a, b_sq = torch.sigmoid(levels).sqrt(), torch.sigmoid(-levels)
    x = X.clone().requires_grad_()
    marginals = a[:, None, :, None] * COVARIANCES * a[:, None, None, :] + torch.diag_embed(b_sq)[:, None]
    density = torch.distributions.MultivariateNormal(a[:, None] * MEANS, marginals).log_prob(x[:, None])
    (score,) = torch.autograd.grad(torch.logsumexp(WEIGHTS.log() + density, 1).sum(), x)
    close(MIXTURE(X, levels), (X + b_sq * score) / a, 1e-9)


@pytest.mark.parametrize("joint", [GAUSSIAN, MIXTURE, EmpiricalDenoiser(X)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_known_coordinates_are_returned_as_they_are_and_absent_ones_are_not_read(joint, dtype):
    levels = log_snr_by_coordinate(level(1.0), KNOWN, ABSENT).expand(N, D).to(dtype)
    x_t = X.to(dtype)
    x_0_hat = joint(x_t, levels)
    assert x_0_hat.dtype == dtype
    assert torch.equal(x_0_hat[:, KNOWN], x_t[:, KNOWN])
    close(joint(torch.where(ABSENT, 7.0, x_t), levels), x_0_hat, 1e-6 if dtype == torch.float32 else 1e-10)


def test_an_absent_coordinate_gets_its_regression_on_the_known_ones():
    levels = log_snr_by_coordinate(level(-math.inf), KNOWN).expand(N, D)
    exact = [exact_conditional(row, KNOWN, ~KNOWN) for row in X]
    expected = torch.stack([mixture.weights @ mixture.means for mixture in exact])
    close(MIXTURE(X, levels)[:, ~KNOWN], expected)


def test_known_coordinates_that_determine_each_other():
    # x_2 = 2 x_1, so S_kk is singular: knowing both is knowing one.
    lift = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).double()
    covariance = level([[1.0, 0.6], [0.6, 1.0]])
    tied = GaussianDenoiser(torch.zeros(3), lift @ covariance @ lift.T)
    x = torch.tensor([[0.5, 1.0, 0.0], [-3.0, -6.0, 0.0]]).double()
    both = conditional_of(tied, x, torch.tensor([True, True, False]))
    one = conditional_of(tied, x, torch.tensor([True, False, False]), torch.tensor([False, True, False]))
    x_t = torch.tensor([[1.0], [0.2]]).double()
    for log_snr in LEVELS:
        close(both(x_t, level(log_snr)), one(x_t, level(log_snr)))
    # A contradiction is split in units of the standard deviations: x_1 = 1 and x_2 = 1 are taken as x_1 = 0.75.
    levels = log_snr_by_coordinate(level(-math.inf), torch.tensor([True, True, False]))
    close(tied(level([[1.0, 1.0, 0.0]]), levels), level([[1.0, 1.0, 0.6 * 0.75]]))
    constant = GaussianDenoiser(torch.zeros(2), torch.diag(level([0.0, 1.0])))
    close(constant(level([[3.0, 0.5]]), level([[math.inf, 0.0]])), level([[3.0, 0.5 * math.sqrt(0.5)]]))


def test_flat_components_share_their_subspace():
    """Both components lie on x_1 = x_2; given both, the third coordinate's weights are those on the line."""
    line = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()
    scales, means = torch.tensor([1.0, 0.1]).double(), torch.tensor([[0.0, 0.0, -1.0], [0.3, 0.3, 1.0]]).double()
    planes = torch.stack([torch.diag(torch.stack([s**2, level(1.0)])) for s in scales])
    mixture = GaussianMixtureDenoiser(torch.ones(2), means, line @ planes @ line.T)
    known = torch.tensor([True, True, False])
    on_line = torch.distributions.Normal(means[:, 0], scales).log_prob(level(0.25))
    expected = (torch.softmax(on_line, 0) * means[:, 2]).sum()
    got = mixture(level([[0.25, 0.25, 0.0]]), log_snr_by_coordinate(level(-math.inf), known))
    close(got[0, 2], expected)


@pytest.mark.parametrize("log_snr", [-math.inf, -1.0, 2.0, math.inf])
def test_an_empirical_conditional_is_over_the_points_with_the_known_values(log_snr):
    points = STREAM.child("points").normal(0, 30, 3)
    points[:, 0] = (torch.arange(30) % 3).double()
    x_t, values = X[:3, :2], torch.tensor([[0.0], [1.0], [2.0]]).double().expand(3, 3)
    conditional = conditional_of(EmpiricalDenoiser(points), values, torch.tensor([True, False, False]))
    expected = torch.cat([EmpiricalDenoiser(points[i::3, 1:])(x_t[i : i + 1], level(log_snr)) for i in range(3)])
    got = conditional(x_t, level(log_snr))
    if log_snr == math.inf:  # all coordinates are known
        assert torch.equal(got, x_t)
    else:
        close(got, expected)
    marginal = conditional_of(EmpiricalDenoiser(points), values, torch.zeros(3).bool(), torch.arange(3) == 2)
    if math.isfinite(log_snr):
        close(marginal(x_t, level(log_snr)), EmpiricalDenoiser(points[:, :2])(x_t, level(log_snr)))


@by_case
def test_through_the_bound(joint, exact):
    # Equal row by row to the bound of each row's own conditional problem at the same noise.
    schedule = NoiseSchedule.log_snr_uniform(12, log_snr_max=7.0, log_snr_min=-7.0)
    x_0, eps = X[:3, FREE], STREAM.child("eps").normal(0, 2, 2)
    conditional = conditional_of(joint, X[:3], KNOWN, ABSENT)
    variances = beta_variance(schedule)
    got = variational_bound(conditional, x_0, schedule, variances, eps=eps)
    errors = denoising_error(conditional, x_0, schedule, stream=STREAM)
    for i in range(3):
        alone, x = exact(X[i]), x_0[i : i + 1]
        close(got.per_row[i], variational_bound(alone, x, schedule, variances, eps=eps).per_row[0])
    assert errors.shape == (13,)


@pytest.mark.slow
@by_case
def test_through_the_ode(joint, exact):
    conditional = conditional_of(joint, X[:3], KNOWN, ABSENT)
    settings = {"level_min": 1e-2, "level_max": 50.0, "n_intervals": 16}
    got = log_density(conditional, X[:3, FREE], **settings)
    for i in range(3):
        close(got.log_prob[i], log_density(exact(X[i]), X[i : i + 1, FREE], **settings).log_prob[0])


@pytest.mark.slow
def test_the_chain_rule_of_log_densities():
    # ln p(A, B) = ln p(B) + ln p(A | B), with B the known coordinate: to the solver's own error.
    known = torch.arange(2) == 1
    plane = GaussianDenoiser(MEANS[0, :2], COVARIANCES[0, :2, :2])
    x = X[:2, :2]
    settings = {"level_min": 1e-5, "level_max": math.inf, "n_intervals": 24}
    whole, marginal, conditional = (
        log_density(denoiser, rows, **settings)
        for denoiser, rows in [
            (plane, x),
            (conditional_of(plane, x, torch.zeros(2).bool(), ~known), x[:, known]),
            (conditional_of(plane, x, known), x[:, ~known]),
        ]
    )
    error = whole.solver_error + marginal.solver_error + conditional.solver_error
    assert (error < 1e-5).all()
    assert ((whole.log_prob - marginal.log_prob - conditional.log_prob).abs() < error + 1e-6).all()


class Called:
    """A denoiser that is a function of points and levels alone, so that autograd differentiates it."""

    log_snr_range = (-9.0, 9.0)
    device = torch.device("cpu")

    def __init__(self, exact):
        self.exact = exact

    def __call__(self, x_t, log_snr):
        return self.exact(x_t, log_snr)


def test_the_derivative_is_by_the_free_coordinates():
    direct, by_autograd = (
        value_and_jacobian(conditional_of(joint, X, KNOWN, ABSENT), X[:, FREE], level(0.5))
        for joint in (MIXTURE, Called(MIXTURE))
    )
    exact = [value_and_jacobian(exact_conditional(row), row[None, FREE], level(0.5)) for row in X]
    for got in (direct, by_autograd):
        close(got[0], torch.cat([value for value, _ in exact]))
        close(got[1], torch.cat([jacobian for _, jacobian in exact]))
    given = conditional_of(Called(MIXTURE), X, KNOWN)
    assert given.log_snr_range == (-9.0, 9.0)
    assert given.device == torch.device("cpu")


@pytest.mark.parametrize("joint", [GAUSSIAN, MIXTURE])
@pytest.mark.parametrize("log_snr", [*LEVELS, "rows", "coordinates", "pattern"])
def test_closed_forms_compute_the_derivatives_of_their_values(joint, log_snr):
    levels = {
        "rows": torch.linspace(-3, 3, N).double(),
        "coordinates": 2 * STREAM.child("levels").normal(0, N, D),
        "pattern": log_snr_by_coordinate(level([-9.0, -1.0, 0.0, 1.0, 9.0]), KNOWN, ABSENT),
    }
    at = levels[log_snr] if isinstance(log_snr, str) else level(log_snr)
    got, expected = (value_and_jacobian(denoiser, X, at) for denoiser in (joint, Called(joint)))
    close(got[0], expected[0], 1e-14)
    close(got[1], expected[1])


def test_rows_may_come_several_times_over():
    conditional = conditional_of(MIXTURE, X, KNOWN, ABSENT)
    once = conditional(X[:, FREE], level(1.0))
    close(conditional(X[:, FREE].repeat(3, 1), level(1.0)), once.repeat(3, 1), 1e-14)
    close(conditional(X[:, FREE], level([1.0] * N)), once, 1e-14)


def test_noise_and_loss_at_levels_of_coordinates():
    levels = log_snr_by_coordinate(level([0.0, 1.0, 2.0, 3.0, 4.0]), KNOWN, ABSENT)
    eps = STREAM.child("loss").normal(0, N, D)
    x_t = q_sample_at(X, levels, eps)
    assert torch.equal(x_t[:, KNOWN], X[:, KNOWN])
    assert torch.equal(x_t[:, ABSENT], eps[:, ABSENT])
    # The loss is that of the conditional problem: nothing is asked of known and absent coordinates.
    conditional = conditional_of(MIXTURE, X, KNOWN, ABSENT)
    expected = simple_loss_at(conditional, X[:, FREE], levels[:, 0], eps[:, FREE])
    close(simple_loss_at(MIXTURE, X, levels, eps), expected)
    assert (expected > 0).all()
