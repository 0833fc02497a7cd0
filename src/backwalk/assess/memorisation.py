"""What a model remembers of its training rows: how much better it denoises them than rows that it never saw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from backwalk.assess.fidelity import LevelGain
from backwalk.diffusion import evenly_spaced, simple_loss
from backwalk.evaluation import Estimate, mean_estimate, random_rows
from backwalk.evaluation.rows import Rows
from backwalk.model import DiffusionModel, bound, encode_for_scoring
from backwalk.sampling import Sampler
from backwalk.streams import Stream

_STEPS_TO_SEE_GAIN, _MOST_TO_SEE_GAIN = 50, 5_000
_LEVELS_TO_SEE_GAIN, _DRAWS_TO_SEE_GAIN = 8, 4


def as_many(trained: Rows, unseen: Rows, stream: Stream) -> tuple[Rows, Rows]:
    """Return equally many rows of each at random, row i of the one to meet the noise of row i of the other."""
    n = min(len(trained), len(unseen), _MOST_TO_SEE_GAIN)
    return random_rows(trained, n, stream=stream.child("training")), random_rows(
        unseen, n, stream=stream.child("unseen")
    )


def training_gain(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Estimate:
    """Return the bound on unseen rows minus that on as many training rows, with the same noise: nats per row.

    It is that of encoded rows: the volumes of columns with heavy tails have the same mean for both, and would only add
    their spread. A chain of 50 of the steps serves: it sees what the network remembers for a fraction of the time. The
    error is that of the differences of rows that share their noise.
    """
    times, noise = Sampler("ancestral", _STEPS_TO_SEE_GAIN).times(model.schedule), stream.child("noise")
    on_trained, on_unseen = (
        bound(model, rows, steps=times, stream=noise).per_row.numpy() + model.codec.log_abs_det_jacobian(rows)
        for rows in (trained, unseen)
    )
    return mean_estimate(on_unseen - on_trained)


def gain_by_level(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Iterator[LevelGain]:
    """Yield, from little noise to much, L_simple on unseen rows minus that on training rows, with the same noise."""
    schedule, d = model.schedule, model.codec.n_encoded
    z = [encode_for_scoring(model, rows).float() for rows in (trained, unseen)]
    for t in sorted({1, *evenly_spaced(schedule.n_steps, min(_LEVELS_TO_SEE_GAIN, schedule.n_steps))}):
        gain = np.zeros(len(trained))
        for draw in range(_DRAWS_TO_SEE_GAIN):
            eps = stream.child(t, draw).normal(0, len(trained), d, z[0].dtype).to(z[0].device)
            with torch.no_grad():
                on_trained, on_unseen = (simple_loss(model.denoiser, x, t, eps, schedule) for x in z)
            gain += (on_unseen - on_trained).numpy() / _DRAWS_TO_SEE_GAIN
        yield LevelGain(t, float(schedule.noise_level[t]), mean_estimate(gain))
