"""Stores the results of a run as CSV after every result, so that a run can be stopped and continued.

A line of the file is a result: the columns of its key (`key.method`, `key.seed`, ...), its figures, and its commit, or
the reason why there are no figures. A dot separates the parts of a nested figure. A figure of several numbers is one
cell, a list in JSON. The first line is a comment with the machine in JSON, which `pandas.read_csv(path, comment="#")`
skips. Figures of another machine, or of other versions of the packages, are never mixed into a file; a package may be
added to those that were there.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import statistics
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from backwalk.files import atomic_write

PACKAGES = (
    "backwalk",
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "zuko",
    "diffusers",
    "azula",
    "ForestDiffusion",
    "xgboost",
    "POT",
    "ray",
)
_MUST_MATCH = ("cpu", "cores", "threads", "python")

Key = Mapping[str, Any]
Figures = dict[str, Any]


class Store:
    """The results of one part of the benchmark, in one file. A result is kept on disk as soon as it is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        here = machine()
        if path.exists():
            record = read_csv(path)
            then, now = record["machine"]["versions"], here["versions"]
            differs = [name for name in _MUST_MATCH if record["machine"][name] != here[name]]
            differs += [f"{name}'s version" for name in sorted(then.keys() & now.keys()) if then[name] != now[name]]
            if differs:
                raise SystemExit(
                    f"{path} should go on as it began, but {', '.join(differs)} differ from then: move it away, or "
                    "give another folder with --results."
                )
            self.machine, self.results = record["machine"] | {"versions": then | now}, record["results"]
        else:
            self.machine, self.results = here, list[Figures]()

    def find(self, key: Key) -> Figures | None:
        """Return the result that has this key, or None."""
        return next((result for result in self.results if result["key"] == dict(key)), None)

    def once(self, key: Key, measure: Callable[[], Figures]) -> Figures:
        """Return the result with this key, measured now unless it is there already.

        An error becomes a result with its reason under "failed"; such a result is tried again in the next run.
        """
        known = self.find(key)
        if known is not None and "failed" not in known:
            print(", ".join(map(str, key.values())), f" kept, of commit {known['commit']}", flush=True)
            return known
        if known is not None:
            self.results.remove(known)
        before, began = pace(), time.perf_counter()
        try:
            figures = measure()
        except Exception as error:
            # Whatever a peer raises is a result: that it failed, and why. Our own faults show in the same place.
            traceback.print_exc()
            figures = {"failed": _reason(error)}
        taken = round(time.perf_counter() - began, 1)
        result = {"key": dict(key), **figures, "seconds_in_all": taken, "pace": [before, pace()]}
        result |= {"date": _today(), "commit": COMMIT}
        self.results.append(result)
        self._write()
        print(", ".join(map(str, key.values())), "failed:" if "failed" in figures else "", end=" ")
        print(figures.get("failed", f"done in {taken} s"), flush=True)
        return result

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = csv_text(rounded({"machine": self.machine, "results": self.results}))
        with atomic_write(self.path, overwrite=True) as file:
            file.write(text.encode())


def csv_text(record: Figures) -> str:
    """Return a record, {"machine": .., "results": [..]}, as CSV."""
    lines = [dict(_flat(result)) for result in record["results"]]
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    text.write(f"# {json.dumps(record['machine'], allow_nan=False)}\n")
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([line.get(name, "") for name in names] for line in lines)
    return text.getvalue()


def read_csv(path: Path) -> Figures:
    """Return the record of a file: {"machine": .., "results": [{"key": .., ..}, ..]}."""
    with path.open(newline="") as file:
        machine = json.loads(file.readline().removeprefix("#"))
        names, *lines = csv.reader(file, quoting=csv.QUOTE_NONNUMERIC)
    results = list[Figures]()
    for line in lines:
        results.append({})
        for name, cell in zip(names, line, strict=True):
            if cell != "":
                _put(results[-1], str(name).split("."), _value(cell))
    return {"machine": machine, "results": results}


def _flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        elif value is not None:
            is_plain = isinstance(value, (int, float)) and not isinstance(value, bool)
            is_plain |= (
                isinstance(value, str) and value != "" and value[0] not in '["{' and value not in ("true", "false")
            )
            yield f"{before}{name}", value if is_plain else json.dumps(value, allow_nan=False)


def _value(cell: str | float) -> Any:
    if isinstance(cell, float):
        return int(cell) if cell.is_integer() else cell
    return json.loads(cell) if cell[0] in '["{' or cell in ("true", "false") else cell


def _put(figures: Figures, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        figures = figures.setdefault(name, {})
    figures[path[-1]] = value


def pace(seconds: float = 0.1) -> float:
    """Return how many products of two matrices (256, 256) the machine makes per second: less while others are at work.

    The median of rounds over so many seconds: what a neighbour takes now and then does not show, what it keeps does.
    """
    a, rounds = torch.ones(256, 256), list[float]()
    end = time.perf_counter() + seconds
    while len(rounds) < 3 or time.perf_counter() < end:
        began = time.perf_counter()
        for _ in range(20):
            a @ a
        rounds.append(time.perf_counter() - began)
    return 20 / statistics.median(rounds)


def machine() -> Figures:
    """Return what figures depend on: processor, memory, threads, versions, and the day."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "ram_gib": _ram_gib(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "date": _today(),
    }


def rounded(value: Any, digits: int = 5) -> Any:
    """Return JSON values with every float at so many significant digits: results are read and compared by people."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, Mapping):
        return {name: rounded(item, digits) for name, item in value.items()}
    return [rounded(item, digits) for item in value] if isinstance(value, (list, tuple)) else value


def _reason(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else f"{text[:199]}…"


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    return cpu_name(text) or platform.processor() or platform.machine()


def cpu_name(cpuinfo: str) -> str:
    """Return the first processor's name, its family and its model, as some names tell no more than the maker.

    It is empty where the text of /proc/cpuinfo has no name, as on some processors.
    """
    first = cpuinfo.strip().split("\n\n")[0]
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    if "model name" not in facts:
        return ""
    numbers = [f"{name} {facts[key]}" for name, key in (("family", "cpu family"), ("model", "model")) if key in facts]
    return facts["model name"] + (f" ({', '.join(numbers)})" if numbers else "")


def _ram_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _commit() -> str | None:
    """Return the commit of the code that runs, with a + where files of it differ."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False).stdout

    changed = git("status", "--porcelain", "--", ".", "../src", ":!results")
    commit = git("rev-parse", "--short=12", "HEAD").strip()
    return commit + "+" * bool(changed) if commit else None


COMMIT = _commit()  # at the import, as that of later hours may be of other code
