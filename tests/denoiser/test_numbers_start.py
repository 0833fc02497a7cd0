"""Waves are expected sines and cosines; with them a network tells numbers apart that lie side by side."""

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk import Diffusion
from backwalk.cli.describe import describe
from backwalk.denoiser import Residual, TableLayout
from backwalk.denoiser.numbers_start import waves
from backwalk.streams import Stream
from backwalk.table import Codec, NumberColumn

MEAN = Stream(0).normal(0, 7, 3)
DEVIATION = 0.3 * Stream(1).normal(0, 7, 3).abs()
C = torch.tensor([1.0, 2.0, 5.0, 16.0])
ALL, EVERY_C = torch.arange(3).repeat_interleave(4), C.repeat(3)


def of_all(mean, deviation):
    """The waves of three numbers at four frequencies."""
    return waves(mean, deviation, ALL, EVERY_C)


def test_waves_are_those_of_some_numbers():
    some = waves(MEAN, DEVIATION[:1], torch.tensor([2, 0]), C[[3, 1]])
    places = [11, 1, 12 + 11, 12 + 1]
    torch.testing.assert_close(some.values, of_all(MEAN, DEVIATION[:1]).values[:, places])
    along = Stream(3).normal(0, 7, 3)
    torch.testing.assert_close(some.push(along), of_all(MEAN, DEVIATION[:1]).push(along)[:, places])


def test_waves_are_the_expectations_of_sines_and_cosines():
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    x = MEAN[..., None] + DEVIATION[..., None] * torch.from_numpy(node)
    w = torch.from_numpy(weight / weight.sum())
    expected = [f(c * x) @ w for f in (torch.sin, torch.cos) for c in C.tolist()]
    found = of_all(MEAN, DEVIATION).values.reshape(7, 2, 3, 4).movedim(2, 1).flatten(2)
    torch.testing.assert_close(found, torch.stack(expected, dim=-1), atol=1e-8, rtol=0.0)


def test_waves_of_known_numbers_are_whole_and_those_of_noise_vanish():
    whole, noise = (of_all(MEAN, torch.full_like(MEAN, e)).values.reshape(7, 2, 12) for e in (0.0, 6.0))
    torch.testing.assert_close(whole.square().sum(1), torch.ones(7, 12, dtype=MEAN.dtype))
    assert noise.abs().max() < 2e-8


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


@pytest.fixture
def keyed():
    """Forty keys, each with a class of its own choice, and rows of them."""
    rng = np.random.default_rng(9)
    keys, classes = rng.normal(size=40).round(3), rng.choice(["a", "b", "c"], size=40)
    key = rng.integers(40, size=500)
    rows = pd.DataFrame({"key": keys[key], "class": classes[key], "size": rng.normal(size=500)})
    return rows, pd.DataFrame({"key": keys, "class": classes})


@pytest.mark.slow
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
