"""The built site, out/site: its links, and its pages in a browser that may ask no other host for anything."""

import functools
import http.server
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from tests.browser.conftest import missing
from tests.browser.test_accessibility import PHONE, violations

SITE = Path(__file__).parents[2] / "out" / "site"
LOOKED_AT = (
    "index",
    "tutorials/table",
    "how-to/your-own-network",
    "explanation/diffusion",
    "auto_gallery/index",
    "auto_gallery/plot_samplers",
    "reference/api/estimators",
    "reference/cli",
    "reference/glossary",
    "reference/symbols",
    "maintainers/benchmarks",
)
LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": PHONE,
    "dark phone": {**PHONE, "color_scheme": "dark"},
}
TOO_WIDE = """() => document.documentElement.scrollWidth > document.documentElement.clientWidth
  ? [...document.querySelectorAll("main *")].filter(each => each.getBoundingClientRect().right > innerWidth)
    .map(each => each.outerHTML.slice(0, 100)) : []"""


class Page(HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag in ("img", "script", "iframe", "source", "video") and given.get("src"):
            self.loaded.append(given["src"])
        elif tag == "link" and given.get("href") and given.get("rel") not in ("canonical", "author"):
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def site():
    """Each page by its file. The site is built by `make docs`."""
    if not (SITE / "index.html").exists():
        missing("the site is not built: make docs")
    return {path: Page(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(QuietHandler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def no_faults():
    """The site needs no server of `backwalk web`, whose faults other tests look for."""


class Tab:
    """A page of the site in a tab; `asked` are the requests to other hosts, and what failed."""

    def __init__(self, context, address):
        self.page, self.address, self.faults = context.new_page(), address, []
        self.page.on("request", lambda request: self._foreign(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("response", lambda it: self.faults.append(f"{it.status}: {it.url}") if it.status > 399 else None)

    def _foreign(self, url):
        if not url.startswith((self.address, "data:", "blob:")):
            self.faults.append(f"request: {url}")

    def open(self, name):
        self.faults.clear()
        self.page.goto(f"{self.address}/{name}")
        self.page.wait_for_load_state("networkidle", timeout=120_000)


@pytest.fixture(scope="module", params=LOOKS)
def look(request, chromium, address):
    context = chromium.new_context(**LOOKS[request.param])
    yield Tab(context, address)
    context.close()


def test_no_link_is_dead(site):
    dead = []
    for path, page in site.items():
        for link in [*page.links, *page.loaded]:
            target, anchor = urldefrag(link)
            if urlsplit(link).scheme or link.startswith("//"):
                continue
            found = (path.parent / unquote(urlsplit(target).path)).resolve() if target else path
            if found.is_dir():
                found /= "index.html"
            if not found.exists() or (found in site and unquote(anchor) not in site[found].anchors):
                dead.append(f"{path.relative_to(SITE)}: {link}")
    assert dead == []


def test_no_page_loads_from_another_host(site):
    foreign = {link for page in site.values() for link in page.loaded if urlsplit(link).scheme not in ("", "data")}
    assert foreign == set()


@pytest.mark.parametrize("name", LOOKED_AT)
def test_page_is_accessible_and_no_wider_than_its_window(look, name):
    look.open(f"{name}.html")
    assert look.page.evaluate(TOO_WIDE) == []
    assert look.faults == []
    found = violations(look)  # pandas heads the index of a table by an empty cell
    assert [each for each in found if not each.startswith("empty-table-header")] == []


def test_no_page_is_wider_than_a_phone_or_fails(site, chromium, address):
    context = chromium.new_context(**PHONE)
    tab, faulty = Tab(context, address), {}
    for path in site:
        name = path.relative_to(SITE).as_posix()
        tab.open(name)
        if faults := tab.page.evaluate(TOO_WIDE)[-1:] + tab.faults:
            faulty[name] = faults
    context.close()
    assert faulty == {}


@pytest.mark.parametrize(
    ("words", "page"), [("dequantise", "reference/glossary"), ("prior mismatch", "reference/glossary")]
)
def test_search_finds_a_term(look, words, page):
    look.open(f"search.html?q={words}")
    look.page.wait_for_selector("#search-results li a")
    links = look.page.eval_on_selector_all("#search-results li a", "all => all.map(each => each.href)")
    assert any(f"{page}.html" in link for link in links), links
    assert look.faults == []


def test_formulas_are_set(look):
    look.open("explanation/diffusion.html")
    look.page.wait_for_selector("mjx-container svg, mjx-container mjx-math")
    assert look.faults == []
