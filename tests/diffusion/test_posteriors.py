"""A joint Gaussian of rows with gaps, its posteriors at any log-SNRs, and conditionals whose pattern differs by row."""

import numpy as np
import pytest
import torch

from backwalk.diffusion import (
    ConditionalDenoiser,
    GaussianDenoiser,
    JointGaussian,
    log_density,
    log_snr_by_coordinate,
    scales,
)
from backwalk.diffusion.posteriors import MOST_DIRECTIONS, RIDGE, RowSets
from backwalk.streams import Stream
from tests.conditional import conditional_of
from tests.diffusion.normal import COVARIANCE, MEAN, K
from tests.jacobian import value_and_jacobian

RNG = np.random.default_rng(0)


def joint():
    """Return the Gaussian above in the form mu + V z + D^(1/2) e, in float64."""
    values, vectors = torch.linalg.eigh(COVARIANCE - 0.1 * torch.eye(K, dtype=torch.float64))
    return JointGaussian(MEAN, vectors * values.sqrt(), torch.full((K,), 0.1, dtype=torch.float64))


def patterns(n):
    levels = torch.from_numpy(RNG.uniform(-4.0, 4.0, size=(n, 1)))
    known = torch.from_numpy(RNG.uniform(size=(n, K)) < 0.3)
    absent = torch.from_numpy(RNG.uniform(size=(n, K)) < 0.3) & ~known
    return log_snr_by_coordinate(levels, known, absent), known, absent


def test_its_posterior_is_the_schur_complement_at_any_pattern():
    log_snr, _, _ = patterns(40)
    x_t = torch.from_numpy(RNG.normal(size=(40, K)))
    a, b = scales(log_snr, x_t)
    wanted = torch.tensor([0, 2, 4])
    posterior = joint().posterior(a, b.square(), wanted)
    exact = GaussianDenoiser(MEAN, COVARIANCE)
    torch.testing.assert_close(posterior.mean(x_t), exact(x_t, log_snr)[:, wanted], atol=1e-9, rtol=1e-9)
    noisy = torch.diag_embed(a) @ COVARIANCE @ torch.diag_embed(a) + torch.diag_embed(b.square())
    gain = COVARIANCE @ torch.diag_embed(a) @ torch.linalg.pinv(noisy, hermitian=True)
    left = COVARIANCE - gain @ torch.diag_embed(a) @ COVARIANCE
    deviation = torch.diagonal(left, dim1=1, dim2=2).clamp(min=0.0).sqrt()[:, wanted]
    torch.testing.assert_close(posterior.deviation(), deviation, atol=1e-7, rtol=1e-7)
    tangent = torch.from_numpy(RNG.normal(size=(40, K)))
    moved = posterior.mean(x_t + tangent) - posterior.mean(x_t)
    torch.testing.assert_close(posterior.push(tangent), moved, atol=1e-9, rtol=1e-9)


def test_one_pattern_for_all_rows_gives_what_each_row_would():
    x_t = torch.from_numpy(RNG.normal(size=(7, K)))
    a, b = scales(torch.full((7, K), 0.3, dtype=torch.float64), x_t)
    wanted = torch.arange(K)
    each, one = (joint().posterior(a[:m], b[:m].square(), wanted) for m in (7, 1))
    torch.testing.assert_close(each.mean(x_t), one.mean(x_t))
    torch.testing.assert_close(each.deviation(), one.deviation().expand(7, K))


@pytest.mark.parametrize("sizes", [(1, 2, 3), (40, 1, 1), (1, 1, 90, 1, 1, 1)], ids=["even", "few", "filled in vain"])
def test_rows_of_a_set_share_what_each_row_would_have(sizes):
    """Sets of rows at the same noise levels, in any order, also for several tangents at once."""
    of_row = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))[torch.randperm(sum(sizes))]
    n, wanted, (log_snr, _, _) = len(of_row), torch.tensor([4, 1]), patterns(len(sizes))
    x_t, tangents = torch.from_numpy(RNG.normal(size=(n, K))), torch.from_numpy(RNG.normal(size=(3, n, K)))
    a, b = scales(log_snr, x_t)
    shared = joint().posterior(a, b.square(), wanted, RowSets(len(sizes), of_row))
    alone = joint().posterior(a[of_row], b[of_row].square(), wanted)
    torch.testing.assert_close(shared.mean(x_t), alone.mean(x_t))
    torch.testing.assert_close(shared.deviation()[of_row], alone.deviation())
    torch.testing.assert_close(shared.push(tangents), torch.stack([alone.push(each) for each in tangents]))


