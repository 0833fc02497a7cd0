"""Mixtures against scipy; warps invert and preserve volume; chains are what they say. False alarms: 1e-8 each."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from backwalk.datasets import curved_chain, funnel, gaussian_mixture, pinwheel, rotated_chain, warped_mixture
from backwalk.datasets.density import transform
from backwalk.streams import Stream

ALARM = 1e-8


@pytest.mark.parametrize("d", [1, 2, 5, 32])
def test_mixture_log_prob_is_that_of_scipy(d):
    mixture = gaussian_mixture(d, 4, seed=3)
    x = mixture.sample(50, random_state=0)
    parts = [
        stats.multivariate_normal(m, f @ f.T).logpdf(x) for m, f in zip(mixture.means, mixture.factors, strict=True)
    ]
    np.testing.assert_allclose(mixture.log_prob(x), logsumexp(parts, axis=0) - np.log(4), rtol=1e-10)


def test_entropy_of_one_component_is_closed():
    mixture = gaussian_mixture(3, 1)
    expected = stats.multivariate_normal(mixture.means[0], mixture.factors[0] @ mixture.factors[0].T).entropy()
    assert mixture.entropy == pytest.approx(expected, rel=1e-12)
    assert mixture.entropy_standard_error < 1e-12


@pytest.mark.parametrize(
    "density", [pinwheel(), warped_mixture(d=5), rotated_chain(d=4)], ids=lambda density: density.name
)
def test_warps_invert_and_preserve_volume(density):
    z = density.base.sample(20, random_state=0)
    for warp in density.warps:
        x = warp.forward(z)
        np.testing.assert_allclose(warp.inverse(x), z, atol=1e-12)
        h = 1e-6
        for point in z[:5]:
            steps = np.concatenate([point + h * np.eye(density.d), point - h * np.eye(density.d)])
            images = warp.forward(steps)
            jacobian = (images[: density.d] - images[density.d :]) / (2.0 * h)
            assert abs(np.linalg.det(jacobian)) == pytest.approx(1.0, abs=1e-7)
        z = x


def test_transform_is_a_matrix_product_with_bits_of_its_own():
    x, matrix = Stream(0).normal(0, 101, 9).numpy(), Stream(1).normal(0, 4, 9).numpy()
    np.testing.assert_allclose(transform(x, matrix), x @ matrix.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(transform(x[40:41], matrix), transform(x, matrix)[40:41])


def test_steps_of_the_chain_are_independent_normals():
    x = curved_chain(d=5, noise=0.2).sample(4000, random_state=2)
    steps = (x[:, 1:] - np.sin(2.0 * x[:, :-1])) / 0.2
    for column in (x[:, 0], *steps.T):
        assert stats.kstest(column, "norm").pvalue > ALARM
    assert stats.kstest((steps**2).sum(axis=1), stats.chi2(4).cdf).pvalue > ALARM


def test_width_of_the_funnel_follows_its_first_column():
    x = funnel(d=4).sample(4000, random_state=2)
    for column in (x[:, 0] / 3.0, *(x[:, 1:] * np.exp(-0.5 * x[:, :1])).T):
        assert stats.kstest(column, "norm").pvalue > ALARM
