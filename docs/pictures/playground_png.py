"""Train a network on two moons in the playground, and take its picture: docs/pictures/playground.png.

python docs/pictures/playground_png.py
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from backwalk.playground import Page

STEPS = 1_500


def main() -> None:
    """Write the page, train, and take the picture."""
    path = shutil.which(os.environ.get("BACKWALK_CHROMIUM", "chromium"))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder, "playground.html")
        Page().save(page_file)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light")
        page.set_default_timeout(600_000)
        page.goto(f"{page_file.as_uri()}#tab=train")
        page.wait_for_selector("body.ready #train:not([disabled])")
        page.select_option("#set-preset", "better")
        page.click("#train")
        reading = "document.getElementById('training-reading').textContent.replace(',', '')"
        page.wait_for_function(f"() => Number({reading}.match(/step ([0-9]+)/)?.[1]) >= {STEPS}")
        page.click("#pause")
        page.wait_for_function("() => document.getElementById('training-quality').textContent.includes('Sliced')")
        page.screenshot(path=Path(__file__).with_name("playground.png"))
        browser.close()


if __name__ == "__main__":
    main()
