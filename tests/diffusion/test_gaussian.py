import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from backwalk.diffusion.forward import Gaussian, variance_cost
from backwalk.streams import Stream

MEAN, OTHER, X, EPS = (Stream(0).child("gaussian", i).normal(0, 6, 3) for i in range(4))
VARIANCES = {
    "isotropic": torch.tensor(0.7, dtype=torch.float64),
    "a row": Stream(0).child("v").uniform(0, 6, 1) + 0.1,
    "diagonal": Stream(0).child("v").uniform(0, 6, 3) + 0.1,
}


@pytest.mark.parametrize("variance", VARIANCES.values(), ids=VARIANCES)
def test_agrees_with_torch_distributions(variance):
    ours, theirs = Gaussian(MEAN, variance), Independent(Normal(MEAN, variance.sqrt().expand_as(MEAN)), 1)
    other, their_other = (
        Gaussian(OTHER, 2 * variance),
        Independent(Normal(OTHER, (2 * variance).sqrt().expand_as(X)), 1),
    )
    torch.testing.assert_close(ours.log_prob(X), theirs.log_prob(X), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.kl_divergence(other), kl_divergence(theirs, their_other), rtol=1e-12, atol=1e-12)
    assert torch.equal(ours.sample(EPS), MEAN + variance.sqrt() * EPS)


def test_kl_is_zero_only_for_equals():
    gaussian = Gaussian(MEAN, VARIANCES["diagonal"])
    assert gaussian.kl_divergence(gaussian).tolist() == [0.0] * 6
    assert (gaussian.kl_divergence(Gaussian(OTHER, VARIANCES["diagonal"])) > 0).all()


def test_a_point_mass_is_infinite_and_never_clamped():
    zero = torch.zeros((), dtype=torch.float64)
    at_point = Gaussian(MEAN, zero)
    assert (at_point.log_prob(MEAN) == math.inf).all()
    assert (at_point.log_prob(X) == -math.inf).all()
    assert (Gaussian(MEAN, zero + 1).kl_divergence(at_point) == math.inf).all()
    assert (at_point.kl_divergence(Gaussian(MEAN, zero + 1)) == math.inf).all()
    assert (at_point.kl_divergence(Gaussian(OTHER, zero)) == math.inf).all()
    assert (at_point.kl_divergence(at_point) == 0).all()
    beside = MEAN.clone()
    beside[:, 0] += 1.0  # found by review: inf - inf where the other coordinates agree
    assert (at_point.log_prob(beside) == -math.inf).all()


@pytest.mark.parametrize("gap", [1e-3, -1e-3, 1e-6])
def test_variance_cost_keeps_digits_for_nearly_equal_variances(gap):
    series = gap**2 / 4 - gap**3 / 6 + gap**4 / 8
    exact = torch.tensor(gap, dtype=torch.float64)
    assert float(variance_cost(exact, torch.tensor(math.nan))) == pytest.approx(series, rel=1e-8)


@pytest.mark.parametrize(("dtype", "ratio"), [(torch.float32, 1e-8), (torch.float64, 1e-20), (torch.float64, 1e20)])
def test_a_variance_far_from_another_costs_the_logarithm_of_their_ratio(dtype, ratio):
    """Found by review: where v/w - 1 rounds to -1 its logarithm was infinite."""
    zero, one = torch.zeros(1, 1, dtype=dtype), torch.tensor(1.0, dtype=dtype)
    far = Gaussian(zero, one * ratio).kl_divergence(Gaussian(zero, one))
    assert float(far) == pytest.approx(0.5 * (ratio - 1.0 - math.log(ratio)), rel=1e-6)
