"""The exported page: one file that moves without a server."""

import subprocess
import sys

import pytest

from backwalk.web import shipped
from tests.browser.driving import Tab
from tests.browser.test_accessibility import violations


@pytest.fixture(scope="module")
def exported(chromium, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "page.html"
    subprocess.run([sys.executable, "-m", "backwalk", "web", "--export", path], check=True, capture_output=True)
    return path


class FileTab(Tab):
    """A tab that may ask for its own file alone."""

    def _asked(self, request):
        if request.url.partition("#")[0] != self.address and not request.url.startswith(("data:", "blob:")):
            self.faults.append(f"request: {request.url}")


@pytest.fixture
def page(chromium, exported, faults):
    context = chromium.new_context(offline=True)
    context.set_default_timeout(60_000)
    yield FileTab(context, exported.as_uri(), faults)
    context.close()


def test_file_moves_without_a_server(page):
    page.open()
    assert page.has("playing")
    assert page.tell("#model-name") == shipped.MODELS["start"].title
    page.has_moved_from(page.reading[0])
    assert page.page.evaluate("backwalkFrames().n") > 1


def test_file_answers_every_panel_that_it_shows(page):
    page.open("p=0.5")
    names = page.page.eval_on_selector_all("#tabs [role=tab]", "tabs => tabs.map(tab => tab.id.slice(4))")
    assert names == ["watch", "particle", "field", "bound", "code"]
    page.goto("particle").page.wait_for_selector("table.symbols")
    page.goto("field").page.wait_for_selector("#field-relative")
    page.goto("bound").page.wait_for_selector("#bound-ladder table")
    page.goto("code")
    assert "Diffusion" in page.tell("#code-python")
    page.page.click("#start-tour")
    for _ in range(6):
        page.page.click("#tour-next")
    assert violations(page) == []


def test_one_click_gives_the_file(tab, chromium, faults, tmp_path):
    """It opens without a server, with the paper's step of any of its particles."""
    tab.open("tab=code&p=0.5")
    with tab.page.expect_download() as found:
        tab.page.click("#export")
    path = tmp_path / "backwalk.html"
    found.value.save_as(path)
    context = chromium.new_context(offline=True)
    page = FileTab(context, path.as_uri(), faults)
    page.open("tab=particle&p=0.5&row=3").page.wait_for_selector("table.symbols")
    assert "The mean of the next point" in page.tell("#particle-formulas")
    assert page.page.locator("#particle-formulas .why a").count() == 0, "there is no server that has the course"
    context.close()


def test_file_holds_one_document(exported):
    text = exported.read_text(encoding="utf-8")
    assert "http-equiv" in text
    assert 'src="' not in text.partition("<script")[2].partition("</script>")[0]
    assert "static/" not in text.partition("</head>")[0]
