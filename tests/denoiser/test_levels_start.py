"""The start of levels: exact for Gaussian numbers and for pairs of levels, and less sure where it was wrong."""

import math

import numpy as np
import torch
from scipy import special

from backwalk.denoiser import Residual, TableLayout, build_denoiser, choose_levels_start
from backwalk.denoiser.partners import Partner, count_pairs, levels_of_rows, log_ratios_of
from backwalk.diffusion import JointGaussian, moments_with_gaps
from backwalk.streams import Stream
from backwalk.table import Codec, LevelsColumn, NumberColumn
from backwalk.table.basis import normal_scores
from tests.denoiser.tables import SCHEDULE

PI = np.array([0.3, 0.7])
CODEC = Codec((NumberColumn(0.0, 1.0), LevelsColumn((0.0, 1.0), tuple(PI), "one-hot"), NumberColumn(0.0, 1.0)))


def rows(n, noise):
    """Rows of a level and of two numbers, of which the first depends on it, with noise (n, 2)."""
    level = np.random.default_rng(1).choice(2, n, p=PI)
    x = noise + np.outer(level, [1.5, 0.0])
    return np.stack([x[:, 0], level == 0, level == 1, x[:, 1]], axis=1).astype(float)


def moments(z):
    return moments_with_gaps(z, stream=Stream(0))


