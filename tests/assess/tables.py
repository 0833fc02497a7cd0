"""A table in closed form for tests: a region, a number with an atom, a flag and an ordered grade, with their model.

The flag and the grade follow the region, and the number all three. The model is exact, up to its solver.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from backwalk.diffusion import NoiseSchedule
from backwalk.fit.oracle import oracle_model
from backwalk.streams import Stream
from backwalk.table import AtomsColumn, Codec, LevelsColumn, NumberColumn, Schema, from_values
from tests.mixed_forms import ConditionalGaussianDenoiser

SIZES = (3, 2, 2, 2)  # region, atom or not, flag, grade
LABELS = ("north", "south", "west")
SCHEMA = Schema(
    ("region", "rain", "flag", "grade"),
    ("str", "float64", "boolean", "float64"),
    "pandas",
    labels=(LABELS, None, None, None),
)


def parameters(tilt):
    """Return the table of probabilities and the means of the number; `tilt` changes both."""
    region, atom, flag, grade = np.meshgrid(*map(np.arange, SIZES), indexing="ij")
    logits = 0.8 * (region - 1) * (2 * flag - 1) + 0.5 * (2 * atom - 1) * flag + (0.6 + tilt) * grade * (region == 2)
    p = np.exp(logits + tilt * flag)
    means = np.where(atom == 1, 0.8 * (region - 1) + 0.5 * grade + tilt, 0.0)
    return p / p.sum(), means


@cache
def table(n, seed):
    """Return n rows in the user's units, (n, 4)."""
    p, means = parameters(0.0)
    u = Stream(seed).uniform(0, n, 1).numpy()[:, 0]
    k = np.minimum(np.searchsorted(np.cumsum(p), u), p.size - 1)
    region, atom, flag, grade = np.unravel_index(k, SIZES)
    z = means.ravel()[k] + 0.6 * Stream(seed).child("number").normal(0, n, 1).numpy()[:, 0]
    return np.column_stack([region, np.where(atom == 0, 0.0, 10.0 + 2.0 * z), flag, 1.0 + 0.5 * grade]).astype(float)


def shares(p, axis):
    found = p.sum(axis=tuple(k for k in range(4) if k != axis))
    return tuple((found / found.sum()).tolist())


@cache
def model(tilt=0.0):
    """Return the model of the table, exact for `tilt` = 0."""
    p, means = parameters(tilt)
    codec = Codec(
        (
            LevelsColumn((0.0, 1.0, 2.0), shares(p, 0), "one-hot"),
            AtomsColumn(NumberColumn(10.0, 2.0), (0.0,), shares(p, 1)),
            LevelsColumn((0.0, 1.0), shares(p, 2), "one-hot"),
            LevelsColumn((1.0, 1.5), shares(p, 3), "ordered"),
        )
    )
    variances = np.where(np.indices(SIZES)[1] == 1, 0.36, 1.0)[..., None, None]
    denoiser = ConditionalGaussianDenoiser(
        codes=tuple(torch.from_numpy(block.codes) for block in codec.blocks),
        coordinates=tuple(block.coordinates for block in codec.blocks),
        probabilities=torch.from_numpy(p),
        numbers=torch.from_numpy(codec.numbers),
        means=torch.from_numpy(means[..., None]),
        covariances=torch.from_numpy(variances),
    )
    schedule = NoiseSchedule.log_snr_uniform(12, log_snr_max=9.0, log_snr_min=-9.0)
    return replace(oracle_model(denoiser, table(300, 9), schedule, codec=codec), schema=SCHEMA)


def log_prob(rows):
    """Return the true ln p of rows, (n,)."""
    p, means = parameters(0.0)
    place = rows[:, 0].astype(int), (rows[:, 1] != 0).astype(int), rows[:, 2].astype(int), (rows[:, 3] > 1).astype(int)
    z = (rows[:, 1] - 10.0) / 2.0
    normal = -0.5 * ((z - means[place]) / 0.6) ** 2 - np.log(0.6 * 2.0 * (2.0 * np.pi) ** 0.5)
    return np.log(p[place]) + np.where(rows[:, 1] != 0, normal, 0.0)


def frame(rows):
    """Return rows as the DataFrame that the model's schema describes."""
    return from_values(rows, SCHEMA)
