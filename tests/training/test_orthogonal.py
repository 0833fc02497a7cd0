"""Orthogonal matrices: singular values that are alike, for each matrix on its own."""

import pytest
import torch

from backwalk.streams import Stream
from backwalk.training.orthogonal import orthogonalised, rounds_for

STREAM = Stream(4)


def matrices(k, n):
    return STREAM.normal(0, k * n, n).reshape(k, n, n)


@pytest.mark.parametrize("n", [2, 16, 64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e8])
@pytest.mark.parametrize(("rounds", "least", "gain", "error"), [(2, 0.04, 19.02, 0.29), (3, 0.01, 78.3, 0.27)])
def test_singular_values_become_alike_and_vectors_stay(n, scale, rounds, least, gain, error):
    left, _, right = torch.linalg.svd(matrices(3, n))
    values = torch.logspace(0, -3.5, n, dtype=torch.float64)
    got = left.mT @ orthogonalised(scale * left @ torch.diag(values) @ right, rounds) @ right.mT
    diagonal = torch.diagonal(got, dim1=-2, dim2=-1)
    torch.testing.assert_close(got, torch.diag_embed(diagonal), rtol=0, atol=1e-6)
    shares = values / (1.02 * float(values.pow(4).sum()) ** 0.5) ** 0.5
    assert float((diagonal[:, shares > least] - 1.0).abs().max()) < error
    smallest = shares < 0.1 * least
    torch.testing.assert_close(diagonal[:, smallest], gain * shares[smallest].expand(3, -1), rtol=0.03, atol=1e-12)


def test_nothing_moves_without_a_gradient():
    assert not orthogonalised(torch.zeros(1, 4, 4), rounds_for(4)).any()


@pytest.mark.parametrize("rounds", [2, 3])
def test_one_large_singular_value_stays_in_range_in_bfloat16(rounds):
    """There the norm is that value, and rounding may bring it above 1, where the first polynomial rises 19-fold."""
    column = matrices(64, 32)[:, :, :1]
    one_large = (column @ column.mT).float()
    largest = torch.linalg.matrix_norm(orthogonalised(one_large, rounds, bfloat16=True), ord=2)
    assert float(largest.max()) < 1.35
    assert float(largest.min()) > 0.65
    assert not orthogonalised(torch.zeros(1, 4, 4), rounds, bfloat16=True).any()
