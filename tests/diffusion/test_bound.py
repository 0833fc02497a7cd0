"""The bound against closed forms for Gaussian data: every term, in d = 1..50, on four schedules, with three variances.

With the 2d noise points +-sqrt(d) e_i an expectation over the noise of anything quadratic is exact, so for linear
denoisers nothing here is statistical unless it says so.
"""

import math
import re

import pytest
import torch

from backwalk.diffusion import (
    ConditionalDenoiser,
    GaussianDenoiser,
    NoiseSchedule,
    add_levels,
    beta_tilde_variance,
    beta_variance,
    denoising_error,
    merge_terms,
    optimal_variance,
    p_transition,
    prior_mismatch,
    prior_term,
    q_posterior,
    q_sample,
    simple_loss,
    variational_bound,
)
from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from tests.conditional import conditional_of
from tests.gaussian_chain import GaussianChain

SCHEDULES = {
    "linear": NoiseSchedule.linear(60),
    "cosine": NoiseSchedule.cosine(60),
    "log_snr_uniform": NoiseSchedule.log_snr_uniform(60, log_snr_max=9.0, log_snr_min=-9.0),
    "respaced Karras": NoiseSchedule.from_noise_levels(
        [(0.002 ** (1 / 7) + i / 99 * (80 ** (1 / 7) - 0.002 ** (1 / 7))) ** 7 for i in range(100)]
    ).respace([1, 10, 20, 33, 50, 75, 100]),
}
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def problem(d, seed=0):
    """Return a mean, a covariance with eigenvalues from 0.01 to 2 in a random basis, and 5 points."""
    stream = Stream(seed).child("problem", d)
    axes, _ = torch.linalg.qr(stream.child("axes").normal(0, d, d))
    covariance = (axes * torch.logspace(-2, math.log10(2), d, dtype=torch.float64)) @ axes.T
    return stream.child("mean").normal(0, 1, d)[0], (covariance + covariance.T) / 2, stream.child("x").normal(0, 5, d)


def exact_points(d):
    return math.sqrt(d) * torch.cat([torch.eye(d, dtype=torch.float64), -torch.eye(d, dtype=torch.float64)])


def exact_denoising_error(covariance, schedule):
    identity = torch.eye(len(covariance), dtype=torch.float64)
    errors = [torch.zeros((), dtype=torch.float64)]
    for ab, noise in zip(schedule.alpha_bar[1:], schedule.one_minus_alpha_bar[1:], strict=True):
        errors.append(
            noise * torch.linalg.solve(ab * covariance + noise * identity, covariance).trace() / len(covariance)
        )
    return torch.stack(errors)


def variances(name, covariance, schedule):
    if name == "optimal":
        return optimal_variance(schedule, exact_denoising_error(covariance, schedule))
    return {"beta": beta_variance, "beta_tilde": beta_tilde_variance}[name](schedule)


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


