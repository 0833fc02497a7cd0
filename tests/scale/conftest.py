"""What tests of scale need: the marker of all in this folder, Ray, and the permission to make hosts."""

import importlib.util
import os

import pytest

from tests.scale import hosts


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
