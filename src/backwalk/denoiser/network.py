"""The networks: functions of noisy points and noise levels, for all members of an ensemble.

An ensemble is one network whose tensors have a leading axis of members, so that members run in one batched product or
each alone; a single network is an ensemble of one. An architecture is a frozen record of sizes, which a user chooses
and a file stores; `build` makes a module of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor, nn

from backwalk.denoiser.passes import affine, network_pass
from backwalk.errors import InvalidInput
from backwalk.limits import NETWORK_DEPTH, NETWORK_SIZE, is_whole
from backwalk.streams import Stream


class MemberLinear(nn.Module):
    """x -> x W + b for every member: (members, rows, n_in) -> (members, rows, n_out)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight: nn.Parameter = nn.Parameter(weight)
        self.bias: nn.Parameter = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W + b."""
        return affine(x, self.weight, self.bias)


@dataclass(frozen=True)
class Textbook:
    """The sizes of the course notebook's network, for `Diffusion(denoiser=...)`.

    It takes (x_t, t/N) through `n_hidden` layers with tanh, and predicts eps.

    Parameters
    ----------
    width : int, default=100
        The number of units of a layer.
    n_hidden : int, default=4
        The number of hidden layers.

    Raises
    ------
    InvalidInput
        For a size that is no integer in range.

    See Also
    --------
    Residual : The default network.
    backwalk.Diffusion : The estimator.

    Examples
    --------
    >>> from backwalk import Textbook
    >>> Textbook().n_parameters(2)
    30902
    """

    width: int = 100
    n_hidden: int = 4

    def __post_init__(self) -> None:
        set_sizes(self, "leave it out", width=NETWORK_SIZE, n_hidden=NETWORK_DEPTH)

    @property
    def n_members(self) -> int:
        """1: a single network."""
        return 1

    def n_parameters(self, d: int) -> int:
        """Return the number of weights and biases.

        Parameters
        ----------
        d : int
            The dimension of the points.

        Returns
        -------
        int
            The number.
        """
        w = self.width
        return (d + 2) * w + (self.n_hidden - 1) * (w + 1) * w + (w + 1) * d

    def build(self, d: int, *, stream: Stream) -> TextbookNetwork:
        """Return the module for points in R^d.

        Parameters
        ----------
        d : int
            The dimension of the points.
        stream : Stream
            The initial weights.

        Returns
        -------
        TextbookNetwork
            The module.
        """
        return TextbookNetwork(self, d, stream)


@dataclass(frozen=True)
class Residual:
    """The sizes of the default network, an ensemble of residual networks, for `Diffusion(denoiser=...)`.

    B and the output layer start at zero, so that the untrained denoiser is the best linear one for data of unit
    variance.

    Parameters
    ----------
    width : int, default=64
        The number of units of a layer.
    n_blocks : int, default=3
        The number of residual blocks, `h <- h + B silu(A silu(h))`.
    n_members : int, default=1
        The number of networks, whose mean is the estimate.

    Raises
    ------
    InvalidInput
        For a size that is no integer in range.

    See Also
    --------
    Textbook : The course notebook's network.
    backwalk.Diffusion : The estimator.

    Notes
    -----
    Source: He et al. 2016 for the form of the block.

    Examples
    --------
    >>> from backwalk import Residual
    >>> Residual(n_members=2).n_parameters(2)
    50692
    """

    width: int = 64
    n_blocks: int = 3
    n_members: int = 1

    def __post_init__(self) -> None:
        set_sizes(self, "leave it out", width=NETWORK_SIZE, n_blocks=NETWORK_DEPTH, n_members=NETWORK_SIZE)

    def n_parameters(self, d: int, n_outputs: int | None = None) -> int:
        """Return the number of weights and biases.

        Parameters
        ----------
        d : int
            The dimension of the points.
        n_outputs : int, optional
            The number of outputs: d by default.

        Returns
        -------
        int
            The number.
        """
        w, n_out = self.width, d if n_outputs is None else n_outputs
        return self.n_members * ((d + 2) * w + 2 * self.n_blocks * (w + 1) * w + (w + 1) * n_out)

    def build(self, d: int, *, stream: Stream, n_outputs: int | None = None) -> ResidualNetwork:
        """Return the module from points in R^d and a level to the outputs.

        Parameters
        ----------
        d : int
            The dimension of the points.
        stream : Stream
            The initial weights.
        n_outputs : int, optional
            The number of outputs: d by default.

        Returns
        -------
        ResidualNetwork
            The module.
        """
        return ResidualNetwork(self, d, d if n_outputs is None else n_outputs, stream)


class TextbookNetwork(nn.Module):
    """See `Textbook`. The weights start as torch's own `nn.Linear` does: uniform within 1/sqrt(n_in)."""

    def __init__(self, sizes: Textbook, d: int, stream: Stream) -> None:
        super().__init__()
        widths = [d + 1, *[sizes.width] * sizes.n_hidden, d]
        self.layers: nn.ModuleList = nn.ModuleList(
            _uniform_linear(n_in, n_out, stream.child("layer", i)) for i, (n_in, n_out) in enumerate(pairwise(widths))
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return the prediction: x is (members, rows, d), level t/N (members, rows, 1)."""
        h = torch.cat([x, level], dim=-1)
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        prediction: Tensor = self.layers[-1](h)
        return prediction


class ResidualNetwork(nn.Module):
    """See `Residual`."""

    def __init__(self, sizes: Residual, d: int, n_outputs: int, stream: Stream) -> None:
        super().__init__()
        m, w = sizes.n_members, sizes.width
        self.enter: MemberLinear = _normal_linear(m, d + 1, w, _input_gain(d), stream.child("enter"))
        self.open: nn.ModuleList = nn.ModuleList(
            _normal_linear(m, w, w, math.sqrt(2.0), stream.child("open", i)) for i in range(sizes.n_blocks)
        )
        self.close: nn.ModuleList = nn.ModuleList(_zero_linear(m, w, w) for _ in range(sizes.n_blocks))
        self.leave: MemberLinear = _zero_linear(m, w, n_outputs)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return the prediction, (members, rows, n_outputs): x is (members, rows, d), level (members, rows, 1).

        Autograd differentiates it once.
        """
        points = torch.cat([x, level], dim=-1)
        if torch.is_grad_enabled() or points.device.type != "cpu":
            return network_pass(points, self.in_order)[0]
        # Member by member, so that activations stay in the cache.
        return torch.cat([network_pass(points[k : k + 1], self.of_member(k))[0] for k in range(len(points))])

    def hidden_matrices(self) -> list[Tensor]:
        """Return the weights of the blocks, (members, width, width) each."""
        return [layer.weight for layer in (*self.open, *self.close) if isinstance(layer, MemberLinear)]

    def input_matrices(self) -> list[Tensor]:
        """Return the weights of the first layer, (members, n_in, width)."""
        return [self.enter.weight]

    @property
    def in_order(self) -> list[Tensor]:
        """Weight and bias of every layer, in the order of the passes."""
        return [tensor for layer in self._layers for tensor in (layer.weight, layer.bias)]

    def by_parameter(self, gradients: list[Tensor]) -> list[Tensor]:
        """Return gradients, one for each of `in_order`, in the order of `parameters()`."""
        places = {id(parameter): i for i, parameter in enumerate(self.in_order)}
        return [gradients[places[id(parameter)]] for parameter in self.parameters()]

    def of_member(self, k: int) -> list[Tensor]:
        """Return weight and bias of every layer of one member, (1, n_in, n_out) and (1, 1, n_out)."""
        return [parameter[k : k + 1] for parameter in self.in_order]

    @cached_property
    def _layers(self) -> list[MemberLinear]:
        # Cached, as every pass needs them and looking them up is slow.
        blocks = (layer for pair in zip(self.open, self.close, strict=True) for layer in pair)
        return [layer for layer in (self.enter, *blocks, self.leave) if isinstance(layer, MemberLinear)]


def _input_gain(d: int) -> float:
    """Return the gain of the first layer's initial weights."""
    return 3.0 if d <= 3 else 2.0


def _uniform_linear(n_in: int, n_out: int, stream: Stream) -> MemberLinear:
    draws = (2.0 * stream.uniform(0, n_in + 1, n_out) - 1.0) / math.sqrt(n_in)
    return MemberLinear(draws[None, :n_in].float(), draws[None, n_in:].float())


def _normal_linear(members: int, n_in: int, n_out: int, gain: float, stream: Stream) -> MemberLinear:
    weight = gain / math.sqrt(n_in) * stream.normal(0, members * n_in, n_out).reshape(members, n_in, n_out)
    return MemberLinear(weight.float(), torch.zeros(members, 1, n_out, dtype=torch.float32))


def _zero_linear(members: int, n_in: int, n_out: int) -> MemberLinear:
    weight, bias = (torch.zeros(members, rows, n_out, dtype=torch.float32) for rows in (n_in, 1))
    return MemberLinear(weight, bias)


def set_sizes(sizes: object, remedy: str, **most: int) -> None:
    """Convert sizes to Python's integers, as JSON requires, or raise InvalidInput with a remedy."""
    for name, largest in most.items():
        size = getattr(sizes, name)
        if not is_whole(size) or not 1 <= size <= largest:
            raise InvalidInput(f"{name} should be an integer in 1..{largest}, but got {size!r}: {remedy}.")
        object.__setattr__(sizes, name, int(size))
