"""Pictures of rows and of a run: points, histograms, densities, frames of the chain, the loss.

Clouds of points are rasterised, everything else is lines and text. Points of the plane keep their proportions where
both columns span similar lengths. An axis may be given a `bend`, a middle and a core: it is then linear so far from its
middle, and logarithmic beyond, as a column with heavy tails wants it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from backwalk.report.style import BLUE, GENERATED, INK, ORANGE, REAL, literal, panels, quiet_grid, styled
from backwalk.table.columns import bent, unbent

Rows = NDArray[np.float64]
Limits = tuple[float, float, float, float]
"""(left, right, bottom, top) of the plane."""
Bend = tuple[float, float]
"""(middle, core) of an axis whose places are asinh((x - middle) / core)."""
Bends = tuple[Bend | None, Bend | None]

_MOST_POINTS = 5_000
_MOST_DECADES = 3  # with ticks, on either side of an axis's middle


def limits_of(*sets: ArrayLike, bends: Bends = (None, None)) -> Limits:
    """Return limits of the plane that hold all but the farthest thousandth of each set (n, 2), with a margin."""
    ends = []
    for column, bend in enumerate(bends):
        quantiles = [_along(np.quantile(np.asarray(x)[:, column], [0.0005, 0.9995]), bend) for x in sets]
        low, high = min(q[0] for q in quantiles), max(q[1] for q in quantiles)
        margin = 0.06 * (high - low) or 1.0
        ends += _back(np.array([low - margin, high + margin]), bend).tolist()
    return ends[0], ends[1], ends[2], ends[3]


def _along(x: Rows, bend: Bend | None) -> Rows:
    """Return where numbers stand along an axis."""
    return x if bend is None else bent(np.asarray(x), *map(np.array, bend))


def _back(place: Rows, bend: Bend | None) -> Rows:
    """Return the numbers that stand at places along an axis."""
    return place if bend is None else unbent(np.asarray(place), *map(np.array, bend))


@styled
def plot_points(
    points: ArrayLike,
    *,
    title: str = "",
    labels: tuple[str, str] = ("x₁", "x₂"),
    limits: Limits | None = None,
    color: str = BLUE,
    bends: Bends = (None, None),
) -> Figure:
    """Draw points (n, 2) of the plane; of more than 5,000, that many, evenly picked."""
    shown = limits or limits_of(points, bends=bends)
    figure, (axes,) = panels(height=_fitting_height(shown, bends))
    _draw_points(axes, np.asarray(points), shown, color, labels, title, bends)
    return figure


@styled
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
    figure, axes = panels(2, height=_fitting_height(limits))
    for ax, points, color, title in zip(axes, (data, generated), (REAL, GENERATED), titles, strict=True):
        _draw_points(ax, _some(np.asarray(points), n), limits, color, labels, title)
    return figure


@styled
def plot_marginal(
    data: ArrayLike, generated: ArrayLike, *, label: str = "x", title: str = "", bend: Bend | None = None
) -> Figure:
    """Draw the histograms of one column, data (n,) filled and generated (m,) as a line.

    They are densities; with a `bend`, along whose axis bins grow, the share of the rows in each bin.
    """
    figure, (axes,) = panels(width=3.7, height=2.7)
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    low, high = _along(np.quantile(np.concatenate([x, y]), [0.0005, 0.9995]), bend)
    n_bins = min(60, max(10, int(2 * len(x) ** (1 / 3))))
    bins = _back(np.linspace(low, high if high > low else low + 1.0, 1 + n_bins), bend)
    if bend is not None:
        _bend(axes, "x", float(bins[0]), float(bins[-1]), bend)
    for values, color, name, kind in ((x, REAL, "data", "stepfilled"), (y, GENERATED, "generated", "step")):
        weights = np.full(len(values), 1.0 / (len(values) * (1.0 if bend is not None else bins[1] - bins[0])))
        axes.hist(
            values,
            bins,  # type: ignore[arg-type]
            weights=weights,
            histtype=kind,  # type: ignore[arg-type]
            color=color,
            alpha=0.45 if kind == "stepfilled" else 1.0,
            linewidth=1.6,
            label=name,
        )
    height = "density" if bend is None else "share of rows"
    axes.set(xlabel=literal(label), ylabel=height, ylim=(0.0, 1.25 * axes.get_ylim()[1]))  # room for the legend
    axes.set_title(literal(title))
    axes.legend(loc="upper right", labelcolor=INK)
    return figure


@styled
def plot_loss(
    step: Sequence[int],
    loss: Sequence[float],
    *,
    loss_name: str = "loss",
    validation_step: Sequence[int] = (),
    validation_loss: Sequence[float] = (),
    chosen_step: int | None = None,
) -> Figure:
    """Draw the loss of batches against the step and, where there is one, the validation loss on axes of its own.

    The two are different quantities: only the second is on rows kept apart. `chosen_step` marks the weights kept.
    """
    figure, axes = panels(2 if validation_step else 1, height=3.1)
    _draw_training_loss(axes[0], step, loss, loss_name)
    if validation_step:
        _draw_validation_loss(axes[1], validation_step, validation_loss, chosen_step)
    return figure


@styled
def plot_training_loss(step: Sequence[int], loss: Sequence[float], *, loss_name: str = "loss") -> Figure:
    """Draw the loss of batches against the step, with its running mean."""
    figure, (axes,) = panels(height=3.1)
    _draw_training_loss(axes, step, loss, loss_name)
    return figure


@styled
def plot_validation_loss(step: Sequence[int], loss: Sequence[float], *, chosen_step: int | None = None) -> Figure:
    """Draw the loss on rows kept apart, in nats a row, and where the kept weights stood."""
    figure, (axes,) = panels(height=3.1)
    _draw_validation_loss(axes, step, loss, chosen_step)
    return figure


@styled
def plot_chain(
    frames: Sequence[ArrayLike],
    *,
    captions: Sequence[str] = (),
    color: str = BLUE,
    limits: Limits | None = None,
) -> Figure:
    """Draw a row of clouds of points, each (n, 2), on the same axes: the chain at a few of its steps."""
    figure, axes = panels(len(frames), width=1.75, height=2.0)
    shared = limits or limits_of(*frames)
    for k, (ax, points) in enumerate(zip(axes, frames, strict=True)):
        _draw_points(ax, np.asarray(points), shared, color, ("", ""), captions[k] if captions else "")
        ax.set(xticks=[], yticks=[])
        ax.title.set_fontsize(9)
        for side in ax.spines.values():
            side.set(visible=True, alpha=0.4)
    return figure


@styled
def plot_density(
    log_prob: Callable[[Rows], ArrayLike],
    limits: Limits,
    *,
    resolution: int = 160,
    title: str = "",
    labels: tuple[str, str] = ("x₁", "x₂"),
) -> Figure:
    """Draw a density over the plane. `log_prob` maps points (n, 2) to log-densities (n,), nats."""
    left, right, bottom, top = limits
    grid = np.stack(
        np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)), axis=-1
    ).reshape(-1, 2)
    density = np.exp(np.asarray(log_prob(grid), dtype=np.float64)).reshape(resolution, resolution)
    figure, (axes,) = panels(width=5.2, height=_fitting_height(limits))
    # From transparent to opaque blue, so that an empty plane has the page's colour.
    shades = LinearSegmentedColormap.from_list("shades", [(0.0, 0.447, 0.698, 0.0), (0.0, 0.447, 0.698, 1.0)])
    image = axes.imshow(
        density, extent=limits, origin="lower", cmap=shades, interpolation="bilinear", aspect="equal", rasterized=True
    )
    axes.set(xlabel=literal(labels[0]), ylabel=literal(labels[1]))
    axes.set_title(literal(title))
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="density")
    bar.outline.set_visible(False)
    return figure


def telling_pairs(
    data: ArrayLike, generated: ArrayLike, distance: ArrayLike, n_pairs: int = 2
) -> list[tuple[int, int]]:
    """Return the pairs of columns in which data (n, d) and generated rows (m, d) differ most, d >= 2.

    The first pair are the columns with the largest marginal `distance` (d,); the others those whose correlation is
    farthest off.
    """
    x, y = np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    first, second = sorted(np.argsort(-np.asarray(distance), kind="stable")[:2].tolist())
    pairs = [(first, second)]
    rows, columns = np.triu_indices(x.shape[1], k=1)
    off = np.abs(np.corrcoef(x.T) - np.corrcoef(y.T))[rows, columns]
    for k in np.argsort(-off, kind="stable"):
        pair = (int(rows[k]), int(columns[k]))
        if len(pairs) < n_pairs and pair not in pairs:
            pairs.append(pair)
    return pairs


def _draw_points(
    axes: Axes,
    points: Rows,
    limits: Limits,
    color: str,
    labels: tuple[str, str],
    title: str,
    bends: Bends = (None, None),
) -> None:
    shown = _some(points, _MOST_POINTS)
    n = max(1, len(shown))
    axes.scatter(
        shown[:, 0],
        shown[:, 1],
        s=min(14.0, max(2.2, 9_000 / n)),
        color=color,
        alpha=min(0.8, max(0.35, 250.0 / n**0.75)),
        linewidths=0,
        rasterized=True,
    )
    axes.set(xlim=limits[:2], ylim=limits[2:], xlabel=literal(labels[0]), ylabel=literal(labels[1]))
    if _alike(limits, bends):
        axes.set_aspect("equal")
    axes.set_title(literal(title))
    _finish_axis(axes, "x", bends[0], *limits[:2])
    _finish_axis(axes, "y", bends[1], *limits[2:])


def _finish_axis(axes: Axes, name: Literal["x", "y"], bend: Bend | None, low: float, high: float) -> None:
    if bend is None:
        axes.locator_params(name, nbins=5)
    else:
        _bend(axes, name, low, high, bend)
        (axes.set_xlim if name == "x" else axes.set_ylim)(low, high)


def _bend(axes: Axes, name: Literal["x", "y"], low: float, high: float, bend: Bend) -> None:
    """Bend an axis, with ticks at its middle and at powers of ten from there, beyond the core."""
    functions = partial(_along, bend=bend), partial(_back, bend=bend)
    (axes.set_xscale if name == "x" else axes.set_yscale)("function", functions=functions)
    middle, core = bend
    decade = math.floor(math.log10(core))
    if abs(middle) < 10.0 * core:
        middle = 0.0
    else:
        middle = round(middle, -decade)
    below = _powers(max(2.0 * core, middle - high), middle - low)
    above = _powers(max(2.0 * core, low - middle), high - middle)
    ticks = [tick for tick in (*(middle - below)[::-1], middle, *(middle + above)) if low <= tick <= high]
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: _tick_text(tick)))
    axis.set_minor_locator(NullLocator())


def _powers(least: float, most: float) -> Rows:
    """Return a few powers of ten between two numbers, the largest among them."""
    if not 0.0 < least <= most:
        return np.empty(0)
    first, last = math.ceil(math.log10(least)), math.floor(math.log10(most))
    return np.asarray(10.0 ** np.arange(last, first - 1, -max(1, math.ceil((last + 1 - first) / _MOST_DECADES))))[::-1]


def _tick_text(tick: float) -> str:
    exponent = math.log10(abs(tick)) if tick else 0.0
    if abs(exponent) >= 2.0 and abs(exponent - round(exponent)) < 1e-9:
        return f"${'-' if tick < 0 else ''}10^{{{round(exponent)}}}$"
    return f"{tick:g}".replace("-", "\u2212")


def _alike(limits: Limits, bends: Bends) -> bool:
    """Say whether both axes span so similar lengths that one unit may be as long on the one as on the other."""
    return not any(bends) and 0.4 < (limits[1] - limits[0]) / (limits[3] - limits[2]) < 2.5


def _fitting_height(limits: Limits, bends: Bends = (None, None)) -> float:
    """Return the height, in inches, at which axes 4 inches wide are filled."""
    if not _alike(limits, bends):
        return 3.6
    return min(4.6, max(2.6, 3.9 * (limits[3] - limits[2]) / (limits[1] - limits[0]) + 0.75))


def _draw_training_loss(axes: Axes, step: Sequence[int], loss: Sequence[float], loss_name: str) -> None:
    values = np.asarray(loss, dtype=np.float64)
    axes.plot(step, values, color=BLUE, linewidth=0.8, alpha=0.45, label="a batch")
    axes.plot(step, _running_mean(values, max(1, len(values) // 40)), color=BLUE, label="running mean")
    axes.legend(loc="upper right", labelcolor=INK)
    axes.set_ylabel(literal(loss_name))
    _finish_loss(axes, values, "Training loss")


def _draw_validation_loss(axes: Axes, step: Sequence[int], loss: Sequence[float], chosen_step: int | None) -> None:
    axes.plot(step, loss, color=ORANGE, marker="o", markersize=4)
    axes.set_ylabel("nats a row")
    if chosen_step is not None:
        axes.axvline(chosen_step, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.annotate(
            "weights kept",
            (chosen_step, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-4, -10),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=INK,
        )
    _finish_loss(axes, np.asarray(loss, dtype=np.float64), "Loss on validation rows")


def _finish_loss(axes: Axes, drawn: Rows, title: str) -> None:
    if drawn.min() > 0 and drawn.max() > 20 * np.median(drawn):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_title(literal(title))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    quiet_grid(axes)


def _running_mean(values: Rows, width: int) -> Rows:
    padded = np.concatenate([np.zeros(1), np.cumsum(values)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(0, last - width)
    return np.asarray((padded[last] - padded[first]) / (last - first))


def _some(points: Rows, n: int) -> Rows:
    """Return n of the points, evenly picked, or all."""
    if len(points) <= n:
        return points
    return points[np.arange(n) * len(points) // n]
