"""A codec of every kind of column, rows of independent columns, and denoisers of them."""

import numpy as np
import torch

from backwalk.denoiser import Residual, TableLayout, build_denoiser
from backwalk.diffusion import JointGaussian, NoiseSchedule
from backwalk.streams import Stream
from backwalk.table import AtomsColumn, Codec, LevelsColumn, NumberColumn

NUMBER = NumberColumn(0.0, 1.0)
CODEC = Codec(
    (
        LevelsColumn((0.0, 1.0, 2.0), (0.2, 0.3, 0.5), "one-hot"),
        NUMBER,
        LevelsColumn((0.0, 1.0, 5.0), (0.5, 0.3, 0.2), "ordered"),
        AtomsColumn(NUMBER, (0.0,), (0.3, 0.7)),
        LevelsColumn((0.0, 1.0), (0.4, 0.6), "one-hot"),
        LevelsColumn(tuple(map(float, range(70))), (1.0 / 70,) * 70, "random"),
        NUMBER,
        LevelsColumn(
            tuple(map(float, range(40))),
            tuple((0.5**0.1) ** i * (1 - 0.5**0.1) / (1 - 0.5**4) for i in range(40)),
            "ordered",
        ),
    )
)
WITHOUT_BASIS = Codec(CODEC.columns[:-1])
SCHEDULE = NoiseSchedule.log_snr_uniform(100, log_snr_max=8.0, log_snr_min=-6.0)
N = 48


def rows(n, seed=0, codec=CODEC):
    """Encoded rows of independent columns; a number is NaN where its level is the atom."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, codec.n_encoded))
    for block in codec.blocks:
        level = rng.choice(block.n_levels, size=n, p=block.frequencies)
        z[:, block.coordinates] = block.codes[level]
        if block.number is not None:
            z[level != block.other, block.number] = np.nan
    return torch.from_numpy(z)


def denoiser(members=2, trained=True, codec=CODEC):
    gaussian = JointGaussian.fit(rows(400, codec=codec).numpy(), stream=Stream(0))
    layout = TableLayout(codec, gaussian)
    made = build_denoiser(
        Residual(12, 2, members), codec.n_encoded, schedule=SCHEDULE, floor=0.05, stream=Stream(1), layout=layout
    ).double()
    for i, parameter in enumerate(made.parameters() if trained else ()):
        parameter.data += 0.1 * Stream(2).child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape)
    return made
