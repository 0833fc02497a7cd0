"""Figures over draws of the data: a method's beside those of real rows, in means with errors and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.record import Figures
from benchmarks.tables import LEAST_DRAWS, Mean, Parts, difference, mean_of

Results = list[Figures]
Draws = dict[int, Figures]
ERRORS_BY_DRAWS = (
    f"± is over draws of the data, each with a separate fit; with fewer than {LEAST_DRAWS} it is over rows of the "
    "same fits, and leaves out the chance of another fit."
)


def grouped(results: Results, *names: str) -> dict[tuple[Any, ...], Draws]:
    """Return the results by the named parts of their keys, and within a group by seed."""
    groups: dict[tuple[Any, ...], Draws] = {}
    for result in results:
        groups.setdefault(tuple(result["key"][name] for name in names), {})[result["key"]["seed"]] = result
    return groups


def judged(results: Results) -> str:
    """Return on how much is judged, where the results know: the older ones do not."""
    known = {(r["pairs"], r["rows_in_a_set"], r["unseen_rows"]) for r in results if "pairs" in r}
    if not known:
        return ""
    pairs, rows, unseen = (
        " or ".join(f"{size:,}" for size in sorted(sizes)) for sizes in map(set, zip(*known, strict=True))
    )
    return f"Distances and C2ST are over {pairs} pairs of {rows} rows, gaps over {unseen} unseen rows."


def parts(draws: Draws, name: str, seeds: Sequence[int] | None = None) -> Parts:
    """Return a figure's parts, draw by draw: of these seeds, or of all."""
    return [draws[seed][name] for seed in (sorted(draws) if seeds is None else seeds)]


def mean_over(draws: Draws, name: str) -> Mean | None:
    """Return the mean of a figure, or None where a draw does not have it."""
    return mean_of(parts(draws, name)) if all(name in draw for draw in draws.values()) else None


def minus(draws: Draws, real: Draws, name: str) -> Mean | None:
    """Return the mean of a figure minus that of real rows, in pairs, over the draws that have both; None of no draw."""
    seeds = [seed for seed in sorted(draws) if seed in real and name in draws[seed]]
    return difference(parts(draws, name, seeds), parts(real, name, seeds)) if seeds else None


def over(draws: Draws, real: Draws, name: str) -> Mean | None:
    """Return the ratio r of the means of a figure and of its null, with the error of (part - r null) / mean null."""
    seeds = [seed for seed in sorted(draws) if seed in real]
    if not seeds:
        return None
    own, nulls = parts(draws, name, seeds), parts(real, name, seeds)
    null = mean_of(nulls).value
    ratio = mean_of(own).value / null
    return mean_of(
        [[ratio + (a - ratio * b) / null for a, b in zip(*pair, strict=True)] for pair in zip(own, nulls, strict=True)]
    )


def gap(draws: Draws) -> Mean | None:
    """Return the mean gap, None where a method has no density, or an infinite gap."""
    return mean_over(draws, "gap")


def infinite(draws: Draws) -> str:
    """Return in how many draws the gap is infinite, in words, or nothing: the mean over the others would hide it."""
    n = sum("infinite_gaps" in draw for draw in draws.values())
    return f"infinite in {n} of {len(draws)} draws" if n else ""


def choices(draws: Draws) -> str:
    """Return which settings were chosen, in words; numbers of one thing as a range."""
    found = list(dict.fromkeys(draw["choice"] for draw in draws.values() if draw["choice"]))
    numbers = [choice.split(" ", 1) for choice in found]
    if len(found) > 1 and all(number.isdigit() and rest == numbers[0][1] for number, rest in numbers):
        sizes = sorted(int(number) for number, _ in numbers)
        return f"{sizes[0]} to {sizes[-1]} {numbers[0][1]}"
    return "; ".join(found)
