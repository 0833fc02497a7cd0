"""Results as CSV: a line for each number or text, so that other programs can read them.

The first columns are the keys' (method, seed, ...). Then come the figure, with a dot before each part of a nested one;
the part, 0, 1, .., of a figure that is a list; and the value. Lines about the machine have no keys, and the figure
"machine. ..". Texts are quoted and numbers are not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.record import Figures, Store

_COLUMNS = ("figure", "part", "value")
_MACHINE = "machine"


class CsvStore(Store):
    """A `Store` whose file is CSV."""

    def _read(self) -> Figures:
        return read_csv(self.path)

    def _text(self, record: Figures) -> str:
        keys = list(record["results"][0]["key"])
        text = io.StringIO()
        write = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerow
        write([*keys, *_COLUMNS])
        for line in _flat({_MACHINE: record["machine"]}):
            write([*[""] * len(keys), *line])
        for result in record["results"]:
            for line in _flat({name: value for name, value in result.items() if name != "key"}):
                write([*(result["key"][name] for name in keys), *line])
        return text.getvalue()


def read_csv(path: Path) -> Figures:
    """Return the record of a file, as `Store` has it: {"machine": .., "results": [{"key": .., ..}, ..]}."""
    with path.open(newline="") as file:
        lines = csv.reader(file, quoting=csv.QUOTE_NONNUMERIC)
        names = next(lines)[: -len(_COLUMNS)]
        by_key: dict[tuple[Any, ...], Figures] = {}
        for line in lines:
            values = [int(value) if isinstance(value, float) and value.is_integer() else value for value in line]
            *key, figure, part, value = values
            _put(by_key.setdefault(tuple(key), {}), str(figure).split("."), part, value)
    machine = by_key.pop(("",) * len(names))[_MACHINE]
    results = [{"key": dict(zip(names, key, strict=True)), **figures} for key, figures in by_key.items()]
    return {"machine": machine, "results": results}


def _flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        elif isinstance(value, (list, tuple)):
            yield from ((f"{before}{name}", part, each) for part, each in enumerate(value))
        elif value is not None:
            yield f"{before}{name}", "", value


def _put(figures: Figures, path: list[str], part: Any, value: Any) -> None:
    for name in path[:-1]:
        figures = figures.setdefault(name, {})
    if part == "":
        figures[path[-1]] = value
    else:
        figures.setdefault(path[-1], []).append(value)