@pytest.mark.parametrize("variance", ["beta", "beta_tilde", "optimal"])
@pytest.mark.parametrize("d", [1, 2, 10, pytest.param(50, marks=pytest.mark.slow)])
def test_every_term_equals_its_closed_form(d, schedule, variance):
    mean, covariance, x_0 = problem(d)
    sigma_sq = variances(variance, covariance, schedule)
    chain = GaussianChain(mean, covariance, schedule, sigma_sq)
    denoiser = GaussianDenoiser(mean, covariance)
    prior, first = chain.prior_term(x_0), chain.reconstruction_term(x_0)
    transitions = torch.stack([chain.transition_term(x_0, t) for t in range(2, schedule.n_steps + 1)])

    terms = variational_bound(denoiser, x_0, schedule, sigma_sq, eps=exact_points(d))

    assert terms.prior == pytest.approx(float(prior.mean()), rel=1e-10, abs=1e-12)
    assert terms.reconstruction == pytest.approx(float(first.mean()), rel=1e-10, abs=1e-12)
    torch.testing.assert_close(terms.transitions[2:], transitions.mean(1), **EXACT)
    assert terms.transitions[:2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(terms.per_row, prior + first + transitions.sum(0), **EXACT)
    assert terms.total == pytest.approx(float(terms.per_row.mean()))
    assert terms.prior_standard_error == pytest.approx(float(prior.std()) / 5**0.5)
    assert terms.reconstruction_standard_error == pytest.approx(float(first.std()) / 5**0.5)
    torch.testing.assert_close(terms.transitions_standard_error[2:], transitions.std(1) / 5**0.5, rtol=1e-8, atol=1e-12)
    assert terms.total_standard_error == pytest.approx(float(terms.per_row.std()) / 5**0.5)
    assert terms.n_rows == 5


@pytest.mark.parametrize("variance", ["beta", "beta_tilde", "optimal"])
@pytest.mark.parametrize("d", [1, 2, 10])
def test_total_equals_the_independent_formula(d, schedule, variance):
    # The points m +- sqrt(d) S^(1/2) e_i carry the first two moments of N(m, S), and the bound is quadratic in x_0.
    mean, covariance, _ = problem(d)
    sigma_sq = variances(variance, covariance, schedule)
    x_0 = mean + exact_points(d) @ torch.linalg.cholesky(covariance).T
    terms = variational_bound(GaussianDenoiser(mean, covariance), x_0, schedule, sigma_sq, eps=exact_points(d))
    expected = GaussianChain(mean, covariance, schedule, sigma_sq).expected_bound()
    assert terms.total == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("t", [2, 30, 60])
@pytest.mark.parametrize("name", ["linear", "cosine", "log_snr_uniform"])
def test_transition_term_is_the_kl_divergence_it_claims_to_be(name, t):
    schedule = SCHEDULES[name]
    mean, covariance, x_0 = problem(3)
    denoiser, sigma_sq, points = GaussianDenoiser(mean, covariance), beta_variance(schedule), exact_points(3)
    divergences = []
    for eps in points:
        x_t = q_sample(x_0, t, eps.expand_as(x_0), schedule)
        transition = p_transition(denoiser, x_t, t, schedule, sigma_sq)
        divergences.append(q_posterior(x_t, x_0, t, schedule).kl_divergence(transition))
    terms = variational_bound(denoiser, x_0, schedule, sigma_sq, eps=points)
    assert float(terms.transitions[t]) == pytest.approx(float(torch.stack(divergences).mean()), rel=1e-9)


def test_reconstruction_is_the_decoders_log_density():
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(3)
    denoiser, sigma_sq = GaussianDenoiser(mean, covariance), beta_variance(schedule, decoder_variance=0.01)
    eps = Stream(5).normal(0, 1, 3)
    x_1 = q_sample(x_0, 1, eps.expand_as(x_0), schedule)
    log_prob = p_transition(denoiser, x_1, 1, schedule, sigma_sq).log_prob(x_0)
    terms = variational_bound(denoiser, x_0, schedule, sigma_sq, eps=eps)
    assert terms.reconstruction == pytest.approx(-float(log_prob.mean()), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1.0, 0.9])
def test_bound_lies_above_the_chains_own_density_and_meets_it(factor):
    # A linear denoiser makes a Gaussian chain, whose density follows by moments: the exact one, and one off by 10 %.
    mean, variance = torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64) * 0.5
    x_0, gaps = torch.tensor([[-1.5], [0.1], [2.0]], dtype=torch.float64), []

    class Linear(GaussianDenoiser):
        def __call__(self, x_t, log_snr):
            return factor * super().__call__(x_t, log_snr)

    for n_steps in (10, 100, 1000):
        schedule = NoiseSchedule.log_snr_uniform(n_steps, log_snr_max=9.0, log_snr_min=-9.0)
        sigma_sq, denoiser = beta_tilde_variance(schedule), Linear(mean, variance)
        m, p = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        for t in range(n_steps, 0, -1):
            ends = p_transition(denoiser, torch.tensor([[0.0], [1.0]], dtype=torch.float64), t, schedule, sigma_sq).mean
            slope = ends[1, 0] - ends[0, 0]
            m, p = slope * m + ends[0, 0], slope**2 * p + sigma_sq[t]
        exact = 0.5 * (torch.log(2 * math.pi * p) + (x_0[:, 0] - m) ** 2 / p)
        terms = variational_bound(denoiser, x_0, schedule, sigma_sq, eps=exact_points(1))
        gaps.append(terms.per_row - exact)
    for gap in gaps:
        assert (gap > 0).all()
    if factor == 1.0:
        assert (gaps[1] < 0.2 * gaps[0]).all()
        assert (gaps[2] < 0.2 * gaps[1]).all()
        assert gaps[2].max() < 0.04


