"""Solvers against closed forms: with a perfect denoiser of Gaussian data every step is linear, so moments tell all."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from backwalk.diffusion import (
    GaussianDenoiser,
    NoiseSchedule,
    beta_tilde_variance,
    beta_variance,
    denoise_at_time,
    x_0_from_v,
)
from backwalk.errors import InvalidInput
from backwalk.sampling import (
    SOLVERS,
    Ancestral,
    Ddim,
    Multistep,
    Solver,
    StochasticMultistep,
    Visit,
    mean_weights,
    walk_back,
)
from backwalk.sampling.solvers import integration_weights, turn
from backwalk.streams import Stream

MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.5], [0.5, 0.3]], dtype=torch.float64)
PERFECT = GaussianDenoiser(MEAN, COVARIANCE)
EYE = torch.eye(2, dtype=torch.float64)
STANDARD = torch.zeros(2, dtype=torch.float64), EYE
CORNERS = torch.cat([torch.zeros(1, 2), EYE])  # what a linear map does to these tells all
SCHEDULES = {
    "linear": NoiseSchedule.linear(60),
    "cosine": NoiseSchedule.cosine(40),
    "zero terminal SNR": NoiseSchedule(torch.tensor([math.inf, 7.0, 3.0, 0.0, -4.0, -math.inf])),
}
STREAM = Stream(6)


@pytest.fixture(params=SCHEDULES, ids=str)
def schedule(request):
    return SCHEDULES[request.param]


def even(n_steps):
    return NoiseSchedule.log_snr_uniform(n_steps, log_snr_max=6.0, log_snr_min=-8.0)


def generated(solver, schedule, *, to=0, start=STANDARD):
    """Return mean and covariance of x_`to` that a solver makes of N(*start), from its map of points and of noises.

    Rows 0..2 tell the map of x_N; rows 3t..3t + 2 start at 0 and meet noise at step t alone.
    """
    n = schedule.n_steps
    x_N = torch.zeros(3 * n + 3, 2, dtype=torch.float64)
    x_N[:3] = CORNERS

    def noise(t):
        eps = torch.zeros_like(x_N)
        eps[3 * t : 3 * t + 3] = CORNERS
        return eps

    end = next(state.x_t for state in walk_back(PERFECT, schedule, solver, x_N, noise=noise) if state.t == to)
    gains = (end.reshape(n + 1, 3, 2)[:, 1:] - end.reshape(n + 1, 3, 2)[:, :1]).mT
    gains = gains if solver.sigma(2, schedule) > 0.0 else gains[:1]
    mean, covariance = start
    return end[0] + gains[0] @ mean, gains[0] @ covariance @ gains[0].mT + (gains[1:] @ gains[1:].mT).sum(0)


def after(solver, visits, t, schedule, eps):
    """Return x_{t-1}."""
    mean, sigma = solver.step(visits, t, schedule)
    return mean + sigma * eps


def marginal(schedule, t):
    a_sq = schedule.alpha_bar[t]
    return a_sq.sqrt() * MEAN, a_sq * COVARIANCE + schedule.one_minus_alpha_bar[t] * EYE


def test_ddim_with_eta_1_is_the_ancestral_step_with_beta_tilde(schedule):
    ancestral = Ancestral(beta_tilde_variance(schedule))
    x_t, eps = STREAM.child("x").normal(0, 50, 2), STREAM.child("eps").normal(0, 50, 2)
    for t in range(1, schedule.n_steps + 1):
        x_0_hat = denoise_at_time(PERFECT, x_t, t, schedule)
        torch.testing.assert_close(
            after(Ddim(eta=1.0), [Visit(x_t, x_0_hat)], t, schedule, eps),
            after(ancestral, [Visit(x_t, x_0_hat)], t, schedule, eps),
        )


@pytest.mark.parametrize("eta", [0.3, 0.8])
def test_ddim_trades_eps_theta_for_fresh_noise_of_variance_eta_squared_beta_tilde(schedule, eta):
    x_t, x_0_hat, eps = (STREAM.child(name).normal(0, 5, 2) for name in ("x", "hat", "eps"))
    for t in range(2, schedule.n_steps + 1):
        sigma_sq, ab = eta**2 * schedule.beta_tilde[t], schedule.alpha_bar
        eps_theta = (x_t - ab[t].sqrt() * x_0_hat) / (1 - ab[t]).sqrt()
        kept = (1 - ab[t - 1] - sigma_sq).sqrt() * eps_theta
        torch.testing.assert_close(
            after(Ddim(eta), [Visit(x_t, x_0_hat)], t, schedule, eps),
            ab[t - 1].sqrt() * x_0_hat + kept + sigma_sq.sqrt() * eps,
        )


@pytest.mark.parametrize(
    "solver",
    [
        Ddim(),
        Ddim(0.5),
        Ddim(1.0),
        Multistep(),
        StochasticMultistep(0.0),
        StochasticMultistep(),
        StochasticMultistep(1.0),
    ],
    ids=str,
)
def test_every_solver_converges_to_the_data(solver):
    """From q(x_N), as no solver mends a wrong start, to q(x_1), as the last step gives a mean of x_0 and not a draw."""
    errors = []
    for n_steps in (50, 100, 200):
        schedule = even(n_steps)
        mean, covariance = generated(solver, schedule, to=1, start=marginal(schedule, n_steps))
        mean_1, covariance_1 = marginal(schedule, 1)
        errors.append(float(torch.cat([(mean - mean_1).flatten(), (covariance - covariance_1).flatten()]).abs().max()))
    for coarse, fine in pairwise(errors):
        assert fine < 0.6 * coarse  # of first order at least
    assert errors[-1] < 0.04


@pytest.mark.parametrize("eta", [-0.01, 1.01, math.nan])
def test_an_eta_outside_0_to_1_is_refused(eta):
    with pytest.raises(InvalidInput, match=r"eta should lie in \[0, 1\]"):
        Ddim(eta)


@pytest.mark.slow
def test_integration_weights_keep_their_digits_near_pure_noise():
    """They sum to the step h, in the steps of a long chain up to a noise level of 1e20."""
    schedule = NoiseSchedule.from_noise_levels(torch.logspace(-3, 20, 10_000, dtype=torch.float64))
    places = (0.5 * schedule.log_snr).tolist()
    for t in range(2, schedule.n_steps - 1, 7):
        for end, start, *others in (places[t - 1 : t + 2], places[t : t + 3]):
            h = turn(start, end)
            weights = integration_weights((h, 0.0, *(turn(start, other) for other in others)), h)
            assert sum(weights) == pytest.approx(h, rel=1e-12)
            assert max(map(abs, weights)) < 3 * abs(h)


def test_turns_are_differences_of_angles():
    places = [-math.inf, -3.0, -0.2, 0.0, 1.5, 4.0]
    for start in places:
        for end in places:
            assert turn(start, end) == pytest.approx(math.atan(math.exp(-end)) - math.atan(math.exp(-start)), abs=1e-15)


@pytest.mark.parametrize("solver", [Multistep(), StochasticMultistep(0.0), StochasticMultistep()], ids=str)
def test_far_beyond_pure_noise_weights_are_those_of_the_limit(solver):
    """At levels around 1e18, all of whose angles round to pi / 2, theta is pi / 2 - 1 / s: a straight line in 1 / s."""
    far, near = (
        NoiseSchedule.from_noise_levels(level * torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
        for level in (1e18, 1e5)
    )
    assert solver.sigma(2, far) == pytest.approx(solver.sigma(2, near), rel=1e-9)
    scaled = [
        level * weight
        for level, schedule in ((1e18, far), (1e5, near))
        for weight in mean_weights(solver, 2, schedule, 2)[1]
    ]
    assert scaled[:2] == pytest.approx(scaled[2:], rel=1e-4)


def test_without_noise_a_chain_from_noise_alone_is_the_ode_s():
    """The first step's h is infinite, and 0 times it should forget nothing."""
    schedule = SCHEDULES["zero terminal SNR"]
    solver = StochasticMultistep(0.0)
    x_t, x_0_hat = mean_weights(solver, schedule.n_steps, schedule, 1)
    assert x_t[0] == pytest.approx(math.sqrt(schedule.one_minus_alpha_bar[-2]), rel=1e-12)
    assert x_0_hat[0] == pytest.approx(math.sqrt(schedule.alpha_bar[-2]), rel=1e-12)
    assert solver.sigma(schedule.n_steps, schedule) == 0.0


