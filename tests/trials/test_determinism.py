"""The same numbers, bit for bit, on however many threads and in whatever process."""

import numpy as np
import pytest
import torch

from backwalk import Diffusion, Residual
from tests.trials.children import forked, left

pytestmark = pytest.mark.campaign


def in_a_child(threads, compute, folder):
    """Return an array that a child computes with this number of threads."""

    def work():
        torch.set_num_threads(threads)
        np.save(folder / "child.npy", compute())

    assert left(forked(work, folder / "log"), 120.0) == 0, (folder / "log").read_text()[-300:]
    return np.load(folder / "child.npy")


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "multistep-sde", "multistep"])
def test_rows_are_the_same_on_two_threads(sampler, fitted, tmp_path):
    def compute():
        return fitted.sample(4_500, random_state=3, sampler=sampler)

    assert in_a_child(2, compute, tmp_path).tobytes() == compute().tobytes()


def test_a_fit_and_its_rows_are_the_same_in_another_process(rows, tmp_path):
    def compute():
        model = Diffusion(10, max_steps=10, denoiser=Residual(16, 1, 2), random_state=5, verbose=False)
        X = model.fit(rows).sample(1500, random_state=5)
        return np.column_stack([X, model.score_samples(X)])

    assert in_a_child(1, compute, tmp_path).tobytes() == compute().tobytes()
