"""Muon: moves of equal size in every direction, for each member on its own."""

import pytest
import torch

from backwalk.streams import Stream
from backwalk.threads import without_lock
from backwalk.training.muon import Muon, muon_step, orthogonalised

CPU = torch.device("cpu")
STREAM = Stream(4)


def matrices(k, n):
    return STREAM.normal(0, k * n, n).reshape(k, n, n)


@pytest.mark.parametrize("n", [2, 16, 64])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e8])
def test_singular_values_become_alike_and_vectors_stay(n, scale):
    left, _, right = torch.linalg.svd(matrices(3, n))
    values = torch.logspace(0, -1.5, n, dtype=torch.float64)
    got = left.mT @ orthogonalised(scale * left @ torch.diag(values) @ right) @ right.mT
    diagonal = torch.diagonal(got, dim1=-2, dim2=-1)
    assert float(diagonal.min()) > 0.6
    assert float(diagonal.max()) < 1.3
    torch.testing.assert_close(got, torch.diag_embed(diagonal), rtol=0, atol=1e-6)


def test_nothing_moves_without_a_gradient():
    assert not orthogonalised(torch.zeros(1, 4, 4)).any()


@pytest.mark.parametrize("take", [muon_step, without_lock(muon_step, CPU)], ids=["python", "torchscript"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_matrices_take_turns_of_as_many_times_the_rate(take, weight_decay):
    start, gradient = matrices(6, 8), matrices(6, 8).mT
    parameters = [pair.clone() for pair in start.split(2)]  # three of two members each
    muon = Muon(parameters, weight_decay=weight_decay)
    moved = []
    for number in range(muon.turns):
        before = [parameter.clone() for parameter in parameters]
        take(list(gradient.split(2)), muon.at(0.02, number))
        for i, (parameter, was) in enumerate(zip(parameters, before, strict=True)):
            if not torch.equal(parameter, was):
                moved.append(i)
                rate = muon.turns * 0.02
                kept = (1.0 - rate * weight_decay) * was
                torch.testing.assert_close(parameter, kept - rate * orthogonalised(gradient[2 * i : 2 * i + 2]))
    assert sorted(moved) == [0, 1, 2]


def test_nothing_to_move_is_no_error():
    muon_step([], Muon([]).at(0.02, 0))


@pytest.mark.parametrize("take", [muon_step, without_lock(muon_step, CPU)], ids=["python", "torchscript"])
def test_momentum_is_the_running_mean_looked_at_ahead(take):
    parameter, gradients = torch.zeros(1, 4, 4, dtype=torch.float64), matrices(6, 4)
    muon, momentum, place = Muon([parameter]), torch.zeros(1, 4, 4, dtype=torch.float64), torch.zeros(1, 4, 4)
    for number, gradient in enumerate(gradients[:, None]):
        take([gradient], muon.at(0.1, number))
        momentum = 0.95 * momentum + 0.05 * gradient
        if number % muon.turns == 0:
            place = place - muon.turns * 0.1 * orthogonalised(0.05 * gradient + 0.95 * momentum)
        torch.testing.assert_close(parameter, place)
