"""The results of campaigns, kept as JSON, and the page made from them."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import torch

import backwalk
from soak.campaign import Result
from soak.table import CAMPAIGNS

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parents[1] / "docs" / "trust.md"
_BEGIN, _END = "<!-- results -->\n", "<!-- end of results -->\n"


def record(result: Result, seed: int) -> None:
    """Put a result into the place of the same campaign's last one."""
    kept = _kept()
    kept[result.name] = {**asdict(result), "seed": seed, "date": datetime.now(UTC).date().isoformat(), **_machine()}
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


def write_page() -> None:
    """Put the table of all results between its two marks in docs/trust.md."""
    text = PAGE.read_text()
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    PAGE.write_text(f"{before}{_BEGIN}\n{table()}\n{_END}{after}")


def table() -> str:
    """Return the results as a table, one line a campaign, and what they were measured on."""
    kept, lines = _kept(), ["| area | fault | must hold | cases | failed | seconds |", "|---|---|---|---|---|---|"]
    for campaign in CAMPAIGNS:
        found = kept.get(campaign.name)
        figures = f"{found['cases']:,} | {found['failures']} | {found['seconds']:,.0f}" if found else "not run | |"
        if found and found.get("skipped"):
            figures = f"skipped: {found['skipped']} | |"
        lines.append(f"| {campaign.area} | {campaign.fault} | {campaign.holds} | {figures} |")
    machines = sorted({f"{each['date']}: {each['machine']}; {each['versions']}." for each in kept.values()})
    return "\n".join([*lines, "", *machines, ""])


def _kept() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return kept


def _machine() -> dict[str, str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {
        "backwalk": backwalk.__version__,
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "NumPy": np.__version__,
        "pyarrow": pyarrow.__version__,
    }
    return {
        "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
