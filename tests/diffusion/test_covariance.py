"""Full reverse covariances: Tweedie's second order, and a bound that is tight for Gaussian data in few steps."""

import math

import pytest
import torch

from backwalk.diffusion import (
    FullGaussian,
    GaussianDenoiser,
    GaussianMixtureDenoiser,
    NoiseSchedule,
    beta_tilde_variance,
    full_covariance_bound,
    full_covariance_transition,
    p_transition,
    prior_mismatch,
    prior_term,
    q_posterior,
    q_sample,
    scales,
    variational_bound,
    x_0_posterior,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

MEAN = torch.tensor([0.3, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
GAUSSIAN = GaussianDenoiser(MEAN, COVARIANCE)
X = Stream(16).normal(0, 5, 2)
POINTS = math.sqrt(2) * torch.cat([torch.eye(2), -torch.eye(2)]).double()

SCHEDULES = {
    "linear": NoiseSchedule.linear(6, beta_max=0.3),
    "cosine": NoiseSchedule.cosine(6),
    "log_snr_uniform": NoiseSchedule.log_snr_uniform(6, log_snr_max=9.0, log_snr_min=-9.0),
    "respaced levels": NoiseSchedule.from_noise_levels(torch.logspace(-2.5, 1.9, 60)).respace([1, 10, 20, 33, 50, 60]),
}


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


class Crooked:
    """A denoiser whose Jacobian is neither symmetric nor positive, as a learned one's may be."""

    log_snr_range = (-math.inf, math.inf)

    def __call__(self, x_t, log_snr):
        turned = x_t @ torch.tensor([[0.3, 0.8], [-0.5, -0.2]], dtype=x_t.dtype)
        return torch.sigmoid(log_snr) * (turned + 0.3 * torch.sin(x_t))


def test_full_gaussian_agrees_with_torch_distributions():
    variances, axes = torch.linalg.eigh(COVARIANCE.expand(5, 2, 2))
    ours = FullGaussian(X, variances, axes)
    theirs = torch.distributions.MultivariateNormal(X, COVARIANCE)
    torch.testing.assert_close(ours.covariance, COVARIANCE.expand(5, 2, 2))
    torch.testing.assert_close(ours.log_prob(2 * X), theirs.log_prob(2 * X))
    # The images of unit vectors are a square root of the covariance.
    root = torch.stack([ours.sample(e.expand(5, 2)) - X for e in torch.eye(2, dtype=torch.float64)], dim=2)
    torch.testing.assert_close(root @ root.mT, COVARIANCE.expand(5, 2, 2))


@pytest.mark.parametrize("log_snr", [-8.0, 0.0, 8.0])
def test_tweedies_second_order_for_a_gaussian(log_snr):
    level = torch.tensor(log_snr, dtype=torch.float64)
    belief = x_0_posterior(GAUSSIAN, X, level)
    posterior = torch.linalg.inv(torch.linalg.inv(COVARIANCE) + math.exp(log_snr) * torch.eye(2).double())
    torch.testing.assert_close(belief.covariance, posterior.expand(5, 2, 2), rtol=1e-9, atol=1e-12)
    assert torch.equal(belief.mean, GAUSSIAN(X, level))


def test_tweedies_second_order_for_a_mixture():
    # Cov(x_0 | x_t) by the law of total covariance over the components, each of which is Gaussian.
    weights, means = torch.tensor([0.4, 0.6]).double(), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]).double()
    covariances = torch.stack([0.2 * torch.eye(2).double(), 0.3 * COVARIANCE])
    level = torch.tensor(0.7, dtype=torch.float64)
    a, b = (float(s) for s in scales(level, X))
    marginals = torch.distributions.MultivariateNormal(a * means, a**2 * covariances + b**2 * torch.eye(2).double())
    responsible = torch.softmax(weights.log() + marginals.log_prob(X[:, None]), dim=1)
    inner = [GaussianDenoiser(m, s)(X, level) for m, s in zip(means, covariances, strict=True)]
    centre = sum(responsible[:, k, None] * inner[k] for k in range(2))
    expected = torch.zeros(5, 2, 2, dtype=torch.float64)
    for k in range(2):
        posterior = torch.linalg.inv(torch.linalg.inv(covariances[k]) + level.exp() * torch.eye(2).double())
        away = inner[k] - centre
        expected += responsible[:, k, None, None] * (posterior + away[:, :, None] * away[:, None, :])
    belief = x_0_posterior(GaussianMixtureDenoiser(weights, means, covariances), X, level)
    torch.testing.assert_close(belief.covariance, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("t", [1, 2, 20])
def test_transition_of_a_gaussian_is_the_true_reverse_step(t):
    # V_t = beta_t C_{t-1} C_t^-1.
    schedule = NoiseSchedule.linear(20)

    def marginal(time):
        return schedule.alpha_bar[time] * COVARIANCE + schedule.one_minus_alpha_bar[time] * torch.eye(2).double()

    transition = full_covariance_transition(GAUSSIAN, X, t, schedule, least_decoder_variance=1e-12)
    expected = schedule.beta[t] * marginal(t - 1) @ torch.linalg.inv(marginal(t))
    torch.testing.assert_close(transition.covariance, expected.expand(5, 2, 2), rtol=1e-9, atol=1e-12)
    scalar = p_transition(GAUSSIAN, X, t, schedule, schedule.beta)
    torch.testing.assert_close(transition.mean, scalar.mean)


@pytest.mark.parametrize("n_steps", [2, 10, 60])
def test_bound_of_a_gaussian_is_entropy_plus_prior_mismatch_at_any_number_of_steps(n_steps):
    schedule = NoiseSchedule.log_snr_uniform(n_steps, log_snr_max=9.0, log_snr_min=-4.0)
    x_0 = MEAN + POINTS @ torch.linalg.cholesky(COVARIANCE).T
    terms = full_covariance_bound(GAUSSIAN, x_0, schedule, eps=POINTS, least_decoder_variance=1e-12)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * COVARIANCE))
    assert terms.total == pytest.approx(entropy + prior_mismatch(MEAN, COVARIANCE, schedule), rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 8])
