"""The sections of tables with levels or gaps: associations, conditionals, probabilities, and models trained on rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backwalk.assess.statistics import Estimate
from backwalk.assess.topics.conditionals import ConditionalScores, LevelScores
from backwalk.assess.words import estimate_text, percent, signed, with_error
from backwalk.estimates import Rows
from backwalk.report import figures
from backwalk.report.sections import (
    Bullets,
    Cell,
    Context,
    Heading,
    Picture,
    Pictures,
    Row,
    Section,
    Table,
    Text,
    picture,
)

_MOST_IN_A_MATRIX = 24  # columns
_MOST_PICTURES = 6
_MOST_BARS = 8  # levels of a panel
_LEAST_SHOWN = 0.0001  # nats per row


def association_section(context: Context) -> Section | None:
    """Show the associations of pairs of columns, and what generated rows change."""
    scores, varying = context.fidelity.columns.associations, context.varying
    if scores is None:
        return None
    shown = _telling_columns(scores.difference)
    place = np.ix_(shown, shown)
    names = [context.name(varying[k]) for k in shown]
    most = max(0.1, float(np.abs(scores.difference[place]).max()), float(np.abs(scores.null[place]).max()))
    n = int(np.triu(scores.matters).sum())
    pairs = f"{n} pair{'s' * (n != 1)} of columns {'differs' if n == 1 else 'differ'}"
    words = (
        "Numbers and ordered levels are compared by rank correlation, a category and a number by the correlation ratio "
        "(the share of the ranks' variance between levels, as a root), two categories by Cramér's V. 0 means none, 1 "
        f"full association. {pairs if n else 'No pair of columns differs'} by more than 0.01 and more than chance "
        f"explains{' (framed)' if n else ''}."
    )
    blocks = [
        Text(words),
        Pictures(
            [
                picture(
                    figures.plot_associations(scores.real[place], names, title="Real rows"),
                    "Associations of real rows",
                    "associations",
                ),
                picture(
                    figures.plot_association_differences(
                        scores.difference[place],
                        scores.matters[place],
                        names,
                        title="Generated minus real",
                        most=most,
                    ),
                    "Associations of generated rows minus those of real rows",
                    "association differences",
                ),
                picture(
                    figures.plot_associations(scores.null[place], names, title="Other real rows minus real", most=most),
                    "Associations of other real rows minus those of real rows",
                    "association nulls",
                ),
            ],
            small=True,
        ),
    ]
    if len(shown) < len(varying):
        blocks.append(Text(f"Of {len(varying)} columns, the {len(shown)} with the largest differences.", note=True))
    return Section("Do columns depend on each other as they should?", blocks)


def given_section(context: Context) -> Section | None:
    """Show columns given levels of another: real rows that hold the level beside rows drawn given it."""
    table = context.fidelity.conditionals
    if table is None or not table.panels:
        return None
    given, levels = table.panels[0].given, list(dict.fromkeys(panel.level for panel in table.panels))
    columns = list(dict.fromkeys(panel.column for panel in table.panels))
    by_place = {(panel.column, panel.level): panel for panel in table.panels}
    kinds = dict(zip(context.varying, context.fidelity.columns.kinds, strict=True))
    rows = [[by_place[column, level] for level in levels] for column in columns]
    name = context.name(given)
    words = (
        f"Each column of panels holds rows with one value of {name}: the unseen rows that have it, and 1,000 rows that "
        "the model drew given it."
    )
    shown = []
    for column, panels in zip(columns, rows, strict=True):
        bars = kinds[column].levels if len(kinds[column].levels) <= _MOST_BARS or kinds[column].is_category else ()
        if len(bars) > _MOST_BARS:
            together = np.concatenate([panel.real for panel in panels])
            bars = tuple(sorted(sorted(bars, key=lambda level: -float(np.sum(together == level)))[:_MOST_BARS]))
        shown.append([(level, context.value(column, level)) for level in bars])
    figure = figures.plot_given(
        [[panel.real for panel in panels] for panels in rows],
        [[panel.drawn for panel in panels] for panels in rows],
        headings=[context.value(given, level) for level in levels],
        labels=[context.name(column) for column in columns],
        levels=shown,
    )
    return Section(f"What it draws given {name}", [Text(words), Pictures([picture(figure, words, "given")], wide=True)])


def probability_section(context: Context) -> Section | None:
    """Show whether the model's conditional probabilities and intervals hold on unseen rows."""
    table = context.fidelity.conditionals
    if table is None or not (table.levels or table.numbers):
        return None
    blocks: list[object] = [
        Text(
            "Each column is predicted from all others, on unseen rows, by the model as it is: it was trained for no "
            "single column."
        )
    ]
    if table.levels:
        blocks += _level_blocks(context, table)
    if table.numbers:
        blocks += _number_blocks(context, table)
    test = table.self_test
    lines = []
    if test.halves is not None:
        lines.append(
            f"|ln p(A, B) − ln p(B) − ln p(A | B)| for two halves A and B of the columns: {_small(test.halves)} "
            "nats per row. One distribution would have 0."
        )
    if test.orders is not None:
        lines.append(
            "|ln p with the levels in their order − ln p with them in reverse|: "
            f"{_small(test.orders)} nats per row. This is the error of ln p that no other number here shows."
        )
    if lines:
        blocks += [Heading("Do its probabilities agree with each other?"), Bullets(lines)]
    return Section("Can its probabilities be trusted?", blocks)


