"""The page in a real browser: one server and one Chromium per session, and tabs whose every fault fails the test."""

import contextlib
import os

import pytest

from benchmarks import browser
from tests.browser.driving import LONGEST, Tab


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


def missing(what):
    """Skip, but fail in continuous integration, which installs what is needed."""
    if os.environ.get("CI") == "true":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing('playwright is not installed: pip install "backwalk[test-web]".')
    if browser.chromium() is None:
        missing(f"no Chromium was found: install one, or name it by {browser.VARIABLE}.")
    with sync_playwright() as playwright:
        launched = browser.opened(playwright)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def server(chromium):
    with browser.served() as running:
        yield running


@pytest.fixture(scope="session")
def faults():
    """What went wrong in tabs since the last test."""
    return []


@pytest.fixture(scope="session")
def opened(chromium, server, faults):
    """Open a tab in a context of its own (cookies, size, color scheme); it closes when the block ends."""

    @contextlib.contextmanager
    def context(**options):
        made = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        made.set_default_timeout(LONGEST)
        try:
            yield Tab(made, server.address, faults)
        finally:
            made.close()

    return context


@pytest.fixture
def tab(opened):
    """A new tab, which has not opened the page yet."""
    with opened() as made:
        yield made


@pytest.fixture(autouse=True)
def no_faults(server, faults):
    """Fail on errors in a console, failed or foreign requests of any tab, and tracebacks of the server."""
    before = len(server.log.read_text(encoding="utf-8"))
    yield
    said = server.log.read_text(encoding="utf-8")[before:]
    found = faults.copy()
    faults.clear()
    assert not found
    assert "Traceback" not in said, said
