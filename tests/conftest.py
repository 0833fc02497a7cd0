"""What many tests need: a number of threads, and a tiny fitted model of correlated rows beside a constant column."""

import numpy as np
import pytest
import torch

from backwalk.denoiser import Residual
from backwalk.estimator import Diffusion
from backwalk.oracle import oracle_model
from backwalk.streams import Stream
from backwalk.table import Codec, NumberColumn

TINY = Residual(width=16, n_blocks=1, n_members=2)


@pytest.fixture
def own_setting():
    """Restore torch's number of threads after the test.

    A test that uses `threadpool_limits(2)` needs this too: it leaves products on one thread up to 30 times slower.
    """
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2])
def n_threads(request, own_setting):
    """Run the test with torch set to one thread, and to two."""
    torch.set_num_threads(request.param)
    return request.param


@pytest.fixture(scope="session")
def rows():
    x, y = np.random.default_rng(0).normal(size=(2, 300))
    return np.column_stack([3.0 + 2.0 * x, np.full(300, 7.25), 0.1 * x + 0.1 * y])


@pytest.fixture(scope="session")
def fitted(rows):
    """A model that tests may use but not change."""
    return Diffusion(n_steps=30, max_steps=30, denoiser=TINY, random_state=0, verbose=False).fit(rows)


@pytest.fixture(scope="session")
def oracle_in_units():
    """Make a model of a closed-form denoiser; z are encoded rows, centre and scale the units of the user's."""

    def make(exact, schedule, z, *, centre, scale):
        codec = Codec(tuple(NumberColumn(float(c), float(s)) for c, s in zip(centre, scale, strict=True)))
        return oracle_model(exact, codec.decode(z), schedule, codec=codec, stream=Stream(1).child("error"))

    return make
