"""Columns one by one, each by its kind: a picture, and a line of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from backwalk.assess.statistics.columns import ColumnKind, LevelBands, level_bands, level_index, level_shares
from backwalk.assess.words import minus, percent, significant, with_error
from backwalk.estimates import Rows
from backwalk.report.axes import asinh_axis, number_at, place_on, some_rows
from backwalk.report.blocks import Context, Details, Heading, Picture, Pictures, Row, Table, Text
from backwalk.report.style import (
    BAND,
    FILLED,
    GENERATED,
    OUTLINED,
    axes_or_new,
    finish,
    literal,
    panels,
    styled,
)
from backwalk.table import Asinh

_MOST_COLUMNS = 50  # in the table of columns
MOST_HISTOGRAMS = 6
_MOST_ROWS = 5_000  # per picture
_MOST_BARS = 12  # levels
_MOST_ATOMS = 4  # shown of a column
_MOST_BEYOND = 6


def column_blocks(context: Context) -> Iterator[object]:
    """Yield the pictures of the columns that differ most, and all columns in numbers."""
    varying, columns = context.varying, context.fidelity.columns
    n = len(varying)
    difference = np.array([figure.difference for figure in columns.figures])
    drawn = np.sort(np.argsort(-difference, kind="stable")[:MOST_HISTOGRAMS]).tolist()
    yield Heading(
        "Column by column" if len(drawn) == n else f"Column by column: the {len(drawn)} of {n} columns that differ most"
    )
    yield Pictures([_column_picture(context, k) for k in drawn], small=True)
    if context.model.codec.blocks:
        words = (
            "Levels: bars are real rows, points generated ones. If the model is right, all points of a column lie in "
            "the grey bands in 95 % of cases."
        )
        yield Text(words, note=True)
    if columns.beyond:
        parts = [
            f"{context.name(beyond.column)} {percent(beyond.generated)} (unseen rows: {percent(beyond.unseen)})"
            for beyond in sorted(columns.beyond, key=lambda beyond: -beyond.generated)[:_MOST_BEYOND]
        ]
        words = f"Generated numbers beyond the range of the rows of the fit: {', '.join(parts)}."
        yield Text(words, note=True)
    shown = varying[:_MOST_COLUMNS]
    title = "Columns in numbers" if len(shown) == n else f"Columns in numbers: the first {len(shown)} of {n}"
    yield Details(title, [_column_table(context, len(shown))])


def _column_picture(context: Context, k: int) -> Picture:
    """Return the picture of the k-th column that varies."""
    fidelity, j, kind = context.fidelity, context.varying[k], context.fidelity.columns.kinds[k]
    name, column = context.name(j), context.model.codec.columns[j]
    real, generated = (values[~np.isnan(values)] for values in (fidelity.real[:, j], fidelity.generated[:, j]))
    if kind.levels and (kind.is_category or len(kind.levels) <= _MOST_BARS):
        return Picture.of(_draw_levels(context, j, kind, real, generated), f"Levels of {name}")
    if kind.atoms:
        figure = plot_number_with_atoms(
            real, generated, kind.atoms, label=name, asinh=column.asinh, integers=column.is_integer
        )
    else:
        figure = plot_marginal(real, generated, label=name, asinh=column.asinh, integers=column.is_integer)
    return Picture.of(figure, f"Histograms of {name}, real and generated")


def _draw_levels(context: Context, j: int, kind: ColumnKind, real: Rows, generated: Rows) -> Figure:
    """Draw the levels in their order; of many the 11 most frequent, by frequency, and all others together."""
    n_levels = len(kind.levels)
    shown = list(range(n_levels))
    if n_levels > _MOST_BARS:
        shown = np.argsort(-level_shares(real, kind.levels), kind="stable")[: _MOST_BARS - 1].tolist()
    names = [context.value(j, kind.levels[level]) for level in shown]
    place = np.full(n_levels, float(len(shown)))
    place[shown] = np.arange(len(shown))
    if len(shown) < n_levels:
        names.append(f"{n_levels - len(shown):,} others")
    x, y = (
        place[level_index(some_rows(values[:, None], _MOST_ROWS)[:, 0], kind.levels)] for values in (real, generated)
    )
    bands = level_bands(x, y, tuple(np.arange(float(len(names))).tolist()))
    return plot_levels(bands, names, title=context.name(j))


def _column_table(context: Context, n: int) -> Table:
    """Return the first n columns that vary in numbers; a column for gaps only where there are any."""
    fidelity, columns = context.fidelity, context.fidelity.columns
    middle = "mean or most frequent" if any(kind.is_category for kind in columns.kinds) else "mean"
    gaps = ["missing"] if any(np.isnan(rows).any() for rows in (fidelity.real, fidelity.generated)) else []
    head = [
        *("Column", f"Real: {middle}", "std. dev.", "smallest", "largest", *gaps),
        *(f"Generated: {middle}", "std. dev.", "smallest", "largest", *gaps),
        "Distance of the distributions (KS, or total variation of levels), minus that of real rows",
    ]
    rows = []
    for k, (j, figure) in enumerate(zip(context.varying[:n], columns.figures[:n], strict=True)):
        texts: list[str] = []
        for values in (fidelity.real[:, j], fidelity.generated[:, j]):
            missing = np.isnan(values)
            texts += _column_texts(context, k, values[~missing])
            if gaps:
                texts.append(f"{missing.mean():.1%}")
        rows.append(Row.of(context.name(j), *texts, with_error(figure.difference, figure.difference_standard_error)))
    return Table(head, rows, stacked=False)


def _column_texts(context: Context, k: int, observed: Rows) -> list[str]:
    """Return mean, standard deviation, least and largest value of the k-th column; of a category its usual level."""
    kind, j, schema = context.fidelity.columns.kinds[k], context.varying[k], context.model.schema
    if not len(observed):
        return ["–"] * 4
    if kind.is_category:
        shares = level_shares(observed, kind.levels)
        most = int(shares.argmax())
        return [f"{context.value(j, kind.levels[most])} ({shares[most]:.0%})", "–", "–", "–"]
    ends = [context.value(j, float(value)) for value in (observed.min(), observed.max())]
    is_number = schema.labels[j] is None and schema.units[j] is None
    middle = [significant(float(value)) for value in (observed.mean(), observed.std())] if is_number else ["–", "–"]
    return [*middle, *ends]


@styled()
def plot_marginal(
    data: ArrayLike,
    generated: ArrayLike,
    *,
    label: str = "x",
    title: str = "",
    asinh: Asinh | None = None,
    integers: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw the histograms of one column, data (n,) filled and generated (m,) as a line, into `ax` or a new figure.

    Heights are densities; with `asinh`, where bins grow along the axis, they are shares of the rows. Bins of `integers`
    end half-way between integers, so that equally many fall into each bin.
    """
    ax = axes_or_new(ax, width=3.7, height=2.7)
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    low, high = place_on(np.quantile(np.concatenate([x, y]), [0.0005, 0.9995]), asinh)
    n_bins = min(60, max(10, int(2 * len(x) ** (1 / 3))))
    bins = number_at(np.linspace(low, high if high > low else low + 1.0, 1 + n_bins), asinh)
    if integers:
        bins = _between_integers(bins, even=asinh is None)
    if asinh is not None:
        asinh_axis(ax, "x", float(bins[0]), float(bins[-1]), asinh)
    else:
        ax.locator_params("x", nbins=5, integer=integers)
    widths = np.diff(bins) if asinh is None else 1.0
    draw_histograms(ax, x, y, bins, widths)
    height = "density" if asinh is None else "share of rows"
    ax.set(xlabel=literal(label), ylabel=height, ylim=(0.0, 1.25 * ax.get_ylim()[1]))  # room for the legend
    ax.legend(loc="upper right")
    return finish(ax, title, grid="")