@pytest.mark.parametrize("noise", [-0.1, math.inf, math.nan])
def test_a_noise_that_is_none_is_refused(noise):
    with pytest.raises(InvalidInput, match="noise should be finite and >= 0"):
        StochasticMultistep(noise)


def flow_error(solver, n_steps):
    """Return how far a solver's map from x_N to x_1 is from the ODE's, (C_1 / C_N)^(1/2) about the means."""
    schedule = even(n_steps)
    (mean_1, c_1), (mean_N, c_N) = marginal(schedule, 1), marginal(schedule, n_steps)
    values, axes = torch.linalg.eigh(c_1)
    _, axes_N = torch.linalg.eigh(c_N)
    torch.testing.assert_close(axes.abs(), axes_N.abs())
    root = axes @ torch.diag((values / torch.linalg.eigvalsh(c_N)).sqrt()) @ axes.T
    exact = mean_1 + (CORNERS - mean_N) @ root
    states = list(walk_back(PERFECT, schedule, solver, CORNERS, noise=lambda _: CORNERS))
    return float((states[-2].x_t - exact).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize(("solver", "order"), [(Ddim(), 1), (StochasticMultistep(0.0), 2), (Multistep(), 3)], ids=str)
def test_order_of_convergence(solver, order):
    errors = [flow_error(solver, n_steps) for n_steps in (101, 201, 401)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_more_order_is_less_error_at_ten_evaluations():
    errors = [flow_error(solver, 10) for solver in (Ddim(), StochasticMultistep(0.0), Multistep())]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(
    "make",
    [
        lambda s: Ancestral(beta_variance(s)),
        lambda _: Ddim(1.0),
        lambda _: Multistep(),
        lambda _: StochasticMultistep(),
    ],
)
def test_the_last_step_returns_x_0_hat_without_noise(make, schedule):
    x_t, x_0_hat = STREAM.child("x").normal(0, 5, 2), STREAM.child("hat").normal(0, 5, 2)
    mean, sigma = make(schedule).step([Visit(x_t, x_0_hat), Visit(x_0_hat, x_t)], 1, schedule)
    assert torch.equal(mean, x_0_hat)
    assert sigma == 0.0


def test_multistep_makes_the_last_step_again_and_then_the_next():
    """Against NumPy's polynomials through the values of v; x_t was predicted from x_{t+1} without knowing v_t."""
    schedule = even(8)
    phi = [math.atan(float(schedule.noise_level[t])) for t in range(3, 7)]  # t - 1, t, t + 1, t + 2
    v = [STREAM.child("v", k).normal(0, 1, 1) for k in range(3)]

    def integral(places, values, start, end):
        through = np.polyint(np.polyfit(places, [float(value) for value in values], len(places) - 1))
        return float(np.polyval(through, end) - np.polyval(through, start))

    before = STREAM.child("before").normal(0, 1, 1)
    predicted = before + integral(phi[2:], v[1:], phi[2], phi[1])
    corrected = before + integral(phi[1:], v, phi[2], phi[1])
    visits = [
        Visit(x_t, x_0_from_v(x_t, v[k], schedule.log_snr[4 + k]))
        for k, x_t in enumerate([predicted, before, STREAM.child("x").normal(0, 1, 1)])
    ]
    expected = corrected + integral(phi[1:3], v[:2], phi[1], phi[0])
    torch.testing.assert_close(Multistep().mean(visits, 4, schedule), expected, rtol=1e-10, atol=1e-12)


def test_half_of_the_noise_is_the_default():
    schedule = even(9)
    assert StochasticMultistep().sigma(5, schedule) == StochasticMultistep(0.5).sigma(5, schedule)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_a_share_of_noise_keeps_the_marginals_of_a_single_point(noise):
    """Then x_0_hat is constant, which the step is exact for: N(a_t x_0, b_t^2) becomes N(a_s x_0, b_s^2)."""
    schedule = even(9)
    for t in range(2, 10):
        (a_s, b_s), (a_t, b_t) = (
            (math.sqrt(schedule.alpha_bar[k]), math.sqrt(schedule.one_minus_alpha_bar[k])) for k in (t - 1, t)
        )
        solver = StochasticMultistep(noise)
        x_t, x_0_hat = mean_weights(solver, t, schedule, min(2, 10 - t))
        assert x_t[0] * a_t + sum(x_0_hat) == pytest.approx(a_s, rel=1e-12)
        assert (x_t[0] * b_t) ** 2 + solver.sigma(t, schedule) ** 2 == pytest.approx(b_s**2, rel=1e-12)


@pytest.mark.parametrize("n_steps", [3, 8, 2_000])
@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_a_share_of_noise_is_exact_where_x_0_hat_is_straight_in_the_angle(noise, n_steps):
    """dx / dlambda = -(a^2 + noise) x + (1 + noise) a x_0_hat, noise apart, by SciPy's solver from each t to t - 1."""
    schedule = even(n_steps)

    def estimate(log_ratio):
        return 0.3 + 0.5 * math.atan(math.exp(-log_ratio))

    def slope(log_ratio, x):
        a_sq = 1.0 / (1.0 + math.exp(-2.0 * log_ratio))
        return -(a_sq + noise) * x + (1.0 + noise) * math.sqrt(a_sq) * estimate(log_ratio)

    for t in range(2, n_steps, max(1, n_steps // 7)):
        start, end, before = (0.5 * float(schedule.log_snr[k]) for k in (t, t - 1, t + 1))
        visits = [
            Visit(*torch.tensor([[x_t], [estimate(place)]], dtype=torch.float64))
            for x_t, place in ((0.7, start), (9.0, before))
        ]
        expected = solve_ivp(slope, (start, end), [0.7], method="DOP853", rtol=1e-12, atol=1e-12).y[0, -1]
        assert float(StochasticMultistep(noise).mean(visits, t, schedule)) == pytest.approx(expected, rel=1e-8)


def solver_of(name="mine", **methods):
    return type("Mine", (Solver,), {**({} if name is None else {"name": name}), **methods})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: solver_of(None, mean=lambda _self, visits, _t, _schedule: visits[0].x_t), "class attribute `name`"),
        (lambda: solver_of("ddim", mean=lambda _self, visits, _t, _schedule: visits[0].x_t), "'ddim' is taken"),
        (solver_of, r"define mean\(self, visits, t, schedule\)"),
        (lambda: solver_of(mean=lambda _self, x_t, _t: x_t), r"take \(self, visits, t, schedule\)"),
        (
            lambda: solver_of(mean=lambda _self, visits, _t, _schedule: visits[0].x_t, sigma=lambda _self: 0.0),
            r"take \(self, t, schedule\)",
        ),
    ],
)
def test_a_solver_is_checked_where_its_class_is_defined(make, says):
    known = dict(SOLVERS)
    with pytest.raises(InvalidInput, match=says):
        make()
    assert known == SOLVERS


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({"mean": lambda *_: 0.0}, r"mean should return a tensor of the shape of x_t, \(1, 2\), but returned a float"),
        ({"mean": lambda _self, visits, *_: visits[0].x_t, "sigma": lambda *_: -1.0}, "number >= 0, but returned -1.0"),
    ],
)
def test_what_a_solver_returns_is_checked(methods, says):
    visits, schedule = [Visit(torch.ones(1, 2), torch.zeros(1, 2))], NoiseSchedule.linear(10)
    try:
        solver = solver_of("wrong", **methods)()
    finally:
        SOLVERS.pop("wrong", None)
    with pytest.raises(InvalidInput, match=says):
        solver.step(visits, 5, schedule)
