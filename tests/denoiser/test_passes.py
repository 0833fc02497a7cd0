"""The passes are the network's formula and its derivatives, whichever way they are computed."""

import pytest
import torch
from torch.nn.functional import silu

from backwalk.denoiser.passes import forward_pass, network_pass, pushed
from backwalk.streams import Stream

STREAM = Stream(21)


def drawn(name, *shape):
    return STREAM.child(name).normal(0, 1, torch.Size(shape).numel()).reshape(shape)


def formula(x, parameters):
    """The network of the module's docstring, by plain operations: F and the last silu(h)."""
    h = x @ parameters[0] + parameters[1]
    for k in range(2, len(parameters) - 2, 4):
        opening, a, closing, b = parameters[k : k + 4]
        h = h + silu(silu(h) @ opening + a) @ closing + b
    return silu(h) @ parameters[-2] + parameters[-1], silu(h)


@pytest.fixture(params=[(1, 1, 3, False), (2, 3, 20, True)], ids=["small", "bias by row"])
def network(request):
    """Points and the parameters of a network: members, blocks, outputs, and whether each row has its first bias."""
    members, n_blocks, n_out, by_row = request.param
    shapes = [(5, 8), (11 if by_row else 1, 8), *[(8, 8), (1, 8)] * 2 * n_blocks, (8, n_out), (1, n_out)]
    parameters = [0.5 * drawn(str(i), members, *shape) for i, shape in enumerate(shapes)]
    return drawn("x", members, 11, 5), [parameter.requires_grad_() for parameter in parameters]


def test_the_passes_are_the_formula(network):
    x, parameters = network
    expected = formula(x, parameters)
    torch.testing.assert_close(network_pass(x, parameters), expected)
    with torch.no_grad():
        torch.testing.assert_close(network_pass(x, parameters), expected)
        torch.testing.assert_close(tuple(forward_pass(x, parameters)[:2]), expected)


@pytest.mark.parametrize("uses_last", [False, True])
def test_derivatives_of_the_passes_are_those_of_the_formula(network, uses_last):
    x, parameters = network
    x.requires_grad_()
    gradients = []
    for compute in (network_pass, formula):
        f, last = compute(x, parameters)
        loss = (f * drawn("f", *f.shape)).sum() + uses_last * (last * drawn("last", *last.shape)).sum()
        gradients.append(torch.autograd.grad(loss, [x, *parameters]))
    torch.testing.assert_close(*gradients)


def test_tangents_are_those_of_the_formula(network):
    x, parameters = network
    parameters = [parameter.detach() for parameter in parameters]
    tangents = drawn("tangents", len(x), 3, 11, 5)
    found = pushed(tangents[..., :4], forward_pass(x, parameters).slopes, parameters)  # the level is constant
    for k in range(3):
        along = torch.nn.functional.pad(tangents[:, k, :, :4], (0, 1))
        _, expected = torch.autograd.functional.jvp(lambda y: formula(y, parameters)[0], x, along)
        torch.testing.assert_close(found[:, k], expected)


def test_autograd_follows_values_and_tangents_back_to_the_points(network):
    x, parameters = network
    x, parameters = x.double(), [parameter.detach().double() for parameter in parameters]
    tangents = drawn("tangents", len(x), 3, 11, 5).double()[..., :4]

    def values_and_tangents(x):
        passed = forward_pass(x, parameters)
        return *network_pass(x, parameters), passed.f, pushed(tangents, passed.slopes, parameters)

    assert torch.autograd.gradcheck(values_and_tangents, (x.requires_grad_(),), fast_mode=True)
