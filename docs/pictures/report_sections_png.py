"""Draw the sections of a report that docs/tutorials/reading-a-report.md explains, as Chromium shows them.

Run from the root of the repository: `python docs/pictures/report_sections_png.py [REPORT.html]`. Without a report it is
made first, of the penguins that come with the package. Needs playwright and Chromium, called `chromium` or
named by the environment variable CHROMIUM.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent
WIDTH = 1040
SECTIONS = {  # the name of a picture, where it begins, and where the next begins
    "report_answers": ("header, .answers, h1", "section:has(h2:has-text('How close are generated rows'))"),
    "report_closeness": (
        "section:has(h2:has-text('How close are generated rows'))",
        "section:has(h2:has-text('Is each column right'))",
    ),
    "report_columns": (
        "section:has(h2:has-text('Is each column right'))",
        "section:has(h2:has-text('How likely are unseen rows'))",
    ),
    "report_likelihood": (
        "section:has(h2:has-text('How likely are unseen rows'))",
        "section:has(h2:has-text('Can its predictions be trusted'))",
    ),
    "report_probabilities": (
        "section:has(h2:has-text('Can its predictions be trusted'))",
        "section:has(h2:has-text('Does it reveal its training rows'))",
    ),
    "report_membership": (
        "section:has(h2:has-text('Does it reveal its training rows'))",
        "section:has(h2:text-is('Training'))",
    ),
}


def make_report(folder: Path) -> Path:
    """Make the report that README makes."""
    for command in (
        "data penguins",
        "split penguins.csv known.csv unseen.csv",
        "fit known.csv",
        "report known.backwalk unseen.csv --training known.csv -o report.html",
    ):
        subprocess.run([sys.executable, "-m", "backwalk", *command.split()], check=True, cwd=folder)
    return folder / "report.html"


with tempfile.TemporaryDirectory() as made, sync_playwright() as play:
    report = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else make_report(Path(made))
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    browser = play.chromium.launch(executable_path=found, args=flags)
    page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
    page.goto(report.as_uri())
    for name, (begin, end) in SECTIONS.items():
        top, bottom = (page.locator(place).first.bounding_box() for place in (begin, end))
        assert top is not None, begin
        assert bottom is not None, end
        box = {"x": 0, "y": max(top["y"] - 8, 0), "width": WIDTH, "height": bottom["y"] - top["y"]}
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=box))).convert("RGB")
        picture.quantize(64).save(FOLDER / f"{name}.png", optimize=True)
    browser.close()