def utility_section(context: Context) -> Section | None:
    """Show how well models trained on generated rows predict the target in unseen rows."""
    prediction = context.fidelity.prediction
    if prediction is None:
        return None
    found, name = prediction.utility, context.name(prediction.target)
    what = "−ln P(level), nats" if found.is_level else "squared error / variance (1 − R²)"
    words = (
        f"Boosted trees predict {name} from the other columns. They are trained on {found.n_training:,} generated or "
        f"real rows, and tested on {found.generated.n:,} unseen real rows. ± is the error over the tested rows."
    )
    rows = [
        Row.of("Generated rows", estimate_text(found.generated), signed(estimate_text(found.excess))),
        Row.of("Real training rows", estimate_text(found.real), "0"),
        Row.of("No other column", estimate_text(found.constant), "–"),
    ]
    head = ("Trained on", f"Loss on unseen rows: {what}", "Minus that of real rows")
    return Section(f"Can generated rows teach to predict {name}?", [Text(words), Table(head, rows)])


def beyond_words(context: Context) -> str | None:
    """Return which share of generated numbers lies beyond the range of the fit's rows; None if none does."""
    columns = context.fidelity.columns
    if not columns.beyond:
        return None
    found = sorted(columns.beyond, key=lambda beyond: -beyond.generated)[:_MOST_PICTURES]
    parts = [
        f"{context.name(beyond.column)} {percent(beyond.generated)} (unseen rows: {percent(beyond.unseen)})"
        for beyond in found
    ]
    return f"Generated numbers beyond the range of the rows of the fit: {', '.join(parts)}."


def _level_blocks(context: Context, table: ConditionalScores) -> Iterator[object]:
    rows = [
        Row(
            context.name(scores.column),
            [
                Cell(estimate_text(scores.frequencies)),
                Cell(estimate_text(scores.trees)),
                Cell(
                    estimate_text(scores.loss),
                    "" if scores.excess is None else signed(estimate_text(scores.excess)),
                    scores.excess is not None and _matters(scores.excess),
                ),
                Cell(
                    f"{scores.reliability.error:.3f}",
                    f"by chance {with_error(scores.reliability.null, scores.reliability.null_spread)}",
                    scores.reliability.excess > 3.0,
                ),
            ],
            f"{scores.n_levels} levels",
        )
        for scores in table.levels
    ]
    yield Heading("Levels")
    yield Table(
        (
            "Column",
            "−ln P(level) of the training frequencies, nats",
            "Of boosted trees trained for this column",
            "Of the model; minus the trees'",
            "Calibration error of the model",
        ),
        rows,
    )
    yield Text(
        "The calibration error is the mean difference between the probabilities that the model states and the shares "
        "of rows in which these levels came. Trees are trained for columns of few levels only.",
        note=True,
    )
    worst = sorted(table.levels, key=lambda scores: -scores.reliability.excess)[: _MOST_PICTURES // 2]
    yield Pictures([_reliability_picture(context, scores) for scores in worst], small=True)
    yield Text(
        "Points: the share of statements that came true, against their probability. Grey: where 95 % of the points of "
        "true statements lie. Shown are the columns whose errors are largest beside chance.",
        note=True,
    )


def _reliability_picture(context: Context, scores: LevelScores) -> Picture:
    name = context.name(scores.column)
    figure = figures.plot_reliability(scores.reliability, title=name)
    return picture(figure, f"Calibration of the levels of {name}", f"reliability {scores.column}")


def _number_blocks(context: Context, table: ConditionalScores) -> Iterator[object]:
    yield Heading("Numbers")
    yield Table(
        ("Column", "Unseen numbers in the 50 % interval", "In the 90 % interval", "p-value of equally frequent ranks"),
        [
            Row.of(
                context.name(scores.column),
                with_error(scores.coverage_50.value, scores.coverage_50.standard_error, percent=True),
                with_error(scores.coverage_90.value, scores.coverage_90.standard_error, percent=True),
                f"{scores.ranks.p_value:.2g}",
            )
            for scores in table.numbers
        ],
    )
    pictures = [
        picture(
            figures.plot_ranks(scores.ranks, title=context.name(scores.column)),
            f"Ranks of {context.name(scores.column)} among draws",
            f"ranks {scores.column}",
        )
        for scores in table.numbers
    ]
    yield Pictures(pictures, small=True)
    yield Text(
        f"The rank of each of {table.numbers[0].coverage_50.n} real numbers among {table.numbers[0].n_draws} draws of "
        "its column, given the rest of its row. If the model is right, all ranks are equally frequent, and the bars "
        "lie in the grey band in 95 % of cases. Bars high at both ends mean draws that are too narrow.",
        note=True,
    )


def _small(estimate: Estimate) -> str:
    return estimate_text(estimate) if estimate.value > _LEAST_SHOWN else f"below {_LEAST_SHOWN:g}"


def _matters(estimate: Estimate) -> bool:
    return abs(estimate.value) > max(0.01, 2.0 * estimate.standard_error)


def _telling_columns(difference: Rows) -> list[int]:
    """Return the columns with the largest differences, in the order of the table."""
    most = np.abs(difference).max(axis=1)
    return sorted(np.argsort(-most, kind="stable")[:_MOST_IN_A_MATRIX].tolist())
