"""One picture and one line of numbers for each column, by its kind."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from backwalk.assess.statistics import ColumnKind, level_bands, level_index, level_shares
from backwalk.assess.words import significant
from backwalk.estimates import Rows
from backwalk.report import figures
from backwalk.report.row_figures import some_rows
from backwalk.report.sections import Context, Picture, picture

BANDS_NOTE = (
    "Levels: bars are real rows, points generated ones. If the model is right, all points of a column lie in the grey "
    "bands in 95 % of cases."
)
_MOST_ROWS = 5_000  # per picture
_MOST_BARS = 12  # levels


def column_picture(context: Context, k: int) -> Picture:
    """Return the picture of the k-th column that varies."""
    rows, j, kinds = context.fidelity.rows, context.varying[k], context.fidelity.columns.kinds
    name, axis = context.name(j), context.model.codec.columns[j].axis
    real, generated = rows.real[:, j], rows.generated[:, j]
    label = f"Histograms of {name}, real and generated"
    if kinds:
        real, generated = (values[~np.isnan(values)] for values in (real, generated))
        kind = kinds[k]
        if kind.levels and (kind.is_category or len(kind.levels) <= _MOST_BARS):
            return picture(_levels(context, j, kind, real, generated), f"Levels of {name}", f"histogram {j}")
        if kind.atoms:
            figure = figures.plot_number_with_atoms(
                real, generated, kind.atoms, label=name, asinh=axis.asinh, integers=axis.integers
            )
            return picture(figure, label, f"histogram {j}")
    figure = figures.plot_marginal(real, generated, label=name, asinh=axis.asinh, integers=axis.integers)
    return picture(figure, label, f"histogram {j}")


def column_texts(context: Context, k: int, values: Rows) -> list[str]:
    """Return mean, standard deviation, least and largest value of the k-th column that varies, in a table.

    In a table with levels or gaps the share of missing cells follows, and a category has its most frequent level.
    """
    kinds, j = context.fidelity.columns.kinds, context.varying[k]
    if not kinds:
        return [significant(float(number)) for number in (values.mean(), values.std(), values.min(), values.max())]
    missing, observed = float(np.isnan(values).mean()), values[~np.isnan(values)]
    gaps = f"{missing:.1%}" if missing else "0"
    if not len(observed):
        return ["–", "–", "–", "–", gaps]
    kind = kinds[k]
    if kind.is_category:
        shares = level_shares(observed, kind.levels)
        most = int(shares.argmax())
        return [f"{context.value(j, kind.levels[most])} ({shares[most]:.0%})", "–", "–", "–", gaps]
    ends = [context.value(j, float(value)) for value in (observed.min(), observed.max())]
    plain = context.model.schema.labels[j] is None and context.model.schema.units[j] is None
    middle = [significant(float(value)) for value in (observed.mean(), observed.std())] if plain else ["–", "–"]
    return [*middle, *ends, gaps]


def _levels(context: Context, j: int, kind: ColumnKind, real: Rows, generated: Rows) -> Figure:
    """Draw the levels in their order; of many the 11 most frequent, by frequency, and all others together."""
    x, y = (
        level_index(some_rows(values[:, None], _MOST_ROWS)[:, 0], kind.levels).astype(np.float64)
        for values in (real, generated)
    )
    shown = list(range(len(kind.levels)))
    if len(shown) > _MOST_BARS:
        shown = np.argsort(-level_shares(real, kind.levels), kind="stable")[: _MOST_BARS - 1].tolist()
    names = [context.value(j, kind.levels[level]) for level in shown]
    place = np.full(len(kind.levels), float(len(shown)))
    place[shown] = np.arange(len(shown))
    if len(shown) < len(kind.levels):
        names.append(f"{len(kind.levels) - len(shown):,} others")
    x, y = place[x.astype(np.intp)], place[y.astype(np.intp)]
    bands = level_bands(x, y, tuple(np.arange(float(len(names))).tolist()))
    return figures.plot_levels(bands, names, title=context.name(j))
