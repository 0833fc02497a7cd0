"""What many tests need: a number of threads, and a tiny fitted model of correlated rows beside a constant column.

Imports that take seconds are in the fixtures: the process that hands out tests to workers needs none of them.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest


@pytest.fixture
def own_setting():
    """Restore torch's number of threads after the test.

    A test that uses `threadpool_limits(2)` needs this too: it leaves products on one thread up to 30 times slower.
    """
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2])
def n_threads(request, own_setting):
    """Run the test with torch set to one thread, and to two."""
    import torch

    torch.set_num_threads(request.param)
    return request.param


@pytest.fixture(scope="module")
def cheap_scores():
    """Assess with a distance of means for classifiers, and with coarse log-densities.

    `assess/statistics/test_two_sample.py` and `assess/test_rows.py` try the classifiers.
    """
    from backwalk.assess import density, rows
    from backwalk.model import log_density

    def distance(x, y, **_):
        return 0.5 + 0.1 * min(1.0, float(np.abs(np.nanmean(x, axis=0) - np.nanmean(y, axis=0)).max()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "c2st", distance)
        patch.setattr(density, "log_density", partial(log_density, n_intervals=4))
        yield


@pytest.fixture
def undrawn(monkeypatch):
    """Make the figures of a report and do not draw them, as `tests/report` does."""
    monkeypatch.setattr("backwalk.report.blocks.svg", lambda _: "<svg></svg>")


@pytest.fixture(scope="session")
def rows():
    x, y = np.random.default_rng(0).normal(size=(2, 300))
    return np.column_stack([3.0 + 2.0 * x, np.full(300, 7.25), 0.1 * x + 0.1 * y])


@pytest.fixture(scope="session")
def fitted(rows):
    """A model that tests may use but not change."""
    from backwalk import Diffusion, Residual

    network = Residual(width=16, n_blocks=1, n_members=2)
    return Diffusion(n_steps=30, max_steps=30, denoiser=network, random_state=0, verbose=False).fit(rows)


@pytest.fixture(scope="session")
def oracle_in_units():
    """Make a model of a closed-form denoiser; z are encoded rows, centre and scale the units of the user's."""
    from backwalk.fit.oracle import oracle_model
    from backwalk.streams import Stream
    from backwalk.table import Codec, NumberColumn

    def make(exact, schedule, z, *, centre, scale):
        codec = Codec(tuple(NumberColumn(float(c), float(s)) for c, s in zip(centre, scale, strict=True)))
        return oracle_model(exact, codec.decode(z), schedule, codec=codec, stream=Stream(1).child("error"))

    return make


@pytest.fixture(scope="session")
def penguins_density():
    """A known density of labels, a number, levels 0 and 1, and another number."""
    from tests.penguins import Penguins

    return Penguins()


@pytest.fixture(scope="session")
def penguins(penguins_density):
    """An estimator around the denoiser of that density, which is exact; tests may use but not change it."""
    import torch

    from backwalk import Diffusion, NoiseSchedule
    from backwalk.fit.oracle import oracle_model
    from backwalk.table import Codec, LevelsColumn, NumberColumn, Schema
    from tests.mixed_forms import ConditionalGaussianDenoiser
    from tests.penguins import SPECIES

    density, joint = penguins_density, penguins_density.probabilities
    species, sex = joint.shape
    columns = (
        LevelsColumn(tuple(map(float, range(species))), tuple(joint.sum(1).tolist()), "one-hot"),
        NumberColumn(0.0, 1.0),
        LevelsColumn(tuple(map(float, range(sex))), tuple(joint.sum(0).tolist()), "ordered"),
        NumberColumn(0.0, 1.0),
    )
    codec = Codec(columns)
    denoiser = ConditionalGaussianDenoiser(
        codes=tuple(torch.from_numpy(block.codes) for block in codec.blocks),
        coordinates=tuple(block.coordinates for block in codec.blocks),
        probabilities=torch.from_numpy(joint),
        numbers=torch.from_numpy(codec.numbers),
        means=torch.from_numpy(density.means),
        covariances=torch.from_numpy(density.covariances),
    )
    schedule = NoiseSchedule.log_snr_uniform(100, log_snr_max=14.0, log_snr_min=-18.0)
    model = oracle_model(denoiser, density.sample(200, random_state=0), schedule, codec=codec)
    schema = Schema(
        density.names,
        ("string", "float64", "bool", "float64"),
        "pandas",
        labels=(SPECIES, None, None, None),
    )
    estimator = Diffusion(verbose=False)
    estimator.model_ = replace(model, schema=schema)
    return estimator
