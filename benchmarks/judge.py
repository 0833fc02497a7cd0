"""One judge for all methods: unseen rows, independent real sets, and every figure in parts that can be paired.

A figure is kept as a list of parts. Part k of every method is taken on the same real rows, so that the difference of
two methods, or of a method and the truth, has an error far below that of either. The truth itself is judged like a
method, on fresh rows: it is the null of every figure.

- gap: means of log p_true - log p_model over blocks of unseen rows, nats; its null is 0.
- c2st_boosting, c2st_neighbours: accuracies of two classifiers on (real set k, generated set k).
- energy, sliced_w1: distances of the same pairs.

Columns are brought to the training rows' mean and standard deviation before distances are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from backwalk.assess.statistics import boosting, c2st, energy_distance, neighbours, sliced_wasserstein
from backwalk.datasets import Density
from backwalk.estimates import log_ratio
from backwalk.streams import Stream
from benchmarks.methods import Fitted, Rows, timed
from benchmarks.record import Figures

N_BLOCKS = 40  # of unseen rows: few enough to keep, enough for an error

Statistic = Callable[[Rows, Rows, Stream], float]
STATISTICS: dict[str, Statistic] = {
    "c2st_boosting": lambda x, y, stream: c2st(x, y, classifier=boosting, stream=stream),
    "c2st_neighbours": lambda x, y, stream: c2st(x, y, classifier=neighbours, stream=stream),
    "energy": lambda x, y, stream: energy_distance(x, y),  # noqa: ARG005 - every statistic is told its stream
    "sliced_w1": lambda x, y, stream: sliced_wasserstein(x, y, stream=stream),
}


@dataclass(frozen=True)
class JudgeSizes:
    """How much is judged: unseen rows for the gap in the plane and beyond, and the pairs of sets of rows."""

    n_unseen: int
    n_unseen_beyond_plane: int
    n_pairs: int
    n_rows: int


@dataclass(frozen=True, eq=False)
class Reference:
    """Real rows that no method has seen: `unseen` (n, d) with their true log-density, and the sets of the pairs."""

    unseen: Rows
    log_p: Rows
    sets: tuple[Rows, ...]
    centre: Rows
    scale: Rows


def draw_reference(density: Density, training: Rows, sizes: JudgeSizes, *, seed: int) -> Reference:
    """Return real rows, all drawn independently of each other and of the training rows."""
    stream = Stream(seed).child("benchmark reference")
    n_unseen = sizes.n_unseen if density.d <= 3 else sizes.n_unseen_beyond_plane
    unseen = density.sample_rows(0, n_unseen, stream=stream.child("unseen"))
    rows = density.sample_rows(0, sizes.n_pairs * sizes.n_rows, stream=stream.child("sets"))
    return Reference(
        unseen,
        density.log_prob(unseen),
        tuple(np.split(rows, sizes.n_pairs)),
        training.mean(axis=0),
        training.std(axis=0),
    )


def judge(fitted: Fitted, reference: Reference, *, seed: int) -> Figures:
    """Return every figure of a fitted method in parts, with the rows per second that it samples and scores."""
    n = sum(map(len, reference.sets))
    fitted.sample(100, seed + 1)  # whatever is set up at the first call
    generated, sampling = timed(lambda: fitted.sample(n, seed))
    figures: Figures = {
        "pairs": len(reference.sets),
        "rows_in_a_set": len(reference.sets[0]),
        "unseen_rows": len(reference.unseen),
        "rows_sampled_a_second": n / sampling,
    }
    log_prob = fitted.log_prob
    if log_prob is not None:
        log_p, scoring = timed(lambda: log_prob(reference.unseen))
        figures["rows_scored_a_second"] = len(log_p) / scoring
        gap = -log_ratio(reference.log_p, log_p)
        infinite = int(np.isinf(gap).sum())
        figures |= {"infinite_gaps": infinite} if infinite else {"gap": block_means(gap)}
    where = (len(part) for part in reference.sets[:-1])
    pairs = list(zip(reference.sets, np.split(generated, np.cumsum(list(where))), strict=True))
    for name, statistic in STATISTICS.items():
        stream = Stream(seed).child("benchmark judge", name)
        figures[name] = [
            statistic(_scaled(real, reference), _scaled(made, reference), stream.child(k))
            for k, (real, made) in enumerate(pairs)
        ]
    return figures


def block_means(values: Rows) -> list[float]:
    """Return the means of N_BLOCKS blocks of values (n,), or the values where they are fewer."""
    return [float(block.mean()) for block in np.array_split(values, min(N_BLOCKS, len(values)))]


def _scaled(rows: Rows, reference: Reference) -> Rows:
    return (rows - reference.centre) / reference.scale
