"""A Chromium, and the playground's modules in it: served from the package's folder by the test, without a server."""

import os
import shutil
from pathlib import Path

import pytest

import backwalk.playground

STATIC = Path(backwalk.playground.__file__).parent / "static"
HOME = "http://playground.example"
_COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Nothing is asked for on the network, and no sandbox is needed where the only page is our own (root has none).
_SWITCHES = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/playground" in item.path.as_posix():
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
    named = os.environ.get("BACKWALK_CHROMIUM")
    path = next(filter(None, map(shutil.which, [named] if named else _COMMANDS)), None)
    if path is None:
        missing("no Chromium was found: install one, or name it by BACKWALK_CHROMIUM.")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=list(_SWITCHES))
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def maths(chromium):
    """Return a function that runs JavaScript with the modules of `maths/` by their names, and returns its result."""
    page = chromium.new_page()

    def answer(route):
        file = STATIC / route.request.url.removeprefix(f"{HOME}/")
        if file.is_file():
            return route.fulfill(path=file, content_type="text/javascript")
        return route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")

    page.route("**/*", answer)
    page.goto(f"{HOME}/")
    names = sorted(file.stem for file in (STATIC / "maths").glob("*.js"))

    def run(body, **given):
        modules = ", ".join(names)
        loads = ", ".join(f'import("{HOME}/maths/{name}.js")' for name in names)
        return page.evaluate(
            f"""async (given) => {{
                const [{modules}] = await Promise.all([{loads}]);
                const plain = (value) => ArrayBuffer.isView(value) ? Array.from(value)
                    : Array.isArray(value) ? value.map(plain)
                    : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]))
                    : value;
                return plain(await (async () => {{ {body} }})());
            }}""",
            given,
        )

    yield run
    page.close()
