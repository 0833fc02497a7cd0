"""Levels from a table and Gaussian numbers given the levels: posteriors, against Bayes' rule by other means."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from backwalk.diffusion.closed_forms import ENTRIES_AT_ONCE, GaussianDenoiser
from backwalk.streams import Stream
from tests.jacobian import value_and_jacobian
from tests.mixed_forms import ConditionalGaussianDenoiser

INF = math.inf
LEVELS = (3, 2)
VALUES = torch.tensor([[-1.2], [0.9]], dtype=torch.float64)
STREAM = Stream(5)
TABLE = STREAM.child("table").uniform(0, 3, 2)
MEANS = 1.5 * STREAM.child("means").normal(0, 6, 2).reshape(*LEVELS, 2)
ROOTS = STREAM.child("roots").normal(0, 12, 2).reshape(*LEVELS, 2, 2)
COVARIANCES = 0.3 * ROOTS @ ROOTS.mT + 0.1 * torch.eye(2, dtype=torch.float64)
# Coordinates: 0..2 one-hot, 3 a number, 4 a value code, 5 a number.
DENOISER = ConditionalGaussianDenoiser(
    codes=(torch.eye(3, dtype=torch.float64), VALUES),
    coordinates=(slice(0, 3), slice(4, 5)),
    probabilities=TABLE,
    numbers=torch.tensor([3, 5]),
    means=MEANS,
    covariances=COVARIANCES,
)
X_T = STREAM.child("points").normal(0, 9, 6)
PATTERNS = {
    "one level": [0.7] * 6,
    "much noise": [-9.0] * 6,
    "each its own": [-2.0, -2.0, -2.0, 0.3, 1.0, 3.0],
    "levels known": [INF, INF, INF, 0.5, INF, 0.5],
    "first level known, second absent": [INF, INF, INF, 0.5, -INF, 0.5],
    "levels absent, a number known": [-INF, -INF, -INF, INF, -INF, 0.5],
    "numbers absent": [0.4, 0.4, 0.4, -INF, 0.4, -INF],
    "a number and a level known": [INF, INF, INF, INF, -INF, -INF],
}


def pattern(name):
    return torch.tensor(PATTERNS[name], dtype=torch.float64).expand(len(X_T), 6)


def points(log_snr):
    """X_T with possible codes where they are known."""
    x = X_T.clone()
    row = torch.arange(len(x))
    x[:, :3] = torch.where(log_snr[:, :3] == INF, torch.eye(3, dtype=torch.float64)[row % 3], x[:, :3])
    x[:, 4:5] = torch.where(log_snr[:, 4:5] == INF, VALUES[row % 2], x[:, 4:5])
    return x


def by_bayes(x_t, log_snr):
    """Return E[x_0 | x_t] and the posterior table of one row, component by component from torch's distributions."""
    a, b = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    numbers = [3, 5]
    log_joint, means = torch.full(LEVELS, -INF, dtype=torch.float64), torch.zeros(*LEVELS, 6, dtype=torch.float64)
    for i, j in itertools.product(range(3), range(2)):
        mean = torch.zeros(6, dtype=torch.float64)
        mean[i], mean[4], mean[numbers] = 1.0, VALUES[j, 0], MEANS[i, j]
        covariance = torch.zeros(6, 6, dtype=torch.float64)
        covariance[3, 3], covariance[5, 5] = COVARIANCES[i, j, 0, 0], COVARIANCES[i, j, 1, 1]
        covariance[3, 5] = covariance[5, 3] = COVARIANCES[i, j, 0, 1]
        codes_known = [c for c in (0, 1, 2, 4) if log_snr[c] == INF]
        if not torch.equal(x_t[codes_known], mean[codes_known]):
            continue
        rest = [c for c in range(6) if c not in codes_known]
        of_x_t = MultivariateNormal(
            (a * mean)[rest], (torch.outer(a, a) * covariance + torch.diag(b.square()))[rest][:, rest]
        )
        log_joint[i, j] = TABLE[i, j].log() + of_x_t.log_prob(x_t[rest])
        gain = (covariance * a)[:, rest] @ torch.linalg.inv(of_x_t.covariance_matrix)
        means[i, j] = mean + gain @ (x_t[rest] - of_x_t.mean)
    posterior = torch.softmax(log_joint.reshape(-1), 0).reshape(LEVELS)
    return torch.einsum("ij,ijd->d", posterior, means), posterior


