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
_SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


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
    """Return a function that runs JavaScript with the worker's modules by their names, and returns its result."""
    page = chromium.new_page()

    def answer(route):
        file = STATIC / route.request.url.removeprefix(f"{HOME}/")
        if file.is_file():
            return route.fulfill(path=file, content_type="text/javascript")
        return route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")

    page.route("**/*", answer)
    page.goto(f"{HOME}/")
    paths = [
        *sorted(f"maths/{file.stem}" for file in (STATIC / "maths").glob("*.js")),
        "data",
        "judge",
        "models",
        "pictures",
        "trainer",
    ]

    def run(body, **given):
        modules = ", ".join(path.rpartition("/")[2] for path in paths)
        loads = ", ".join(f'import("{HOME}/{path}.js")' for path in paths)
        return page.evaluate(
            f"""async (given) => {{
                const [{modules}] = await Promise.all([{loads}]);
                const entries = (value) => Object.entries(value).map(([name, each]) => [name, plain(each)]);
                const plain = (value) => ArrayBuffer.isView(value) ? Array.from(value)
                    : Array.isArray(value) ? value.map(plain)
                    : value && typeof value === "object" ? Object.fromEntries(entries(value)) : value;
                return plain(await (async () => {{ {body} }})());
            }}""",
            given,
        )

    yield run
    page.close()


class Tab:
    """The page in a tab: what a person does and reads there. It waits for states of the page, never for times."""

    def __init__(self, context, file, faults):
        self.page, self.file = context.new_page(), file
        self.page.on("console", lambda said: said.type in ("error", "warning") and faults.append(said.text))
        self.page.on("pageerror", lambda error: faults.append(str(error)))
        self.page.on("request", self._asked)
        self.faults = faults

    def _asked(self, request):
        if not request.url.startswith(("file:", "blob:", "data:")):
            self.faults.append(f"request: {request.url}")

    def open(self, fragment=""):
        """Open the page with a state, and wait until its chain is there."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.file.as_uri()}#{fragment}" if fragment else self.file.as_uri())
        return self.settle()

    def settle(self):
        """Wait until the page waits for nothing."""
        self.page.wait_for_selector("body.ready:not(.waiting)")
        self.page.wait_for_selector("[role=tabpanel]:not([hidden]):not(.waiting)")
        return self

    def tell(self, selector):
        return self.page.locator(selector).inner_text()

    def goto(self, name):
        self.page.click(f"#tab-{name}")
        return self.settle()


@pytest.fixture(scope="session")
def page_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("playground") / "playground.html"
    backwalk.playground.Page().save(file)
    return file


@pytest.fixture
def opened(chromium):
    """Open a file in a tab of its own; errors in its console and requests fail the test."""
    contexts, faults = [], []

    def new(file, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "offline": True, **options})
        context.set_default_timeout(300_000)  # of hangs alone
        contexts.append(context)
        return Tab(context, file, faults)

    yield new
    for context in contexts:
        context.close()
    assert not faults


@pytest.fixture
def tab(opened, page_file):
    return opened(page_file)
