"""`backwalk web` in a process of its own, and a Chromium that opens it: for the benchmark and for `tests/browser`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLE = "BACKWALK_CHROMIUM"
_COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_PLACES = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
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
_LONGEST_START = 300.0  # seconds, of hangs alone


def chromium() -> str | None:
    """Return the path of a Chromium: the one that BACKWALK_CHROMIUM names, or one where they usually are."""
    named = os.environ.get(VARIABLE)
    if named:
        return shutil.which(named)
    found = [shutil.which(name) for name in (*_COMMANDS, *_PLACES)]
    return next((path for path in found if path is not None), None)


def opened(playwright: Any) -> Any:
    """Launch Chromium. Raises FileNotFoundError where there is none."""
    path = chromium()
    if path is None:
        raise FileNotFoundError(f"No Chromium was found: install it, or name it by {VARIABLE}.")
    return playwright.chromium.launch(executable_path=path, args=list(_SWITCHES))


@dataclass(frozen=True)
class Served:
    """A server that runs: the address that it printed, and the file with what it prints."""

    address: str
    log: Path

    @property
    def own(self) -> str:
        """The origin, without a slash at the end."""
        return self.address.partition("/?")[0]


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[Served]:
    """Run `backwalk web --no-browser` with more arguments until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "server.log")
        command = [sys.executable, "-m", "backwalk", "web", "--no-browser", *arguments]
        with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as process:
            try:
                yield Served(_address(process, log), log)
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    limit = time.monotonic() + _LONGEST_START
    while time.monotonic() < limit:
        found = re.search(r"http://\S+\n", text := log.read_text(encoding="utf-8"))
        if found is not None:
            return found.group().strip()
        if process.poll() is not None:
            raise RuntimeError(f"backwalk web ended: {text}")
        time.sleep(0.005)
    raise RuntimeError("backwalk web printed no address.")
