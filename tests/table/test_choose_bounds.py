"""Maps that end at known bounds, against densities that are infinite, positive and 0 there."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from backwalk import Diffusion, Number
from backwalk.table import Grid, as_table, fit_codec

WITHIN = {"x": Number(bounds=(0.0, 1.0))}
DENSITIES = {
    "Beta(2, 1)": stats.beta(2, 1),
    "Beta(.5, 1)": stats.beta(0.5, 1),
    "Beta(3, 5)": stats.beta(3, 5),
    "uniform": stats.uniform(),
    "cut normal": stats.truncnorm(-1, 1, loc=0.5, scale=0.5),
}


@pytest.mark.parametrize("law", DENSITIES.values(), ids=DENSITIES)
def test_a_normal_of_the_map_is_the_density_also_beside_the_bounds(law):
    """Found by review: of Beta(2, 1) .0093 of the draws lay above .999 instead of .0020, and ln p at 1 was 18.

    The rows are 10,000 quantiles. A fitted power may err by 2 % of itself, hence a tolerance of a fifth.
    """
    x = law.ppf((np.arange(10_000) + 0.5) / 10_000)
    codec = fit_codec(as_table(pd.DataFrame({"x": x})), columns=WITHIN)
    edges = np.array([[0.001], [0.999]])
    below, above = codec.encode(edges)[:, 0]
    for found, true in ((stats.norm.cdf(below), law.cdf(0.001)), (stats.norm.sf(above), law.sf(0.999))):
        assert found == pytest.approx(true, rel=0.2, abs=1e-4)
    density = np.exp(stats.norm.logpdf(codec.encode([[0.0], [1.0]])[:, 0]) + codec.log_abs_det_jacobian([[0.0], [1.0]]))
    true = law.pdf([0.0, 1.0])
    assert np.isfinite(density).all()
    np.testing.assert_allclose(density[np.isfinite(true)], true[np.isfinite(true)], rtol=0.2, atol=0.2)
    middle = law.ppf(np.linspace(0.02, 0.98, 200))[:, None]
    gap = law.logpdf(middle[:, 0]) - stats.norm.logpdf(codec.encode(middle)[:, 0]) - codec.log_abs_det_jacobian(middle)
    assert np.abs(gap).mean() < 0.05


def test_few_rows_and_rows_at_a_bound_have_a_map():
    for x in ([0.0, 0.2, 0.9], [0.0, 0.0, 0.0, 0.3, 0.5, 1.0], np.repeat([0.0, 0.4, 0.7], 50)):
        rows = np.array(x)[:, None]
        codec = fit_codec(as_table(rows), columns={"x1": WITHIN["x"]})
        np.testing.assert_allclose(codec.decode(codec.encode(rows)), rows, atol=1e-9)


def test_rounded_numbers_end_half_a_step_beyond_their_bounds():
    x = np.random.default_rng(0).integers(0, 101, 2_000) / 100
    codec = fit_codec(as_table(pd.DataFrame({"x": x})), columns=WITHIN)
    column = codec.columns[0]
    assert column.grid == Grid(per=100.0)
    if column.dequantisation is not None:
        ends = column.centre + column.scale * np.array([column.bounds.low, column.bounds.high])
        np.testing.assert_allclose(ends, [-0.005, 1.005])
    assert codec.supports([[-0.01], [0.5], [1.01]])[:, 0].tolist() == [False, True, False]


def measured(n, error, seed=0):
    """Parameters uniform in [0, 1] and measurements of them."""
    rng = np.random.default_rng(seed)
    theta = rng.random(n)
    return pd.DataFrame({"x": theta, "measured": theta + error * rng.normal(size=n)})


def test_a_map_is_straight_where_what_is_given_tells_a_number_closely():
    """Found by measuring: bent by quantiles, posteriors of sbibm's gaussian_mixture were told apart at .60 for .54."""
    close, vague = (fit_codec(as_table(measured(2_000, e)), columns=WITHIN, given=[1]) for e in (0.02, 1.0))
    joint = fit_codec(as_table(measured(2_000, 0.02)), columns=WITHIN)
    assert close.columns[0].bounds.share is not None
    assert vague.columns[0].bounds.share is None
    assert joint.columns[0].bounds.share is None
    assert close.columns[0].description.endswith("standard deviation 0.2907, within bounds 0 and 1")
    assert vague.columns[0].description.endswith("mapped to a normal within bounds 0 and 1")
    inside = np.linspace(0.02, 0.98, 50)[:, None]
    z = close.columns[0].encode(inside[:, 0])[:, 0]
    np.testing.assert_allclose(np.diff(z), np.diff(z)[0])


def test_gaps_of_other_columns_do_not_matter():
    """Found by review: two columns that were never seen together left no complete row."""
    rows = measured(2_000, 0.02).assign(u=1.5, v=0.5)
    rows["u"] += rows["x"]
    rows["v"] += rows["measured"]
    rows.loc[::2, "u"] = rows.loc[1::2, "v"] = np.nan
    columns = fit_codec(as_table(rows), columns=WITHIN, given=[1]).columns
    assert columns[0].bounds.share is not None
    assert columns[0].spline is None


def test_rows_beside_a_bound_are_counted_by_both_maps():
    """Of 2,000 uniform rows; 2 % err by 16 % (one standard error)."""
    x = np.array([0.005, 0.02, 0.98, 0.995])
    for error in (0.02, 1.0):
        column = fit_codec(as_table(measured(2_000, error)), columns=WITHIN, given=[1]).columns[0]
        below, above = column.bounds.rows_beside((x - column.centre) / column.scale)
        np.testing.assert_allclose(below[:2], x[:2], rtol=0.4)
        np.testing.assert_allclose(above[2:], 1.0 - x[2:], rtol=0.4)


def test_a_straight_map_ends_at_its_bounds():
    column = fit_codec(as_table(measured(2_000, 0.02)), columns=WITHIN, given=[1]).columns[0]
    x = np.concatenate([[0.0, 1.0], np.linspace(1e-6, 1.0 - 1e-6, 20_001)])
    z = column.encode(x)[:, 0]
    np.testing.assert_allclose(column.decode(z[:, None]), x, atol=1e-9)
    assert (np.diff(z[2:]) > 0.0).all()
    np.testing.assert_allclose(np.gradient(z[2:], x[2:])[20:-20], np.exp(column.log_slope(x[2:]))[20:-20], rtol=0.02)
    assert not np.isfinite(column.chain.encode(np.array([-1e-3, 1.001]))).any()
    beyond = column.decode(np.array([[z[0] - 0.01], [z[1] + 0.01]]))
    assert ((beyond > 0.0) & (beyond < 1.0)).all()


@pytest.mark.slow
def test_draws_and_scores_of_a_fit_are_right_at_a_bound():
    """A short fit keeps the map's tails. Of 100,000 draws 200 lie above .999; a fifth is 2.8 standard errors."""
    x = stats.beta(2, 1).ppf((np.arange(2_000) + 0.5) / 2_000)
    rows = pd.DataFrame({"x": np.random.default_rng(0).permutation(x)})
    model = Diffusion(max_steps=150, columns=WITHIN, random_state=0, verbose=False).fit(rows)
    drawn = model.sample(100_000, random_state=1)["x"]
    assert (drawn > 0.999).mean() == pytest.approx(0.002, rel=0.25)
    assert model.score_samples(pd.DataFrame({"x": [1.0]}))[0] == pytest.approx(np.log(2.0), abs=0.2)
