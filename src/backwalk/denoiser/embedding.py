"""Embeddings: networks from the data columns of a row, (n, m), to features of them, (n, k).

`FCEmbedding` and `CNNEmbedding` are records of sizes, of which `build` makes a module; a user may give any
`torch.nn.Module` in their place. The data are encoded, so that each column has about mean 0 and variance 1. A constant
column is 0. `embedding_denoiser.py` says what becomes of the features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from backwalk.denoiser.network import set_sizes
from backwalk.denoiser.user_module import N_PROBES, Probes, checked_copy, random_probes
from backwalk.limits import NETWORK_DEPTH, NETWORK_SIZE
from backwalk.streams import Stream

_SHORTEST = 4  # length of a series that is not halved any more


@dataclass(frozen=True)
class FCEmbedding:
    """The sizes of a fully connected embedding of data, for `Diffusion(embedding=...)`.

    It suits data without an order. The features of a row are a function of all its data columns.

    Parameters
    ----------
    n_features : int, default=20
        The number of features.
    width : int, default=64
        The number of units of a layer.
    n_layers : int, default=2
        The number of hidden layers.

    Raises
    ------
    InvalidInput
        For a size that is no integer in range.

    See Also
    --------
    CNNEmbedding : An embedding of a series.
    backwalk.Diffusion : The estimator.

    Examples
    --------
    >>> import torch
    >>> from backwalk import FCEmbedding
    >>> from backwalk.streams import Stream
    >>> FCEmbedding(n_features=10).build(100, stream=Stream(0))(torch.zeros(5, 100)).shape
    torch.Size([5, 10])
    """

    n_features: int = 20
    width: int = 64
    n_layers: int = 2

    def __post_init__(self) -> None:
        set_sizes(self, "leave it out", n_features=NETWORK_SIZE, width=NETWORK_SIZE, n_layers=NETWORK_DEPTH)

    def build(self, m: int, *, stream: Stream) -> nn.Module:
        """Return the module.

        Parameters
        ----------
        m : int
            The number of data columns.
        stream : Stream
            The initial weights.

        Returns
        -------
        Module
            The module from (n, m) to (n, n_features).
        """
        widths = [m, *[self.width] * self.n_layers]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Linear(n_in, n_out), nn.SiLU()]
        return _with_weights(nn.Sequential(*layers, nn.Linear(widths[-1], self.n_features)), stream)


@dataclass(frozen=True)
class CNNEmbedding:
    """The sizes of a convolutional embedding of a series, for `Diffusion(embedding=...)`.

    The data columns are the values of the series, in their order in the table.

    Parameters
    ----------
    n_features : int, default=20
        The number of features, which a linear layer makes of all channels.
    n_channels : int, default=8
        The channels of the first convolution. Each other one has twice as many as the one before.
    n_layers : int, default=3
        The number of convolutions, each of which halves the length.
    kernel_size : int, default=5
        The number of neighbours that a convolution reads.

    Raises
    ------
    InvalidInput
        For a size that is no integer in range.

    See Also
    --------
    FCEmbedding : An embedding of data without an order.
    backwalk.Diffusion : The estimator.

    Examples
    --------
    >>> import torch
    >>> from backwalk import CNNEmbedding
    >>> from backwalk.streams import Stream
    >>> CNNEmbedding().build(100, stream=Stream(0))(torch.zeros(5, 100)).shape
    torch.Size([5, 20])
    """

    n_features: int = 20
    n_channels: int = 8
    n_layers: int = 3
    kernel_size: int = 5

    def __post_init__(self) -> None:
        most = {"n_features": NETWORK_SIZE, "n_channels": NETWORK_SIZE, "n_layers": NETWORK_DEPTH}
        set_sizes(self, "leave it out", **most, kernel_size=NETWORK_SIZE)

    def build(self, m: int, *, stream: Stream) -> nn.Module:
        """Return the module.

        Parameters
        ----------
        m : int
            The number of values of a series.
        stream : Stream
            The initial weights.

        Returns
        -------
        Module
            The module from (n, m) to (n, n_features).
        """
        layers: list[nn.Module] = [nn.Unflatten(1, (1, m))]
        n_in, length, margin = 1, m, self.kernel_size // 2
        for i in range(self.n_layers):
            n_out, stride = self.n_channels * 2**i, 2 if length > _SHORTEST else 1
            layers += [nn.Conv1d(n_in, n_out, self.kernel_size, stride=stride, padding=margin), nn.SiLU()]
            n_in, length = n_out, (length + 2 * margin - self.kernel_size) // stride + 1
        return _with_weights(nn.Sequential(*layers, nn.Flatten(), nn.Linear(n_in * length, self.n_features)), stream)


Embedding = FCEmbedding | CNNEmbedding | nn.Module
"""The sizes of an embedding of this library, or a user's module with its initial weights."""


def build_embedding(embedding: Embedding, m: int, *, stream: Stream) -> nn.Module:
    """Return the module of an embedding of m data columns; a user's module is copied, and checked."""
    if isinstance(embedding, nn.Module):
        return checked_copy(embedding, embedding_probes(m))
    with torch.random.fork_rng(devices=[]):  # torch draws initial weights, which others replace
        return embedding.build(m, stream=stream).eval()


def embedding_probes(m: int) -> Probes:
    """Return rows of m data columns on which an embedding is checked and recognised."""
    return Probes((random_probes(m),), f"data {(N_PROBES, m)} to features ({N_PROBES}, k)", None)


@torch.no_grad()
def _with_weights(module: nn.Module, stream: Stream) -> nn.Module:
    """Set a new module's weights: normal, such that units keep a variance of about 1, and biases of 0."""
    for i, parameter in enumerate(module.parameters()):
        if parameter.ndim == 1:
            parameter.zero_()
        else:
            n_in = parameter[0].numel()
            draws: Tensor = stream.child("layer", i).normal(0, len(parameter), n_in, torch.float32)
            parameter.copy_(math.sqrt(2.0 / n_in) * draws.reshape(parameter.shape))
    return module
