"""The same numbers, bit for bit, in whatever pieces, on however many threads and in whatever process."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch

from backwalk import Diffusion, Residual, Sampler
from backwalk.model import sample_rows
from backwalk.streams import Stream
from soak.children import forked, left
from soak.material import notebook, rows

N = 4500
SAMPLERS = (
    Sampler("ancestral"),
    Sampler("ddim", 5),
    Sampler("multistep-sde", 6),
    Sampler("multistep", 4),
)


@cache
def _model(which):
    if which == 0:
        return notebook().fit(rows())
    d = (2, 12)[which - 1]
    X = np.random.default_rng(1).normal(size=(400, d)) @ np.random.default_rng(2).normal(size=(d, d))
    sizes = (Residual(8, 1, 2), Residual(40, 2))[which - 1]
    return Diffusion(n_steps=15, max_steps=20, denoiser=sizes, random_state=0, verbose=False).fit(X)


@cache
def _rows(which, sampler):
    return sample_rows(_model(which).model_, 0, N, stream=Stream(3), sampler=sampler)


def _on_threads(threads, compute, folder):
    """Return an array that a child computes with this number of threads."""

    def work():
        torch.set_num_threads(threads)
        np.save(folder / "child.npy", compute())

    status = left(forked(work, folder / "log"), 60.0)
    assert status == 0, (folder / "log").read_text()[-300:]
    return np.load(folder / "child.npy")


@pytest.mark.cases(short=12, full=45)
def test_a_sample_is_the_same_in_any_pieces(case, tmp_path):
    rng, which, sampler = np.random.default_rng(case), case % 3, SAMPLERS[case // 3 % len(SAMPLERS)]
    piece = int(rng.choice([1, 7, 1000, 1024, 4096, N]))
    start = int(rng.integers(0, N - 20))
    stop = int(min(N, start + (20 if piece < 8 else rng.integers(1, N))))
    cuts = pairwise([*range(start, stop, piece), stop])
    expected, model = _rows(which, sampler)[start:stop], _model(which).model_
    found = _on_threads(
        1 + case % 2,
        lambda: np.concatenate([sample_rows(model, a, b, stream=Stream(3), sampler=sampler) for a, b in cuts]),
        tmp_path,
    )
    assert found.tobytes() == expected.tobytes()


@pytest.mark.cases(short=3, full=24)
def test_a_score_is_the_same_in_any_batch(case, tmp_path):
    batch = (1, 7, 512, 1000)[case // 3 % 4]
    model, X = _model(case % 3), _rows(case % 3, SAMPLERS[1])[: min(5 * batch, 1000)]
    found = _on_threads(
        1 + case // 12 % 2,
        lambda: np.concatenate([model.score_samples(X[a : a + batch]) for a in range(0, len(X), batch)]),
        tmp_path,
    )
    np.testing.assert_allclose(found, model.score_samples(X), atol=1e-4)  # float32, of other sizes of matrices


@pytest.mark.cases(short=2, full=20)
def test_a_fit_and_its_rows_are_the_same_in_another_process(case, tmp_path):
    def compute():
        model = Diffusion(n_steps=10, max_steps=10, denoiser=Residual(16, 1, 2), random_state=case, verbose=False)
        X = model.fit(np.tile(rows(), (4, 1))).sample(1500, random_state=case)
        return np.column_stack([X, model.score_samples(X)])

    assert _on_threads(1, compute, tmp_path).tobytes() == compute().tobytes()
