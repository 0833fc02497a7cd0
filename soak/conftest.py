"""Long trials of faults, hostile input and repeated bits.

`make trust` runs a few cases of each, and `make soak` all of them, by `pytest soak --hypothesis-profile=full`. A test
that takes `case` is run once a case, with the numbers of its mark `cases(short, full)`.
"""

import pytest
import torch
from hypothesis import HealthCheck, settings

_USUAL = {"database": None, "deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
settings.register_profile("short", max_examples=60, **_USUAL)
settings.register_profile("full", max_examples=500, **_USUAL)


def is_full(config):
    return config.getoption("--hypothesis-profile") == "full"


def pytest_configure(config):
    config.addinivalue_line("markers", "cases(short, full): the numbers of cases of `make trust` and of `make soak`")
    if not is_full(config):
        settings.load_profile("short")
    config.addinivalue_line("filterwarnings", "ignore::UserWarning")  # of rows that no fit is good for
    torch.set_num_threads(1)  # children are forked from a process without other threads


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("cases")
        metafunc.parametrize("case", range(mark.kwargs["full" if is_full(metafunc.config) else "short"]))


@pytest.fixture
def n_cases(request):
    """The number of cases of a test that runs them in one child, as thousands of them take a second."""
    return request.node.get_closest_marker("cases").kwargs["full" if is_full(request.config) else "short"]
