"""The section of the chain: real rows as noise is added, and generated rows as it is removed."""

from __future__ import annotations

import numpy as np

from backwalk.report.axes import limits_of
from backwalk.report.blocks import Chain, Context, Picture, Section, Text
from backwalk.report.sections.rows import plot_chain
from backwalk.report.style import GENERATED, REAL

_N_FRAMES = 6  # where no script runs


def chain_section(context: Context) -> Section | None:
    """Show the chain forward and backward; None where all columns have levels."""
    frames = context.frames
    if frames is None:
        return None
    up = (
        "spread out upwards, so that points do not hide each other"
        if len(context.varying) == 1
        else f"{frames.labels[1]} upwards"
    )
    shown = [round(i) for i in np.linspace(0, len(frames.t) - 1, min(_N_FRAMES, len(frames.t)))]
    limits = limits_of(frames.forward.reshape(-1, 2), frames.backward.reshape(-1, 2))
    strips = []
    for name, clouds, color in (("Forward", frames.forward, REAL), ("Backward", frames.backward, GENERATED)):
        captions = [f"t = {frames.t[k]:.0f}" for k in shown]
        figure = plot_chain([clouds[k] for k in shown], captions=captions, color=color, limits=limits)
        strips.append(Picture.of(figure, f"{name}: the chain from data to noise", name))
    words = (
        "Left: real rows, as noise is added to them. Right: generated rows on their way from noise, at the same "
        f"noise level. Both clouds should look alike. Axes: {frames.labels[0]} across, {up}, encoded units."
    )
    return Section("The chain, forward and backward", [Text(words), Chain(frames, strips)])