@pytest.mark.parametrize("name", PATTERNS)
def test_posteriors_follow_bayes_rule(name):
    log_snr = pattern(name)
    x = points(log_snr)
    means, tables = zip(*(by_bayes(x_t, levels) for x_t, levels in zip(x, log_snr, strict=True)), strict=True)
    torch.testing.assert_close(DENOISER(x, log_snr), torch.stack(means), rtol=1e-10, atol=1e-10)
    for block in (0, 1):
        expected = torch.stack([table.sum(1 - block) for table in tables])
        torch.testing.assert_close(DENOISER.level_log_probs(x, log_snr, block).exp(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PATTERNS)
def test_posterior_of_levels_is_one_distribution_and_gives_the_codes(name):
    log_snr = pattern(name)
    x = points(log_snr)
    x_0_hat = DENOISER(x, log_snr)
    for block, codes, where in ((0, torch.eye(3, dtype=torch.float64), slice(0, 3)), (1, VALUES, slice(4, 5))):
        p = DENOISER.level_log_probs(x, log_snr, block).exp()
        torch.testing.assert_close(p.sum(1), torch.ones(len(x), dtype=torch.float64), rtol=1e-12, atol=0)
        torch.testing.assert_close(p @ codes, x_0_hat[:, where], rtol=1e-10, atol=1e-12)


def test_one_number_by_quadrature():
    """E[number | x_t] and P(level | x_t) by sums over a grid of the number."""
    denoiser = ConditionalGaussianDenoiser(
        codes=(torch.eye(2),),
        coordinates=(slice(1, 3),),
        probabilities=torch.tensor([1.0, 3.0]),
        numbers=torch.tensor([0]),
        means=torch.tensor([[-1.0], [0.5]]),
        covariances=torch.tensor([[[0.5]], [[0.1]]]),
    )
    x_t, log_snr = torch.tensor([[0.3, 0.2, 0.9]]).double(), torch.tensor(0.4).double()
    a, b = torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()
    grid = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    joint = torch.stack(
        [
            math.log(pi)
            - 0.5 * ((grid - mean).square() / s_sq + math.log(s_sq))
            - 0.5 * ((x_t[0, 0] - a * grid) / b).square()
            - 0.5 * ((x_t[0, 1:] - a * torch.eye(2)[level].double()) / b).square().sum()
            for level, (pi, mean, s_sq) in enumerate([(0.25, -1.0, 0.5), (0.75, 0.5, 0.1)])
        ]
    )
    posterior = torch.softmax(joint.reshape(-1), 0).reshape(joint.shape)
    torch.testing.assert_close(denoiser.level_log_probs(x_t, log_snr, 0)[0].exp(), posterior.sum(1), rtol=1e-7, atol=0)
    assert float(denoiser(x_t, log_snr)[0, 0]) == pytest.approx(float(posterior.sum(0) @ grid), rel=1e-7)


def test_given_levels_numbers_are_the_gaussian():
    log_snr = torch.tensor([INF, INF, INF, 0.5, INF, 2.0], dtype=torch.float64).expand(len(X_T), 6)
    x = points(log_snr)
    got = DENOISER(x, log_snr)
    for row, x_t in enumerate(x):
        gaussian = GaussianDenoiser(MEANS[row % 3, row % 2], COVARIANCES[row % 3, row % 2])
        expected = gaussian(x_t[None, [3, 5]], log_snr[:1, [3, 5]])[0]
        torch.testing.assert_close(got[row, [3, 5]], expected, rtol=1e-11, atol=1e-12)


def test_known_coordinates_come_back_and_absent_ones_are_not_read():
    log_snr = pattern("a number and a level known")
    x = points(log_snr)
    torch.testing.assert_close(DENOISER(x, log_snr)[:, :4], x[:, :4], rtol=0, atol=0)
    noise = x.clone()
    noise[:, 4:] = math.nan
    torch.testing.assert_close(DENOISER(noise, log_snr), DENOISER(x, log_snr), rtol=0, atol=0)


def test_log_snr_of_all_shapes_is_one_signature():
    full = DENOISER(X_T, torch.full((9, 6), 0.7).double())
    for log_snr in (torch.tensor(0.7), torch.full((9,), 0.7), torch.full((1, 6), 0.7)):
        torch.testing.assert_close(DENOISER(X_T, log_snr.double()), full, rtol=1e-12, atol=1e-13)
    assert DENOISER(X_T.float(), torch.tensor(0.7)).dtype == torch.float32


def test_an_impossible_level_has_no_probability():
    table = TABLE.clone()
    table[2] = 0.0
    denoiser = ConditionalGaussianDenoiser(
        DENOISER.codes, DENOISER.coordinates, table, DENOISER.numbers, MEANS, COVARIANCES
    )
    log_p = denoiser.level_log_probs(X_T, torch.tensor(0.5), 0)
    assert bool((log_p[:, 2] == -INF).all())
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(9, dtype=torch.float64), rtol=1e-12, atol=0)
    known = pattern("levels known")
    assert bool(denoiser(points(known), known).isfinite().all())


@pytest.mark.parametrize("name", ["one level", "each its own", "levels known", "first level known, second absent"])
def test_linearize_is_the_derivative(name):
    log_snr = pattern(name)
    x = points(log_snr)
    _, jacobian = value_and_jacobian(DENOISER, x, log_snr)
    free = ((log_snr[0] != INF) & (log_snr[0] != -INF)).nonzero()[:, 0].tolist()
    for j in free:
        step = torch.zeros(6, dtype=torch.float64)
        step[j] = 1e-5
        slope = (DENOISER(x + step, log_snr) - DENOISER(x - step, log_snr)) / 2e-5
        torch.testing.assert_close(jacobian[:, :, j], slope, rtol=1e-6, atol=1e-8)


def test_levels_alone_and_more_rows_than_a_tile():
    denoiser = ConditionalGaussianDenoiser(
        codes=(torch.eye(50), torch.eye(50)),
        coordinates=(slice(0, 50), slice(50, 100)),
        probabilities=Stream(0).uniform(0, 50, 50),
        numbers=torch.zeros(0, dtype=torch.long),
        means=torch.zeros(50, 50, 0),
        covariances=torch.zeros(50, 50, 0, 0),
    )
    n = 2 * (ENTRIES_AT_ONCE // (2500 * 100)) + 1
    x = Stream(1).normal(0, n, 100)
    log_p = denoiser.level_log_probs(x, torch.tensor(0.0), 1)
    torch.testing.assert_close(log_p[-1:], denoiser.level_log_probs(x[-1:], torch.tensor(0.0), 1), rtol=1e-12, atol=0)
