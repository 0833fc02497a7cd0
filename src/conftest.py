"""The examples of docstrings run as a reader pastes them: in an empty session, without the names of their module."""

import pytest

_TAKES_SECONDS = (".fit(", "max_steps=")  # a fit


@pytest.fixture(autouse=True)
def empty_session(request):
    """Take away what `--doctest-modules` gives to an example."""
    request.node.dtest.globs = {"__name__": "__main__"}


def pytest_collection_modifyitems(items):
    """Let examples that fit a model run with those of README and the site: `make trust`."""
    for item in items:
        dtest = getattr(item, "dtest", None)
        if dtest and any(part in example.source for example in dtest.examples for part in _TAKES_SECONDS):
            item.add_marker(pytest.mark.campaign)
