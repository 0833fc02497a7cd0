"""The section of posteriors: parameters given data, on unseen rows."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from backwalk.assess.statistics.calibration import CoverageCurve
from backwalk.assess.words import percent
from backwalk.formatting import listed
from backwalk.report.blocks import Context, Picture, Pictures, Row, Section, Table, Text
from backwalk.report.sections.conditionals import plot_ranks
from backwalk.report.style import BAND, BLUE, DASHED, axes_or_new, finish, styled

_MOST_PICTURES = 6


def posterior_section(context: Context) -> Section | None:
    """Show whether posteriors given the declared columns are calibrated; None if none were declared."""
    scores = context.fidelity.posterior
    if scores is None:
        return None
    given = listed(context.name(j) for j in scores.given)
    words = (
        f"For each of {scores.n_pairs} unseen rows, {scores.n_draws} draws of the other columns are made given "
        f"{given}. If posteriors are exact, the row's own values are like one more draw: their ranks are equally "
        "frequent, and regions of level 90 % hold them in 90 % of rows."
    )
    curves = (
        ("Expected coverage", scores.expected_coverage, "regions of highest density"),
        ("TARP", scores.tarp, "balls around the parameters of another row with similar data"),
    )
    ranked = list(zip(scores.parameters, scores.ranks, strict=True))
    limit = percent(scores.expected_coverage.limit)
    rows = []
    for name, curve, explanation in curves:
        texts = percent(curve.deviation), percent(curve.limit), f"{curve.p_value:.2g}"
        rows.append(Row.of(name, *texts, explanation=explanation))
    for j, ranks in ranked:
        rows.append(Row.of(f"Ranks of {context.name(j)}", percent(ranks.distance), limit, f"{ranks.p_value:.2g}"))
    head = ("Statistic", "Largest deviation over all levels", "By chance, in 5 % of cases, above", "p-value")
    pictures = [
        Picture.of(plot_coverage(curve, title=name), f"{name}: {explanation}") for name, curve, explanation in curves
    ]
    for j, ranks in sorted(ranked, key=lambda pair: pair[1].p_value)[: _MOST_PICTURES - len(pictures)]:
        pictures.append(Picture.of(plot_ranks(ranks, title=context.name(j)), f"Ranks of {context.name(j)}"))
    notes = (
        "Grey: where exact posteriors lie in 95 % of cases, level by level, and for ranks over all bars together. "
        "Posteriors are too narrow where expected coverage lies below the diagonal, or bars are high at both ends. "
        "TARP leaves the diagonal where posteriors lie in the wrong place, have the wrong width, or ignore the data."
    )
    return Section(
        f"Are posteriors given {given} calibrated?",
        [Text(words), Table(head, rows), Pictures(pictures, small=True), Text(notes, note=True)],
    )


@styled()
def plot_coverage(curve: CoverageCurve, *, title: str = "", ax: Axes | None = None) -> Figure:
    """Draw the share of rows whose truth lies in the region of each level, with the band of exact posteriors."""
    ax = axes_or_new(ax, width=3.7, height=3.2)
    ax.fill_between(curve.levels, curve.low, curve.high, **BAND)
    ax.plot([0.0, 1.0], [0.0, 1.0], **DASHED)
    ax.plot(curve.levels, curve.coverage, color=BLUE, linewidth=1.8)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, 0))
    ax.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0), xlabel="level of the region", ylabel="rows whose truth it holds")
    return finish(ax, title, grid="both")
