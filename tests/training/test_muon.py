"""Muon: it moves equally in every direction, each matrix once in a while, by the momentum looked at ahead."""

from dataclasses import replace

import pytest
import torch

from backwalk.streams import Stream
from backwalk.training import Training
from backwalk.training.muon import Muon, orthogonalised

STREAM = Stream(4)
PLAN = Training(max_steps=1, batch_size=1, learning_rate=1.0, hidden_rate=0.1, ema_width=None)


def matrices(k, n):
    return STREAM.normal(0, k * n, n).reshape(k, n, n)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e8])
@pytest.mark.parametrize(
    ("n", "least", "gain", "error"), [(2, 0.01, 78.3, 0.27), (64, 0.01, 78.3, 0.27), (80, 0.04, 19.02, 0.29)]
)
def test_singular_values_become_alike_and_vectors_stay(n, scale, least, gain, error):
    left, _, right = torch.linalg.svd(matrices(3, n))
    values = torch.logspace(0, -3.5, n, dtype=torch.float64)
    got = left.mT @ orthogonalised(scale * left @ torch.diag(values) @ right) @ right.mT
    diagonal = torch.diagonal(got, dim1=-2, dim2=-1)
    torch.testing.assert_close(got, torch.diag_embed(diagonal), rtol=0, atol=1e-6)
    shares = values / (1.02 * float(values.pow(4).sum()) ** 0.5) ** 0.5
    assert float((diagonal[:, shares > least] - 1.0).abs().max()) < error
    smallest = shares < 0.1 * least
    torch.testing.assert_close(diagonal[:, smallest], gain * shares[smallest].expand(3, -1), rtol=0.03, atol=1e-12)


@pytest.mark.parametrize("n", [32, 80])  # of three rounds, and of two
def test_one_large_singular_value_stays_in_range_in_bfloat16(n):
    """There the norm is that value, and rounding may bring it above 1, where the first polynomial rises 19-fold."""
    column = matrices(64, n)[:, :, :1]
    one_large = (column @ column.mT).float()
    largest = torch.linalg.matrix_norm(orthogonalised(one_large, bfloat16=True), ord=2)
    assert float(largest.max()) < 1.35
    assert float(largest.min()) > 0.65


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize(("n_matrices", "width", "n_groups"), [(1, 8, 1), (3, 8, 1), (4, 8, 2), (9, 65, 3), (7, 65, 3)])
def test_a_matrix_moves_once_in_a_rotation_by_as_many_times_the_rate(n_matrices, width, n_groups, weight_decay):
    start, gradient = matrices(2 * n_matrices, width), matrices(2 * n_matrices, width).mT
    weights = [pair.clone() for pair in start.split(2)]  # of two members each
    muon = Muon(weights, replace(PLAN, weight_decay=weight_decay))
    rate, moved = muon.update_every * 0.02, []
    assert muon.n_groups == n_groups
    for number in range(muon.update_every):
        before = [weight.clone() for weight in weights]
        muon.step(list(gradient.split(2)), number, 0.2)
        for i, (weight, was) in enumerate(zip(weights, before, strict=True)):
            if not torch.equal(weight, was):
                moved.append(i)
                expected = (1.0 - rate * weight_decay) * was - rate * orthogonalised(gradient[2 * i : 2 * i + 2])
                torch.testing.assert_close(weight, expected)
    assert sorted(moved) == list(range(n_matrices))


def test_momentum_is_the_running_mean_looked_at_ahead():
    weight, gradients = torch.zeros(1, 4, 4, dtype=torch.float64), matrices(6, 4)
    muon, momentum, place = Muon([weight], PLAN), torch.zeros(1, 4, 4, dtype=torch.float64), torch.zeros(1, 4, 4)
    for number, gradient in enumerate(gradients[:, None]):
        muon.step([gradient], number, 1.0)
        momentum = 0.95 * momentum + 0.05 * gradient
        if number % 2 == 0:
            place = place - 2 * 0.1 * orthogonalised(0.05 * gradient + 0.95 * momentum)
        torch.testing.assert_close(weight, place)
