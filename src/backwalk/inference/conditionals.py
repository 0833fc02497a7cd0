"""The conditional of parameters given an observation: draws, log-densities and their gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backwalk.inference.gradients import climb
from backwalk.model import (
    DiffusionModel,
    Given,
    log_density,
    log_density_and_gradient,
    sample_rows,
)
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ParameterConditional:
    """p(theta | x) of a model: `given` are the numbers of the observed columns, `parameters` those of the others.

    Observations are rows, (b, d), with NaN in other columns.
    """

    model: DiffusionModel
    given: Sequence[int]
    parameters: Sequence[int]

    def draw(self, rows: Array, n: int, *, stream: Stream, sampler: Sampler | str | None = None) -> Array:
        """Return n draws of parameters given each observation: (b, n, k). Draw i of observation j is row j n + i."""
        given = Given.to_draw(self.model, rows if len(rows) == 1 else np.repeat(rows, n, axis=0))
        drawn = sample_rows(self.model, 0, n * len(rows), stream=stream, sampler=sampler, given=given)
        return drawn[:, list(self.parameters)].reshape(len(rows), n, len(self.parameters))

    def log_prob(self, theta: Array, rows: Array) -> Array:
        """Return ln p(theta | x) of parameters, (n, k), each given the observation in the same row, (n, d): (n,).

        Missing data are integrated out, as in `draw`, in columns whose gaps are generated, too.
        """
        values, log_p = self._joined(theta, rows), np.empty(len(rows))
        for at, observed in self._observed(rows):
            found = log_density(self.model, values[at], given=observed, columns=self.parameters, with_error=False)
            log_p[at] = found.log_prob.numpy()
        return log_p

    def log_prob_and_gradient(self, theta: Array, rows: Array) -> tuple[Array, Array]:
        """Return `log_prob`, (n,), and its gradient by theta, (n, k).

        Raises InvalidInput for parameters that are not on a continuous scale.
        """
        values, log_p, gradient = self._joined(theta, rows), np.empty(len(rows)), np.empty(theta.shape)
        for at, observed in self._observed(rows):
            found = log_density_and_gradient(self.model, values[at], given=observed, columns=self.parameters)
            log_p[at], gradient[at] = (part.numpy() for part in found)
        return log_p, gradient

    def highest(self, row: Array, n_draws: int, *, stream: Stream) -> Array:
        """Return the parameters, (k,), of the largest density given an observation, (1, d), from the best of draws."""
        theta = self.draw(row, n_draws, stream=stream)[0]
        best = theta[self.log_prob(theta, np.repeat(row, n_draws, axis=0)).argmax()]
        return climb(lambda theta: self.log_prob_and_gradient(theta, row), self.codec, best)

    def _joined(self, theta: Array, rows: Array) -> Array:
        values = rows.copy()
        values[:, list(self.parameters)] = theta
        return values

    def _observed(self, rows: Array) -> Iterator[tuple[NDArray[np.bool_], list[int]]]:
        """Yield which rows, (n, d), have the same given columns, (n,), and these; gaps that are generated are none."""
        given = np.array(self.given, dtype=np.intp)
        absent = np.isnan(rows[:, given]) & np.isin(given, self.model.codec.missing_levels)
        for pattern in np.unique(absent, axis=0) if absent.any() else np.zeros((1, len(given)), dtype=bool):
            yield (absent == pattern).all(axis=1), given[~pattern].tolist()

    @property
    def codec(self) -> Codec:
        """The codec of the parameters."""
        return Codec(tuple(self.model.codec.columns[j] for j in self.parameters))
