"""Pictures of numbers with a spike, and the distribution of a number with generated gaps."""

import math

import numpy as np
import pandas as pd
import pytest

from backwalk import Diffusion
from backwalk.denoiser import Residual
from backwalk.model import sample_rows
from backwalk.streams import Stream
from backwalk.web import fields
from backwalk.web.models import ModelEntry
from backwalk.web.pictures import compute_chain
from backwalk.web.requests import ChainRequest, ConditionalRequest, DensityRequest, FieldRequest
from backwalk.web.rows import compute_conditional


def fitted(frame, **given):
    return Diffusion(n_steps=20, max_steps=2, denoiser=Residual(8, 1), random_state=0, verbose=False, **given).fit(
        frame
    )


@pytest.fixture(scope="module")
def entry():
    """A model of rain, which is often 0, and of a yield."""
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(200) < 0.5, 0.0, rng.normal(10.0, 2.0, 200))
    return ModelEntry("m", fitted(pd.DataFrame({"rain": rain, "yield": rng.normal(size=200)})))


@pytest.mark.slow
def test_an_axis_has_ticks_and_a_density_that_varies_along_it(entry):
    """Found by review: all of the plane was taken to be at the spike."""
    axis = entry.plane(None).record()["axes"][0]
    assert axis["name"] == "rain"
    assert len(axis["ticks"]) >= 3
    packed = fields.compute_density(entry, DensityRequest(size=10))
    log_p = packed.arrays["log_p"][0]
    assert (np.ptp(log_p, axis=1) > 0.5).all()  # of equal yield


def test_rows_at_a_spike_are_left_out_of_the_picture(entry):
    """Found by review: they were points of pure noise, which no forward row is."""
    packed = compute_chain(entry, ChainRequest(n=60, seed=4))
    rows = sample_rows(entry.model, 0, 60, stream=Stream(4).child("sample"))
    assert packed.header["rows"] == np.flatnonzero(rows[:, 0] != 0.0).tolist()
    assert 0 < len(packed.header["rows"]) < 60
    for name in ("backward", "x_0_hat"):
        assert packed.arrays[name][0].shape[1] == len(packed.header["rows"])


def test_a_field_is_given_that_there_is_no_spike(entry, monkeypatch):
    seen, denoise = [], fields.denoise
    monkeypatch.setattr(fields, "denoise", lambda *given: seen.append(given) or denoise(*given))
    fields.compute_field(entry, FieldRequest(t=5, size=8))
    (_, z, level), block = seen[0], entry.model.codec.blocks[0]
    assert (level[:, block.coordinates] == math.inf).all()
    assert (z[:, block.coordinates.start + block.other] == 1.0).all()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.4, 0.995])
def test_a_number_with_generated_gaps_has_a_density_of_its_values(share):
    """Found by review: NaN among the draws was a server error."""
    rng = np.random.default_rng(1)
    x = np.where(rng.random(200) < share, np.nan, rng.normal(size=200))
    x[:2] = 0.3, 1.1
    model = fitted(pd.DataFrame({"x": x, "y": rng.normal(size=200)}), missing="generate")
    found = compute_conditional(ModelEntry("m", model), ConditionalRequest(column="x", given={"y": 0.5}))
    assert found["missing"] == pytest.approx(np.isnan(x).mean(), abs=0.2)
    middles, density = np.reshape(found["density"], (-1, 2)).T
    if len(middles):
        assert density.sum() * (middles[1] - middles[0]) == pytest.approx(1.0)
