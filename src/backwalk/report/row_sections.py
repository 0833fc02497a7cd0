"""The section of rows: the real and the generated rows that the statistics compare, in pictures and in numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backwalk.assess import Fidelity
from backwalk.assess.words import with_error
from backwalk.report import figures
from backwalk.report.column_pictures import BANDS_NOTE, column_picture, column_texts
from backwalk.report.row_figures import some_rows
from backwalk.report.sections import Context, Details, Heading, Picture, Pictures, Row, Section, Table, Text, picture
from backwalk.report.style import GENERATED, REAL
from backwalk.report.table_sections import beyond_words
from backwalk.streams import Stream

_MOST_ROWS = 5_000  # per picture
_MOST_COLUMNS = 50  # in the table of columns
_MOST_HISTOGRAMS = 6
_FEWEST_IN_A_CLOUD = 20
_COLUMN_HEADS = (
    *("Column", "Real: mean", "std. dev.", "smallest", "largest"),
    *("Generated: mean", "std. dev.", "smallest", "largest"),
    "Largest difference of the cumulative distributions (KS), minus that of real rows",
)
_KIND_HEADS = (
    *("Column", "Real: mean or most frequent", "std. dev.", "smallest", "largest", "missing"),
    *("Generated: mean or most frequent", "std. dev.", "smallest", "largest", "missing"),
    "Distance of the distributions (KS, or total variation of levels), minus that of real rows",
)


def row_section(context: Context) -> Section:
    """Show the compared rows: pairs of columns, histograms, and the columns in numbers."""
    varying, fidelity = context.varying, context.fidelity
    clouds, histograms = list(_clouds(context)), list(_histograms(context))
    integers = any(column.axis.integers for column in context.model.codec.columns)
    shown, n = varying[:_MOST_COLUMNS], len(varying)
    heads = _COLUMN_HEADS if not fidelity.columns.kinds else _KIND_HEADS
    blocks = [
        Text(rows_text(fidelity, context.model.schema.n_columns, n)),
        Text(
            f"The pictures show the rows that the statistics compare: {fidelity.real_rows}. Sampler of the generated "
            f"rows: {fidelity.sampler}.{_gap_words(context)}"
        ),
        *([Pictures(clouds)] if clouds else []),
        *(
            [Text("Integers are drawn spread out by up to ± 1/2, so that points do not hide each other.", note=True)]
            if clouds and integers
            else []
        ),
        Heading(
            "Column by column"
            if len(histograms) == n
            else f"Column by column: the {len(histograms)} of {n} columns that differ most"
        ),
        Pictures(histograms, small=True),
        *([Text(BANDS_NOTE, note=True)] if context.model.codec.blocks else []),
        *([Text(beyond, note=True)] if (beyond := beyond_words(context)) else []),
        Details(
            "Columns in numbers" if len(shown) == n else f"Columns in numbers: the first {len(shown)} of {n}",
            [Table(heads, [_column_row(context, k, j) for k, j in enumerate(shown)], stacked=False)],
        ),
    ]
    return Section("Real rows beside generated rows", blocks)


def _gap_words(context: Context) -> str:
    if not context.fidelity.columns.gaps:
        return ""
    return (
        " The model makes complete rows; for comparison they have the gaps of random training rows. Where gaps depend "
        "on values, this counts against the model."
    )


def rows_text(fidelity: Fidelity, n_columns: int, n_varying: int) -> str:
    """Return how many rows trained, chose the weights and score the model."""
    checks = fidelity.checks
    columns = f"{n_columns} column{'s' * (n_columns > 1)}"
    words = f"The model is scored on {checks.n_unseen:,} rows of {columns}"
    if checks.n_training is None:
        words += "; its training rows were not given."
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
    rows, codec = context.fidelity.rows, context.model.codec
    of_figure = {j: k for k, j in enumerate(context.varying)}
    with_levels = {block.column for block in codec.blocks if block.continuous is None}
    numbers = [j for j in context.varying if j not in with_levels]
    if len(numbers) < 2:
        return
    complete = [each[~np.isnan(each[:, numbers]).any(axis=1)] for each in (rows.real, rows.generated)]
    n = min(*map(len, complete), _MOST_ROWS)
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
    distance = [context.fidelity.columns.figures[of_figure[j]].difference for j in numbers]
    for pair in figures.telling_pairs(real, generated, distance, n_pairs=2 if len(numbers) > 2 else 1):
        i, j = (numbers[k] for k in pair)
        asinh = codec.columns[i].axis.asinh, codec.columns[j].axis.asinh
        limits = figures.limits_of(x[:, [i, j]], y[:, [i, j]], asinh=asinh)
        names = (context.name(i), context.name(j))
        for points, color, title in ((x, REAL, "Real"), (y, GENERATED, "Generated")):
            figure = figures.plot_points(
                points[:, [i, j]], title=title, labels=names, limits=limits, color=color, asinh=asinh
            )
            yield picture(figure, f"{title}: {names[1]} against {names[0]}", f"{title} {i} {j}")


def _histograms(context: Context) -> Iterator[Picture]:
    """Yield the pictures of the columns that differ most, in the order of the table."""
    difference = np.array([figure.difference for figure in context.fidelity.columns.figures])
    for k in np.sort(np.argsort(-difference, kind="stable")[:_MOST_HISTOGRAMS]):
        yield column_picture(context, int(k))


def _column_row(context: Context, k: int, j: int) -> Row:
    rows, figure = context.fidelity.rows, context.fidelity.columns.figures[k]
    texts = [text for x in (rows.real[:, j], rows.generated[:, j]) for text in column_texts(context, k, x)]
    return Row.of(context.name(j), *texts, with_error(figure.difference, figure.difference_standard_error))
