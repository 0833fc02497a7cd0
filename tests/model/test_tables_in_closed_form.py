"""Rows of levels and numbers under a denoiser in closed form: probabilities, conditionals, draws and bounds."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp

from backwalk.diffusion import NoiseSchedule
from backwalk.fit.oracle import oracle_model
from backwalk.model import Given, bound, log_density, log_prob_of_levels, sample_rows
from backwalk.streams import Stream
from backwalk.table import Codec, LevelsColumn, NumberColumn
from tests.mixed_forms import ConditionalGaussianDenoiser

RNG = np.random.default_rng(3)
TABLE = RNG.dirichlet(np.full(6, 2.0)).reshape(3, 2)
MEANS = RNG.normal(size=(3, 2, 2))
FACTORS = RNG.normal(size=(3, 2, 2, 2))
COVARIANCES = 0.3 * np.eye(2) + 0.2 * FACTORS @ FACTORS.swapaxes(-1, -2)
# Columns: a (levels 0, 1, 2), x, b (levels -1, 4 coded by value), y in other units.
A = LevelsColumn((0.0, 1.0, 2.0), tuple(TABLE.sum(1).tolist()), "one-hot")
B = LevelsColumn((-1.0, 4.0), tuple(TABLE.sum(0).tolist()), "ordered")
CODEC = Codec((A, NumberColumn(0.0, 1.0), B, NumberColumn(3.0, 2.0)))
BLUR = 1e-3


@pytest.fixture(scope="module")
def model():
    blocks = CODEC.blocks
    denoiser = ConditionalGaussianDenoiser(
        codes=tuple(torch.from_numpy(block.codes) for block in blocks),
        coordinates=tuple(block.coordinates for block in blocks),
        probabilities=torch.from_numpy(TABLE),
        numbers=torch.from_numpy(CODEC.numbers),
        means=torch.from_numpy(MEANS),
        covariances=torch.from_numpy(COVARIANCES),
    )
    schedule = NoiseSchedule.log_snr_uniform(200, log_snr_max=-2.0 * np.log(BLUR), log_snr_min=-2.0 * np.log(1e4))
    return oracle_model(denoiser, draws(200), schedule, codec=CODEC)


def draws(n, seed=0):
    rng = np.random.default_rng(seed)
    a, b = np.divmod(rng.choice(6, size=n, p=TABLE.ravel()), 2)
    factors = np.linalg.cholesky(COVARIANCES)[a, b]
    z = MEANS[a, b] + np.einsum("nij,nj->ni", factors, rng.normal(size=(n, 2)))
    return np.column_stack([a, z[:, 0], np.array([-1.0, 4.0])[b], 3.0 + 2.0 * z[:, 1]])


def exact(rows, columns):
    """Return ln p of some of the columns, by sums over the levels of the others and marginals of the Gaussians."""
    parts = []
    numbers = [i for i, j in enumerate((1, 3)) if j in columns]
    for i, j in itertools.product(range(3), range(2)):
        log_p = np.full(len(rows), np.log(TABLE[i, j]))
        if 0 in columns:
            log_p[rows[:, 0] != i] = -np.inf
        if 2 in columns:
            log_p[rows[:, 2] != (-1.0, 4.0)[j]] = -np.inf
        if numbers:
            z = np.column_stack([rows[:, 1], (rows[:, 3] - 3.0) / 2.0])[:, numbers]
            law = stats.multivariate_normal(MEANS[i, j][numbers], COVARIANCES[i, j][np.ix_(numbers, numbers)])
            log_p = log_p + law.logpdf(z).reshape(-1) - (np.log(2.0) if 1 in numbers else 0.0)
        parts.append(log_p)
    return logsumexp(parts, axis=0)


PATTERNS = [
    ((), None),
    ((), (0, 2)),
    ((), (1,)),
    ((), (3, 0)),
    ((0,), None),
    ((1,), (0,)),
    ((1, 2), (3,)),
    ((0, 1, 2), (3,)),
    ((0, 1, 3), (2,)),
    ((3,), (1, 2)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("given", "columns"), PATTERNS)
def test_any_columns_given_any_others_have_their_probability(model, given, columns):
    rows = draws(20, seed=1)
    found = log_density(model, rows, given=given, columns=columns, n_intervals=32)
    asked = tuple(j for j in range(4) if j not in given) if columns is None else columns
    expected = exact(rows, (*given, *asked)) - (exact(rows, given) if given else 0.0)
    np.testing.assert_allclose(found.log_prob, expected, atol=5e-4)
    assert float(found.solver_error.max()) < 1e-3


@pytest.mark.slow
def test_a_missing_cell_is_integrated_out(model):
    rows = draws(12, seed=2)
    gaps = rows.copy()
    for i in range(12):
        gaps[i, i % 4] = np.nan
    found = log_density(model, gaps, n_intervals=32).log_prob
    expected = [exact(rows[[i]], tuple(j for j in range(4) if j != i % 4))[0] for i in range(12)]
    np.testing.assert_allclose(found, expected, atol=5e-4)


def test_the_order_of_levels_does_not_matter_to_an_exact_denoiser(model):
    rows = draws(10, seed=3)
    encoded = Given.to_score(model, rows, columns=(0, 2))
    one, other = (log_prob_of_levels(encoded, order) for order in ([0, 1], [1, 0]))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0.0)


def test_probabilities_of_all_levels_sum_to_one(model):
    rows = np.array([[a, 0.0, b, 0.0] for a in range(3) for b in (-1.0, 4.0)])
    total = float(log_density(model, rows, columns=(0, 2)).log_prob.exp().sum())
    assert total == pytest.approx(1.0, abs=1e-6)


def test_a_row_that_the_model_cannot_make_has_no_probability(model):
    rows = draws(3, seed=4)
    rows[1, 2] = 0.5
    assert log_density(model, rows).log_prob.isneginf().tolist() == [False, True, False]


@pytest.mark.parametrize("given", [(), (0,), (1,), (2, 3), (0, 1, 2)])
def test_drawn_rows_follow_the_probability(model, given):
    """Levels by Pearson's chi-squared, numbers by their conditional distribution functions: false alarms of 1e-8."""
    n, one = 1000, np.array([[1.0, 0.4, 4.0, 2.0]])
    condition = Given.to_draw(model, np.where(np.isin(np.arange(4), given), one, np.nan))
    rows = sample_rows(model, 0, n, stream=Stream(5), given=condition)
    np.testing.assert_array_equal(rows[:, list(given)], np.repeat(one[:, list(given)], n, axis=0))
    every = np.array([[a, one[0, 1], b, one[0, 3]] for a in range(3) for b in (-1.0, 4.0)])
    every = every[(every[:, list(given)] == one[:, list(given)]).all(axis=1)]
    p = np.exp(exact(every, tuple({0, 2, *given}))) / (np.exp(exact(one, given)) if given else 1.0)
    observed = [(rows[:, [0, 2]] == level).all(axis=1).sum() for level in every[:, [0, 2]]]
    assert p.sum() == pytest.approx(1.0)
    if len(every) > 1:
        assert stats.chisquare(observed, n * p).pvalue > 1e-8
    for number in {1, 3} - set(given):
        assert stats.kstest(distribution(rows, number, given), "uniform").pvalue > 1e-8


