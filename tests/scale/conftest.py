"""The marker of all tests in this folder."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/scale" in item.path.as_posix():
            item.add_marker(pytest.mark.scale)
