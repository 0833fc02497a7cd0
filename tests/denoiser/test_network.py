"""Networks: the functions that they are, member by member, and how their weights start."""

import pytest
import torch
from torch import nn

from backwalk.denoiser import Residual, Textbook
from backwalk.errors import InvalidInput
from backwalk.streams import Stream

STREAM = Stream(1)


def noisy_points(members, n, d):
    return STREAM.normal(0, members * n, d, torch.float32).reshape(members, n, d)


@pytest.mark.parametrize(("d", "width", "n_hidden"), [(2, 100, 4), (1, 5, 1), (7, 16, 2)])
def test_textbook_network_is_plain_linear_layers_and_tanh(d, width, n_hidden):
    network = Textbook(width, n_hidden).build(d, stream=STREAM)
    modules = []
    for layer in network.layers:
        linear = nn.Linear(*layer.weight.shape[1:])
        linear.load_state_dict({"weight": layer.weight[0].T, "bias": layer.bias[0, 0]})
        modules += [linear, nn.Tanh()]
    plain = nn.Sequential(*modules[:-1])
    assert [layer.out_features for layer in plain[::2]] == [*[width] * n_hidden, d]
    x, time = noisy_points(1, 50, d), torch.linspace(0, 1, 50)[None, :, None]
    torch.testing.assert_close(network(x, time)[0], plain(torch.cat([x[0], time[0]], dim=1)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sizes", [Residual(8, 2, 1), Residual(16, 1, 3)])
def test_residual_network_starts_at_zero(sizes):
    network = sizes.build(2, stream=STREAM)
    x = noisy_points(sizes.n_members, 20, 2)
    assert not network(x, x[..., :1]).any()
    assert len(network.hidden_matrices()) == 2 * sizes.n_blocks
    for matrix in network.hidden_matrices():
        assert matrix.shape == (sizes.n_members, sizes.width, sizes.width)


def test_members_are_networks_of_their_own():
    whole, alone = Residual(8, 2, 3).build(2, stream=STREAM), Residual(8, 2, 1).build(2, stream=STREAM)
    with torch.no_grad():
        for i, parameter in enumerate(whole.parameters()):
            parameter.copy_(STREAM.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
        for own, all_members in zip(alone.parameters(), whole.parameters(), strict=True):
            own.copy_(all_members[1:2])
    x = noisy_points(3, 20, 2)
    torch.testing.assert_close(whole(x, x[..., :1])[1:2], alone(x[1:2], x[1:2, :, :1]))
    assert not torch.allclose(
        whole(x[:1].expand(3, -1, -1), x[:1, :, :1].expand(3, -1, -1))[0], whole(x, x[..., :1])[1]
    )


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None, "64", 70_000])
@pytest.mark.parametrize("sizes", [Textbook, Residual])
def test_sizes_are_whole_numbers(sizes, bad):
    with pytest.raises(InvalidInput, match=r"width should be an integer in 1\.\.65536"):
        sizes(width=bad)


@pytest.mark.parametrize(("d", "sizes"), [(2, Residual(8, 2, 3)), (5, Residual(6, 1, 1))])
def test_residual_network_is_blocks_of_plain_torch(d, sizes):
    """h <- h + B silu(A silu(h)), from an affine first layer to an affine last one of silu(h), member by member."""
    network = sizes.build(d, stream=STREAM)
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(0.5 * STREAM.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    x, level = noisy_points(sizes.n_members, 30, d), noisy_points(sizes.n_members, 30, 1)
    silu = nn.functional.silu

    def linear(layer, k, h):
        return h @ layer.weight[k] + layer.bias[k]

    for k in range(sizes.n_members):
        h = linear(network.enter, k, torch.cat([x[k], level[k]], dim=1))
        for opening, closing in zip(network.open, network.close, strict=True):
            h = h + linear(closing, k, silu(linear(opening, k, silu(h))))
        expected = linear(network.leave, k, silu(h))
        torch.testing.assert_close(network(x, level)[k], expected, rtol=1e-4, atol=1e-5)
