"""The sections of conditionals: whether probabilities and intervals hold, and rows drawn given a level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from backwalk.assess.statistics import sign_that_matters
from backwalk.assess.statistics.calibration import RankHistogram, Reliability
from backwalk.assess.topics.conditionals import LEVEL_LOSS_MARGIN, ConditionalScores
from backwalk.assess.words import estimate_text, signed, with_error
from backwalk.estimates import Estimate, Rows
from backwalk.report.blocks import Bullets, Cell, Context, Heading, Picture, Pictures, Row, Section, Table, Text
from backwalk.report.sections.columns import draw_bars, draw_histograms
from backwalk.report.style import BAND, BLUE, DASHED, axes_or_new, finish, literal, panels, styled

_MOST_LEVEL_PICTURES = 3
_MOST_BARS = 8  # levels of a panel
_LEAST_SHOWN = 0.0001  # nats per row
_ERROR_THAT_MATTERS = 3.0  # standard deviations of the null of a calibration error


def probability_section(context: Context) -> Section | None:
    """Show whether the model's conditional probabilities and intervals hold on unseen rows."""
    scores = context.fidelity.conditionals
    if scores is None or not (scores.levels or scores.numbers):
        return None
    words = (
        "Each column is predicted from all others, on unseen rows, by the model as it is: it was trained for no "
        "single column."
    )
    blocks: list[object] = [Text(words)]
    if scores.levels:
        blocks += _level_blocks(context, scores)
    if scores.numbers:
        blocks += _number_blocks(context, scores)
    lines, test = [], scores.self_test
    if test.halves is not None:
        lines.append(
            f"|ln p(A, B) − ln p(B) − ln p(A | B)| for two halves A and B of the columns: {_nats_text(test.halves)} "
            "nats per row. One distribution would have 0."
        )
    if test.single_levels is not None:
        lines.append(
            f"The same for one column of levels A and all others B: {_nats_text(test.single_levels)} nats per row. "
            "This compares stated probabilities of levels with Bayes' rule."
        )
    if test.orders is not None:
        lines.append(
            "|ln p with the levels in their order − ln p with them in reverse|: "
            f"{_nats_text(test.orders)} nats per row. This is the error of ln p that no other number here shows."
        )
    if lines:
        blocks += [Heading("Do its probabilities agree with each other?"), Bullets(lines)]
    return Section("Can its probabilities be trusted?", blocks)


def given_section(context: Context) -> Section | None:
    """Show columns given levels of another: real rows that hold the level beside rows drawn given it."""
    scores = context.fidelity.conditionals
    if scores is None or not scores.panels:
        return None
    given = scores.panels[0].given
    levels = list(dict.fromkeys(panel.level for panel in scores.panels))
    columns = list(dict.fromkeys(panel.column for panel in scores.panels))
    by_place = {(panel.column, panel.level): panel for panel in scores.panels}
    kinds = dict(zip(context.varying, context.fidelity.columns.kinds, strict=True))
    rows = [[by_place[column, level] for level in levels] for column in columns]
    name = context.name(given)
    words = (
        f"Each column of panels holds rows with one value of {name}: the unseen rows that have it, and 1,000 rows that "
        "the model drew given it."
    )
    bars_of_columns = []
    for column, row in zip(columns, rows, strict=True):
        kind = kinds[column]
        bars = kind.levels if len(kind.levels) <= _MOST_BARS or kind.is_category else ()
        if len(bars) > _MOST_BARS:
            together = np.concatenate([panel.real for panel in row])
            bars = tuple(sorted(sorted(bars, key=lambda level: -float(np.sum(together == level)))[:_MOST_BARS]))
        bars_of_columns.append([(level, context.value(column, level)) for level in bars])
    figure = plot_given(
        [[panel.real for panel in row] for row in rows],
        [[panel.drawn for panel in row] for row in rows],
        headings=[context.value(given, level) for level in levels],
        labels=[context.name(column) for column in columns],
        levels=bars_of_columns,
    )
    return Section(f"What it draws given {name}", [Text(words), Pictures([Picture.of(figure, words)], wide=True)])


def _level_blocks(context: Context, scores: ConditionalScores) -> Iterator[object]:
    rows = []
    for level in scores.levels:
        excess, reliability = level.excess, level.reliability
        matters = excess is not None and sign_that_matters(excess.value, excess.standard_error, LEVEL_LOSS_MARGIN) != 0
        chance = f"by chance {with_error(reliability.null, reliability.null_spread)}"
        cells = [
            Cell(estimate_text(level.frequencies)),
            Cell(estimate_text(level.trees)),
            Cell(estimate_text(level.loss), "" if excess is None else signed(estimate_text(excess)), matters),
            Cell(f"{reliability.error:.3f}", chance, reliability.excess > _ERROR_THAT_MATTERS),
        ]
        rows.append(Row(context.name(level.column), cells, f"{level.n_levels} levels"))
    yield Heading("Levels")
    head = (
        "Column",
        "−ln P(level) of the training frequencies, nats",
        "Of boosted trees trained for this column",
        "Of the model; minus the trees'",
        "Calibration error of the model",
    )
    yield Table(head, rows)
    words = (
        "The calibration error is the mean difference between the probabilities that the model states and the shares "
        "of rows in which these levels came. Trees are trained for columns of few levels only."
    )
    yield Text(words, note=True)
    pictures = []
    for level in sorted(scores.levels, key=lambda level: -level.reliability.excess)[:_MOST_LEVEL_PICTURES]:
        name = context.name(level.column)
        figure = plot_reliability(level.reliability, title=name)
        pictures.append(Picture.of(figure, f"Calibration of the levels of {name}"))
    yield Pictures(pictures, small=True)
    words = (
        "Points: the share of statements that came true, against their probability. Grey: where 95 % of the points of "
        "true statements lie. Shown are the columns whose errors are largest beside chance."
    )
    yield Text(words, note=True)


