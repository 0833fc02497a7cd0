"""The section of posteriors: parameters given data, on unseen rows."""

from __future__ import annotations

from backwalk.assess.statistics import CoverageCurve
from backwalk.assess.words import percent
from backwalk.formatting import listed
from backwalk.report import figures
from backwalk.report.sections import Context, Pictures, Row, Section, Table, Text, picture

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

    def row(name: str, curve: CoverageCurve, explanation: str) -> Row:
        cells = percent(curve.deviation), percent(curve.limit), f"{curve.p_value:.2g}"
        return Row.of(name, *cells, explanation=explanation)

    curves = (
        ("Expected coverage", scores.expected_coverage, "regions of highest density"),
        ("TARP", scores.tarp, "balls around the parameters of another row with similar data"),
    )
    table = Table(
        ("Statistic", "Largest deviation over all levels", "By chance, in 5 % of cases, above", "p-value"),
        [
            *(row(*curve) for curve in curves),
            *(
                Row.of(f"Ranks of {context.name(j)}", percent(ranks.distance), percent(limit), f"{ranks.p_value:.2g}")
                for limit in [scores.expected_coverage.limit]
                for j, ranks in zip(scores.parameters, scores.ranks, strict=True)
            ),
        ],
    )
    pictures = [
        picture(figures.plot_coverage(curve, title=name), f"{name}: {explanation}", f"posterior {name}")
        for name, curve, explanation in curves
    ]
    worst = sorted(zip(scores.parameters, scores.ranks, strict=True), key=lambda pair: pair[1].p_value)
    pictures += [
        picture(figures.plot_ranks(ranks, title=context.name(j)), f"Ranks of {context.name(j)}", f"posterior ranks {j}")
        for j, ranks in worst[: _MOST_PICTURES - len(pictures)]
    ]
    notes = (
        "Grey: where exact posteriors lie in 95 % of cases, level by level, and for ranks over all bars together. "
        "Posteriors are too narrow where expected coverage lies below the diagonal, or bars are high at both ends. "
        "TARP leaves the diagonal where posteriors lie in the wrong place, have the wrong width, or ignore the data."
    )
    return Section(
        f"Are posteriors given {given} calibrated?",
        [Text(words), table, Pictures(pictures, small=True), Text(notes, note=True)],
    )
