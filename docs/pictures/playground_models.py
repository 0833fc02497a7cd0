"""Train the models that the playground opens with, by the page's own code in Chromium, and write their weights.

python docs/pictures/playground_models.py
"""

from __future__ import annotations

import json
import os
import shutil

from playwright.sync_api import Route, sync_playwright

from backwalk.playground.page import STATIC

HOME = "http://playground.example"
MODELS = (
    ("better", "Two moons, a better network", 10_000),
    ("course", "Two moons, the course's network", 20_000),
    ("notebook", "Two moons, the course notebook's chain", 20_000),
)
DATA = {"density": "two_moons", "n": 5000, "seed": 0}
TRAIN = """([home, preset, title, steps, { density, n, seed }]) => { window.trained = (async () => {
    const [{ Model, PRESETS }, { densityRows }, { Trainer }] = await Promise.all(
        ["models", "data", "trainer"].map((name) => import(`${home}/${name}.js`)));
    const model = new Model(preset, title, densityRows(density, n, seed), { ...PRESETS[preset], seed: 0 });
    const trainer = new Trainer(model);
    for (let i = 0; i < steps; i += 1) trainer.step();
    trainer.settle();
    const bytes = new Uint8Array(model.network.packed().buffer);
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
})(); }"""


def answer(route: Route) -> None:
    """Serve the page's modules from the package."""
    file = STATIC / route.request.url.removeprefix(f"{HOME}/")
    if file.is_file():
        route.fulfill(path=file, content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html>", content_type="text/html")


def main() -> None:
    """Train and write."""
    path = shutil.which(os.environ.get("BACKWALK_CHROMIUM", "chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        pages = []
        for preset, title, steps in MODELS:  # side by side, each in a process of its own
            page = browser.new_context().new_page()
            page.route("**/*", answer)
            page.goto(f"{HOME}/")
            page.evaluate(TRAIN, [HOME, preset, title, steps, DATA])
            pages.append(page)
        models = [
            {
                "id": preset,
                "title": title,
                "preset": preset,
                **DATA,
                "steps": steps,
                "weights": page.evaluate("window.trained"),
            }
            for page, (preset, title, steps) in zip(pages, MODELS, strict=True)
        ]
        browser.close()
    (STATIC.parent / "models.json").write_text(json.dumps(models, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
