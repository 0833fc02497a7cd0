"""What many tests need: a number of threads, and a tiny fitted model of correlated rows beside a constant column."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from backwalk.denoiser import Residual
from backwalk.estimator import Diffusion
from backwalk.model import measured_denoising_error
from backwalk.streams import Stream
from backwalk.table import Codec, ScaledColumn

TINY = Residual(width=16, n_blocks=1, n_members=2)


@pytest.fixture(params=[1, 2])
def n_threads(request):
    """Run the test with torch set to one thread, and to two."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rows():
    x, y = np.random.default_rng(0).normal(size=(2, 300))
    return np.column_stack([3.0 + 2.0 * x, np.full(300, 7.25), 0.1 * x + 0.1 * y])


@pytest.fixture(scope="session")
def fitted(rows):
    """A model that tests may use but not change."""
    return Diffusion(n_steps=30, max_steps=30, denoiser=TINY, random_state=0, verbose=False).fit(rows)


class Oracle(nn.Module):
    """A closed-form denoiser where a trained network would stand."""

    def __init__(self, exact):
        super().__init__()
        self.exact, self.log_snr_range = exact, exact.log_snr_range
        self.on_a_device = nn.Parameter(torch.zeros(()))

    def forward(self, x_t, log_snr):
        return self.exact(x_t, log_snr)


@pytest.fixture(scope="session")
def as_network():
    """Dress a closed-form denoiser as a network."""
    return Oracle


@pytest.fixture(scope="session")
def oracle_model(fitted):
    """Make a model with a closed-form denoiser; z are encoded rows for its denoising errors, centre and scale units."""

    def make(exact, schedule, z, *, centre, scale):
        denoiser = Oracle(exact)
        error = measured_denoising_error(denoiser, z.float(), schedule, stream=Stream(1).child("error"))
        return replace(
            fitted.model_,
            schedule=schedule,
            denoiser=denoiser,
            codec=Codec(tuple(ScaledColumn(float(c), float(s)) for c, s in zip(centre, scale, strict=True))),
            denoising_error=error,
            decoder_variance=float(error[1]),
        )

    return make
