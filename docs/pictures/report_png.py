"""Draw docs/pictures/report.png: the head of the report of `backwalk demo`, as Chromium shows it.

Run from the root of the repository: `python docs/pictures/report_png.py [REPORT.html]`. Without a report the
demo is run first. Needs Chromium, called `chromium` or named by the environment variable CHROMIUM.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1000, 1290

with tempfile.TemporaryDirectory() as folder:
    report = Path(sys.argv[1] if len(sys.argv) > 1 else f"{folder}/out/demo/report.html").resolve()
    if len(sys.argv) == 1:
        subprocess.run([sys.executable, "-m", "backwalk", "demo"], check=True, cwd=folder)
    shot = Path(folder) / "shot.png"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}"]
    browser = os.environ.get("CHROMIUM", "chromium")
    subprocess.run([browser, *flags, report.as_uri()], check=True, capture_output=True, timeout=300)
    picture = Image.open(shot).convert("RGB").quantize(128)
    picture.save(Path(__file__).parent / "report.png", optimize=True)
