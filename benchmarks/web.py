"""The page of `backwalk web` in Chromium: until its chain moves, until trained moons are sharp, and its frames."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.assess.statistics import sliced_wasserstein
from backwalk.datasets import two_moons
from backwalk.streams import Stream
from benchmarks.browser import Served, opened, served
from benchmarks.draws import Results
from benchmarks.record import Figures, Store
from benchmarks.tables import table

TITLE = "The page"
SHARP = 1.5  # times the distance of other real rows
SETTLED = 1.1  # times that of the last snapshots, which have the same noise: that of 1,000 rows varies by a third
_N_ROWS, _N_POINTS, _N_FRAMES, _N_NULLS = 10_000, 10_000, 240, 21
_LONGEST = 300.0  # seconds, of hangs alone
_READING = "document.querySelector('#reading').innerText"  # the step t of the state in the picture, and more
_READY = "document.body.matches('.ready:not(.waiting)')"
# The page's snapshots as they come: milliseconds since the click, training step, limits, coordinates.
_RECORD = """async () => {
    const { session } = await import('/static/session.js'), [stage] = session.stages, found = [];
    let last = null, began = null;
    document.querySelector('#train').addEventListener('click', () => { began ??= performance.now(); }, true);
    const look = () => {
        const now = stage.snapshot;
        if (now && now !== last) found.push([performance.now() - began, now.limits, Array.from(now.samples)]);
        last = now;
        if (!window.enough) requestAnimationFrame(look);
    };
    look();
    window.snapshots = found;
    window.sinceClick = () => performance.now() - began;
}"""
_SCRUB = """n => new Promise(done => {
    const level = document.querySelector('#level'), last = Number(level.max), times = [];
    let k = 0;
    const next = (now) => {
        times.push(now);
        if (times.length > n) return done(times.slice(1).map((time, i) => time - times[i]));
        k += 1;
        level.value = String(Math.abs(last - (k % (2 * last))));
        level.dispatchEvent(new Event('input', { bubbles: true }));
        requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
})"""


@dataclass(frozen=True)
class Sizes:
    """How often each figure is measured."""

    n_seeds: int


SIZES = {"quick": Sizes(1), "short": Sizes(3), "full": Sizes(7)}


def run(store: Store, sizes: Sizes) -> None:
    """Measure each figure so many times, each time with a new server and a new tab."""
    for seed in range(sizes.n_seeds):
        for what, measure in {"moves": _moves, "sharp": _sharp, "frames": _frames}.items():
            store.once({"what": what, "seed": seed}, partial(_in_a_tab, measure, seed))


def _in_a_tab(measure: Callable[[Any, Served, float, int], Figures], seed: int) -> Figures:
    """Measure in a new tab of a browser that runs already; the server starts now."""
    with _tab() as tab:
        began = time.perf_counter()
        with served() as server:
            return measure(tab, server, began, seed)


@contextlib.contextmanager
def _tab() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = opened(playwright)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


def _moves(tab: Any, server: Served, began: float, _: int) -> Figures:
    """Seconds from the start of the process: until it prints its address, until its page is loaded, until it moves."""
    there = time.perf_counter()
    tab.goto(server.address)
    _until(tab, f"{_READY} && {_READING}")
    ready = time.perf_counter()
    first = tab.evaluate(_READING)
    _until(tab, f"{_READING} !== {json.dumps(first)}")
    moving = time.perf_counter()
    return {"address": there - began, "ready": ready - began, "moving": moving - began}


def _sharp(tab: Any, server: Served, _: float, seed: int) -> Figures:
    """Seconds from the press on "Train" until rows in the picture are sharp, and until the default fit has ended."""
    tab.goto(f"{server.address}#tab=train&p=0.5&fitSeed={seed}")
    _until(tab, "document.querySelector('#train')?.disabled === false")
    tab.evaluate(_RECORD)
    tab.click("#train")
    _until(tab, "document.querySelector('#training-reading').innerText.startsWith('Fitted')")
    ended = tab.evaluate("sinceClick()") / 1000
    _until(tab, f"{_READY} && location.hash.includes('model=')")
    drawn = tab.evaluate("sinceClick()") / 1000
    tab.evaluate("window.enough = true")
    X = two_moons().sample(_N_ROWS, random_state=0)
    real = (two_moons().sample(_N_ROWS, random_state=1) - X.mean(axis=0)) / X.std(axis=0)
    taken = [
        (at / 1000, _distance(_points(limits, samples), real)) for at, limits, samples in tab.evaluate("snapshots")
    ]
    null = statistics.median(
        _distance((two_moons().sample(1000, random_state=2 + k) - X.mean(axis=0)) / X.std(axis=0), real)
        for k in range(_N_NULLS)
    )
    last = statistics.median(apart for _, apart in taken[-5:])
    return {
        "sharp": next((at for at, apart in taken if apart <= SHARP * null), None),
        "settled": next(at for at, apart in taken if apart <= SETTLED * last),
        "fitted": ended,
        "drawn": drawn,
        "null": null,
        "snapshots": [[at, apart / null] for at, apart in taken],
    }


def _points(limits: list[float], samples: list[int]) -> NDArray[np.float64]:
    left, right, bottom, top = limits
    unit = np.array(samples).reshape(-1, 2) / 65535
    return np.asarray(np.array([left, bottom]) + unit * np.array([right - left, top - bottom]))


def _distance(rows: NDArray[np.float64], real: NDArray[np.float64]) -> float:
    return sliced_wasserstein(rows, real, stream=Stream(0).child("directions"))


def _frames(tab: Any, server: Served, _: float, seed: int) -> Figures:
    """Milliseconds a frame of 10,000 points: as the page plays, and as the slider moves at each frame."""
    tab.goto(f"{server.address}#n={_N_POINTS}&p=0.9&seed={seed}")
    _until(tab, _READY)
    scrubbed = tab.evaluate(_SCRUB, _N_FRAMES)
    tab.evaluate("backwalkResetFrames()")
    tab.click("#play")
    _until(tab, f"backwalkFrames().n >= {_N_FRAMES}")
    played = tab.evaluate("backwalkFrames()")
    return {
        "scrub_mean": statistics.fmean(scrubbed),
        "scrub_p95": float(np.quantile(scrubbed, 0.95)),
        "play_mean": played["mean_ms"],
        "play_p95": played["p95_ms"],
        "draw": played["draw_ms"],
    }


def _until(tab: Any, expression: str) -> None:
    limit = time.monotonic() + _LONGEST
    while not tab.evaluate(expression):
        if time.monotonic() > limit:
            raise TimeoutError(expression)
        tab.wait_for_timeout(5)


_ROWS = (
    ("moves", "address", "`backwalk web` prints its address", "s"),
    ("moves", "ready", "the page is loaded", "s"),
    ("moves", "moving", "**the chain moves on the screen**", "s"),
    ("sharp", "sharp", f"**from “Train” to rows within {SHARP:g} times the distance of other real rows**", "s"),
    ("sharp", "settled", f"from “Train” to rows within {SETTLED:g} times the last snapshots' distance", "s"),
    ("sharp", "fitted", "from “Train” to the end of the default fit", "s"),
    ("sharp", "drawn", "from “Train” to the chain of the new model", "s"),
    ("frames", "scrub_mean", "**a frame of 10,000 points, slider moved at each frame**", "ms"),
    ("frames", "scrub_p95", "the same, 95 % within", "ms"),
    ("frames", "play_mean", "a frame of 10,000 points, playing", "ms"),
    ("frames", "play_p95", "the same, 95 % within", "ms"),
    ("frames", "draw", "drawing alone", "ms"),
)


def told(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the table of medians with the least and the greatest value."""
    rows = []
    for what, name, words, unit in _ROWS:
        values = [result[name] for result in results if result["key"]["what"] == what and result[name] is not None]
        if values:
            low, middle, high = min(values), statistics.median(values), max(values)
            rows.append((words, f"{middle:.2f} {unit}", f"{low:.2f} to {high:.2f}", str(len(values))))
    words = (
        "Chromium without a graphics processor, 1,280 by 900 pixels; it runs before the server starts. Two moons, "
        "10,000 rows, default settings. Rows are those of the page's snapshots, 1,000 of them; the distance is sliced "
        f"W1 to {_N_ROWS:,} real rows, and its null that of 1,000 other real rows. Medians, and the range over new "
        "servers and tabs.\n"
    )
    return f"{words}\n{table(('figure', 'median', 'range', 'measured'), rows)}"
