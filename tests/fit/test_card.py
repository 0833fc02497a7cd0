"""The card and the parameters that come back from it."""

import dataclasses
import json

import numpy as np
import pytest

from backwalk.denoiser import Residual
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import ModelFileError
from backwalk.estimator import Diffusion
from backwalk.fit import check_settings
from backwalk.fit.card import parameters_from, parameters_record
from backwalk.model_file import save
from backwalk.sampling import Sampler
from backwalk.training import Training

SCHEDULE = NoiseSchedule.linear(9)
SETTINGS = [
    Diffusion(),
    Diffusion(np.int64(7), max_steps=3, scale=np.False_, random_state=np.int32(4), verbose=False, warm_start=True),
    Diffusion(schedule=SCHEDULE, denoiser=Residual(8, 1), training=Training(8, 0.01, max_steps=3), sampler=Sampler()),
    Diffusion.ddpm(n_epochs=3, random_state=1),
    Diffusion(max_time=1.5, validation_fraction=0, reverse_variance="beta_tilde"),
]


@pytest.mark.parametrize("model", SETTINGS, ids=range(len(SETTINGS)))
def test_parameters_come_back(model):
    given = model.get_params(deep=False)
    record = json.loads(json.dumps(parameters_record(check_settings(given))))
    back = parameters_from(record, given["schedule"] or SCHEDULE)
    assert back == {name: value for name, value in given.items() if name not in ("callbacks", "device")}
    assert all(type(value).__module__ != "numpy" for value in back.values())


@pytest.mark.parametrize("state", [None, np.random.default_rng(0)], ids=["None", "generator"])
def test_a_random_state_that_is_no_number_is_none(state):
    given = Diffusion(random_state=state, callbacks=[print]).get_params(deep=False)
    record = parameters_record(check_settings(given))
    assert record["random_state"] is None
    assert "callbacks" not in record


def test_a_loaded_estimator_has_the_parameters_of_the_fit(rows, tmp_path):
    model = Diffusion(n_steps=9, max_steps=2, denoiser=Residual(8, 1), random_state=3, verbose=False).fit(rows)
    model.save(tmp_path / "m.safetensors")
    loaded = Diffusion.load(tmp_path / "m.safetensors", device="cpu")
    assert loaded.get_params() == {**model.get_params(), "device": "cpu"}
    again = loaded.fit(rows)
    assert all(
        one.detach().numpy().tobytes() == other.detach().numpy().tobytes()
        for one, other in zip(again.denoiser_.parameters(), model.denoiser_.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"device": "cuda:7"},
        {"n_steps": 10**9},
        {"n_stairs": 5},
        {"denoiser": {"kind": "Pickle"}},
        {"denoiser": {"kind": "Residual", "eval": "1"}},
        {"sampler": "euler"},
        {"schedule": "elsewhere"},
    ],
    ids=range(7),
)
def test_hostile_parameters_are_refused(fitted, tmp_path, parameters):
    card = {**fitted.model_.card, "parameters": parameters}
    save(dataclasses.replace(fitted.model_, card=card), tmp_path / "m")
    with pytest.raises(ModelFileError, match="in its card, parameters"):
        Diffusion.load(tmp_path / "m")


def test_a_device_that_is_not_here_is_refused_before_the_file_is_read(tmp_path):
    with pytest.raises(ValueError, match="device should be"):
        Diffusion.load(tmp_path / "nowhere", device="abacus")