def test_an_untrained_denoiser_knows_levels_given_gaussian_numbers():
    """p(l | x) of Bayes' rule, from the moments of levels with a mean each and one covariance."""
    spread = PI[0] * PI[1]
    covariance = np.array(
        [
            [1.0 + 2.25 * spread, -1.5 * spread, 1.5 * spread, 0.0],
            [-1.5 * spread, spread, -spread, 0.0],
            [1.5 * spread, -spread, spread, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    values, vectors = np.linalg.eigh(covariance)
    directions = vectors * np.sqrt(np.maximum(values - 1e-3, 0.0))  # exact, but for the sum of the codes
    mean = np.array([1.5 * PI[1], *PI, 0.0])
    gaussian = JointGaussian(*(torch.from_numpy(part).float() for part in (mean, directions, np.full(4, 1e-3))))
    made = build_denoiser(
        Residual(8, 1, 1), 4, schedule=SCHEDULE, floor=0.1, stream=Stream(0), layout=TableLayout(CODEC, gaussian)
    ).double()
    x_0 = torch.from_numpy(rows(20, np.random.default_rng(0).normal(size=(20, 2))))
    known = torch.tensor([True, False, False, True]).expand(20, 4)
    with torch.no_grad():
        found = made.given_levels(x_0, known).level_log_probs(0)
        whole = made(x_0.masked_fill(~known, 0.0), torch.where(known, math.inf, -math.inf).double())[:, 1:3]
    log_odds = math.log(PI[1] / PI[0]) + 1.5 * x_0[:, 0] - 0.5 * 1.5**2
    mixed = 0.98 * torch.sigmoid(log_odds) + 0.02 * PI[1]
    torch.testing.assert_close(found[:, 1].exp(), mixed, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole, found.exp())


def test_an_untrained_denoiser_knows_a_rounded_number_given_another_and_a_far_row_costs_at_most_ln_50():
    """p(l | x) is 49/50 of a normal of mean r x and variance 1 - r^2, on the grid, and 1/50 of the frequencies."""
    r, grid = 0.9, np.linspace(-4.0, 4.0, 81)
    pi = np.exp(-0.5 * grid**2)
    pi /= pi.sum()
    codec = Codec((NumberColumn(0.0, 1.0), LevelsColumn(tuple(grid), tuple(pi), "ordered")))
    rest = 1e-3 * torch.ones(2)
    covariance = np.array([[1.0, r], [r, 1.0]]) - np.diag(rest.numpy())
    gaussian = JointGaussian(torch.zeros(2), torch.from_numpy(np.linalg.cholesky(covariance)).float(), rest)
    made = build_denoiser(
        Residual(8, 1, 1), 2, schedule=SCHEDULE, floor=0.1, stream=Stream(0), layout=TableLayout(codec, gaussian)
    ).double()
    x_0 = torch.tensor([[-1.0, 0.0], [0.3, 0.0], [2.0, 0.0], [40.0, 0.0]], dtype=torch.float64)
    known = torch.tensor([True, False]).expand(4, 2)
    with torch.no_grad():
        found = made.given_levels(x_0, known).level_log_probs(0).exp().numpy()
        of_code = made(x_0.masked_fill(~known, 0.0), torch.where(known, math.inf, -math.inf).double())[:, 1].numpy()
    u, x = normal_scores(pi), x_0[:, :1].numpy()
    tilt = -0.5 * np.square(u - r * x) / (1.0 - r**2) + 0.5 * u**2
    expected = 0.98 * special.softmax(np.log(pi) + tilt, axis=1) + 0.02 * pi
    np.testing.assert_allclose(found[:3], expected[:3], atol=2e-3)
    np.testing.assert_allclose(of_code, found @ u, atol=1e-4)
    assert (found >= pi / 50.5).all()


def test_factors_are_chosen_on_rows_that_the_gaussian_has_not_seen():
    """1 for Gaussian numbers, and less where a tenth of the levels is wrong, which the Gaussian takes for variance."""
    z = rows(900, np.random.default_rng(2).normal(size=(900, 2)))
    (of_gaussian,), _ = choose_levels_start(CODEC, z, moments(z), stream=Stream(0))
    z[:, 0] += 5.0 * z[:, 2]
    wrong = np.random.default_rng(3).random(900) < 0.1
    z[wrong, 1:3] = 1.0 - z[wrong, 1:3]
    (of_wrong,), _ = choose_levels_start(CODEC, z, moments(z), stream=Stream(0))
    assert of_gaussian >= 0.9
    assert 0.4 <= of_wrong <= 0.8


N_GRADES, N_RATES = 30, 60
PAIRED = Codec(
    (
        LevelsColumn(tuple(map(float, range(N_GRADES))), (1 / N_GRADES,) * N_GRADES, "one-hot"),
        LevelsColumn(tuple(map(float, range(N_RATES))), (1 / N_RATES,) * N_RATES, "one-hot"),
        LevelsColumn(tuple(map(float, range(4))), (1 / 4,) * 4, "one-hot"),
    )
)


def paired_rows(n, seed=0):
    """Rows of a grade, of one of its two rates, in no order, and of the rate modulo 4, 2 % of each wrong."""
    rng = np.random.default_rng(seed)
    rate = rng.permutation(N_RATES)[rng.integers(N_RATES, size=n)]
    levels = [np.random.default_rng(9).permutation(N_RATES)[rate] // 2, rate, rate % 4]
    sizes = (N_GRADES, N_RATES, 4)
    noisy = (
        np.where(rng.random(n) < 0.02, rng.integers(k, size=n), each) for k, each in zip(sizes, levels, strict=True)
    )
    return np.concatenate([np.eye(k)[each] for k, each in zip(sizes, noisy, strict=True)], axis=1)


def start_of(partners):
    """An untrained denoiser that starts from partners alone."""
    layout = TableLayout(PAIRED, None, np.zeros(3), partners)
    return build_denoiser(
        Residual(8, 1, 1), PAIRED.n_encoded, schedule=SCHEDULE, floor=0.1, stream=Stream(0), layout=layout
    )


def log_probs(denoiser, z, block, known):
    """ln P of the levels of a block given others, from rows with given levels and by the denoiser itself."""
    x_0, is_known = torch.from_numpy(z).float(), torch.zeros(z.shape, dtype=torch.bool)
    for other in known:
        is_known[:, PAIRED.blocks[other].coordinates] = True
    with torch.no_grad():
        found = denoiser.given_levels(x_0, is_known).level_log_probs(block)
        whole = denoiser(x_0.masked_fill(~is_known, 0.0), torch.where(is_known, math.inf, -math.inf))
    torch.testing.assert_close(whole[:, PAIRED.blocks[block].coordinates], found.exp(), atol=1e-6, rtol=1e-5)
    return found.numpy()


def test_pairs_of_levels_are_known_untrained():
    """P(rate | grade) = (n_pair + pi) / (n_grade + 1), the frequencies where nothing is known."""
    z = paired_rows(600)
    levels = levels_of_rows(PAIRED.blocks, z)
    n = z[:, :N_GRADES].T @ z[:, N_GRADES : N_GRADES + N_RATES]
    expected = np.log((n + 1 / N_RATES) / (n.sum(axis=1, keepdims=True) + 1.0))[levels[:20, 0]]
    n_pairs = count_pairs(PAIRED.blocks, levels, 1, 0)
    made, few = start_of([Partner(1, 0, log_ratios_of(n_pairs, PAIRED.blocks[1].frequencies))]), z[:20]
    np.testing.assert_allclose(log_probs(made, few, 1, [0]), expected, rtol=1e-5)
    np.testing.assert_allclose(log_probs(made, few, 1, [0, 2]), expected, rtol=1e-5)
    np.testing.assert_allclose(log_probs(made, few, 1, [2]), np.log(1 / N_RATES), rtol=1e-5)


def test_partners_tell_more_of_new_rows_than_the_discriminant():
    z, new = paired_rows(6_000), paired_rows(2_000, seed=1)
    factors, partners = choose_levels_start(PAIRED, z, moments(z), stream=Stream(0))
    assert {(1, 0), (0, 1)} <= {(each.of, each.known) for each in partners}
    gaussian = JointGaussian.of_moments(moments_with_gaps(z, stream=Stream(0)))
    at = new[:, N_GRADES : N_GRADES + N_RATES].argmax(axis=1)
    losses = []
    for each in ([], partners):
        layout = TableLayout(PAIRED, gaussian, factors, each)
        made = build_denoiser(
            Residual(8, 1, 1), PAIRED.n_encoded, schedule=SCHEDULE, floor=0.1, stream=Stream(0), layout=layout
        )
        losses.append(-log_probs(made, new, 1, [0, 2])[np.arange(len(new)), at].mean())
    assert losses[1] < losses[0] - 0.02
