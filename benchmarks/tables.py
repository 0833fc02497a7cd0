"""The arithmetic of the tables: means with errors, differences in pairs, who is first and who is tied; and Markdown.

A figure of a method is a list, over draws of the data, of its parts (see `judge`). Two methods are compared part by
part. With three draws or more the error is over the draws, whose fits are independent; with fewer it is over the
parts, and then says nothing of another fit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backwalk.estimates import student_quantile

Parts = Sequence[Sequence[float]]
LEAST_DRAWS = 3  # for an error over the draws


@dataclass(frozen=True)
class Mean:
    """A mean, its standard error (NaN from a single value), and the degrees of freedom of the error."""

    value: float
    standard_error: float
    freedom: int

    def is_shown_positive(self, z: float = 2.0) -> bool:
        """Say whether the mean is shown to be above 0: at the level of a normal's z, by Student's t."""
        if self.freedom < 1 or not math.isfinite(self.standard_error):
            return self.value > 0.0
        return self.value > student_quantile(self.freedom, z) * self.standard_error


def mean_of(parts: Parts) -> Mean:
    """Return the mean of a figure over draws and parts, with its error.

    >>> mean_of([[1.0, 3.0]])
    Mean(value=2.0, standard_error=1.0, freedom=1)
    """
    by_draw = np.array([np.mean(draw) for draw in parts])
    values = by_draw if len(parts) >= LEAST_DRAWS else np.concatenate([np.asarray(draw, float) for draw in parts])
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Mean(float(by_draw.mean()), error, len(values) - 1)


def difference(a: Parts, b: Parts) -> Mean:
    """Return the mean of a - b, pair by pair, with its error. Both have the same draws and parts."""
    return mean_of([np.subtract(x, y).tolist() for x, y in zip(a, b, strict=True)])


def first_and_tied(figures: Mapping[str, Mapping[int, Sequence[float]]]) -> tuple[str | None, set[str]]:
    """Return the method with the least mean, and the others that are not shown to be worse than it.

    Each method's parts are given by the seed of the draw. The first is one of those with the most draws; one with fewer
    is compared with it on the draws that it has. With fewer than `LEAST_DRAWS` of more it is not compared: the chance
    of another fit would be missing from its error, and not from the others'.

    >>> first_and_tied({"a": {0: [1.0, 2.0]}, "b": {0: [1.2, 1.9]}, "c": {0: [5.0, 6.1]}, "d": {}})
    ('a', {'b'})
    """
    most = max((len(draws) for draws in figures.values()), default=0)
    if most == 0:
        return None, set()
    means = {name: mean_of(list(draws.values())).value for name, draws in figures.items() if len(draws) == most}
    first = min(means, key=lambda name: means[name])

    def is_tied(draws: Mapping[int, Sequence[float]]) -> bool:
        common = sorted(draws.keys() & figures[first].keys())
        pairs = [draws[seed] for seed in common], [figures[first][seed] for seed in common]
        return len(common) >= min(most, LEAST_DRAWS) and not difference(*pairs).is_shown_positive()

    return first, {name for name, draws in figures.items() if name != first and is_tied(draws)}


def shown(mean: Mean) -> str:
    """Return a mean and its error in as many decimals as the error deserves: two digits of it.

    >>> shown(Mean(0.01234, 0.00456, 9)), shown(Mean(2.5, math.nan, 0))
    ('0.0123 ± 0.0046', '2.5')
    """
    if not math.isfinite(mean.standard_error) or mean.standard_error == 0.0:
        return f"{mean.value:.3g}"
    decimals = min(6, max(0, 1 - math.floor(math.log10(mean.standard_error))))
    value = round(mean.value, decimals) + 0.0  # never -0
    return f"{value:.{decimals}f} ± {mean.standard_error:.{decimals}f}"


def count(value: float) -> str:
    """Return a number in three digits with a word for its size.

    >>> [count(v) for v in (12.34, 999.7, 1234.0, 5.6e7, 0.1234)]
    ['12.3', '1 k', '1.23 k', '56 M', '0.123']
    """
    for size, word in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if float(f"{value:.3g}") >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:.3g}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown: the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def mib(n_bytes: float) -> str:
    """Return bytes as whole MiB."""
    return f"{n_bytes / 2**20:,.0f}"
