"""Results: figures of a part, a case, a method, a budget and a seed, each kept as soon as it is measured."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

Figures = dict[str, float | str]
Result = TypeVar("Result")
KEY = ("part", "case", "method", "budget", "seed")


def timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Return what a call returns, and the seconds that it took."""
    began = time.perf_counter()
    result = call()
    return result, time.perf_counter() - began


class Store:
    """Results in a file, a line of JSON each. What is there is not measured again, but for failures."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        self.results = {self._key(each): each for each in found if "failed" not in each}

    @staticmethod
    def _key(result: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(result[name] for name in KEY)

    def once(self, part: str, case: str, method: str, budget: str, seed: int, job: Callable[[], Figures]) -> None:
        """Measure, unless the result is there. A failure is kept with its reason, and tried again the next time."""
        key = dict(zip(KEY, (part, case, method, budget, seed), strict=True))
        if self._key(key) in self.results:
            return
        print(", ".join(str(value) for value in key.values()), end=" ", flush=True)
        try:
            figures, seconds = timed(job)
        except (ImportError, ValueError, RuntimeError, MemoryError) as error:
            figures, seconds = {"failed": f"{type(error).__name__}: {error}".splitlines()[0]}, 0.0
        print(figures.get("failed", f"{seconds:.0f} s"), flush=True)
        result = {**key, **figures}
        self.results[self._key(key)] = result
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(result) + "\n")


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """Return a table: a line for each case, method and budget, with means over the seeds ± their standard errors.

    >>> print(markdown([{**dict(zip(KEY, ("p", "moons", "ours", "7 s", s))), "gap": 1.0 + s} for s in (0, 1)]))
    | case | method | budget | seeds | gap |
    |---|---|---|---:|---:|
    | moons | ours | 7 s | 2 | 1.50 ± 0.50 |
    """
    frame = pd.DataFrame(results)
    figures = [name for name in frame if name not in KEY]
    lines = [
        f"| case | method | budget | seeds | {' | '.join(figures)} |",
        "|---|---|---|" + "---:|" * (len(figures) + 1),
    ]
    for (case, method, budget), group in frame.groupby(["case", "method", "budget"], sort=False):
        cells = (shown(group[name].dropna().tolist()) for name in figures)
        lines.append(f"| {case} | {method} | {budget} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(values: Sequence[float | str]) -> str:
    """Return the mean of numbers with its standard error, at two of this error's digits; or the words.

    >>> shown([1.0, 1.2]), shown([0.123456]), shown(["a", "a", "b"]), shown([])
    ('1.10 ± 0.10', '0.1235', 'a; b', '')
    """
    numbers = [value for value in values if not isinstance(value, str)]
    if not numbers:
        return "; ".join(dict.fromkeys(map(str, values)))
    mean = sum(numbers) / len(numbers)
    if len(numbers) == 1:
        return f"{mean:.4g}"
    error = math.sqrt(sum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1) / len(numbers))
    if error == 0.0 or not math.isfinite(error):
        return f"{mean:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def machine() -> str:
    """Return the processor and the versions."""
    names = ("backwalk", "torch", "numpy", "scikit-learn")
    return f"{platform.processor() or platform.machine()}, {', '.join(f'{name} {version(name)}' for name in names)}"
