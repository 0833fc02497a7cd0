"""Memorisation: the difference of a model's loss and bound between unseen rows and training rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from backwalk.assess.fidelity import LevelGain
from backwalk.assess.statistics import Estimate, mean_estimate, random_rows
from backwalk.diffusion import evenly_spaced, simple_loss, variational_bound
from backwalk.estimates import Rows
from backwalk.model import DiffusionModel, bound, encode_for_scoring, reverse_variances
from backwalk.sampling import Sampler
from backwalk.streams import Stream

_N_STEPS, _MOST_ROWS = 50, 5_000
_N_LEVELS, _N_DRAWS = 8, 4


def equally_many(trained: Rows, unseen: Rows, stream: Stream) -> tuple[Rows, Rows]:
    """Return equally many random rows of each, at most 5,000; later, row i of both sets gets the same noise."""
    n = min(len(trained), len(unseen), _MOST_ROWS)
    return random_rows(trained, n, stream=stream.child("training")), random_rows(
        unseen, n, stream=stream.child("unseen")
    )


def training_gain(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Estimate:
    """Return the bound on unseen rows minus that on as many training rows, with the same noise: nats per row.

    The bound is on encoded rows: the log-determinants of columns with heavy tails have the same mean for both sets and
    would only add variance. A chain of 50 steps saves time. The standard error is that of the row-paired differences.
    In a table with levels or gaps it is the bound in the user's units.
    """
    times, noise = Sampler("ancestral", _N_STEPS).times(model.schedule), stream.child("noise")
    if model.codec.blocks or np.isnan(trained).any() or np.isnan(unseen).any():
        of_trained, of_unseen = (
            bound(model, rows, stream=noise, steps=times).per_row.numpy() for rows in (trained, unseen)
        )
        return mean_estimate(of_unseen - of_trained)
    schedule, sigma_sq = model.schedule.respace(times), reverse_variances(model, times)
    on_trained, on_unseen = (
        variational_bound(
            model.denoiser, encode_for_scoring(model, rows).float(), schedule, sigma_sq, stream=noise, size=1.0
        ).per_row.numpy()
        for rows in (trained, unseen)
    )
    return mean_estimate(on_unseen - on_trained)


def gain_by_level(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Iterator[LevelGain]:
    """Yield L_simple on unseen rows minus that on training rows, with the same noise, from low noise levels to high."""
    schedule, d = model.schedule, model.codec.n_encoded
    z = [encode_for_scoring(model, rows).float() for rows in (trained, unseen)]
    for t in sorted({1, *evenly_spaced(schedule.n_steps, min(_N_LEVELS, schedule.n_steps))}):
        gain = np.zeros(len(trained))
        for draw in range(_N_DRAWS):
            eps = stream.child(t, draw).normal(0, len(trained), d, z[0].dtype).to(z[0].device)
            with torch.no_grad():
                on_trained, on_unseen = (simple_loss(model.denoiser, x, t, eps, schedule) for x in z)
            gain += (on_unseen - on_trained).numpy() / _N_DRAWS
        yield LevelGain(t, float(schedule.noise_level[t]), mean_estimate(gain))
