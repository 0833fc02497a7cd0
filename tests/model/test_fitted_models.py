"""Fitted models: what a row depends on, which variances a chain has, and densities in the user's units."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from backwalk.denoiser import Residual
from backwalk.diffusion import beta_tilde_variance, beta_variance, denoising_error, optimal_variance, variational_bound
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model import (
    bound,
    check_reverse_variance,
    log_density,
    measure_denoising_error,
    mismatch_warning,
    reverse_variances,
    sample_pieces,
    sample_rows,
    walk,
)
from backwalk.model.score import rows_scored_at_once
from backwalk.sampling import TILE_ROWS, Sampler, StochasticMultistep, Visit
from backwalk.streams import Stream

STREAM = Stream(11)
FEW = Sampler("multistep-sde", 4)


@pytest.fixture
def model(fitted):
    return fitted.model_


@pytest.fixture(scope="module")
def long_sample(fitted):
    return sample_rows(fitted.model_, 0, 3000, stream=STREAM, sampler=FEW)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (0, 100), (TILE_ROWS - 50, TILE_ROWS + 50), (TILE_ROWS - 1, TILE_ROWS + 1), (TILE_ROWS, 3000), (7, 7)],
)
def test_a_row_is_the_same_in_whatever_range_it_is_drawn(model, long_sample, n_threads, start, stop):
    rows = sample_rows(model, start, stop, stream=STREAM, sampler=FEW)
    np.testing.assert_array_equal(rows, long_sample[start:stop])


@pytest.mark.parametrize("solver", ["ancestral", "ddim", "dpm++2m", "multistep", "multistep-sde"])
def test_every_solver_draws_rows_by_their_numbers(model, solver):
    sampler = Sampler(solver, 5)
    whole = sample_rows(model, 1000, 1040, stream=STREAM, sampler=sampler)
    np.testing.assert_array_equal(sample_rows(model, 1020, 1030, stream=STREAM, sampler=sampler), whole[20:30])
    assert np.isfinite(whole).all()
    assert (whole[:, 1] == 7.25).all()
    assert len(np.unique(whole[:, 0])) == 40


def test_pieces_are_the_rows_in_order(model, long_sample):
    pieces = list(sample_pieces(model, 900, 2500, stream=STREAM, sampler=FEW))
    assert max(map(len, pieces)) <= TILE_ROWS
    np.testing.assert_array_equal(np.concatenate(pieces), long_sample[900:2500])


def test_the_walk_ends_at_the_sample_and_keeps_no_gradients_to_itself(model, long_sample):
    states = walk(model, 0, TILE_ROWS, stream=STREAM, sampler=FEW)
    next(states)
    assert torch.is_grad_enabled()  # between two states the caller's own setting holds
    *_, last = states
    assert (last.t, last.x_t.requires_grad) == (0, False)
    np.testing.assert_array_equal(model.codec.decode(last.x_t.double().numpy()), long_sample[:TILE_ROWS])


def test_the_default_solver_adds_half_of_the_reverse_sdes_noise(model):
    """The residual of its first step is N(0, 1) where the weights are those of the half: a false alarm in 10^7."""
    sampler = Sampler(n_evaluations=15)
    schedule = model.schedule.respace(sampler.times(model.schedule))
    first, second, *_ = walk(model, 0, TILE_ROWS, stream=STREAM, sampler=sampler)
    mean, sigma = StochasticMultistep(noise=0.5).step([Visit(first.x_t, second.x_0_hat)], 15, schedule)
    eps = (second.x_t - mean) / sigma
    assert float(eps.std()) == pytest.approx(1.0, abs=0.06)


def test_a_short_chain_has_the_variances_of_its_own_schedule(model):
    times = [1, 4, 20, 30]
    short, error = model.schedule.respace(times), model.denoising_error[[0, *times]]
    decoder = {"decoder_variance": model.decoder_variance}
    for name, expected in (
        ("beta", beta_variance(short, **decoder)),
        ("beta_tilde", beta_tilde_variance(short, **decoder)),
        ("optimal", optimal_variance(short, error, **decoder)),
    ):
        other = dataclasses.replace(model, reverse_variance=name)
        torch.testing.assert_close(reverse_variances(other, times), expected)
        assert other.sigma_sq.shape == (31,)
    without_first = reverse_variances(model, [4, 20, 30])
    assert float(without_first[1]) == pytest.approx(float(model.denoising_error[4]))


def test_only_known_reverse_variances_pass():
    with pytest.raises(InvalidInput, match="reverse_variance should be one of"):
        check_reverse_variance("learned")


def test_the_bound_is_the_chain_s_plus_the_units(model, rows):
    terms = bound(model, rows[:50], stream=STREAM)
    z = torch.from_numpy(model.codec.encode(rows[:50])).float()
    plain = variational_bound(model.denoiser, z, model.schedule, model.sigma_sq, stream=STREAM)
    shift = math.log(model.codec.columns[0].scale * model.codec.columns[2].scale)
    assert terms.total == pytest.approx(plain.total + shift)
    assert terms.reconstruction == pytest.approx(plain.reconstruction + shift)
    assert terms.prior + float(terms.transitions.sum()) + terms.reconstruction == pytest.approx(terms.total)


def test_a_bound_in_pieces_has_every_rows_own_noise(model, rows, monkeypatch):
    whole = bound(model, rows, stream=STREAM)
    monkeypatch.setattr("backwalk.model.bounds._FEWEST_ROWS", 7)
    monkeypatch.setattr("backwalk.model.bounds._MOST_ROWS", 7)
    pieces = bound(model, rows, stream=STREAM)
    torch.testing.assert_close(pieces.per_row, whole.per_row, rtol=1e-4, atol=1e-4)
    assert pieces.total == pytest.approx(whole.total, rel=1e-5)


def test_the_log_density_of_a_row_does_not_depend_on_the_others(model, rows):
    together = log_density(model, rows[:5], n_intervals=4).log_prob
    for some in ([0], [3, 1], [4, 4, 0, 2]):
        alone = log_density(model, rows[some], n_intervals=4).log_prob
        torch.testing.assert_close(alone, together[some], rtol=1e-6, atol=1e-6)
    assert torch.equal(log_density(model, rows[:3], n_intervals=4).log_prob, together[:3])


def test_scores_do_not_depend_on_the_tile_that_a_row_is_in(model, rows):
    n = rows_scored_at_once(model.codec.n_encoded)
    values = np.tile(rows[:50], (n // 50 + 2, 1))[: n + 20]
    scores = log_density(model, values, n_intervals=2).log_prob
    assert scores.shape == (n + 20,)
    torch.testing.assert_close(scores, scores[:50].repeat(n // 50 + 2)[: n + 20], rtol=1e-6, atol=1e-6)
    assert torch.equal(log_density(model, values[:n], n_intervals=2).log_prob, scores[:n])


@pytest.mark.parametrize("n_tangents", [0, 1, 2, 7, 32, 1000])
def test_the_tile_of_a_score_is_of_some_hundred_rows(n_tangents):
    assert 128 <= rows_scored_at_once(n_tangents + 1) <= rows_scored_at_once(n_tangents) <= 512


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


def test_denoising_error_is_measured_at_some_steps_and_interpolated(model):
    z = STREAM.normal(0, 400, 2, torch.float32)
    options = {"stream": STREAM, "n_levels": 30}
    every = measure_denoising_error(model.denoiser, z, model.schedule, **options)
    exact = denoising_error(model.denoiser, z.repeat(6, 1), model.schedule, stream=STREAM)
    torch.testing.assert_close(every, exact)
    some = measure_denoising_error(model.denoiser, z, model.schedule, stream=STREAM, n_levels=10)
    assert some.shape == every.shape
    torch.testing.assert_close(some, every, rtol=0.2, atol=0.0)


def test_a_mismatch_is_put_into_words_where_it_costs(model):
    assert mismatch_warning(0.0099, model.schedule) is None
    text = mismatch_warning(0.0804, model.schedule)
    assert "0.080 nats per row" in text
    assert f"alpha_bar_N = {float(model.schedule.alpha_bar[-1]):.4f}" in text
