"""The section of statistics: generated rows beside real rows, for the model and the baselines."""

from __future__ import annotations

import numpy as np

from backwalk.assess import Fidelity
from backwalk.assess.statistics import Figure, sign_that_matters
from backwalk.assess.topics.closeness import DESCRIPTIONS
from backwalk.assess.words import figure_texts, in_percent, signed
from backwalk.report.blocks import Cell, Context, Row, Section, Table, Text


def closeness_section(context: Context) -> Section:
    """Show the statistics of generated rows beside those of real rows, for the model and the baselines."""
    fidelity = context.fidelity
    whose = "scored" if fidelity.checks.n_training is None else "training"
    unit = f"Distances are in standard deviations of the {whose} rows"
    if fidelity.asinh_columns:
        unit += f", after an asinh transform of columns with heavy tails ({', '.join(fidelity.asinh_columns)})"
    if any(kind.levels for kind in fidelity.columns.kinds):
        unit += "; two levels of a category are 1 apart"
    if np.isnan(fidelity.real).any():
        unit += "; missing cells have their column's mean"
    blocks = [
        Text(
            "Two sets of real rows also differ, by chance. So the first column holds each statistic for real rows "
            f"against other real rows ({fidelity.real_rows}); below each value stands its difference from that. ± is "
            "one standard error. A difference in bold matters: it is larger than chance explains (two standard errors, "
            "by Student's t) and larger than the margin in the last column."
        ),
        Table(
            ("Statistic", "Real against real", *(scores.name for scores in fidelity.models), "Margin"),
            [_statistic_row(figure, fidelity) for figure in fidelity.model.figures],
        ),
        Text(f"{unit}.", note=True),
    ]
    return Section("How close are generated rows to real rows?", blocks)


def _statistic_row(of_model: Figure, fidelity: Fidelity) -> Row:
    description = DESCRIPTIONS[of_model.name]
    margin = description.margin
    cells = [Cell(figure_texts(of_model)[1])]
    for scores in fidelity.models:
        figure = scores.figure(of_model.name)
        value, _, difference = figure_texts(figure)
        error = figure.difference_standard_error
        matters = sign_that_matters(figure.difference, error, margin, n_pairs=figure.n_pairs)
        cells.append(Cell(value, signed(difference), bool(matters)))
    cells.append(Cell(f"{100 * margin:g} %" if in_percent(of_model) else f"{margin:g}"))
    return Row(of_model.name, cells, description.explanation)