def test_every_term_equals_its_closed_form(d, schedule):
    """Along the axes of S all is scalar: x_0 - x_0_hat = (b^2 delta - a b s eps) / c, with c = a^2 s + b^2."""
    stream = Stream(19).child(d)
    axes, _ = torch.linalg.qr(stream.child("axes").normal(0, d, d))
    s = torch.logspace(-2, math.log10(2), d, dtype=torch.float64)
    mean, x_0 = stream.child("mean").normal(0, 1, d)[0], stream.child("x").normal(0, 4, d)
    points = math.sqrt(d) * torch.cat([torch.eye(d), -torch.eye(d)]).double()
    denoiser = GaussianDenoiser(mean, (axes * s) @ axes.T)
    delta = (x_0 - mean) @ axes

    terms = full_covariance_bound(denoiser, x_0, schedule, eps=points)

    expected = []
    for t in range(1, schedule.n_steps + 1):
        a_sq, b_sq, drop = schedule.alpha_bar[t], schedule.one_minus_alpha_bar[t], schedule.snr_drop[t]
        c = a_sq * s + b_sq
        error_sq, left = (b_sq**2 * delta**2 + a_sq * b_sq * s**2) / c**2, s * b_sq / c
        if t == 1:
            expected.append(0.5 * (torch.log(2 * math.pi * left) + error_sq / left).sum(1))
        else:
            ratio = 1 + drop * left  # of the model's variance to beta_tilde
            expected.append(0.5 * (1 / ratio - 1 + torch.log(ratio) + drop * error_sq / ratio).sum(1))
    costs = torch.stack(expected)
    assert terms.reconstruction == pytest.approx(float(costs[0].mean()), rel=1e-10, abs=1e-12)
    torch.testing.assert_close(terms.transitions[2:], costs[1:].mean(1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(terms.per_row, prior_term(x_0, schedule) + costs.sum(0), rtol=1e-10, atol=1e-12)


def test_steps_cost_half_log_det_of_one_plus_the_drop_times_the_covariance():
    schedule = NoiseSchedule.linear(20)
    x_0 = MEAN + POINTS @ torch.linalg.cholesky(COVARIANCE).T
    terms = full_covariance_bound(GAUSSIAN, x_0, schedule, eps=POINTS)
    for t in (2, 11, 20):
        left = torch.linalg.inv(torch.linalg.inv(COVARIANCE) + schedule.snr[t] * torch.eye(2).double())
        expected = 0.5 * torch.logdet(torch.eye(2).double() + schedule.snr_drop[t] * left)
        assert float(terms.transitions[t]) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("denoiser", [GAUSSIAN, Crooked()], ids=["exact", "crooked"])
def test_every_term_is_the_divergence_it_claims_to_be(denoiser):
    schedule, x_0 = NoiseSchedule.linear(12, beta_max=0.3), X
    terms = full_covariance_bound(denoiser, x_0, schedule, eps=POINTS)
    for t in (1, 2, 7, 12):
        costs = []
        for eps in POINTS:
            x_t = q_sample(x_0, t, eps.expand_as(x_0), schedule)
            p = full_covariance_transition(denoiser, x_t, t, schedule)
            theirs = torch.distributions.MultivariateNormal(p.mean, (p.covariance + p.covariance.mT) / 2)
            if t == 1:
                costs.append(-theirs.log_prob(x_0))
                continue
            q = q_posterior(x_t, x_0, t, schedule)
            posterior = torch.distributions.MultivariateNormal(q.mean, q.variance * torch.eye(2).double())
            costs.append(torch.distributions.kl_divergence(posterior, theirs))
        expected = float(torch.stack(costs).mean())
        assert (terms.reconstruction if t == 1 else float(terms.transitions[t])) == pytest.approx(expected, rel=1e-8)


def test_a_crooked_jacobian_is_symmetrised_and_floored():
    belief = x_0_posterior(Crooked(), X, torch.tensor(0.0, dtype=torch.float64), least_variance=0.1)
    assert (belief.variances >= 0.1).all()
    assert (belief.variances == 0.1).any()
    # At log-SNR 0, b^2 / a = 1 / sqrt(2), and the Jacobian is written out by hand.
    turn = torch.tensor([[0.3, -0.5], [0.8, -0.2]], dtype=torch.float64)
    jacobian = 0.5 * (turn + 0.3 * torch.diag_embed(torch.cos(X)))
    eigenvalues, axes = torch.linalg.eigh((jacobian + jacobian.mT) / 2 / math.sqrt(2))
    expected = (axes * eigenvalues.clamp(min=0.1)[:, None, :]) @ axes.mT
    torch.testing.assert_close(belief.covariance, expected)
    torch.testing.assert_close(belief.covariance, belief.covariance.mT)


def test_bound_beats_the_scalar_one_on_random_noise_and_repeats():
    # 1,000 rows; the totals differ by far more than 6 standard errors (false alarm 2e-9).
    schedule = NoiseSchedule.log_snr_uniform(15, log_snr_max=8.0, log_snr_min=-8.0)
    x_0 = MEAN + Stream(17).normal(0, 1000, 2) @ torch.linalg.cholesky(COVARIANCE).T
    full = full_covariance_bound(GAUSSIAN, x_0, schedule, stream=Stream(18))
    scalar = variational_bound(GAUSSIAN, x_0, schedule, beta_tilde_variance(schedule), stream=Stream(18))
    assert full.total + 6 * full.total_standard_error < scalar.total
    again = full_covariance_bound(GAUSSIAN, x_0, schedule, stream=Stream(18))
    assert torch.equal(full.per_row, again.per_row)


def test_float32_agrees_with_float64():
    schedule = NoiseSchedule.linear(12, beta_max=0.3)
    double, single = (full_covariance_bound(GAUSSIAN, x, schedule, eps=POINTS) for x in (X, X.float()))
    torch.testing.assert_close(single.per_row, double.per_row, rtol=1e-4, atol=1e-4)


def test_errors_give_rule_value_and_remedy():
    ends_in_noise = NoiseSchedule(torch.tensor([math.inf, 2.0, -math.inf]))
    with pytest.raises(InvalidInput, match=r"but got -inf at t = 2"):
        full_covariance_bound(GAUSSIAN, X, ends_in_noise, eps=POINTS)
    with pytest.raises(InvalidInput, match="least_decoder_variance should be > 0"):
        full_covariance_bound(GAUSSIAN, X, NoiseSchedule.linear(3), eps=POINTS, least_decoder_variance=0.0)
