"""The examples of docstrings run as a reader pastes them: in an empty session, without the names of their module."""

import pytest


@pytest.fixture(autouse=True)
def empty_session(request):
    """Take away what `--doctest-modules` gives to an example."""
    request.node.dtest.globs = {"__name__": "__main__"}
