"""The section of rows: the real and the generated rows that the statistics compare, in pictures and in numbers.

Clouds of points are rasterised; lines and text are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from backwalk.assess import Fidelity
from backwalk.assess.statistics.distances import correlation_matrix
from backwalk.report.axes import AsinhPair, Limits, fit_axes, fitting_height, limits_of, some_rows
from backwalk.report.blocks import Context, Picture, Pictures, Section, Text
from backwalk.report.sections.columns import column_blocks
from backwalk.report.style import BLUE, GENERATED, REAL, axes_or_new, finish, literal, panels, styled
from backwalk.streams import Stream

_MOST_POINTS = 5_000  # per picture
_FEWEST_IN_A_CLOUD = 20


def row_section(context: Context) -> Section:
    """Show the compared rows: pairs of columns, histograms, and the columns in numbers."""
    fidelity, codec = context.fidelity, context.model.codec
    clouds = list(_clouds(context))
    gaps = (
        " The model makes complete rows; for comparison they have the gaps of random training rows. Where gaps depend "
        "on values, this counts against the model."
    )
    blocks: list[object] = [
        Text(rows_text(fidelity, context.model.schema.n_columns, len(context.varying))),
        Text(
            f"The pictures show the rows that the statistics compare: {fidelity.real_rows}. Sampler of the generated "
            f"rows: {fidelity.sampler}.{gaps if fidelity.columns.gaps else ''}"
        ),
    ]
    if clouds:
        blocks.append(Pictures(clouds))
        if any(column.is_integer for column in codec.columns):
            words = "Integers are drawn spread out by up to ± 1/2, so that points do not hide each other."
            blocks.append(Text(words, note=True))
    return Section("Real rows beside generated rows", [*blocks, *column_blocks(context)])


def rows_text(fidelity: Fidelity, n_columns: int, n_varying: int) -> str:
    """Return how many rows trained, chose the weights and score the model."""
    checks = fidelity.checks
    columns = f"{n_columns} column{'s' * (n_columns > 1)}"
    words = f"The model is scored on {checks.n_unseen:,} rows of {columns}"
    if checks.n_training is None:
        words += "; its training rows were not given."
    elif checks.is_other_training:
        words += f". The {checks.n_given:,} training rows given here are not the table of its fit."
    else:
        words += f", and was trained on {checks.n_training:,} rows."
        held_out = (checks.n_given or 0) - checks.n_training
        if held_out:
            words += f" Of the {checks.n_given:,} rows given to the fit, the other {held_out:,} only chose its weights."
    if n_varying < n_columns:
        n = n_columns - n_varying
        words += f" {n} column{' is' if n == 1 else 's are'} constant, and generated exactly."
    if fidelity.likelihood.entropy is not None:
        words += " The true density of the data is known."
    return words


def _clouds(context: Context) -> Iterator[Picture]:
    """Yield real and generated rows in turn, for the pairs of columns of numbers that differ most."""
    fidelity, codec = context.fidelity, context.model.codec
    figures = dict(zip(context.varying, context.fidelity.columns.figures, strict=True))
    with_levels = {block.column for block in codec.blocks if block.number is None}
    numbers = [j for j in context.varying if j not in with_levels]
    if len(numbers) < 2:
        return
    complete = [each[~np.isnan(each[:, numbers]).any(axis=1)] for each in (fidelity.real, fidelity.generated)]
    n = min(*map(len, complete), _MOST_POINTS)
    if n < _FEWEST_IN_A_CLOUD:
        return
    # Integers on a lattice would hide each other.
    x, y = (
        codec.dequantise(some_rows(each, n), stream=Stream(0).child("clouds", k)) for k, each in enumerate(complete)
    )
    if codec.blocks:
        real, generated = (each[:, numbers] for each in complete)
    else:
        starts = [codec.slices[j].start for j in numbers]
        real, generated = (codec.encode(each)[:, starts] for each in complete)
    distance = [figures[j].difference for j in numbers]
    for pair in telling_pairs(real, generated, distance, n_pairs=2 if len(numbers) > 2 else 1):
        i, j = (numbers[k] for k in pair)
        asinh = codec.columns[i].asinh, codec.columns[j].asinh
        limits = limits_of(x[:, [i, j]], y[:, [i, j]], asinh=asinh)
        labels = (context.name(i), context.name(j))
        for points, color, title in ((x, REAL, "Real"), (y, GENERATED, "Generated")):
            figure = plot_points(points[:, [i, j]], title=title, labels=labels, limits=limits, color=color, asinh=asinh)
            yield Picture.of(figure, f"{title}: {labels[1]} against {labels[0]}")


@styled()
def plot_points(
    points: ArrayLike,
    *,
    title: str = "",
    labels: tuple[str, str] = ("x₁", "x₂"),
    limits: Limits | None = None,
    color: str = BLUE,
    asinh: AsinhPair = (None, None),
    ax: Axes | None = None,
) -> Figure:
    """Draw points (n, 2) of the plane, into `ax` or a new figure; of more than 5,000, a random 5,000."""
    limits = limits or limits_of(points, asinh=asinh)
    ax = axes_or_new(ax, height=fitting_height(limits, asinh))
    shown = some_rows(np.asarray(points), _MOST_POINTS)
    n = max(1, len(shown))
    size, alpha = min(14.0, max(2.2, 9_000 / n)), min(0.8, max(0.35, 250.0 / n**0.75))
    ax.scatter(shown[:, 0], shown[:, 1], s=size, color=color, alpha=alpha, linewidths=0, rasterized=True)
    ax.set(xlabel=literal(labels[0]), ylabel=literal(labels[1]))
    fit_axes(ax, limits, asinh)
    return finish(ax, title, grid="")


@styled()
def plot_side_by_side(
    data: ArrayLike,
    generated: ArrayLike,
    *,
    titles: tuple[str, str] = ("Data", "Generated"),
    labels: tuple[str, str] = ("x₁", "x₂"),
) -> Figure:
    """Draw data (n, 2) beside generated points (m, 2), on the same axes and equally many of each."""
    n = min(len(np.asarray(data)), len(np.asarray(generated)), _MOST_POINTS)
    limits = limits_of(data, generated)
    figure, axes = panels(2, height=fitting_height(limits))
    for ax, points, color, title in zip(axes, (data, generated), (REAL, GENERATED), titles, strict=True):
        shown = some_rows(np.asarray(points), n)
        plot_points(shown, title=title, labels=labels, limits=limits, color=color, ax=ax)
    return figure


@styled()
def plot_chain(
    frames: Sequence[ArrayLike],
    *,
    captions: Sequence[str] = (),
    color: str = BLUE,
    limits: Limits | None = None,
) -> Figure:
    """Draw a row of clouds of points, each (n, 2), on the same axes: the chain at a few of its steps."""
    limits = limits or limits_of(*frames)
    height = 1.6 * (limits[3] - limits[2]) / (limits[1] - limits[0]) + 0.5  # of a frame 1.6 inches wide, captioned
    figure, axes = panels(len(frames), width=1.75, height=min(2.1, max(1.1, height)))
    for k, (ax, points) in enumerate(zip(axes, frames, strict=True)):
        ax.title.set_fontsize(9)
        plot_points(points, title=captions[k] if captions else "", labels=("", ""), limits=limits, color=color, ax=ax)
        ax.set(xticks=[], yticks=[])
        for side in ax.spines.values():
            side.set(visible=True, alpha=0.4)
    return figure


def farthest_pair(distance: ArrayLike) -> tuple[int, int]:
    """Return the two columns with the largest marginal `distance`, (d,), d >= 2, in the order of the table."""
    first, second = sorted(np.argsort(-np.asarray(distance), kind="stable")[:2].tolist())
    return first, second


def telling_pairs(
    data: ArrayLike, generated: ArrayLike, distance: ArrayLike, n_pairs: int = 2
) -> list[tuple[int, int]]:
    """Return the pairs of columns in which data (n, d) and generated rows (m, d) differ most, d >= 2.

    The first is the `farthest_pair` by the marginal `distance` (d,); the others have the largest differences of
    correlations.
    """
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    pairs = [farthest_pair(distance)]
    off = np.nan_to_num(np.abs(correlation_matrix(x) - correlation_matrix(y)))
    off[np.tril_indices(len(off))] = off[pairs[0]] = -1.0
    while len(pairs) < n_pairs and off.max() >= 0.0:
        pair = divmod(int(off.argmax()), len(off))
        off[pair] = -1.0
        pairs.append(pair)
    return pairs
