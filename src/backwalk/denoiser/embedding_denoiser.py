"""A table's denoiser of parameters given data, which it reads through the features of an embedding.

The rows are (parameters, data), and all data are given. The denoiser of the parameters is a `TableDenoiser`: the data
have no part in its layout. Their features phi(x) are added to the first hidden units of its network,

    h_0 = W_in (inputs, level) + b_in + W_phi phi(x),

so that a row's features are computed once, however many noise levels its parameters pass. There is one network: the
loss is that of the parameters alone, and trains all weights.

Source: Radev et al. 2020, "BayesFlow", for summaries that are learnt together with the posterior.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from backwalk.denoiser.given_levels import GivenLevels
from backwalk.denoiser.layout import TableLayout
from backwalk.denoiser.network import ResidualNetwork
from backwalk.denoiser.table_denoiser import TableDenoiser
from backwalk.diffusion.derivatives import Push
from backwalk.diffusion.posteriors import equal_rows
from backwalk.errors import InvalidInput
from backwalk.streams import Stream
from backwalk.table import Codec

_ROWS_AT_ONCE = 64  # products of one shape, so that features do not depend on how many rows there are


@dataclass(frozen=True, eq=False)
class DataColumns:
    """How the coordinates of encoded rows, (n, k), are divided into those of parameters and of m data columns.

    `codec` is that of the parameters, and `kept` are their coordinates. `coordinates` are those of the data that vary,
    and `places` the numbers of these among the m data columns.
    """

    codec: Codec
    kept: Tensor
    coordinates: Tensor
    places: Tensor
    m: int

    @classmethod
    def of(cls, codec: Codec, columns: Sequence[int]) -> DataColumns:
        """Return the division for data columns by their numbers in a codec.

        Raises InvalidInput where a data column has levels, and where no parameter varies.
        """
        coordinates = [np.arange(codec.n_encoded)[codec.slices[j]] for j in columns]
        if any(len(of_column) > 1 or codec.block_of(j) for j, of_column in zip(columns, coordinates, strict=True)):
            raise InvalidInput("An embedding reads numbers, but some data columns have levels: give them as numbers.")
        data = np.concatenate(coordinates)
        return cls(
            Codec(tuple(column for j, column in enumerate(codec.columns) if j not in columns)),
            torch.from_numpy(np.setdiff1d(np.arange(codec.n_encoded), data)),
            torch.from_numpy(data),
            torch.tensor([i for i, of_column in enumerate(coordinates) if len(of_column)]),
            len(columns),
        )


class EmbeddingDenoiser(TableDenoiser):
    """See the module's docstring. `layout` is that of the parameters, and `embedding` maps data, (n, m), to features.

    Rows are whole: (..., k), parameters and data.
    """

    kept: Tensor
    coordinates: Tensor
    places: Tensor

    def __init__(
        self,
        network: ResidualNetwork,
        n_members: int,
        floor: float,
        log_snr_range: tuple[float, float],
        layout: TableLayout,
        embedding: nn.Module,
        data: DataColumns,
        stream: Stream,
    ) -> None:
        super().__init__(network, n_members, floor, log_snr_range, layout)
        self.embedding, self.m = embedding, data.m
        for name in ("kept", "coordinates", "places"):
            self.register_buffer(name, getattr(data, name), persistent=False)
        with torch.no_grad():
            n_features, width = embedding(torch.zeros(1, data.m)).shape[1], network.enter.weight.shape[2]
        weight = stream.normal(0, n_members * n_features, width, torch.float32) / math.sqrt(n_features)
        self.enter = nn.Parameter(weight.reshape(n_members, n_features, width))

    def loss(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor, *, bfloat16: bool = False) -> Tensor:
        """Return the sum over members and rows of each member's loss of the parameters."""
        features = self._features(x_0.flatten(0, -2)).reshape(*x_0.shape[:-1], -1)
        in_order = self._reading(self.network.in_order, features @ self.enter)
        points = self._points(*(part[..., self.kept] for part in (x_0, eps, log_snr, weight)))
        return self._loss(points, in_order, bfloat16)

    def losses(self, x_0: Tensor, eps: Tensor, log_snr: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of each row's parameters, (n,), for the members' mean."""
        of_members = self._of_members(x_0)
        points = self._points(*(part[None, :, self.kept] for part in (x_0, eps, log_snr, weight)))
        return self._losses(points, of_members)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (n, k), for x_t, (n, k), at log_snr, (n, k), that of given data; they stay as they are."""
        x_0_hat = x_t.clone()
        p, of_numbers = self._means(x_t[:, self.kept], log_snr[:, self.kept], self._of_members(x_t))
        x_0_hat[:, self.kept] = self._with_numbers(self.layout.expected_codes(p), of_numbers)
        return x_0_hat

    def given_levels(self, rows: Tensor, is_given: Tensor) -> EmbeddedRows:  # type: ignore[override]
        """Return the denoiser at rows, (n, k), of whose parameters some coordinates are given."""
        first, which = equal_rows(rows[:, self.coordinates])  # different data are read once
        n = -(-len(first) // _ROWS_AT_ONCE) * _ROWS_AT_ONCE
        filled = torch.cat([first, first[:1].expand(n - len(first))])
        with torch.no_grad():
            entered = [self._features(rows[some]) @ self.enter for some in torch.split(filled, _ROWS_AT_ONCE)]
        of_parameters = rows[:, self.kept], is_given[:, self.kept]
        return EmbeddedRows(GivenLevels(self, *of_parameters, torch.cat(entered, dim=1)[:, which], which), self.kept)

    def embedding_matrices(self) -> list[Tensor]:
        """Return the weights of the embedding, without biases."""
        return [
            parameter for parameter in self.embedding.parameters() if parameter.ndim > 1 and parameter.requires_grad
        ]

    def _features(self, rows: Tensor) -> Tensor:
        """Return the features of rows, (n, k): (n, n_features)."""
        data = rows.new_zeros(len(rows), self.m)
        data[:, self.places] = rows[:, self.coordinates]
        features: Tensor = self.embedding(data)
        return features

    def _of_members(self, rows: Tensor) -> list[list[Tensor]]:
        """Return each member's parameters, which have the features of rows, (n, k)."""
        entered = self._features(rows) @ self.enter
        return [self._reading(self.network.of_member(k), entered[k : k + 1]) for k in range(self.n_members)]

    @staticmethod
    def _reading(in_order: list[Tensor], entered: Tensor) -> list[Tensor]:
        """Return parameters whose first bias, (members, rows, width), has the features of each row."""
        return [in_order[0], in_order[1] + entered, *in_order[2:]]


class EmbeddedRows:
    """Whole rows, (n, k), of whose parameters some are given: `GivenLevels` of the coordinates that are `kept`."""

    def __init__(self, parameters: GivenLevels, kept: Tensor) -> None:
        self._parameters, self._kept = parameters, kept
        self.log_snr_range, self.device = parameters.log_snr_range, parameters.device
        self.give, self.level_log_probs = parameters.give, parameters.level_log_probs

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """Return x_0_hat, (c n, k), as `GivenLevels` does; data stay as they are."""
        x_0_hat = x_t.clone()
        x_0_hat[:, self._kept] = self._parameters(x_t[:, self._kept], log_snr[:, self._kept])
        return x_0_hat

    def linearize(self, x_t: Tensor, log_snr: Tensor) -> tuple[Tensor, Push]:
        """Return x_0_hat, and the map from tangents, (t, c n, k), to its directional derivatives."""
        value, push = self._parameters.linearize(x_t[:, self._kept], log_snr[:, self._kept])
        x_0_hat = x_t.clone()
        x_0_hat[:, self._kept] = value

        def push_all(tangents: Tensor) -> Tensor:
            moved = tangents.clone()
            moved[..., self._kept] = push(tangents[..., self._kept])
            return moved

        return x_0_hat, push_all
