"""The networks: functions of a noisy point and a noise level, several members side by side.

An ensemble is one network whose every tensor has a leading axis of members, so that all members run in one batched
product; a single network is an ensemble of one. Each architecture is a frozen record of its sizes (what a user
chooses and a file stores) and a module that `build` makes from it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from backwalk.errors import InvalidInput
from backwalk.streams import Stream


class MemberLinear(nn.Module):
    """x -> x W + b for every member: (members, rows, n_in) -> (members, rows, n_out)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W + b."""
        return torch.baddbmm(self.bias, x, self.weight)


@dataclass(frozen=True)
class Textbook:
    """The course notebook's network: (x, t/N) -> `n_hidden` layers of `width` units, tanh -> d. It predicts eps."""

    width: int = 100
    n_hidden: int = 4

    def __post_init__(self) -> None:
        _check_sizes(width=self.width, n_hidden=self.n_hidden)

    @property
    def n_members(self) -> int:
        """A single network."""
        return 1

    def build(self, d: int, *, stream: Stream) -> nn.Module:
        """Return the module for points in R^d, with initial weights from `stream`."""
        return TextbookNetwork(self, d, stream)


@dataclass(frozen=True)
class Residual:
    """Pre-activation residual blocks h <- h + B silu(A silu(h)): `n_blocks` of `width` units, `n_members` side by side.

    Block and output layers start at zero, so that the untrained denoiser is the best linear one for data of unit
    variance. Source: He et al. 2016 for the form of the block.
    """

    width: int = 64
    n_blocks: int = 3
    n_members: int = 1

    def __post_init__(self) -> None:
        _check_sizes(width=self.width, n_blocks=self.n_blocks, n_members=self.n_members)

    def build(self, d: int, *, stream: Stream) -> nn.Module:
        """Return the module for points in R^d, with initial weights from `stream`."""
        return ResidualNetwork(self, d, stream)


class TextbookNetwork(nn.Module):
    """See `Textbook`. The weights start as torch's own `nn.Linear` does: uniform within 1/sqrt(n_in)."""

    def __init__(self, sizes: Textbook, d: int, stream: Stream) -> None:
        super().__init__()
        widths = [d + 1, *[sizes.width] * sizes.n_hidden, d]
        self.layers = nn.ModuleList(
            _uniform_linear(n_in, n_out, stream.child("layer", i)) for i, (n_in, n_out) in enumerate(pairwise(widths))
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return the prediction: x is (members, rows, d), time (members, rows, 1)."""
        h = torch.cat([x, time], dim=-1)
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        prediction: Tensor = self.layers[-1](h)
        return prediction


class ResidualNetwork(nn.Module):
    """See `Residual`."""

    _INPUT_GAIN = (
        2.0  # data of unit variance bend within a fraction of a unit; measured on two moons, 1 and 4 are worse
    )

    def __init__(self, sizes: Residual, d: int, stream: Stream) -> None:
        super().__init__()
        m, w = sizes.n_members, sizes.width
        self.enter = _normal_linear(m, d + 1, w, self._INPUT_GAIN, stream.child("enter"))
        self.open = nn.ModuleList(
            _normal_linear(m, w, w, math.sqrt(2.0), stream.child("open", i)) for i in range(sizes.n_blocks)
        )
        self.close = nn.ModuleList(_zero_linear(m, w, w) for _ in range(sizes.n_blocks))
        self.leave = _zero_linear(m, w, d)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Return the prediction: x is (members, rows, d), level (members, rows, 1)."""
        h = self.enter(torch.cat([x, level], dim=-1))
        for open_, close in zip(self.open, self.close, strict=True):
            h = h + close(silu(open_(silu(h))))
        prediction: Tensor = self.leave(silu(h))
        return prediction

    def hidden_matrices(self) -> Iterator[nn.Parameter]:
        """Yield the square matrices of the blocks, each (members, width, width)."""
        for layer in (*self.open, *self.close):
            yield layer.weight


def _uniform_linear(n_in: int, n_out: int, stream: Stream) -> MemberLinear:
    draws = (2.0 * stream.uniform(0, n_in + 1, n_out) - 1.0) / math.sqrt(n_in)
    return MemberLinear(draws[None, :n_in].float(), draws[None, n_in:].float())


def _normal_linear(members: int, n_in: int, n_out: int, gain: float, stream: Stream) -> MemberLinear:
    weight = gain / math.sqrt(n_in) * stream.normal(0, members * n_in, n_out).reshape(members, n_in, n_out)
    return MemberLinear(weight.float(), torch.zeros(members, 1, n_out))


def _zero_linear(members: int, n_in: int, n_out: int) -> MemberLinear:
    return MemberLinear(torch.zeros(members, n_in, n_out), torch.zeros(members, 1, n_out))


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise InvalidInput(f"{name} should be an integer >= 1, but got {size!r}: 64 units and 3 blocks are usual.")