def distribution(rows, number, given):
    """Return F(number | levels and given numbers) at each row."""
    a, b = rows[:, 0].astype(int), (rows[:, 2] > 0.0).astype(int)
    z = np.column_stack([rows[:, 1], (rows[:, 3] - 3.0) / 2.0])
    i = (1, 3).index(number)
    mean, variance = MEANS[a, b][:, i], COVARIANCES[a, b][:, i, i]
    if {1, 3} & set(given):
        gain = COVARIANCES[a, b][:, 0, 1] / COVARIANCES[a, b][:, 1 - i, 1 - i]
        mean = mean + gain * (z[:, 1 - i] - MEANS[a, b][:, 1 - i])
        variance = variance - gain * COVARIANCES[a, b][:, 0, 1]
    return stats.norm.cdf((z[:, i] - mean) / np.sqrt(variance))


@pytest.mark.slow
def test_the_bound_lies_above_and_tells_levels_from_numbers(model):
    rows = draws(60, seed=8)
    terms = bound(model, rows, stream=Stream(9))
    of_levels = -exact(rows, (0, 2))
    assert terms.levels == pytest.approx(of_levels.mean(), abs=1e-6)
    excess = terms.per_row.numpy() + exact(rows, (0, 1, 2, 3))
    error = excess.std() / np.sqrt(len(rows))
    assert -5.0 * error < excess.mean() < 0.3 + 5.0 * error
    assert terms.total == pytest.approx(
        terms.levels + terms.prior + float(terms.transitions.sum()) + terms.reconstruction
    )


@pytest.mark.slow
def test_rows_with_gaps_are_bounded_as_their_marginal(model):
    rows = draws(24, seed=10)
    gaps = rows.copy()
    gaps[::2, 1] = np.nan
    gaps[1::4, 0] = np.nan
    terms = bound(model, gaps, stream=Stream(11), n_draws=2)
    expected = log_density(model, gaps, n_intervals=32).log_prob
    excess = (terms.per_row + expected).numpy()
    assert abs(excess.mean()) < 0.3 + 5.0 * excess.std() / np.sqrt(24)
