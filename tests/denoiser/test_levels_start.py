"""The start of levels: exact for levels with Gaussian numbers, and less sure where the numbers are not Gaussian."""

import math

import numpy as np
import torch

from backwalk.denoiser import Residual, TableLayout, build_denoiser, choose_factors
from backwalk.diffusion import JointGaussian
from backwalk.streams import Stream
from backwalk.table import Codec, LevelsColumn, NumberColumn
from tests.denoiser.tables import SCHEDULE

PI = np.array([0.3, 0.7])
CODEC = Codec((NumberColumn(0.0, 1.0), LevelsColumn((0.0, 1.0), tuple(PI), "one-hot"), NumberColumn(0.0, 1.0)))


def rows(n, noise):
    """Rows of a level and of two numbers, of which the first depends on it, with noise (n, 2)."""
    level = np.random.default_rng(1).choice(2, n, p=PI)
    x = noise + np.outer(level, [1.5, 0.0])
    return np.stack([x[:, 0], level == 0, level == 1, x[:, 1]], axis=1).astype(float)


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
    torch.testing.assert_close(found[:, 1], torch.nn.functional.logsigmoid(log_odds), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(whole, found.exp())


def test_factors_are_chosen_on_rows_that_the_gaussian_has_not_seen():
    """1 for Gaussian numbers, and less where a tenth of the levels is wrong, which the Gaussian takes for variance."""
    z = rows(900, np.random.default_rng(2).normal(size=(900, 2)))
    (of_gaussian,) = choose_factors(CODEC, z, stream=Stream(0))
    z[:, 0] += 5.0 * z[:, 2]
    wrong = np.random.default_rng(3).random(900) < 0.1
    z[wrong, 1:3] = 1.0 - z[wrong, 1:3]
    (of_wrong,) = choose_factors(CODEC, z, stream=Stream(0))
    assert of_gaussian >= 0.9
    assert 0.4 <= of_wrong <= 0.8


def test_few_rows_start_from_frequencies():
    assert choose_factors(CODEC, rows(20, np.zeros((20, 2))), stream=Stream(0)) == [0.0]
