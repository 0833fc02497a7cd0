"""Samplers on conditionals and marginals: the same noise leads to the same rows as on the exact conditional."""

import pytest
import torch

from backwalk.diffusion import GaussianMixtureDenoiser, NoiseSchedule, beta_variance
from backwalk.sampling import Ancestral, Ddim, Multistep, StochasticMultistep, last_state, walk_back
from backwalk.streams import Stream
from tests.conditional import conditional_of

STREAM = Stream(82)
SCHEDULE = NoiseSchedule.log_snr_uniform(12, log_snr_max=8.0, log_snr_min=-8.0)
SOLVERS = [Ancestral(beta_variance(SCHEDULE)), Ddim(), Ddim(0.5), Multistep(), StochasticMultistep()]
ROOTS = STREAM.child("roots").normal(0, 6, 3).reshape(2, 3, 3)
MEANS, COVARIANCES = STREAM.child("means").normal(0, 2, 3), ROOTS @ ROOTS.mT
WEIGHTS = torch.tensor([0.7, 0.3]).double()
MIXTURE = GaussianMixtureDenoiser(WEIGHTS, MEANS, COVARIANCES)
KNOWN = torch.tensor([True, False, False])
ROWS = STREAM.child("rows").normal(0, 4, 3)


def rows_from_noise(denoiser, solver, x_N, first=0):
    def noise(t):
        return STREAM.child("eps", t).normal(first, first + len(x_N), x_N.shape[1])

    return last_state(walk_back(denoiser, SCHEDULE, solver, x_N, noise=noise)).x_t


def exact_conditional(row):
    gain = COVARIANCES[:, 1:, :1] / COVARIANCES[:, :1, :1]
    means = MEANS[:, 1:] + gain[..., 0] * (row[0] - MEANS[:, :1])
    covariances = COVARIANCES[:, 1:, 1:] - gain @ COVARIANCES[:, :1, 1:]
    of_known = torch.distributions.Normal(MEANS[:, 0], COVARIANCES[:, 0, 0].sqrt()).log_prob(row[0])
    return GaussianMixtureDenoiser(WEIGHTS * of_known.exp(), means, covariances)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_rows_given_a_coordinate_are_those_of_the_exact_conditional(solver):
    x_N = STREAM.child("x_N").normal(0, 4, 2)
    got = rows_from_noise(conditional_of(MIXTURE, ROWS, KNOWN), solver, x_N)
    each = [rows_from_noise(exact_conditional(row), solver, x_N[i : i + 1], i) for i, row in enumerate(ROWS)]
    torch.testing.assert_close(got, torch.cat(each), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_rows_without_a_coordinate_are_those_of_the_exact_marginal(solver):
    x_N = STREAM.child("x_N").normal(0, 4, 2)
    marginal = conditional_of(MIXTURE, ROWS[:1], torch.zeros(3).bool(), KNOWN)
    exact = GaussianMixtureDenoiser(WEIGHTS, MEANS[:, 1:], COVARIANCES[:, 1:, 1:])
    got, expected = (rows_from_noise(denoiser, solver, x_N) for denoiser in (marginal, exact))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)
