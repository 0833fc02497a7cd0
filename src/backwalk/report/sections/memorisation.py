"""The section of memorisation: copies of training rows, and losses on training rows beside unseen rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backwalk.assess.words import estimate_text, percent, with_error
from backwalk.report.blocks import Bullets, Context, Picture, Pictures, Section
from backwalk.report.style import BLUE, INK, axes_or_new, finish, styled


def memorisation_section(context: Context) -> Section | None:
    """Show whether the model copies its training rows, if these were given."""
    scores = context.fidelity.memorisation
    if scores is None:
        return None
    share, rare, levels = scores.nearest_row_share, scores.rare_copies, scores.gain_by_level
    lines = [
        f"{with_error(share.value, share.standard_error, percent=True)} of generated rows lie nearer to a training "
        "row than to any of equally many unseen rows. Without copying, 50 % would; more than that means copies.",
        f"Unseen rows cost {estimate_text(scores.training_gain)} nats per row more than training rows (the bound of a "
        "chain of 50 steps, with the same noise). Without memorisation the difference is 0.",
    ]
    if rare is not None and rare.n_rare:
        lines.append(
            f"{percent(rare.of_training)} of generated rows have a combination of levels that one training row alone "
            f"holds, {percent(rare.of_unseen)} one that one of equally many unseen rows alone holds: a difference of "
            f"{with_error(rare.excess.value, rare.excess.standard_error, percent=True)}. Without copying it is 0."
        )
    blocks: list[object] = [Bullets(lines)]
    if levels is not None:
        figure = plot_gain_by_level(
            [level.noise_level for level in levels], [(level.gain.value, level.gain.standard_error) for level in levels]
        )
        caption = "|ε − ε_θ|² on unseen rows minus that on training rows, at each noise level, with the same noise."
        blocks.append(Pictures([Picture.of(figure, "L_simple, unseen minus training rows", caption)]))
    return Section("Does it copy training rows?", blocks)


@styled
def plot_gain_by_level(
    noise_level: Sequence[float],
    gain: Sequence[tuple[float, float]],
    *,
    title: str = "Memorisation by noise level",
    ax: Axes | None = None,
) -> Figure:
    """Draw L_simple on unseen rows minus that on training rows against the noise level s, with two standard errors.

    An infinite level (zero terminal SNR) is left out: no data are left to memorise.
    """
    ax = axes_or_new(ax, height=3.1)
    shown = [(s, *pair) for s, pair in zip(noise_level, gain, strict=True) if np.isfinite(s)]
    levels, values, errors = (np.array([point[i] for point in shown]) for i in (0, 1, 2))
    ax.errorbar(levels, values, yerr=2 * errors, fmt="o-", color=BLUE, markersize=4, capsize=3, linewidth=1.2)
    ax.axhline(0.0, color=INK, linewidth=0.8)
    ax.set_xscale("log")
    ax.set(xlabel="noise level s, encoded units", ylabel="loss: unseen − training rows")
    return finish(ax, title)
