"""Observations that do not fit the simulations are told of, once, and those that do are not."""

import warnings

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion, Number, Residual, UnseenValuesWarning, posterior
from backwalk.errors import InvalidInput


def simulations(n, seed):
    """theta ~ U(0, 1), measured twice, with noise of .05."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(size=n)
    data = theta[:, None] + 0.05 * rng.normal(size=(n, 2))
    return pd.DataFrame({"theta": theta, "x": data[:, 0], "y": data[:, 1]})


OPTIONS = {"denoiser": Residual(width=16, n_blocks=1), "random_state": 0, "verbose": False}
UNSEEN = simulations(400, 1)[["x", "y"]]


@pytest.fixture(scope="module")
def model():
    bounds = {"theta": Number(bounds=(0.0, 1.0))}
    made = Diffusion(max_steps=40, conditions=[["x", "y"]], columns=bounds, validation_fraction=0.3, **OPTIONS)
    return made.fit(simulations(800, 0))


@pytest.fixture
def of_theta(model):
    return posterior(model, given=["x", "y"])


def test_two_data_that_contradict_each_other_do_not_fit(of_theta):
    on, off = of_theta.check([0.4, 0.5]), of_theta.check({"x": 0.2, "y": 0.8})  # 2 and 8 deviations apart
    assert on.fits
    assert not off.fits
    assert off.beyond == ()  # both columns lie within their ranges
    assert off.n_simulations == 240
    assert "does not fit" in repr(off)
    assert repr(on).startswith("ObservationCheck(p = ")


def test_p_values_of_unseen_simulations_are_uniform(of_theta):
    """By the ranks of 400 among 240, at a quarter and three quarters within six errors; few are warned of."""
    p = of_theta.check(UNSEEN).p_value
    for share in (0.25, 0.75):
        assert np.mean(p < share) == pytest.approx(
            share, abs=6.0 * np.sqrt(share * (1.0 - share) * (1 / 400 + 1 / 240))
        )
    assert np.sum(p < 1e-3) <= 2
    assert of_theta.check([0.2, 0.8], UNSEEN).p_value < 1e-3


@pytest.mark.slow
def test_calls_with_such_an_x_warn_once(of_theta, model):
    for call in (of_theta.set_default_x, lambda x: of_theta.sample(2, x), lambda x: of_theta.log_prob([[0.5]], x)):
        of_theta._last = b""
        with pytest.warns(UnseenValuesWarning, match="x lies far"):
            call([0.2, 0.8])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        of_theta.sample(2, [0.2, 0.8])  # the same again
        of_theta.sample(2)
        of_theta.sample(2, [0.4, 0.5])
        of_theta.sample_batched(2, UNSEEN[:3])
        model.sample(2, given={"x": 0.4, "y": 0.5})
    with pytest.warns(UnseenValuesWarning, match="given lies far"):
        model.sample(2, given={"x": 0.2, "y": 0.8})


def test_a_parameter_at_its_bound_and_data_beyond_their_range_are_named(of_theta):
    found = of_theta.check([-0.6, -0.5])
    assert found.at_bounds == ("theta",)
    assert "x" in found.beyond
    assert found.p_beyond == pytest.approx(2.0 / 801.0)
    assert of_theta.check([0.4, 0.5]).at_bounds == ()


@pytest.mark.slow
def test_rows_with_gaps_and_constant_columns_do_not_stop_a_fit():
    rows = simulations(300, 0).assign(const=1.0)
    rows.loc[::2, "x"] = np.nan
    fitted = Diffusion(max_steps=2, conditions=[["x", "const"]], validation_fraction=0.4, **OPTIONS).fit(rows)
    (distances,) = fitted.model_.held_out_distances
    assert 40 < len(distances) < 80  # about half of 120
    assert fitted.sample(2, given={"x": 0.5, "const": 1.0}).shape == (2, 4)


@pytest.mark.slow
def test_a_check_needs_unseen_simulations():
    of_theta = posterior(Diffusion(max_steps=5, conditions="any", **OPTIONS).fit(simulations(200, 0)), given=["x", "y"])
    with pytest.raises(InvalidInput, match="at least 50"):
        of_theta.check([0.4, 0.5])
    with pytest.raises(InvalidInput, match="has 9"):
        of_theta.check([0.4, 0.5], UNSEEN[:9])
    assert of_theta.check([0.4, 0.5], UNSEEN).n_simulations == 400
