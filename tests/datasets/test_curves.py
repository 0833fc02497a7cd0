"""Blurred curves against an adaptive quadrature, a Bessel function and scikit-learn's geometry."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from sklearn.datasets import make_moons

from backwalk.datasets import circles, spirals, two_moons
from backwalk.datasets.curves import NoisyCurves


def circle(w):
    return np.stack([np.cos(2.0 * math.pi * w), np.sin(2.0 * math.pi * w)], axis=1)


def half_circle(w):
    return 0.5 * circle(w)


def by_adaptive_quadrature(density, x):
    """log of the mean over the curves of the integral of N(x; c(w), noise^2 I) w.r.t. the density of w."""
    total = 0.0
    for curve in density.curves:
        fine = np.linspace(0.0, 1.0, 20_001)
        nearest = fine[np.argmin(np.linalg.norm(curve(fine) - x, axis=1))]

        def integrand(w, curve=curve):
            square = np.sum((curve(np.array([w]))[0] - x) ** 2)
            return density.power * w ** (density.power - 1) * math.exp(-square / (2.0 * density.noise**2))

        for a, b in ((0.0, nearest), (nearest, 1.0)):
            breaks = [p for p in (nearest - 0.03, nearest + 0.03) if a < p < b]
            total += quad(integrand, a, b, epsabs=0.0, epsrel=1e-11, limit=500, points=breaks or None)[0]
    return math.log(total / len(density.curves) / (2.0 * math.pi * density.noise**2))


@pytest.mark.parametrize("density", [two_moons(), two_moons(noise=0.2), spirals()], ids=lambda density: density.name)
def test_log_prob_is_the_integral_along_the_curves(density):
    near = density.sample(6, random_state=4) + np.linspace(0.0, 4.0, 6)[:, None] * density.noise
    expected = [by_adaptive_quadrature(density, x) for x in near]
    np.testing.assert_allclose(density.log_prob(near), expected, rtol=0.0, atol=1e-8)


def test_quadrature_along_circles_is_the_bessel_function():
    by_nodes = NoisyCurves("circles", 2, (circle, half_circle), 0.05)
    x = circles().sample(500, random_state=0)
    for spread, tolerance in ((0.0, 1e-12), (0.1, 1e-9)):
        moved = x + spread * np.sign(x)
        np.testing.assert_allclose(by_nodes.log_prob(moved), circles().log_prob(moved), rtol=0.0, atol=tolerance)
    assert by_nodes.entropy == pytest.approx(circles().entropy, abs=1e-6)


def test_far_from_every_curve_log_prob_is_finite_and_nearly_right():
    by_nodes = NoisyCurves("circles", 2, (circle, half_circle), 0.05)
    far = np.array([[4.0, 0.0], [0.0, -30.0], [2.0, 2.0]])
    np.testing.assert_allclose(by_nodes.log_prob(far), circles().log_prob(far), rtol=1e-3)


def test_two_moons_lie_where_scikit_learn_puts_them():
    outer, inner = two_moons().curves
    theirs, labels = make_moons(100, shuffle=False)
    w = np.linspace(0.0, 1.0, 50)
    np.testing.assert_allclose(outer(w), theirs[labels == 0], atol=1e-12)
    np.testing.assert_allclose(inner(w), theirs[labels == 1], atol=1e-12)


def test_a_density_with_less_noise_has_less_entropy():
    assert two_moons().entropy < two_moons(noise=0.1).entropy
    # A curve of length pi that bends slowly: ln(pi) along it and a normal across it, twice.
    narrow = math.log(2.0 * math.pi) + 0.5 * math.log(2.0 * math.pi * math.e * 0.05**2)
    assert two_moons().entropy == pytest.approx(narrow, abs=0.04)