@pytest.mark.parametrize("k", [5, 20])
def test_a_pattern_alone_has_the_bits_that_it_has_among_others(k):
    """Found on another processor: a product of one row is another sum there, so filled rows depended on the others."""
    fit = JointGaussian.fit(RNG.normal(size=(100, k)) @ RNG.normal(size=(k, k)), stream=Stream(0))
    a, b = scales(torch.from_numpy(RNG.uniform(-4.0, 4.0, size=(40, k))).float(), fit.mean)
    of_all = fit.posterior(a, b.square(), torch.arange(k)).deviation()
    alone = [
        fit.posterior(a[i : i + m], b[i : i + m].square(), torch.arange(k)).deviation() for i, m in ((3, 1), (7, 2))
    ]
    assert torch.equal(of_all[3:4], alone[0])
    assert torch.equal(of_all[7:9], alone[1])


def test_a_fit_of_many_coordinates_keeps_their_variances():
    z = RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 60)) + 0.3 * RNG.normal(size=(300, 60))
    fit = JointGaussian.fit(z, stream=Stream(0))
    assert fit.directions.shape == (60, MOST_DIRECTIONS)
    variance = fit.directions.square().sum(dim=1) + fit.rest
    np.testing.assert_allclose(variance, z.var(axis=0) + 1 / 300, rtol=1e-4)


def covariance_of(fit):
    return (fit.directions @ fit.directions.T + torch.diag(fit.rest)).double().numpy()


def test_a_fit_is_exact_but_for_a_variance_that_vanishes_with_the_rows():
    """Found by a posterior whose draws were 1.5 % too wide: 0.01 was added to every variance, however many the rows."""
    z = RNG.normal(size=(3000, 5)) @ RNG.normal(size=(5, 5))
    fit = JointGaussian.fit(z, stream=Stream(0))
    expected = np.cov(z, rowvar=False, bias=True) + np.eye(5) / 3000
    np.testing.assert_allclose(covariance_of(fit), expected, rtol=1e-5, atol=1e-5)
    few = JointGaussian.fit(z[:40], stream=Stream(0))
    expected = np.cov(z[:40], rowvar=False, bias=True) + 0.01 * np.eye(5)
    np.testing.assert_allclose(covariance_of(few), expected, rtol=1e-5, atol=1e-5)


def test_columns_that_determine_each_other_keep_a_little_of_their_own():
    z = np.repeat(RNG.normal(size=(3000, 1)), 2, axis=1)
    fit = JointGaussian.fit(z, stream=Stream(0))
    assert float(fit.rest.min()) == pytest.approx(RIDGE)
    np.testing.assert_allclose(covariance_of(fit), z.var(), atol=RIDGE)


@pytest.fixture(scope="module")
def rowwise():
    exact = GaussianDenoiser(MEAN, COVARIANCE)
    rows = torch.from_numpy(RNG.normal(size=(6, K)))
    _, known, absent = patterns(6)
    known[:, 4], absent[:, 4] = True, False
    known[:, 0] = absent[:, 0] = False
    return ConditionalDenoiser(exact, rows, known, absent, torch.arange(4)), rows, known, absent


def test_rows_of_different_patterns_get_what_each_would_alone(rowwise):
    conditional, rows, known, absent = rowwise
    x_t, level = torch.from_numpy(RNG.normal(size=(6, 4))), torch.tensor(0.4, dtype=torch.float64)
    together, (a, _) = conditional(x_t, level), scales(level, x_t)
    for i in range(6):
        alone, free = conditional_of(conditional.denoiser, rows[i : i + 1], known[i], absent[i]), ~conditional.fixed[i]
        if bool(free.any()):
            torch.testing.assert_close(together[i, free], alone(x_t[i : i + 1, free], level)[0])
        torch.testing.assert_close(together[i, ~free], a * x_t[i, ~free])
    twice = conditional(torch.cat([x_t, x_t]), level)
    torch.testing.assert_close(twice, torch.cat([together, together]))


def test_its_derivative_is_that_of_its_value(rowwise):
    conditional = rowwise[0]
    x_t, level = torch.from_numpy(RNG.normal(size=(6, 4))), torch.tensor(0.4, dtype=torch.float64)
    _, jacobian = value_and_jacobian(conditional, x_t, level)
    for i in range(4):
        step = 1e-6 * torch.eye(4, dtype=torch.float64)[i]
        slope = (conditional(x_t + step, level) - conditional(x_t - step, level)) / 2e-6
        torch.testing.assert_close(jacobian[:, :, i], slope, atol=1e-7, rtol=1e-7)


@pytest.mark.slow
def test_coordinates_that_are_not_free_count_for_nothing_in_a_density(rowwise):
    conditional, rows, known, absent = rowwise
    x = rows[:, :4].masked_fill(conditional.fixed, 0.0)
    options = {"level_min": 1e-3, "level_max": 1e3, "n_intervals": 32}
    found = log_density(conditional, x, **options).log_prob - conditional.log_prob_of_rest(1e-3)
    for i in range(6):
        alone = conditional_of(conditional.denoiser, rows[i : i + 1], known[i], absent[i])
        own = rows[i : i + 1, alone.coordinates]
        expected = log_density(alone, own, **options).log_prob if own.shape[1] else 0.0
        torch.testing.assert_close(found[i : i + 1], expected, atol=1e-5, rtol=1e-6)
