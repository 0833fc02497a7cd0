"""The section of rows: the real and the generated rows that the statistics compare, in pictures and in numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backwalk.assess import Fidelity
from backwalk.assess.words import significant, with_error
from backwalk.report import figures
from backwalk.report.row_figures import some_rows
from backwalk.report.sections import Context, Details, Heading, Picture, Pictures, Row, Section, Table, Text, picture
from backwalk.report.style import GENERATED, REAL
from backwalk.streams import Stream

_MOST_ROWS = 5_000  # per picture
_MOST_COLUMNS = 50  # in the table of columns
_MOST_HISTOGRAMS = 6
_COLUMN_HEADS = (
    *("Column", "Real: mean", "std. dev.", "smallest", "largest"),
    *("Generated: mean", "std. dev.", "smallest", "largest"),
    "Largest difference of the cumulative distributions (KS), minus that of real rows",
)


def row_section(context: Context) -> Section:
    """Show the compared rows: pairs of columns, histograms, and the columns in numbers."""
    varying, fidelity = context.varying, context.fidelity
    clouds, histograms = list(_clouds(context)), list(_histograms(context))
    integers = any(column.axis.integers for column in context.model.codec.columns)
    shown, n = varying[:_MOST_COLUMNS], len(varying)
    blocks = [
        Text(rows_text(fidelity, context.model.schema.n_columns, n)),
        Text(
            f"The pictures show the rows that the statistics compare: {fidelity.real_rows}. Sampler of the generated "
            f"rows: {fidelity.sampler}."
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
        Details(
            "Columns in numbers" if len(shown) == n else f"Columns in numbers: the first {len(shown)} of {n}",
            [Table(_COLUMN_HEADS, [_column_row(context, k, j) for k, j in enumerate(shown)], stacked=False)],
        ),
    ]
    return Section("Real rows beside generated rows", blocks)


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
    if fidelity.entropy is not None:
        words += " The true density of the data is known."
    return words


def _clouds(context: Context) -> Iterator[Picture]:
    """Yield real and generated rows in turn, for the pairs of columns that differ most."""
    rows, varying, codec = context.fidelity.rows, context.varying, context.model.codec
    if len(varying) < 2:
        return
    n = min(len(rows.real), len(rows.generated), _MOST_ROWS)
    # Integers on a lattice would hide each other.
    x, y = (
        codec.dequantise(some_rows(each, n), stream=Stream(0).child("clouds", k))
        for k, each in enumerate((rows.real, rows.generated))
    )
    starts = [codec.slices[j].start for j in varying]
    real, generated = (codec.encode(each)[:, starts] for each in (rows.real, rows.generated))
    distance = [figure.difference for figure in context.fidelity.columns]
    for pair in figures.telling_pairs(real, generated, distance, n_pairs=2 if len(varying) > 2 else 1):
        i, j = (varying[k] for k in pair)
        asinh = codec.columns[i].axis.asinh, codec.columns[j].axis.asinh
        limits = figures.limits_of(x[:, [i, j]], y[:, [i, j]], asinh=asinh)
        names = (context.name(i), context.name(j))
        for points, color, title in ((x, REAL, "Real"), (y, GENERATED, "Generated")):
            figure = figures.plot_points(
                points[:, [i, j]], title=title, labels=names, limits=limits, color=color, asinh=asinh
            )
            yield picture(figure, f"{title}: {names[1]} against {names[0]}", f"{title} {i} {j}")


def _histograms(context: Context) -> Iterator[Picture]:
    """Yield the histograms of the columns that differ most, in the order of the table."""
    rows, varying = context.fidelity.rows, context.varying
    difference = np.array([figure.difference for figure in context.fidelity.columns])
    for k in np.sort(np.argsort(-difference, kind="stable")[:_MOST_HISTOGRAMS]):
        j = varying[k]
        name, axis = context.name(j), context.model.codec.columns[j].axis
        figure = figures.plot_marginal(
            rows.real[:, j], rows.generated[:, j], label=name, asinh=axis.asinh, integers=axis.integers
        )
        yield picture(figure, f"Histograms of {name}, real and generated", f"histogram {j}")


def _column_row(context: Context, k: int, j: int) -> Row:
    rows, figure = context.fidelity.rows, context.fidelity.columns[k]
    numbers = [
        significant(float(number))
        for x in (rows.real[:, j], rows.generated[:, j])
        for number in (x.mean(), x.std(), x.min(), x.max())
    ]
    return Row.of(context.name(j), *numbers, with_error(figure.difference, figure.difference_standard_error))
