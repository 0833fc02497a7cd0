"""Rows follow the seasons of their dates, which are drawn first and scored first."""

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.denoiser import Residual
from backwalk.errors import InvalidInput
from backwalk.model import log_density
from backwalk.table import as_table, match_columns


@pytest.fixture(scope="module")
def weather():
    """Thirty years of days, one in fourteen of which was kept, with cold winters and rain on half of their days."""
    rng = np.random.default_rng(0)
    days = np.sort(rng.choice(30 * 365, size=800, replace=False))
    winter = np.cos(2.0 * np.pi * days / 365.2425)
    return pd.DataFrame(
        {
            "day": pd.Timestamp("1990-01-01") + pd.to_timedelta(days, unit="D"),
            "warmth": 10.0 - 9.0 * winter + 3.0 * rng.normal(size=800),
            "rain": np.where(rng.random(800) < 0.25 * (1.0 + winter), "wet", "dry"),
        }
    )


@pytest.fixture(scope="module")
def fitted(weather):
    network = Residual(32, 2, 1)
    settings = {"max_steps": 80, "validation_fraction": 0.02, "random_state": 0, "verbose": False}
    return Diffusion(denoiser=network, **settings).fit(weather)


def test_rows_have_the_seasons_of_the_data(fitted, weather):
    """Standard errors of monthly means are .05 standard deviations, those of shares .05."""
    drawn = fitted.sample(2000, random_state=1, n_evaluations=10)
    for month in (1, 4, 7, 10):
        of_data, of_rows = (table[table["day"].dt.month == month] for table in (weather, drawn))
        assert abs(of_rows["warmth"].mean() - of_data["warmth"].mean()) < 0.3 * weather["warmth"].std()
        assert abs((of_rows["rain"] == "wet").mean() - (of_data["rain"] == "wet").mean()) < 0.2


def test_what_is_drawn_first_is_scored_first(fitted, weather):
    """The rows are those that are drawn given their dates, and scores are sums of the same two parts."""
    rows = fitted.sample(3, random_state=1)
    again = fitted.sample(3, given=rows[["day"]], random_state=1)
    pd.testing.assert_frame_equal(again, rows, atol=0.3)  # with other steps of the chain

    np.testing.assert_allclose(
        score(fitted, rows), score(fitted, rows, columns=[0]) + score(fitted, rows, given=[0]), rtol=1e-5
    )


def test_a_missing_date_is_integrated_out(fitted, weather):
    expected = score(fitted, weather[:2], columns=[1, 2])
    np.testing.assert_allclose(score(fitted, weather[:2].assign(day=pd.NaT)), expected, rtol=1e-5)


def score(fitted, table, **asked):
    values = match_columns(as_table(table), fitted.model_.schema, name="table").values
    return log_density(fitted.model_, values, n_intervals=2, **asked).log_prob.numpy()


def test_the_chain_is_that_of_the_other_numbers(fitted):
    *_, before, last = fitted.walk(4, random_state=1)
    assert (before.rows[:, 0] == last.rows[:, 0]).all()
    assert (before.rows[:, 1] != last.rows[:, 1]).all()


def test_latents_are_refused(weather):
    model = Diffusion(max_steps=1, denoiser=Residual(4, 1, 1), verbose=False).fit(weather[["day", "warmth"]])
    with pytest.raises(InvalidInput, match="'day' is drawn first"):
        model.to_latent(weather[["day", "warmth"]][:3])
