"""Smoothed frequencies predict rows that they were not made from, and bases are orthogonal functions of the order."""

import numpy as np
import pytest
from scipy import special

from backwalk.table.basis import level_basis, normal_scores, smoothed_frequencies

PLACES = np.arange(80.0)
BELL = np.exp(-0.5 * ((PLACES - 35.0) / 12.0) ** 2)
BELL /= BELL.sum()


@pytest.mark.parametrize("n", [40, 400, 40_000])
@pytest.mark.parametrize("spike", [0.0, 0.4])
def test_smoothed_frequencies_are_closer_to_the_truth_than_a_row_added_to_each_place(n, spike):
    truth = (1.0 - spike) * BELL + spike * (PLACES == 40.0)
    rows = np.random.default_rng(n).multinomial(n, truth).astype(float)
    q, added = smoothed_frequencies(rows), (rows + 1.0) / (n + len(rows))
    assert q.sum() == pytest.approx(1.0)
    assert (q > 0.0).all()
    assert truth @ np.log(q) >= truth @ np.log(added) - 1e-3
    if n == 40_000:
        np.testing.assert_allclose(q, truth, atol=0.01)


def test_values_that_no_row_has_are_about_as_likely_as_those_of_one_row():
    """Good 1953: the probability of all unseen values is about the share of rows whose value is in no other."""
    rng, ratios = np.random.default_rng(0), []
    for _ in range(50):
        rows = rng.multinomial(300, BELL).astype(float)
        q = smoothed_frequencies(rows)
        ratios.append(BELL[rows == 0.0].sum() / q[rows == 0.0].sum())
    assert np.median(ratios) == pytest.approx(1.0, abs=0.25)


@pytest.mark.parametrize("n_apart", [0, 1, 2])
@pytest.mark.parametrize("n_levels", [17, 80, 900])
def test_functions_are_orthogonal_with_a_variance_of_one_together(n_levels, n_apart):
    q = np.random.default_rng(0).dirichlet(np.ones(n_levels))
    phi = level_basis(q, n_apart)
    assert phi.shape[1] <= 85
    np.testing.assert_allclose(q @ phi, 0.0, atol=1e-9)
    products = phi.T @ (q[:, None] * phi)
    np.testing.assert_allclose(products - np.diag(np.diag(products)), 0.0, atol=1e-9)
    assert np.trace(products) == pytest.approx(1.0)
    assert (np.diff(np.diag(products)) < 0.0).all()


def test_few_rows_have_few_functions():
    """Three of a cubic, one for each of (2 n)^(1/3) knots, and one for a value of 25 rows beyond its neighbours'."""
    spiked = (BELL + 0.5 * (PLACES == 40.0)) / 1.5
    n_functions = [level_basis(q, n_rows=n).shape[1] for q in (BELL, spiked) for n in (40, 120, 300)]
    assert n_functions == [7, 9, 11, 7, 10, 12]
    assert level_basis(BELL, n_rows=10**9).shape == level_basis(BELL).shape


@pytest.mark.parametrize(
    ("n_levels", "n_apart", "n_rows"), [(17, 1, 300), (17, 1, 10**6), (18, 2, 10**6), (40, 0, 4_000)]
)
def test_rounding_of_frequencies_changes_next_to_nothing(n_levels, n_apart, n_rows):
    """A model file holds no basis, which other machines compute anew. With equal frequencies knots may lie at ends."""
    q = np.full(n_levels, 1.0 / n_levels)
    for seed in range(5):
        rounded = q * (1.0 + 1e-15 * np.random.default_rng(seed).normal(size=n_levels))
        np.testing.assert_allclose(level_basis(rounded, n_apart, n_rows), level_basis(q, n_apart, n_rows), atol=1e-9)


def test_few_levels_have_a_function_each():
    assert level_basis(np.full(16, 1.0 / 16.0)) is None