def test_optimal_variance_makes_the_bound_least():
    schedule = SCHEDULES["log_snr_uniform"]
    mean, covariance, _ = problem(2)
    best = optimal_variance(schedule, exact_denoising_error(covariance, schedule))

    def total(sigma_sq):
        return GaussianChain(mean, covariance, schedule, sigma_sq).expected_bound()

    for t in (1, 2, 30, 60):
        for factor in (0.9, 1.1):
            changed = best.clone()
            changed[t] *= factor
            assert total(changed) > total(best)


def test_best_transition_costs_half_log_of_one_plus_the_drop_times_the_error():
    schedule = SCHEDULES["log_snr_uniform"]
    mean, covariance, _ = problem(4)
    m = exact_denoising_error(covariance, schedule)
    x_0 = mean + exact_points(4) @ torch.linalg.cholesky(covariance).T
    sigma_sq = optimal_variance(schedule, m)
    terms = variational_bound(GaussianDenoiser(mean, covariance), x_0, schedule, sigma_sq, eps=exact_points(4))
    expected = 0.5 * 4 * torch.log1p(schedule.snr_drop[2:] * m[2:])
    torch.testing.assert_close(terms.transitions[2:], expected, rtol=1e-9, atol=1e-12)
    assert terms.reconstruction == pytest.approx(float(0.5 * 4 * torch.log(2 * math.pi * math.e * m[1])), rel=1e-9)


@pytest.mark.parametrize("t", [1, 2])
def test_a_variance_of_zero_makes_the_bound_infinite(t):
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(2)
    sigma_sq = beta_variance(schedule)
    sigma_sq[t] = 0.0
    terms = variational_bound(GaussianDenoiser(mean, covariance), x_0, schedule, sigma_sq, eps=exact_points(2))
    assert terms.total == math.inf
    assert (terms.per_row == math.inf).all()
    assert math.isinf(terms.reconstruction) == (t == 1)


def test_zero_terminal_snr_has_a_finite_bound_and_no_prior_term():
    schedule = NoiseSchedule(torch.tensor([math.inf, 6.0, 2.0, -2.0, -math.inf]))
    mean, covariance, x_0 = problem(3)
    sigma_sq = beta_variance(schedule)
    chain = GaussianChain(mean, covariance, schedule, sigma_sq)
    terms = variational_bound(GaussianDenoiser(mean, covariance), x_0, schedule, sigma_sq, eps=exact_points(3))
    assert terms.prior == 0.0
    torch.testing.assert_close(terms.transitions[4], chain.transition_term(x_0, 4).mean(), **EXACT)
    assert math.isfinite(chain.expected_bound())


def test_float32_agrees_with_float64():
    schedule = SCHEDULES["log_snr_uniform"]
    mean, covariance, x_0 = problem(3)
    denoiser, sigma_sq = GaussianDenoiser(mean, covariance), beta_tilde_variance(schedule)
    double = variational_bound(denoiser, x_0, schedule, sigma_sq, eps=exact_points(3))
    single = variational_bound(denoiser, x_0.float(), schedule, sigma_sq, eps=exact_points(3))
    assert single.per_row.dtype == torch.float64
    torch.testing.assert_close(single.transitions, double.transitions, rtol=1e-3, atol=1e-6)
    assert single.total == pytest.approx(double.total, rel=1e-4)


def test_a_notebook_shows_the_terms_and_their_sum():
    schedule = NoiseSchedule.linear(20)
    mean, covariance, x_0 = problem(2)
    denoiser = GaussianDenoiser(mean, covariance)
    terms = variational_bound(denoiser, x_0, schedule, beta_variance(schedule), stream=Stream(0))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", terms._repr_html_())
    values = dict(zip(cells[::3], map(float, cells[1::3]), strict=True))
    assert list(values)[-1] == "bound, L"
    assert sum(list(values.values())[:-1]) == pytest.approx(values["bound, L"], abs=2e-4)
    assert f"{terms.total_standard_error:.4f}" in cells


