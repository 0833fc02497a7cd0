"""What a network reads of numbers: waves are expected sines and cosines, surprises what the other numbers leave."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk import Diffusion
from backwalk.denoiser import TableLayout
from backwalk.denoiser.numbers_start import numbers_start, waves
from backwalk.diffusion import JointGaussian, scales
from backwalk.streams import Stream
from backwalk.table import Codec, NumberColumn

MEAN = Stream(0).normal(0, 7, 3)
DEVIATION = 0.3 * Stream(1).normal(0, 7, 3).abs()
C = torch.tensor([1.0, 2.0, 5.0, 16.0])
ALL, EVERY_C = torch.arange(3).repeat_interleave(4), C.repeat(3)


def of_all(mean, deviation):
    """The waves of three numbers at four frequencies."""
    return waves(mean, deviation, ALL, EVERY_C)


def test_waves_are_the_expectations_of_sines_and_cosines():
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    x = MEAN[..., None] + DEVIATION[..., None] * torch.from_numpy(node)
    w = torch.from_numpy(weight / weight.sum())
    expected = [f(c * x) @ w for f in (torch.sin, torch.cos) for c in C.tolist()]
    found = of_all(MEAN, DEVIATION).values.reshape(7, 2, 3, 4).movedim(2, 1).flatten(2)
    torch.testing.assert_close(found, torch.stack(expected, dim=-1), atol=1e-8, rtol=0.0)


def test_their_derivatives_are_those_of_their_values():
    along, step = Stream(2).normal(0, 7, 3), 1e-6
    ahead, behind = (of_all(MEAN + sign * step * along, DEVIATION).values for sign in (1.0, -1.0))
    torch.testing.assert_close(of_all(MEAN, DEVIATION).push(along), (ahead - behind) / (2 * step), atol=1e-6, rtol=1e-6)


def test_waves_of_dates_repeat_after_each_period_and_not_before():
    date = NumberColumn(100.0, 40.0, periods=(7.0, 365.2425))
    layout = TableLayout(Codec((NumberColumn(0.0, 1.0), date)))
    assert set(layout.waving.tolist()) == {1}

    def at(*days):
        z = torch.from_numpy(np.column_stack([np.zeros(len(days)), date.encode(np.array(days))]))
        return waves(z, torch.zeros(2), layout.waving, layout.frequencies.double()).values.reshape(len(days), 2, 2, -1)

    weeks, years = at(3.0, 10.0, 3.0 + 365.2425).movedim(2, 0)
    torch.testing.assert_close(weeks[0], weeks[1], atol=1e-5, rtol=0.0)  # frequencies are float32
    torch.testing.assert_close(years[0], years[2], atol=1e-5, rtol=0.0)
    assert (weeks[0] - weeks[2]).abs().max() > 0.5
    assert (years[0] - years[1]).abs().max() > 0.05


@pytest.mark.parametrize("log_snr", [-6.0, 0.0, 6.0, 12.0])
def test_surprises_of_gaussian_numbers_have_variance_1_at_each_noise_level(log_snr):
    """10,000 draws of three numbers, of which two nearly agree. A variance errs by 1.4 % (one standard error)."""
    covariance = torch.tensor([[1.0, 0.999, 0.3], [0.999, 1.0, 0.3], [0.3, 0.3, 1.0]], dtype=torch.float64)
    values, vectors = torch.linalg.eigh(covariance)
    directions, rest = vectors * (values - 5e-4).sqrt(), torch.full((3,), 5e-4, dtype=torch.float64)
    codec = Codec((NumberColumn(0.0, 1.0),) * 3)
    layout = TableLayout(codec, JointGaussian(torch.zeros(3, dtype=torch.float64), directions, rest)).double()
    layout.input_scale.fill_(1.0)
    x_0 = Stream(0).normal(0, 10_000, 3) @ torch.linalg.cholesky(covariance).T
    levels = torch.tensor([log_snr, log_snr, math.inf], dtype=torch.float64).expand(10_000, 3)  # the third is given
    a, b = scales(levels, x_0)
    x_t, free = a * x_0 + b * Stream(1).normal(0, 10_000, 3), torch.zeros(10_000, 3, dtype=torch.bool)
    start = numbers_start(layout, 0.1, x_t, levels, free)
    surprises = start.inputs[:, 6:9]
    np.testing.assert_allclose(surprises[:, :2].var(0), 1.0, atol=0.06)
    assert (surprises[:, 2] == 0.0).all()
    if log_snr == 12.0:  # the number less what the other two make of it, in standard deviations
        others = covariance[0, 1:] @ torch.linalg.inv(covariance[1:, 1:])
        expected = (x_0[:, 0] - x_0[:, 1:] @ others) / (1.0 - others @ covariance[1:, 0]).sqrt()
        assert np.corrcoef(surprises[:, 0], expected)[0, 1] > 0.99


def test_derivatives_of_the_inputs_are_those_of_their_values():
    directions = 0.7 * Stream(3).normal(0, 3, 2)
    gaussian = JointGaussian(
        torch.zeros(3, dtype=torch.float64), directions, torch.full((3,), 0.2, dtype=torch.float64)
    )
    codec = Codec((NumberColumn(0.0, 1.0), NumberColumn(0.0, 1.0, periods=(4.0, 0.5)), NumberColumn(0.0, 1.0)))
    layout, free = TableLayout(codec, gaussian).double(), torch.zeros(5, 3, dtype=torch.bool)
    layout.input_scale.fill_(1.0)
    levels = torch.tensor([1.0, 3.0, -math.inf], dtype=torch.float64).expand(5, 3)
    x_t, along, step = Stream(4).normal(0, 5, 3), Stream(5).normal(0, 5, 3), 1e-6

    def inputs(sign):
        return numbers_start(layout, 0.1, x_t + sign * step * along, levels, free).inputs[:, : layout.n_moving]

    start = numbers_start(layout, 0.1, x_t[None], levels[None], free[None])
    moved = start.moved(along[None], start.posterior.push(along[None]))[0]
    torch.testing.assert_close(moved, (inputs(1.0) - inputs(-1.0)) / (2 * step), atol=1e-6, rtol=1e-6)


@pytest.mark.slow
def test_noise_of_two_sizes_is_told_apart():
    """theta given theta plus noise of .02 or .2, each in half of the rows: found to stay at the Gaussian's density."""
    rng = np.random.default_rng(0)
    theta = rng.uniform(-1.7, 1.7, 6_000)
    size = rng.choice([0.02, 0.2], 6_000)
    rows = pd.DataFrame({"theta": theta, "x": theta + size * rng.normal(size=6_000)})
    model = Diffusion(conditions=[["x"]], max_steps=400, random_state=0, verbose=False).fit(rows)
    drawn = model.sample(4_000, given={"x": 0.0}, random_state=1)["theta"]
    assert (np.abs(drawn) < 0.05).mean() == pytest.approx(0.5 * 0.988 + 0.5 * 0.197, abs=0.1)
