"""Muon: moves of equal size in every direction, for each member on its own."""

import pytest
import torch

from backwalk.streams import Stream
from backwalk.threads import scripted
from backwalk.training.muon import Muon, Turns, muon_step, orthogonalised, rounds_for, turns_for

CPU = torch.device("cpu")
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


@pytest.mark.parametrize("take", [muon_step, scripted(muon_step, CPU)], ids=["python", "torchscript"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize(
    "turns", [Turns(1, 1), Turns(2, 2), Turns(3, 3), Turns(4, 2)], ids=lambda turns: f"{turns.busy}-of-{turns.every}"
)
def test_matrices_take_turns_of_as_many_times_the_rate(take, weight_decay, turns):
    start, gradient = matrices(6, 8), matrices(6, 8).mT
    parameters = [pair.clone() for pair in start.split(2)]  # three of two members each
    muon = Muon(parameters, turns, weight_decay=weight_decay)
    moved = []
    for number in range(turns.every):
        before = [parameter.clone() for parameter in parameters]
        take(list(gradient.split(2)), muon.at(0.02, number))
        for i, (parameter, was) in enumerate(zip(parameters, before, strict=True)):
            if not torch.equal(parameter, was):
                moved.append(i)
                assert number < turns.busy
                rate = turns.every * 0.02
                kept = (1.0 - rate * weight_decay) * was
                torch.testing.assert_close(parameter, kept - rate * orthogonalised(gradient[2 * i : 2 * i + 2], 3))
    assert sorted(moved) == [0, 1, 2]


@pytest.mark.parametrize("rounds", [2, 3])
def test_one_large_singular_value_stays_in_range_in_bfloat16(rounds):
    """There the norm is that value, and rounding may bring it above 1, where the first polynomial rises 19-fold."""
    column = matrices(64, 32)[:, :, :1]
    one_large = (column @ column.mT).float()
    largest = torch.linalg.matrix_norm(orthogonalised(one_large, rounds, bfloat16=True), ord=2)
    assert float(largest.max()) < 1.35
    assert float(largest.min()) > 0.65
    assert not orthogonalised(torch.zeros(1, 4, 4), rounds, bfloat16=True).any()


@pytest.mark.parametrize(
    ("width", "every", "rounds"), [(48, 2, 3), (64, 2, 3), (65, 3, 2), (255, 3, 2), (256, 4, 2), (1024, 4, 2)]
)
def test_dear_matrices_move_more_rarely_and_by_fewer_products(width, every, rounds):
    assert rounds_for(width) == rounds
    assert turns_for(width, 20) == Turns(every, every)
    assert turns_for(width, 6) == Turns(every, min(every, 3))
    assert turns_for(width, 1) == Turns(every, 1)


@pytest.mark.parametrize("n_matrices", [2, 3, 4, 5, 6, 20])
@pytest.mark.parametrize("width", [48, 128, 512])
def test_two_matrices_at_least_move_in_a_busy_turn(width, n_matrices):
    _, busy = turns_for(width, n_matrices)
    assert min(len(range(n_matrices)[turn::busy]) for turn in range(busy)) >= 2


def test_nothing_to_move_is_no_error():
    muon_step([], Muon([], Turns(2, 2)).at(0.02, 0))


@pytest.mark.parametrize("take", [muon_step, scripted(muon_step, CPU)], ids=["python", "torchscript"])
def test_momentum_is_the_running_mean_looked_at_ahead(take):
    parameter, gradients = torch.zeros(1, 4, 4, dtype=torch.float64), matrices(6, 4)
    muon, momentum, place = (
        Muon([parameter], Turns(2, 1)),
        torch.zeros(1, 4, 4, dtype=torch.float64),
        torch.zeros(1, 4, 4),
    )
    for number, gradient in enumerate(gradients[:, None]):
        take([gradient], muon.at(0.1, number))
        momentum = 0.95 * momentum + 0.05 * gradient
        if number % 2 == 0:
            place = place - 2 * 0.1 * orthogonalised(0.05 * gradient + 0.95 * momentum, 3)
        torch.testing.assert_close(parameter, place)