def test_random_noise_estimates_the_exact_bound_and_repeats():
    # 4,000 rows at one point: the mean of the noise lies within 6 standard errors. Squares are skewed, so that a false
    # alarm has up to some 2e-8 a term, 1e-6 for all 60.
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(2)
    denoiser, sigma_sq, rows = GaussianDenoiser(mean, covariance), beta_variance(schedule), x_0[:1].expand(4000, 2)
    exact = variational_bound(denoiser, x_0[:1], schedule, sigma_sq, eps=exact_points(2))
    drawn = variational_bound(denoiser, rows, schedule, sigma_sq, stream=Stream(7))
    assert ((drawn.transitions - exact.transitions)[2:].abs() < 6 * drawn.transitions_standard_error[2:]).all()
    assert abs(drawn.reconstruction - exact.reconstruction) < 6 * drawn.reconstruction_standard_error
    assert abs(drawn.total - exact.total) < 6 * drawn.total_standard_error
    head = variational_bound(denoiser, rows[:10], schedule, sigma_sq, stream=Stream(7))
    torch.testing.assert_close(head.per_row, drawn.per_row[:10], rtol=1e-13, atol=0)


def test_more_draws_average_over_independent_noise():
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(2)
    rows, sigma_sq = x_0[:1].expand(1000, 2), beta_variance(schedule)
    one, four = (
        variational_bound(GaussianDenoiser(mean, covariance), rows, schedule, sigma_sq, stream=Stream(8), n_draws=k)
        for k in (1, 4)
    )
    # The ratio of two standard errors from 1,000 rows has a relative error of about 4 %: this is 6 of them.
    assert four.total_standard_error / one.total_standard_error == pytest.approx(0.5, abs=0.12)


def test_each_row_step_and_draw_has_noise_of_its_own():
    seen = []

    class Recorder:
        log_snr_range = (-math.inf, math.inf)
        device = torch.device("cpu")

        def __call__(self, x_t, log_snr):
            seen.append(x_t / torch.sigmoid(-log_snr)[:, None].sqrt())  # with x_0 = 0 this is the noise
            return x_t

    schedule, x_0 = NoiseSchedule.linear(3), torch.zeros(4, 2, dtype=torch.float64)
    variational_bound(Recorder(), x_0, schedule, beta_variance(schedule), stream=Stream(8), n_draws=2)
    # The first step, which is the decoder's, goes by itself, the other two together, draw by draw.
    in_order = [(t, draw) for times in ((1,), (2, 3)) for draw in (0, 1) for t in times]
    expected = [Stream(8).child("bound", t, draw).normal(0, 4, 2) for t, draw in in_order]
    torch.testing.assert_close(torch.cat(seen), torch.cat(expected))
    assert len(torch.cat(seen).flatten().unique()) == 3 * 2 * 4 * 2


def test_denoising_error_estimates_the_exact_one():
    # |x_0 - x_0_hat|^2 is a weighted chi-square: its variance is at most 2 d^2 m^2. 6 standard errors at 5,000 rows.
    schedule, n = SCHEDULES["linear"], 5_000
    mean, covariance, _ = problem(2)
    x_0 = mean + Stream(9).child("x").normal(0, n, 2) @ torch.linalg.cholesky(covariance).T
    got = denoising_error(GaussianDenoiser(mean, covariance), x_0, schedule, stream=Stream(9))
    exact = exact_denoising_error(covariance, schedule)
    assert got[0] == 0
    assert ((got / exact - 1)[1:].abs() < 6 * (2 / n) ** 0.5).all()


