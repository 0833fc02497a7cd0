"""The chain in the user's units, backward and forward, and its picture."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.model import WalkState, sample_rows, walk
from backwalk.sampling import Sampler
from backwalk.streams import Stream


@pytest.mark.parametrize("options", [{}, {"sampler": "ancestral"}, {"sampler": Sampler("ddim", 7)}])
def test_backward_ends_at_the_sample_and_says_where_each_state_stands(fitted, options):
    """Found by trying: 21 states of a solver were called t = 20 ... 0 of a chain of 1,000 steps."""
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


def test_forward_begins_with_drawn_rows_where_a_number_is_given(fitted):
    first = next(fitted.walk(20, direction="forward", random_state=1))
    np.testing.assert_allclose(first.rows, fitted.sample(20, random_state=1))


def test_walks_repeat_and_differ_by_their_seed(fitted):
    one, other, third = ([state.rows for state in fitted.walk(5, random_state=seed)] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(one, third)
    forward = [list(fitted.walk(5, direction="forward", random_state=0))[-1].rows for _ in range(2)]
    np.testing.assert_array_equal(*forward)


def test_integers_of_new_rows_are_within_range_and_rounded():
    frame = pd.DataFrame({"n": np.arange(60) % 4, "x": np.random.default_rng(0).normal(size=60)})
    model = Diffusion(n_steps=10, max_steps=3, denoiser=Residual(8, 1), random_state=0, verbose=False).fit(frame)
    *_, last = model.walk(200, random_state=0)
    assert set(last.rows[:, 0]) <= {0.0, 1.0, 2.0, 3.0}
    states = list(model.walk(frame, direction="forward", random_state=0))
    np.testing.assert_array_equal(states[0].rows, frame)


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


def test_a_state_s_text_is_a_line(fitted):
    state = next(fitted.walk(3, random_state=0))
    assert isinstance(state, WalkState)
    assert repr(state).startswith(f"WalkState(t={fitted.schedule_.n_steps}, log_snr=")
    assert len(repr(state)) < 80


def test_solvers_names_are_samplers_everywhere(fitted):
    """Found by trying: a name as a text failed below the estimator."""
    rows = sample_rows(fitted.model_, 0, 5, stream=Stream(0), sampler="ddim")
    np.testing.assert_array_equal(rows, sample_rows(fitted.model_, 0, 5, stream=Stream(0), sampler=Sampler("ddim")))
    *_, last = walk(fitted.model_, 0, 5, stream=Stream(0), sampler="ancestral")
    assert last.t == 0
    assert torch.isfinite(last.x_t).all()


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_a_chain_is_drawn_with_the_steps_of_its_states(fitted, direction):
    figure = fitted.plot_chain(60, direction=direction, columns=(0, 2), n_panels=4, random_state=0)
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4
    ends = [f"t = {fitted.schedule_.n_steps:,}", "t = 0"]
    assert [figure.axes[i].get_title(loc="left") for i in (0, -1)] == (ends if direction == "backward" else ends[::-1])


@pytest.mark.parametrize(
    ("options", "message"), [({"columns": (0, 3)}, "columns should be two"), ({"n_panels": 1}, "n_panels should be")]
)
def test_pictures_that_cannot_be_are_refused(fitted, options, message):
    with pytest.raises(InvalidInput, match=message):
        fitted.plot_chain(5, **options)
