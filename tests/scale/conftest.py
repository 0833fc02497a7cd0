"""What tests of scale need: the marker of all in this folder, Ray, and the permission to make hosts."""

import importlib.util
import os

import numpy as np
import pytest

from backwalk import Diffusion
from backwalk.denoiser import Residual
from backwalk.pieces import sample_parts
from tests.scale import hosts, runs


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/scale" in item.path.as_posix():
            item.add_marker(pytest.mark.scale)


@pytest.fixture(scope="session")
def has_hosts():
    """Skip where this user may not make namespaces: in containers, or where the system forbids it to users."""
    reason = hosts.why_not()
    if reason:
        pytest.skip(f"hosts are network namespaces, which this user may not make here: {reason}")


def needs(package):
    """Skip, but fail in continuous integration, which installs what is needed."""
    if importlib.util.find_spec(package) is None:
        missing = f'{package} is not installed: pip install "backwalk[test-scale]".'
        if os.environ.get("CI") == "true":
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)


@pytest.fixture(scope="session")
def has_ray():
    needs("ray")


@pytest.fixture(scope="session")
def has_dask():
    needs("distributed")


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """A small model, and what one process draws from it."""
    place = tmp_path_factory.mktemp("drawn")
    rows = np.random.default_rng(0).normal(size=(300, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]])
    network = Residual(width=16, n_blocks=1, n_members=1)
    Diffusion(n_steps=30, max_steps=30, denoiser=network, random_state=0, verbose=False).fit(rows).save(place / "model")
    made = sample_parts(place / "model", place / "rows", runs.ROWS, part_rows=runs.PART_ROWS, seed=runs.SEED)
    return runs.Drawn(place / "model", made.manifest.values)