@pytest.mark.parametrize("t", [1, 30, 60, torch.tensor([1, 20, 40, 60, 2])])
def test_simple_loss_is_the_error_of_the_noise(t):
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(3)
    denoiser, eps = GaussianDenoiser(mean, covariance), Stream(10).normal(0, 5, 3)
    times = torch.as_tensor(t).expand(5)
    x_t = q_sample(x_0, times, eps, schedule)
    expected = []
    for x, e, i in zip(x_t, eps, times.tolist(), strict=True):
        ab, noise = schedule.alpha_bar[i], schedule.one_minus_alpha_bar[i]
        marginal = ab * covariance + noise * torch.eye(3, dtype=torch.float64)
        eps_star = noise.sqrt() * torch.linalg.solve(marginal, x - ab.sqrt() * mean)
        expected.append((eps_star - e).square().sum())
    torch.testing.assert_close(
        simple_loss(denoiser, x_0, t, eps, schedule), torch.stack(expected), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("d", [1, 4])
def test_simple_loss_averages_to_its_closed_form_and_its_least_mean(d, schedule):
    mean, covariance, _ = problem(d)
    chain = GaussianChain(mean, covariance, schedule, beta_variance(schedule))
    x_0 = mean + exact_points(d) @ torch.linalg.cholesky(covariance).T
    for t in (1, 4, schedule.n_steps):
        draws = [
            simple_loss(GaussianDenoiser(mean, covariance), x_0, t, eps.expand_as(x_0), schedule)
            for eps in exact_points(d)
        ]
        losses = torch.stack(draws).mean(0)
        torch.testing.assert_close(losses, chain.simple_loss(x_0, t), rtol=1e-9, atol=1e-11)
        assert float(losses.mean()) == pytest.approx(chain.least_simple_loss(t), rel=1e-9)


def test_simple_loss_lets_gradients_flow_and_the_bound_does_not():
    schedule = SCHEDULES["linear"]
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    class Scaled:
        log_snr_range = (-math.inf, math.inf)
        device = torch.device("cpu")

        def __call__(self, x_t, _):
            return weight * x_t

    x_0 = problem(2)[2]
    simple_loss(Scaled(), x_0, 10, torch.ones_like(x_0), schedule).sum().backward()
    assert weight.grad is not None
    assert weight.grad != 0
    terms = variational_bound(Scaled(), x_0, schedule, beta_variance(schedule), stream=Stream(0))
    assert not terms.per_row.requires_grad


def test_prior_term_is_the_divergence_of_the_last_marginal():
    schedule, x_0 = SCHEDULES["linear"], problem(3)[2]
    ab = schedule.alpha_bar[-1]
    expected = 0.5 * (ab * x_0.square().sum(1) + 3 * (1 - ab) - 3 - 3 * torch.log(1 - ab))
    torch.testing.assert_close(prior_term(x_0, schedule), expected, rtol=1e-12, atol=0)


def test_prior_term_keeps_its_digits_when_the_chain_hardly_adds_noise():
    # At log-SNR 60 alpha_bar rounds to 1, and -ln(1 - alpha_bar) is 60: here L_N = (|x_0|^2 - d + 60 d) / 2.
    schedule, x_0 = NoiseSchedule(torch.tensor([math.inf, 60.0])), torch.ones(1, 2)
    assert float(prior_term(x_0, schedule)) == pytest.approx(60.0, rel=1e-12)


def test_prior_mismatch_of_the_notebooks_settings():
    # Two moons by its moments, as computed by integrating the two half circles and adding the noise of 0.05.
    schedule = NoiseSchedule.linear(100)
    assert round(float(schedule.alpha_bar[-1]), 4) == 0.3475
    mean = torch.tensor([0.5, 0.25], dtype=torch.float64)
    half = 2 / math.pi
    var_x, var_y = 0.5 + 0.25, 0.5 - half**2 + (half - 0.25) ** 2
    cov_xy = -0.5 * (half - 0.25)
    covariance = torch.tensor([[var_x, cov_xy], [cov_xy, var_y]], dtype=torch.float64) + 0.05**2 * torch.eye(2)
    assert prior_mismatch(mean, covariance, schedule) == pytest.approx(0.080, abs=0.001)
    second_moment = covariance.trace() + mean.square().sum()
    point = torch.stack([second_moment.sqrt(), torch.zeros((), dtype=torch.float64)])[None]
    assert float(prior_term(point, schedule)) == pytest.approx(0.307, abs=0.002)


def test_prior_mismatch_is_zero_for_standard_data_and_part_of_the_expected_bound():
    schedule = SCHEDULES["linear"]
    assert prior_mismatch(torch.zeros(3), torch.eye(3), schedule) == 0.0
    mean, covariance, _ = problem(3)
    ab = schedule.alpha_bar[-1]
    last = ab * covariance + (1 - ab) * torch.eye(3, dtype=torch.float64)
    expected = 0.5 * (ab * mean.square().sum() + last.trace() - 3 - torch.logdet(last))
    assert prior_mismatch(mean, covariance, schedule) == pytest.approx(float(expected), rel=1e-10)
    x_0 = mean + exact_points(3) @ torch.linalg.cholesky(covariance).T
    assert prior_mismatch(mean, covariance, schedule) < float(prior_term(x_0, schedule).mean())


def test_a_single_row_has_no_standard_error():
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(2)
    terms = variational_bound(
        GaussianDenoiser(mean, covariance), x_0[:1], schedule, beta_variance(schedule), stream=Stream(0)
    )
    assert math.isfinite(terms.total)
    assert math.isnan(terms.total_standard_error)


@pytest.mark.parametrize("of_levels", [torch.zeros(5), torch.arange(5.0)], ids=["numbers", "levels and numbers"])
def test_merged_pieces_are_the_whole(of_levels):
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(2)
    denoiser, sigma_sq = GaussianDenoiser(mean, covariance), beta_variance(schedule)
    whole = add_levels(variational_bound(denoiser, x_0, schedule, sigma_sq, stream=Stream(3)), of_levels.double())
    pieces = [
        add_levels(
            variational_bound(denoiser, x_0[first:last], schedule, sigma_sq, stream=Stream(3), first_row=first),
            of_levels[first:last].double(),
        )
        for first, last in ((0, 1), (1, 2), (2, 5))
    ]
    merged = merge_terms(pieces)
    assert merged.n_rows == 5
    for name in ("per_row", "transitions", "transitions_standard_error"):
        torch.testing.assert_close(getattr(merged, name), getattr(whole, name), rtol=1e-10, atol=1e-12)
    terms = merged.prior + merged.reconstruction + merged.levels + float(merged.transitions.sum())
    assert terms == pytest.approx(merged.total, rel=1e-12)
    for name in ("prior", "reconstruction", "levels", "total"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-12)
        error = f"{name}_standard_error"
        assert getattr(merged, error) == pytest.approx(getattr(whole, error), rel=1e-10)
    assert math.isnan(merge_terms(pieces[:1]).total_standard_error)
    assert math.isnan(merge_terms(pieces[:1]).reconstruction_standard_error)
    assert (merge_terms(pieces[:1]).transitions_standard_error[:2] == 0).all()


def test_an_infinite_piece_makes_the_whole_infinite():
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(2)
    sigma_sq = beta_variance(schedule, decoder_variance=0.0)
    piece = variational_bound(GaussianDenoiser(mean, covariance), x_0, schedule, sigma_sq, eps=exact_points(2))
    merged = merge_terms([piece, piece])
    assert (merged.total, merged.reconstruction) == (math.inf, math.inf)
    assert math.isnan(merged.reconstruction_standard_error)
    torch.testing.assert_close(merged.transitions, piece.transitions)


def test_a_schedule_outside_the_denoisers_range_is_refused_before_any_work():
    class Narrow(GaussianDenoiser):
        log_snr_range = (-1.0, 5.0)

    mean, covariance, x_0 = problem(2)
    denoiser, schedule = Narrow(mean, covariance), SCHEDULES["linear"]
    with pytest.raises(InvalidInput, match="log-SNR should stay within"):
        variational_bound(denoiser, x_0, schedule, beta_variance(schedule), stream=Stream(0))
    with pytest.raises(InvalidInput, match="log-SNR should stay within"):
        denoising_error(denoiser, x_0, schedule, stream=Stream(0))


def test_errors_give_rule_value_and_remedy():
    schedule = SCHEDULES["linear"]
    mean, covariance, x_0 = problem(2)
    denoiser, sigma_sq = GaussianDenoiser(mean, covariance), beta_variance(schedule)
    with pytest.raises(InvalidInput, match="stream and eps should be given, but got"):
        variational_bound(denoiser, x_0, schedule, sigma_sq)
    with pytest.raises(InvalidInput, match="stream and eps should be given, but got"):
        variational_bound(denoiser, x_0, schedule, sigma_sq, stream=Stream(0), eps=exact_points(2))
    for n_draws in (0, -1, 1.5, True, "a", None):
        with pytest.raises(InvalidInput, match="n_draws should be an integer >= 1"):
            variational_bound(denoiser, x_0, schedule, sigma_sq, stream=Stream(0), n_draws=n_draws)
    with pytest.raises(InvalidInput, match="eps should hold at least one point"):
        variational_bound(denoiser, x_0, schedule, sigma_sq, eps=x_0[:0])
    with pytest.raises(InvalidInput, match=r"t should lie in 1..60, but got 0"):
        simple_loss(denoiser, x_0, torch.tensor([1, 2, 0, 3, 4]), x_0, schedule)
    with pytest.raises(InvalidInput, match="sigma_sq should be 61 variances"):
        variational_bound(denoiser, x_0, schedule, sigma_sq[:-1], stream=Stream(0))
    with pytest.raises(InvalidInput, match="mean and covariance should be"):
        prior_mismatch(mean, covariance[:1], schedule)


def test_noise_is_lost_sooner_in_rows_far_from_zero():
    """Found by review: float32 numbers near 100 are too far apart for noise that those near 1 keep."""
    schedule = NoiseSchedule.log_snr_uniform(20, log_snr_max=28.0, log_snr_min=-9.0)
    sigma_sq = beta_variance(schedule)
    single, double = torch.float32, torch.float64
    for mean, dtype, is_lost in ((0.0, single, False), (100.0, single, True), (100.0, double, False)):
        denoiser = GaussianDenoiser(torch.full((1,), mean), torch.eye(1))
        x_0 = mean + Stream(8).normal(0, 50, 1, dtype)
        if is_lost:
            with pytest.raises(InvalidInput, match=r"lost in the rounding of torch\.float32 rows of size 1e"):
                variational_bound(denoiser, x_0, schedule, sigma_sq, stream=Stream(9))
        else:
            assert math.isfinite(variational_bound(denoiser, x_0, schedule, sigma_sq, stream=Stream(9)).total)


@pytest.mark.parametrize(("dtype", "log_snr_max"), [(torch.float32, 28.0), (torch.float64, 60.0)])
def test_the_bound_lies_above_the_entropy_however_little_noise_the_chain_begins_with(dtype, log_snr_max):
    """Found by review: noise that is lost in rounding made a bound of -17 nats for an entropy of 1.4."""
    schedule = NoiseSchedule.log_snr_uniform(200, log_snr_max=log_snr_max, log_snr_min=-9.0)
    denoiser, x_0 = GaussianDenoiser(torch.zeros(1), torch.eye(1)), Stream(8).normal(0, 500, 1, dtype)
    error = exact_denoising_error(torch.eye(1).double(), schedule)
    both = torch.tensor([[-1.0], [1.0]])  # which make every term exact
    terms = variational_bound(denoiser, x_0, schedule, optimal_variance(schedule, error), eps=both)
    entropy = 0.5 * math.log(2.0 * math.pi) + 0.5 * float(x_0.double().square().mean())
    assert terms.total == pytest.approx(entropy, abs=0.02)  # rounding is a hundredth of float32's first noise
    lost = NoiseSchedule.log_snr_uniform(200, log_snr_max=2.5 * log_snr_max, log_snr_min=-9.0)
    with pytest.raises(InvalidInput, match="is lost in the rounding of"):
        variational_bound(denoiser, x_0, lost, beta_variance(lost), stream=Stream(9))


def test_a_step_over_many_orders_of_noise_has_a_finite_cost():
    """Found by review: ln(beta_tilde / sigma^2) was taken of a ratio that rounds to 0."""
    schedule = NoiseSchedule.from_noise_levels([1e-9, 20.0])
    denoiser, x_0 = GaussianDenoiser(torch.zeros(1), torch.eye(1)), Stream(8).normal(0, 50, 1)
    error = exact_denoising_error(torch.eye(1).double(), schedule)
    terms = variational_bound(
        denoiser, x_0, schedule, optimal_variance(schedule, error), eps=torch.tensor([[-1.0], [1.0]]).double()
    )
    step = 0.5 * math.log1p((schedule.snr[1] - schedule.snr[2]) * error[2])
    assert float(terms.transitions[2]) == pytest.approx(step, rel=0.1)  # for x_0 of this sample
    flat = torch.diag(torch.tensor([1.0, 0.0])).double()
    assert prior_mismatch(torch.zeros(2), flat, NoiseSchedule.from_noise_levels([1e-9])) == pytest.approx(
        0.5 * (-1.0 - 2.0 * math.log(1e-9)), rel=1e-6
    )


def test_no_bound_keeps_a_graph():
    schedule = NoiseSchedule.linear(3)
    denoiser, x_0 = GaussianDenoiser(torch.zeros(1), torch.eye(1)), torch.ones(4, 1).double().requires_grad_()
    assert not variational_bound(
        denoiser, x_0, schedule, beta_variance(schedule), stream=Stream(0)
    ).per_row.requires_grad


@pytest.mark.parametrize(
    "options", [{"n_draws": 2, "stream": Stream(4)}, {"eps": exact_points(2)}], ids=["draws", "points"]
)
def test_steps_that_are_taken_together_give_what_each_gives_alone(monkeypatch, options):
    schedule = SCHEDULES["respaced Karras"]
    mean, covariance, x_0 = problem(2)
    denoiser, sigma_sq = GaussianDenoiser(mean, covariance), beta_variance(schedule)
    rows, found = torch.cat([x_0] * 3), []
    for together in (1, 100, 10**6):
        monkeypatch.setattr("backwalk.diffusion.bound._ROWS_OF_A_CALL", together)
        terms = variational_bound(denoiser, rows, schedule, sigma_sq, **options)
        error = denoising_error(denoiser, rows, schedule, stream=Stream(4), n_draws=2)
        found.append((terms.per_row, terms.transitions, terms.transitions_standard_error, error))
    for alone, some, every in zip(*found, strict=True):
        torch.testing.assert_close(some, alone, **EXACT)
        torch.testing.assert_close(every, alone, **EXACT)


def test_rows_of_different_patterns_have_the_bounds_of_their_own_free_coordinates():
    """Exactly, as 2d points are exact for linear denoisers. What stands in the other coordinates has no influence."""
    covariance = torch.tensor([[1.0, 0.8, -0.3], [0.8, 2.0, 0.1], [-0.3, 0.1, 0.5]], dtype=torch.float64)
    joint, schedule = GaussianDenoiser(torch.tensor([0.3, -1.0, 0.5]).double(), covariance), NoiseSchedule.linear(20)
    rows = torch.tensor([[1.0, -0.5, 0.2], [0.4, -2.0, 1.0], [-1.0, 0.3, 0.7]], dtype=torch.float64)
    known = torch.tensor([[False, False, True], [True, False, False], [False, False, False]])
    absent = torch.tensor([[False, False, False], [False, True, False], [False, False, False]])
    free, sigma_sq = ~(known | absent), beta_variance(schedule)

    def corners(d):
        return d**0.5 * torch.cat([torch.eye(d), -torch.eye(d)]).double()

    together = ConditionalDenoiser(joint, rows, known, absent, torch.arange(3))
    x_0, eps = torch.where(free, rows, 7.0), corners(3)
    found = variational_bound(together, x_0, schedule, sigma_sq, eps=eps, counted=free, size=1.0)
    for i in range(3):
        alone = conditional_of(joint, rows[[i]], known[i], absent[i])
        own = rows[[i]][:, free[i]]
        expected = variational_bound(alone, own, schedule, sigma_sq, eps=corners(own.shape[1]), size=1.0)
        torch.testing.assert_close(found.per_row[[i]], expected.per_row, rtol=1e-6, atol=1e-6)