def _number_blocks(context: Context, scores: ConditionalScores) -> Iterator[object]:
    rows, pictures = [], []
    for number in scores.numbers:
        name = context.name(number.column)
        shares = [
            with_error(coverage.value, coverage.standard_error, percent=True)
            for coverage in (number.coverage_50, number.coverage_90)
        ]
        rows.append(Row.of(name, *shares, f"{number.ranks.p_value:.2g}"))
        pictures.append(Picture.of(plot_ranks(number.ranks, title=name), f"Ranks of {name} among draws"))
    yield Heading("Numbers")
    yield Table(
        ("Column", "Unseen numbers in the 50 % interval", "In the 90 % interval", "p-value of equally frequent ranks"),
        rows,
    )
    yield Pictures(pictures, small=True)
    words = (
        f"The rank of each of {scores.numbers[0].coverage_50.n} real numbers among {scores.numbers[0].n_draws} draws "
        "of its column, given the rest of its row. If the model is right, all ranks are equally frequent, and the bars "
        "lie in the grey band in 95 % of cases. Bars high at both ends mean draws that are too narrow."
    )
    yield Text(words, note=True)


def _nats_text(estimate: Estimate) -> str:
    return estimate_text(estimate) if estimate.value > _LEAST_SHOWN else f"below {_LEAST_SHOWN:g}"


@styled()
def plot_ranks(histogram: RankHistogram, *, title: str = "", ax: Axes | None = None) -> Figure:
    """Draw the histogram of the ranks of real numbers among draws, with the band of a model that is right."""
    ax = axes_or_new(ax, width=3.7, height=2.4)
    shares = histogram.shares
    ax.axhspan(histogram.low, histogram.high, **BAND)
    ax.stairs(shares, np.linspace(0.0, 1.0, len(shares) + 1), fill=True, color=BLUE, alpha=0.6, linewidth=0.0)
    ax.axhline(1.0 / len(shares), **DASHED)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.25 * max(float(shares.max()), histogram.high)))
    ax.set(xlabel="rank of the real number among draws", ylabel="share of rows")
    return finish(ax, title, grid="")


@styled()
def plot_reliability(reliability: Reliability, *, title: str = "", ax: Axes | None = None) -> Figure:
    """Draw the frequencies of levels against the probabilities stated for them, with the bands of true statements."""
    ax = axes_or_new(ax, width=3.7, height=3.0)
    ax.plot([0.0, 1.0], [0.0, 1.0], **DASHED)
    for p, low, high in zip(reliability.stated, reliability.low, reliability.high, strict=True):
        ax.fill_between([p - 0.02, p + 0.02], low, high, **BAND)
    ax.plot(reliability.stated, reliability.observed, "o", color=BLUE, markersize=5, clip_on=False, zorder=3)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xlabel="stated probability", ylabel="share that came")
    return finish(ax, title, grid="both")


@styled()
def plot_given(
    real: Sequence[Sequence[Rows]],
    drawn: Sequence[Sequence[Rows]],
    *,
    headings: Sequence[str],
    labels: Sequence[str],
    levels: Sequence[Sequence[tuple[float, str]]],
) -> Figure:
    """Draw a grid of conditionals: one row for each column in `labels`, one panel for each given level in `headings`.

    `real` and `drawn` hold the values (n,) of each panel, row by row. `levels` names the values of a column of levels;
    it is empty for numbers.
    """
    figure, _ = panels(1, width=max(2.0 * len(headings), 7.5), height=1.65 * len(labels) + 0.3)
    figure.clear()
    grid = figure.subplots(len(labels), len(headings), squeeze=False)
    for i, label in enumerate(labels):
        sets = [(a[~np.isnan(a)], b[~np.isnan(b)]) for a, b in zip(real[i], drawn[i], strict=True)]
        for ax, (of_real, of_drawn) in zip(grid[i], sets, strict=True):
            if levels[i]:
                draw_bars(ax, of_real, of_drawn, [level for level, _ in levels[i]])
                _label_bars(ax, [name for _, name in levels[i]])
            else:
                together = np.concatenate([values for pair in sets for values in pair])
                low, high = np.quantile(together, [0.002, 0.998])
                draw_histograms(ax, of_real, of_drawn, np.linspace(low, high if high > low else low + 1.0, 25))
                ax.locator_params("x", nbins=4)
            ax.set_facecolor("none")
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
        top = max(ax.get_ylim()[1] for ax in grid[i])
        for ax in grid[i]:
            ax.set_ylim(0.0, top)
        grid[i, 0].set_ylabel(literal(label, 22), fontsize=9.5)
    for ax, heading in zip(grid[0], headings, strict=True):
        ax.set_title(literal(heading, 24), fontsize=9.5)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=2)
    return figure


def _label_bars(ax: Axes, names: Sequence[str]) -> None:
    """Name the bars at 0, 1, ... of an axis; long names are turned."""
    is_turned = sum(map(len, names)) > 20
    ax.set_xticks(range(len(names)), [literal(name, 10) for name in names], rotation=40 * is_turned, fontsize=8)
    if is_turned:
        for text in ax.get_xticklabels():
            text.set_horizontalalignment("right")
