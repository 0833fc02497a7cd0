"""The section of the chain: real rows as noise is added, and generated rows as it is removed, at the same noise levels.

At every noise level the two clouds should look alike. At the end of the chain the forward cloud may still show the
data, while the backward one starts from pure noise: if they differ there, the schedule ends too early.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from backwalk.estimates import Rows
from backwalk.model import DiffusionModel, walk
from backwalk.report.axes import limits_of, some_rows
from backwalk.report.blocks import Section, Text
from backwalk.report.words import column_name
from backwalk.streams import Stream
from backwalk.table import off_atoms

_LEAST_SHARE = 0.1  # of rows without an atom: at most ten times as many rows are drawn as are shown
_LEVELS = 2**16 - 1  # a coordinate is sent to the page as an unsigned number of 16 bits


@dataclass(frozen=True)
class Chain:
    """The chain with a slider, from `ChainFrames.for_page`."""

    frames: Mapping[str, Any]


def chain_section(model: DiffusionModel, real: Rows, columns: tuple[int, int], stream: Stream) -> Section:
    """Show the chain forward, from real rows (n, d), and backward, by two columns of numbers, or by one twice."""
    frames = chain_frames(model, real, stream, columns=columns)
    up = f"{frames.labels[1]} upwards"
    if columns[0] == columns[1]:
        up = "spread out upwards, so that points do not hide each other"
    words = (
        "Left: real rows, as noise is added to them. Right: generated rows on their way from noise, at the same "
        f"noise level. Both clouds should look alike. Axes: {frames.labels[0]} across, {up}, encoded units."
    )
    return Section("The chain, forward and backward", [Text(words), Chain(frames.for_page())])


@dataclass(frozen=True, eq=False)
class ChainFrames:
    """Frames from x_0 to x_N: `forward` and `backward` are (k, n, 2), encoded units; `t` and `log_snr` (k,).

    `labels` name the two axes. For a single column the vertical axis only spreads the rows out.
    """

    t: NDArray[np.float64]
    log_snr: NDArray[np.float64]
    forward: NDArray[np.float64]
    backward: NDArray[np.float64]
    labels: tuple[str, str]

    @property
    def alpha_bar(self) -> NDArray[np.float64]:
        """The share of signal in each frame."""
        return np.asarray(torch.sigmoid(torch.from_numpy(self.log_snr)).numpy())

    def for_page(self) -> dict[str, Any]:
        """Return what the page's script draws: plain values, coordinates as base64 of little-endian uint16."""
        left, right, bottom, top = limits_of(self.forward.reshape(-1, 2), self.backward.reshape(-1, 2))
        low, span = np.array([left, bottom]), np.array([right - left, top - bottom])

        def packed(frames: NDArray[np.float64]) -> str:
            unit = np.clip((frames - low) / span, 0.0, 1.0)
            return base64.b64encode(np.rint(unit * _LEVELS).astype("<u2").tobytes()).decode()

        return {
            "n": self.forward.shape[1],
            "t": [round(float(t)) for t in self.t],
            "alpha_bar": self.alpha_bar.tolist(),
            "log_snr": [None if np.isinf(value) else float(value) for value in self.log_snr],
            "forward": packed(self.forward),
            "backward": packed(self.backward),
        }


def chain_frames(
    model: DiffusionModel,
    rows: ArrayLike,
    stream: Stream,
    *,
    columns: tuple[int, int],
    n_frames: int = 24,
    n_points: int = 800,
) -> ChainFrames:
    """Return up to `n_frames` frames, forward of `n_points` random rows of `rows`, (n, d), and backward of as many.

    `rows` are in the user's units; `columns` are the two to draw, which vary, or one of them twice. Rows with a gap in
    them are left out, and in both directions rows at an atom. A forward row has the same noise in all frames, so that
    its path is smooth; each single frame is distributed as q(x_t). Backward frames are states of the model's own
    sampler, with all coordinates in one chain.
    """
    whole = np.asarray(rows, dtype=np.float64)
    is_shown = has_numbers(model, whole, columns).all(axis=1)
    blocks = [block for block in model.codec.blocks if block.number is not None and block.column in columns]
    share = max(float(is_shown.mean()), _LEAST_SHARE) if blocks else 1.0
    whole, places = whole[is_shown], _places(model, columns)
    z = model.codec.encode(some_rows(whole, n_points), stream=stream.child("cells"))[:, places]
    eps = stream.child("forward").normal(0, len(z), model.codec.n_encoded).numpy()[:, places]

    states = [
        (state.log_snr, state.x_t.double().cpu().numpy())
        for state in walk(model, 0, math.ceil(len(z) / share), stream=stream.child("backward"))
    ][::-1]
    applies = off_atoms(blocks, states[0][1])
    drawn = np.flatnonzero(applies if applies.any() else ~applies)[: len(z)]
    z, eps = z[: len(drawn)], eps[: len(drawn)]
    kept = sorted({round(i) for i in np.linspace(0, len(states) - 1, n_frames)})
    log_snr = np.array([states[i][0] for i in kept])
    level = torch.from_numpy(log_snr)
    a, b = (torch.sigmoid(sign * level).sqrt().numpy()[:, None, None] for sign in (1, -1))
    forward, backward = a * z + b * eps, np.stack([states[i][1][np.ix_(drawn, places)] for i in kept])
    labels = (column_name(model.schema, columns[0]), column_name(model.schema, columns[1]))
    if columns[0] == columns[1]:
        spread = stream.child("spread").uniform(0, len(z), 1).numpy()[:, 0]
        forward[..., 1] = backward[..., 1] = spread
        labels = (labels[0], "spread out")
    return ChainFrames(_times(log_snr, model), log_snr, forward, backward, labels)


def has_numbers(model: DiffusionModel, rows: Rows, columns: Sequence[int]) -> NDArray[np.bool_]:
    """Return whether rows, (n, d), have a number in each of some columns, and neither a gap nor an atom: (n, c)."""
    return np.asarray(~np.isnan(model.codec.encode(rows)[:, _places(model, columns)]))


def _places(model: DiffusionModel, columns: Sequence[int]) -> NDArray[np.intp]:
    """Return the coordinates of the numbers of some columns."""
    numbers = {block.column: block.number for block in model.codec.blocks if block.number is not None}
    return np.array([numbers.get(column, model.codec.slices[column].start) for column in columns], dtype=np.intp)


def _times(log_snr: NDArray[np.float64], model: DiffusionModel) -> NDArray[np.float64]:
    """Return the step of the model's chain with each log-SNR, interpolated between steps."""
    known = model.schedule.log_snr[1:].numpy()
    n_steps = model.schedule.n_steps
    times = np.interp(-log_snr, -known, np.arange(1, n_steps + 1))
    return np.asarray(np.where(np.isposinf(log_snr), 0.0, times))
