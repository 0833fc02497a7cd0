"""Models of earlier versions load for ever, and give what they gave."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from backwalk.estimator import Diffusion
from backwalk.sampling import Sampler

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path for path in GOLDEN.glob("backwalk-*/*") if path.suffix != ".json")
_spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def test_there_are_a_folder_and_a_file():
    assert {path.is_dir() for path in FILES} == {True, False}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_old_model_loads_and_gives_what_it_gave(path):
    expected = json.loads(path.with_name(f"{path.name}.json").read_text())
    model = Diffusion.load(path, device="cpu")
    found = make.expected(model)
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        rtol, atol = (0.0, 0.01) if name == "scores" else (1e-4, 1e-5) if name == "estimates" else (1e-3, 1e-3)
        np.testing.assert_allclose(found[name], numbers, rtol=rtol, atol=atol, err_msg=name)
    assert model.get_params()["random_state"] in (0, 1)
    samples = model.sample(20, random_state=0)
    if path.name.startswith("taught"):
        assert samples.dtype == np.float32
        assert model.codec_.columns[0].axis.asinh
        assert model.model_.sampler == Sampler("ddim", 5, eta=0.5)
        return
    assert list(samples.columns) == ["length", "count", "fixed"]
    assert [str(dtype) for dtype in samples.dtypes] == ["float64", "int64", "float64"]
    assert (samples["fixed"] == 2.5).all()
