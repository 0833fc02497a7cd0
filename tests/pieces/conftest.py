"""A small saved model, the sample that parts should hold, and samples in parts of it."""

import numpy as np
import pyarrow as pa
import pytest

from backwalk import Diffusion, Residual
from backwalk.pieces import Sampling, sample_parts

N = 5000


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The path of a model of a number and a label, and 5,000 rows of it."""
    X = pa.table({"x": np.random.default_rng(0).normal(size=200), "kind": ["a", "b"] * 100})
    small = Residual(width=16, n_blocks=1, n_members=2)
    model = Diffusion(n_steps=20, max_steps=10, denoiser=small, conditions="any", random_state=0, verbose=False).fit(X)
    path = tmp_path_factory.mktemp("model") / "model"
    model.save(path)
    return path, model.sample(N, n_evaluations=2, random_state=3)


@pytest.fixture
def drawn(saved, tmp_path):
    """Draw these rows in three parts, by default into the test's folder."""

    def draw(folder=tmp_path, **options):
        return sample_parts(saved[0], folder, N, n_evaluations=2, **{"seed": 3, "part_rows": 2048, **options})

    return draw


@pytest.fixture
def made_anew(monkeypatch):
    """Lists the parts that are made in this process, by their first row."""
    begun, tables = [], Sampling.tables

    def counted(self, model, data, seed, start, stop, cells):
        begun.append(start)
        return tables(self, model, data, seed, start, stop, cells)

    monkeypatch.setattr(Sampling, "tables", counted)
    return begun
