"""Muon: moves of equal size in every direction, for each member on its own."""

import pytest
import torch
from torch import nn

from backwalk.streams import Stream
from backwalk.training.muon import Muon, orthogonalised

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


def test_first_step_moves_by_the_orthogonalised_gradient():
    start, gradient = matrices(4, 8), matrices(4, 8).mT
    parameters = [nn.Parameter(start[:2].clone()), nn.Parameter(start[2:].clone())]
    muon = Muon(parameters)
    for parameter, part in zip(parameters, (gradient[:2], gradient[2:]), strict=True):
        parameter.grad = part.clone()
    muon.step(0.02)
    torch.testing.assert_close(torch.cat([*parameters]).detach(), start - 0.02 * orthogonalised(gradient))


def test_momentum_is_the_running_mean_looked_at_ahead():
    parameter, gradients = nn.Parameter(torch.zeros(1, 4, 4, dtype=torch.float64)), matrices(5, 4)
    muon, momentum, place = Muon([parameter]), torch.zeros(1, 4, 4, dtype=torch.float64), torch.zeros(1, 4, 4)
    for gradient in gradients[:, None]:
        parameter.grad = gradient.clone()
        muon.step(0.1)
        momentum = 0.95 * momentum + 0.05 * gradient
        place = place - 0.1 * orthogonalised(0.05 * gradient + 0.95 * momentum)
        torch.testing.assert_close(parameter.detach(), place)
