"""The chain in the user's units, backward and forward, and its picture."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from backwalk.diffusion import mu_from_eps
from backwalk.errors import InvalidInput
from backwalk.model import row_steps, sample_rows, walk
from backwalk.sampling import Sampler
from backwalk.streams import Stream


@pytest.mark.parametrize("options", [{}, {"sampler": "ancestral"}, {"sampler": Sampler("ddim", 7)}])
def test_backward_ends_at_the_sample_and_says_where_each_state_stands(fitted, options):
    states = list(fitted.walk(50, random_state=3, **options))
    sampler = options.get("sampler", fitted.model_.sampler)
    times = (Sampler(sampler) if isinstance(sampler, str) else sampler).times(fitted.schedule_)
    assert [state.t for state in states] == [*times[::-1], 0]
    np.testing.assert_allclose(states[-1].rows, fitted.sample(50, random_state=3, **options), atol=1e-4)
    assert states[0].x_0_hat is None
    assert all(state.x_0_hat.shape == state.rows.shape == (50, 3) for state in states[1:])
    for state in states[:-1]:
        assert state.log_snr == pytest.approx(float(fitted.schedule_.log_snr[state.t]))
        assert state.noise_level == pytest.approx(float(fitted.schedule_.noise_level[state.t]))
        assert state.alpha_bar == pytest.approx(float(fitted.schedule_.alpha_bar[state.t]))
    assert (states[-1].noise_level, states[-1].alpha_bar) == (0.0, 1.0)
    assert all((state.rows[:, 1] == 7.25).all() for state in states)


def test_the_walk_begins_with_noise_in_the_users_units(fitted):
    first = next(fitted.walk(4000, random_state=0))
    z = fitted.codec_.encode(first.rows)
    assert first.t == fitted.schedule_.n_steps
    np.testing.assert_allclose(z.mean(0), 0.0, atol=6 / 4000**0.5)  # 6 deviations: 2e-9
    np.testing.assert_allclose(z.std(0), 1.0, atol=6 / 8000**0.5)


@pytest.mark.parametrize("sampler", [None, "ancestral"])
def test_forward_has_the_marginals_of_q(fitted, rows, sampler):
    """x_t = sqrt(alpha_bar_t) x_0 + noise of variance 1 - alpha_bar_t, whatever steps lead there."""
    X = np.repeat(rows[:1], 20_000, axis=0)
    states = list(fitted.walk(X, direction="forward", sampler=sampler, random_state=0))
    z_0 = fitted.codec_.encode(rows[:1])[0]
    assert [state.t for state in states] == sorted({state.t for state in states})
    assert (states[0].t, states[-1].t, states[0].log_snr) == (0, fitted.schedule_.n_steps, math.inf)
    np.testing.assert_array_equal(states[0].rows, X)
    for state in states[1:]:
        z, alpha_bar = fitted.codec_.encode(state.rows), float(fitted.schedule_.alpha_bar[state.t])
        deviation = (1.0 - alpha_bar) ** 0.5
        np.testing.assert_allclose(z.mean(0), alpha_bar**0.5 * z_0, atol=6 * deviation / 20_000**0.5)
        np.testing.assert_allclose(z.std(0), deviation, rtol=6 / 40_000**0.5)
    # A chain and not draws of its own at each step: neighbours depend on each other as q says.
    one, other = (fitted.codec_.encode(state.rows)[:, 0] for state in states[-3:-1])
    ratio = float((fitted.schedule_.alpha_bar[states[-2].t] / fitted.schedule_.alpha_bar[states[-3].t]) ** 0.5)
    slope = np.cov(one, other)[0, 1] / one.var()
    assert slope == pytest.approx(ratio, abs=6 * (1.0 - ratio**2) ** 0.5 / 20_000**0.5)


@pytest.mark.parametrize(
    ("start", "options", "message"),
    [
        (0, {}, "n_samples should be an integer >= 1"),
        (2.5, {}, "n_samples"),
        (5, {"direction": "sideways"}, 'direction should be "backward" or "forward", but got \'sideways\''),
        (5, {"sampler": "euler"}, "solver should be one of"),
        (np.zeros((2, 2)), {"direction": "forward"}, "2 features"),
        (np.zeros((2, 3)), {"direction": "forward"}, "start should hold .* constant, 7.25"),
    ],
)
def test_walks_that_cannot_be_are_refused_at_once(fitted, start, options, message):
    with pytest.raises(ValueError, match=message):
        fitted.walk(start, **options)


def test_another_name_of_an_argument_is_answered_by_its_own(fitted):
    for method in (fitted.walk, fitted.sample):
        with pytest.raises(TypeError, match="takes no n_steps, but got 10: give n_evaluations=10"):
            method(5, n_steps=10)


@pytest.mark.parametrize("columns", [3, (0,), (0, 0), "xy"])
def test_what_is_no_pair_of_columns_is_not_drawn(fitted, columns):
    with pytest.raises(InvalidInput, match=r"[Cc]olumns should"):
        fitted.plot_chain(10, columns=columns)


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_a_chain_is_drawn_with_the_steps_of_its_states(fitted, direction):
    figure = fitted.plot_chain(60, direction=direction, columns=(0, 2), n_panels=4, random_state=0)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4
    ends = [f"t = {fitted.schedule_.n_steps:,}", "t = 0"]
    assert [figure.axes[i].get_title(loc="left") for i in (0, -1)] == (ends if direction == "backward" else ends[::-1])


SAMPLERS = [Sampler("ancestral"), Sampler("ddim", 7, 0.5), Sampler("ddim", 7), Sampler("multistep", 9), Sampler()]


STREAM = Stream(5).child("sample")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: f"{sampler.solver} {sampler.eta:g}")
def test_a_row_has_the_states_of_the_chain(fitted, sampler):
    model, row = fitted.model_, 2100
    whole = list(walk(model, 2000, 2200, stream=STREAM, sampler=sampler))
    last = model.codec.decode(whole[-1].x_t.double().numpy())
    np.testing.assert_allclose(last, sample_rows(model, 2000, 2200, stream=STREAM, sampler=sampler), atol=1e-4)
    steps = row_steps(model, whole, row - 2000, sampler=sampler)
    assert [step.t for step in steps] == sampler.times(model.schedule)[::-1]
    assert [step.t_next for step in steps] == [*(step.t for step in steps[1:]), 0]
    is_random = sampler.solver not in ("ddim", "multistep") or sampler.eta > 0.0
    assert any(state.eps is not None for state in whole[1:]) == is_random
    for step, before, after in zip(steps, whole, whole[1:], strict=False):
        assert torch.equal(step.x_t, before.x_t[row - 2000])
        assert torch.equal(step.x_0_hat, after.x_0_hat[row - 2000])
        assert torch.equal(step.x_next, after.x_t[row - 2000])
        if after.eps is not None:
            assert torch.equal(step.noise, after.eps[row - 2000])
        total = step.mean + step.sigma * step.noise.double()
        torch.testing.assert_close(total.float(), step.x_next, rtol=1e-5, atol=1e-5)


def test_the_ancestral_step_is_the_paper_s(fitted):
    """mu_theta by Eq. 11 from eps_theta, and sigma_t from the reverse variances; no noise at t = 1."""
    model = fitted.model_
    states = list(walk(model, 3, 4, stream=STREAM, sampler="ancestral"))
    for step in row_steps(model, states, sampler="ancestral"):
        mean = mu_from_eps(step.x_t.double()[None], step.eps_theta[None], step.place, step.schedule)[0]
        torch.testing.assert_close(step.mean, mean, rtol=1e-9, atol=1e-7)
        assert step.sigma**2 == pytest.approx(float(model.sigma_sq[step.t]) if step.t > 1 else 0.0)
        assert bool((step.noise == 0).all()) == (step.t == 1)


@pytest.mark.slow
def test_a_walk_of_a_table_draws_levels_and_then_numbers(penguins):
    *_, last = penguins.walk(6, random_state=3)
    drawn = penguins.sample(6, random_state=3)
    np.testing.assert_allclose(last.rows[:, [1, 3]], drawn[["x", "y"]], atol=1e-4)
    states = list(penguins.walk(drawn, direction="forward", n_evaluations=5, random_state=0))
    for state in states:
        np.testing.assert_array_equal(state.rows[:, [0, 2]], states[0].rows[:, [0, 2]])
    assert states[-1].rows[:, 1].std() != states[0].rows[:, 1].std()
