"""Waves are expected sines and cosines; with them a network tells numbers apart that lie side by side."""

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk import Diffusion
from backwalk.cli.describe import describe
from backwalk.denoiser import Residual
from backwalk.denoiser.layout import N_FREQUENCIES, WAVES_A_NUMBER
from backwalk.denoiser.numbers_start import waves
from backwalk.streams import Stream

MEAN = Stream(0).normal(0, 7, 3)
DEVIATION = 0.3 * Stream(1).normal(0, 7, 3).abs()
ALL = torch.arange(3)


def test_waves_are_those_of_some_numbers():
    some = waves(MEAN, DEVIATION[:1], torch.tensor([2]))
    expected = waves(MEAN, DEVIATION[:1], ALL).values.reshape(7, 3, WAVES_A_NUMBER)[:, 2]
    torch.testing.assert_close(some.values, expected)
    along = torch.tensor([0.0, 0.0, 1.0], dtype=MEAN.dtype)
    moved = waves(MEAN, DEVIATION[:1], ALL).push(along.expand(7, 3)).reshape(7, 3, WAVES_A_NUMBER)
    torch.testing.assert_close(some.push(along.expand(7, 3)), moved[:, 2])


def test_waves_are_the_expectations_of_sines_and_cosines():
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    x = MEAN[..., None] + DEVIATION[..., None] * torch.from_numpy(node)
    w = torch.from_numpy(weight / weight.sum())
    expected = [f(c * x) @ w for f in (torch.sin, torch.cos) for c in (1.0, 2.0, 4.0, 8.0, 16.0)]
    found = waves(MEAN, DEVIATION, ALL).values.reshape(7, 3, WAVES_A_NUMBER)
    places = [*range(5), *range(N_FREQUENCIES, N_FREQUENCIES + 5)]
    torch.testing.assert_close(found[..., places], torch.stack(expected, dim=-1), atol=1e-8, rtol=0.0)


def test_waves_of_known_numbers_are_whole_and_those_of_noise_vanish():
    whole, noise = (waves(MEAN, torch.full_like(MEAN, e), ALL).values.reshape(7, 3, 2, -1) for e in (0.0, 6.0))
    torch.testing.assert_close(whole.square().sum(2), torch.ones(7, 3, N_FREQUENCIES, dtype=MEAN.dtype))
    assert noise.abs().max() < 2e-8


def test_their_derivatives_are_those_of_their_values():
    along, step = Stream(2).normal(0, 7, 3), 1e-6
    slope = (waves(MEAN + step * along, DEVIATION, ALL).values - waves(MEAN - step * along, DEVIATION, ALL).values) / (
        2 * step
    )
    torch.testing.assert_close(waves(MEAN, DEVIATION, ALL).push(along), slope, atol=1e-6, rtol=1e-6)


@pytest.fixture
def keyed():
    """Forty keys, each with a class of its own choice, and rows of them."""
    rng = np.random.default_rng(9)
    keys, classes = rng.normal(size=40).round(3), rng.choice(["a", "b", "c"], size=40)
    key = rng.integers(40, size=500)
    rows = pd.DataFrame({"key": keys[key], "class": classes[key], "size": rng.normal(size=500)})
    return rows, pd.DataFrame({"key": keys, "class": classes})


def test_a_model_learns_what_each_key_stands_for(keyed, monkeypatch, tmp_path):
    rows, each = keyed

    def share_right(folder=None):
        model = Diffusion(
            max_steps=200, denoiser=Residual(32, 2, 1), columns={"key": "number"}, random_state=0, verbose=False
        )
        model.fit(rows)
        if folder is not None:  # a file keeps which numbers are tied
            model.save(folder)
            assert describe(str(folder))["tied"] == ["key"]
            model = Diffusion.load(folder)
        return np.mean(model.conditional(each, "class", given=["key"]).mode == each["class"])

    assert share_right(tmp_path / "model") >= 0.9
    monkeypatch.setattr("backwalk.fit.plan.tied_numbers", lambda *_: ())
    assert share_right() <= 0.75
