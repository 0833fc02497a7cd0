"""Make the pictures of docs/how-to/the-page.md: the page of `backwalk web` in Chromium.

Run from the root of the repository: `python docs/pictures/page_png.py`. Needs playwright and Chromium, called
`chromium` or named by the environment variable CHROMIUM.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
SECONDS = 120_000  # milliseconds that a picture may take


def particle(page: Page) -> None:
    """One step of one particle in numbers."""
    page.wait_for_selector("#particle-formulas math", timeout=SECONDS)


def training(page: Page) -> None:
    """A fit of a spiral after some steps."""
    page.wait_for_selector("#train:not([disabled])", timeout=SECONDS)
    page.check("#density-spirals")
    page.click("#train:not([disabled])", timeout=SECONDS)
    steps = 0
    while steps < 400:
        page.wait_for_timeout(300)
        found = re.search(r"step ([\d,]+)", page.inner_text("#training-reading"))
        steps = int(found[1].replace(",", "")) if found else 0
    page.locator("#training-chart").scroll_into_view_if_needed()
    page.wait_for_timeout(300)


def tour(page: Page) -> None:
    """The last step of the tour: where the notebook's chain starts."""
    page.wait_for_selector("#compare-table table", timeout=SECONDS)


def phone(page: Page) -> None:
    """The learned score beside the exact one, on a phone."""
    page.wait_for_selector("#field-relative", timeout=SECONDS)


PICTURES = [
    ("page.png", (1280, 860), "light", "tab=particle&p=0.44&row=3&solver=ancestral&evaluations=50", particle),
    ("page_training.png", (1280, 860), "dark", "tab=train", training),
    (
        "page_tour.png",
        (1280, 720),
        "light",
        "tour=7&tab=compare&side=both&p=1&trails=false&pair=notebook,ancestral,,,~start,,,,",
        tour,
    ),
    ("page_phone.png", (390, 844), "dark", "tab=field&field=score&side=forward&p=0.4", phone),
]

command = [sys.executable, "-m", "backwalk", "web", "--no-browser"]
with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
    assert server.stdout is not None
    address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
    try:
        with sync_playwright() as play:
            found = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = play.chromium.launch(executable_path=found, args=FLAGS)
            for name, (width, height), scheme, state, prepare in PICTURES:
                context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
                page = context.new_page()
                page.goto(f"{address}#{state}")
                page.wait_for_selector("body.ready", timeout=SECONDS)
                prepare(page)
                page.wait_for_timeout(1000)
                shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
                shot.quantize(256, Image.Quantize.MAXCOVERAGE).save(DOCS / name, optimize=True)
                context.close()
            browser.close()
    finally:
        server.terminate()
