"""The section of associations: pairs of columns, and what generated rows change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from backwalk.estimates import Rows
from backwalk.report.blocks import Context, Picture, Pictures, Section, Text
from backwalk.report.style import GENERATED, INK, REAL, axes_or_new, finish, literal, styled

_MOST_IN_A_MATRIX = 24  # columns
_MOST_WITH_NUMBERS = 10  # columns of a matrix whose cells have numbers


def association_section(context: Context) -> Section | None:
    """Show the associations of pairs of columns, and what generated rows change."""
    scores, varying = context.fidelity.columns.associations, context.varying
    if scores is None:
        return None
    shown = _telling_columns(scores.difference)
    cells = np.ix_(shown, shown)
    names = [context.name(varying[k]) for k in shown]
    most = max(0.1, float(np.abs(scores.difference[cells]).max()), float(np.abs(scores.null[cells]).max()))
    n = int(np.triu(scores.matters).sum())
    pairs = f"{n} pair{'s' * (n != 1)} of columns {'differs' if n == 1 else 'differ'}"
    words = (
        "Numbers and ordered levels are compared by rank correlation, a category and a number by the correlation ratio "
        "(the share of the ranks' variance between levels, as a root), two categories by Cramér's V. 0 means none, 1 "
        f"full association. {pairs if n else 'No pair of columns differs'} by more than 0.01 and more than chance "
        f"explains{' (framed)' if n else ''}."
    )
    real = plot_associations(scores.real[cells], names, title="Real rows")
    difference = plot_associations(
        scores.difference[cells], names, matters=scores.matters[cells], title="Generated minus real", most=most
    )
    null = plot_associations(scores.null[cells], names, title="Other real rows minus real", most=most)
    pictures = [
        Picture.of(real, "Associations of real rows"),
        Picture.of(difference, "Associations of generated rows minus those of real rows"),
        Picture.of(null, "Associations of other real rows minus those of real rows"),
    ]
    blocks = [Text(words), Pictures(pictures, small=True)]
    if len(shown) < len(varying):
        blocks.append(Text(f"Of {len(varying)} columns, the {len(shown)} with the largest differences.", note=True))
    return Section("Do columns depend on each other as they should?", blocks)


def _telling_columns(difference: Rows) -> list[int]:
    """Return the columns with the largest differences, in the order of the table."""
    most = np.abs(difference).max(axis=1)
    return sorted(np.argsort(-most, kind="stable")[:_MOST_IN_A_MATRIX].tolist())


@styled()
def plot_associations(
    matrix: ArrayLike,
    names: Sequence[str],
    *,
    matters: ArrayLike | None = None,
    title: str = "",
    most: float = 1.0,
    ax: Axes | None = None,
) -> Figure:
    """Draw a matrix (d, d) of associations or of their differences, into `ax` or a new figure.

    Colours are full at `most` and beyond; cells in `matters`, (d, d), have a frame.
    """
    values, d = np.asarray(matrix), len(names)
    framed = np.zeros((d, d), dtype=bool) if matters is None else np.asarray(matters)
    ax = axes_or_new(ax, width=3.7, height=3.7)
    ax.set(xlim=(-0.5, d - 0.5), ylim=(d - 0.5, -0.5), aspect="equal")
    ax.set_xticks(range(d), [literal(name, 14) for name in names], rotation=90)
    ax.set_yticks(range(d), [literal(name, 14) for name in names])
    ax.tick_params(length=0, labelsize=9 if d <= _MOST_WITH_NUMBERS else 7)
    for side in ax.spines.values():
        side.set(visible=True, alpha=0.4)
    for i, j in np.argwhere(~np.eye(d, dtype=bool)):
        value = float(values[i, j])
        strength = min(1.0, abs(value) / most)
        color = REAL if value > 0.0 else GENERATED
        ax.add_patch(_square(i, j, 0.5, facecolor=color, alpha=0.75 * strength))
        if d <= _MOST_WITH_NUMBERS:
            text = f"{value:.2f}".replace("-0.00", "0.00").replace("0.", ".", 1).replace("-", "−")
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=INK if strength < 0.6 else "#ffffff")
        if framed[i, j]:
            ax.add_patch(_square(i, j, 0.46, fill=False, edgecolor=INK, linewidth=1.8))
    return finish(ax, title, grid="")


def _square(i: int, j: int, half: float, **look: Any) -> Rectangle:
    return Rectangle((j - half, i - half), 2.0 * half, 2.0 * half, **look)
