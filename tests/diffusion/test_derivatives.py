import pytest
import torch
from torch import nn

from backwalk.diffusion.derivatives import value_and_trace
from backwalk.streams import Stream
from tests.jacobian import value_and_jacobian

X = Stream(15).normal(0, 6, 3)
LOG_SNR = torch.tensor(0.3, dtype=torch.float64)


class Network:
    """Any function of x_t as a denoiser."""

    log_snr_range = (-10.0, 10.0)

    def __init__(self, function):
        self.function = function

    def __call__(self, x_t, _log_snr):
        return self.function(x_t)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(3, 16), nn.SiLU(), nn.LayerNorm(16), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)
    ).double()


def by_reverse_mode(f):
    return torch.stack([torch.autograd.functional.jacobian(lambda x: f(x[None])[0], x) for x in X])


def test_jacobian_agrees_with_reverse_mode(network):
    value, jacobian = value_and_jacobian(Network(network), X, LOG_SNR)
    torch.testing.assert_close(value, network(X))
    torch.testing.assert_close(jacobian, by_reverse_mode(network), rtol=1e-11, atol=1e-13)


def test_jacobian_under_no_grad(network):
    with torch.no_grad():
        value, jacobian = value_and_jacobian(Network(network), X, LOG_SNR)
    assert not value.requires_grad
    torch.testing.assert_close(jacobian, by_reverse_mode(network), rtol=1e-11, atol=1e-13)


def test_exact_trace(network):
    value, trace = value_and_trace(Network(network), X, LOG_SNR)
    torch.testing.assert_close(value, network(X))
    torch.testing.assert_close(trace, by_reverse_mode(network).diagonal(dim1=1, dim2=2).sum(1)[None])


def test_probes_give_quadratic_forms_and_all_signs_give_the_trace(network):
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 3)
    probes = signs[:, None, :].expand(8, 6, 3)
    _, estimates = value_and_trace(Network(network), X, LOG_SNR, probes)
    expected = torch.einsum("ki,nij,kj->kn", signs, by_reverse_mode(network), signs)
    torch.testing.assert_close(estimates, expected)
    torch.testing.assert_close(estimates.mean(0), value_and_trace(Network(network), X, LOG_SNR)[1][0])


def test_more_tangents_than_go_at_once_give_the_whole_jacobian():
    matrix = Stream(4).normal(0, 20, 20)
    _, jacobian = value_and_jacobian(Network(lambda x: x @ matrix), Stream(5).normal(0, 3, 20), LOG_SNR)
    torch.testing.assert_close(jacobian, matrix.T.expand(3, 20, 20))