def test_a_rounded_normal_given_another_is_a_tilt_of_degree_two():
    """ln N(v; m, s^2) - ln N(v; 0, 1) is a polynomial of degree 2 in v, which the basis contains."""
    v = np.linspace(-3.0, 3.0, 121)
    q = special.softmax(-0.5 * v**2)
    phi = np.column_stack([np.ones(len(v)), level_basis(q)])
    tilt = -0.5 * ((v - 0.8) / 0.6) ** 2 + 0.5 * v**2
    weights = np.sqrt(q)[:, None]
    slopes = np.linalg.lstsq(phi * weights, tilt * weights[:, 0], rcond=None)[0]
    fitted, exact = (special.softmax(np.log(q) + each) for each in (phi @ slopes, tilt))
    assert exact @ (np.log(exact) - np.log(fitted)) < 1e-4


def test_peaks_that_are_learnt_in_part_leave_the_frequencies_as_they_are():
    """Found on a real table: functions with kinks at knots drew values next to these up to three times too often.

    The levels follow from something else with a narrow error, wherever they lie. Tilts with a penalty stand for what a
    network learns in few steps. Their mean differs from that of the true probabilities by a seventh at most; with hats
    it was .6 to 2.1 times as large.
    """
    v = np.linspace(-2.5, 2.5, 400)
    q = special.softmax(-0.5 * v**2)
    phi, width, penalty = level_basis(q, n_rows=2_000), 0.05, 1e-4
    true = special.softmax(-2.0 * np.log(np.cosh((v - np.linspace(-1.0, 1.0, 41)[:, None]) / width)), axis=1)
    learnt = np.array([_tilted(q, phi, each, penalty) for each in true])
    inside = np.abs(v) < 0.6
    np.testing.assert_allclose(learnt.mean(axis=0)[inside] / true.mean(axis=0)[inside], 1.0, atol=0.15)


def _tilted(q, phi, target, penalty):
    """Return softmax(ln q + phi f) with the f of largest E_target ln p - penalty |f|^2 / 2, by Newton's method."""

    def log_p(f):
        return special.log_softmax(np.log(q) + phi @ f)

    def gain(f):
        return target @ log_p(f) - 0.5 * penalty * f @ f

    f = np.zeros(phi.shape[1])
    for _ in range(50):
        p = np.exp(log_p(f))
        slope, mean = phi.T @ (target - p) - penalty * f, phi.T @ p
        curvature = (phi.T * p) @ phi - np.outer(mean, mean) + penalty * np.eye(len(f))
        step, share = np.linalg.solve(curvature, slope), 1.0
        while gain(f + share * step) < gain(f) and share > 1e-9:
            share /= 2.0
        f = f + share * step
        if np.abs(slope).max() < 1e-8:
            break
    return np.exp(log_p(f))


def test_the_first_functions_are_the_smoothest_ones():
    """The k-th crosses 0 about k times, and the first one is the normal score."""
    phi = level_basis(np.full(400, 1.0 / 400.0))[:, :20]
    assert np.corrcoef(phi[:, 0], normal_scores(np.full(400, 1.0 / 400.0)))[0, 1] == pytest.approx(1.0)
    crossings = (np.diff(np.sign(phi), axis=0) != 0.0).sum(axis=0)
    np.testing.assert_array_equal(crossings, np.arange(1, 21))


@pytest.mark.parametrize(
    ("rows", "n_apart"),
    [
        (np.array([0.9] + [0.1 / 99.0] * 99), 0),
        (0.7 ** np.arange(100.0), 0),
        (1.0 / np.arange(1.0, 1_025.0), 0),
        (np.ones(32), 2),
    ],
    ids=["spike", "geometric", "Zipf", "apart"],
)
def test_whatever_the_frequencies_the_first_function_in_order_is_the_normal_score(rows, n_apart):
    """Seen: splines that bent between the levels, where nobody sees it, made the first one bend at them, too."""
    q = rows / rows.sum()
    phi, in_order = level_basis(q, n_apart, 100_000)[: len(q) - n_apart, n_apart], q[: len(q) - n_apart]
    covariance = np.cov([phi, normal_scores(in_order)], aweights=in_order)
    assert covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]) == pytest.approx(1.0, abs=1e-6)


def test_normal_scores_increase_with_mean_zero_and_variance_one():
    q = np.random.default_rng(0).dirichlet(np.ones(30))
    u = normal_scores(q)
    assert (np.diff(u) > 0.0).all()
    assert (u @ q, np.square(u) @ q) == pytest.approx((0.0, 1.0), abs=1e-12)