@styled()
def plot_number_with_atoms(
    data: ArrayLike,
    generated: ArrayLike,
    atoms: Sequence[float],
    *,
    label: str = "x",
    title: str = "",
    asinh: Asinh | None = None,
    integers: bool = False,
) -> Figure:
    """Draw the shares of rows at the most frequent atoms of a column, and the histograms of its numbers at none.

    Data (n,) are filled and generated values (m,) are a line.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (data, generated))
    shown = sorted(sorted(atoms, key=lambda atom: -np.count_nonzero(x == atom))[:_MOST_ATOMS])
    figure, (left, right) = panels(2, width=1.85, height=2.7, ratios=[0.25 + 0.2 * len(shown), 1.0])
    draw_bars(left, x, y, shown)
    left.set_xticks(np.arange(len(shown)), [minus(f"{atom:g}") for atom in shown], rotation=90 if len(shown) > 2 else 0)
    left.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    of_all = "" if len(shown) == len(atoms) else f" ({len(shown)} of {len(atoms)})"
    left.set(xlim=(-0.7, len(shown) - 0.3), ylabel="share of rows", xlabel=f"equal to{of_all}")
    others = (values[~np.isin(values, atoms)] for values in (x, y))
    plot_marginal(*others, label=label, title=title, asinh=asinh, integers=integers, ax=right)
    return figure


@styled()
def plot_levels(bands: LevelBands, labels: Sequence[str], *, title: str = "", ax: Axes | None = None) -> Figure:
    """Draw the shares of levels, real ones as bars and generated ones as points, with the band of each point.

    `labels` are the names of the L levels, from top to bottom. If the model is right, all points lie in their bands in
    95 % of cases.
    """
    n, is_new = len(labels), ax is None
    ax = axes_or_new(ax, width=3.7, height=max(2.7, 1.0 + 0.27 * n))
    places = np.arange(n)
    ax.barh(places, bands.real, 0.66, **FILLED)
    ax.barh(places, bands.high - bands.low, 0.66, left=bands.low, label="by chance", **BAND)
    ax.plot(bands.generated, places, "o", color=GENERATED, markersize=5.5, label="generated", clip_on=False)
    ax.set_yticks(places, [literal(label, 18) for label in labels])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set_xlim(left=0.0)
    ax.set_ylim(n - 0.4, -0.6)
    ax.set_xlabel("share of rows")
    ax.locator_params("x", nbins=5)
    ax.tick_params("y", length=0)
    figure = finish(ax, title, grid="x")
    if is_new:
        figure.legend(loc="outside lower left", ncols=3, handlelength=1.2, columnspacing=1.2)
    else:
        ax.legend()
    return figure


def draw_histograms(ax: Axes, real: Rows, generated: Rows, bins: Rows, widths: Rows | float = 1.0) -> None:
    """Draw the shares of numbers in `bins` over their `widths`: real ones filled, generated ones as a line."""
    for values, look in ((real, {**FILLED, "fill": True}), (generated, OUTLINED)):
        heights = np.histogram(values, bins)[0] / (max(1, len(values)) * widths)
        ax.stairs(heights, bins, **look)


def draw_bars(ax: Axes, real: Rows, generated: Rows, levels: Sequence[float]) -> None:
    """Draw the share of values equal to each level as bars side by side: real ones filled, generated ones outlined."""
    for values, look in ((real, FILLED), (generated, {**OUTLINED, "edgecolor": GENERATED})):
        shares = [float(np.mean(values == level)) if len(values) else 0.0 for level in levels]
        ax.bar(np.arange(len(levels)), shares, 0.7, **look)


def _between_integers(bins: Rows, *, even: bool) -> Rows:
    """Return bins near these whose edges lie half-way between integers, of equal widths if `even`."""
    first, last = np.floor(bins[0] + 0.5) - 0.5, np.ceil(bins[-1] - 0.5) + 0.5
    if not even:
        return np.unique(np.concatenate([[first], np.floor(bins[1:-1]) + 0.5, [last]]))
    width = max(1.0, np.ceil((last - first) / (len(bins) - 1)))
    return np.asarray(np.minimum(np.arange(first, last + width, width), last))
