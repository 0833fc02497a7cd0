"""The observation of a posterior: given to each call, or the default of all calls."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.inference.conditionals import ParameterConditional
from backwalk.inference.values import read_observations
from backwalk.model import DiffusionModel, warn_of_far
from backwalk.streams import RandomState, Stream, as_stream

Array = NDArray[np.float64]


class Observed:
    """A conditional of a model, and the default observation."""

    def __init__(self, model: DiffusionModel, given: Sequence[int]) -> None:
        names, others = model.schema.names, [j for j in range(model.schema.n_columns) if j not in given]
        self._conditional = ParameterConditional(model, list(given), others)
        self._default_x: Any = None
        self._default_rows: Array | None = None
        self._last = b""  # the last x, which is not warned of again
        self.parameter_names: tuple[str, ...] = tuple(names[j] for j in others)
        self.observation_names: tuple[str, ...] = tuple(names[j] for j in given)

    @property
    def default_x(self) -> Any:
        """The observation of calls without `x`, or None. To assign it is to call `set_default_x`."""
        return self._default_x

    @default_x.setter
    def default_x(self, x: Any) -> None:
        self.set_default_x(x)

    def set_default_x(self, x: Any) -> Self:
        """Set the observation of calls without `x`, and return the posterior itself.

        Parameters
        ----------
        x : tensor, array, table or mapping
            The observation: see `sample`.

        Returns
        -------
        Posterior
            The posterior itself.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.set_default_x([0.5]).default_x
        [0.5]
        """
        self._default_rows = self._one_observed(x)
        self._default_x = x.detach().clone() if isinstance(x, Tensor) else copy.deepcopy(x)
        return self

    def _observed(self, x: Any, *, warns: bool = True) -> Array:
        """Return observations as rows, (m, d), and warn of such that are far from the fitted rows, once for each x."""
        if x is not None:
            model, given = self._conditional.model, self._conditional.given
            rows = read_observations(model, given, x)
            if warns and rows.tobytes() != self._last:
                self._last = rows.tobytes()
                warn_of_far(model, rows, given, "x")
            return rows
        if self._default_rows is None:
            raise InvalidInput("x should be given, as there is no default: give it here, or by set_default_x.")
        return self._default_rows

    def _one_observed(self, x: Any) -> Array:
        """Return one observation as a row, (1, d)."""
        rows = self._observed(x)
        if len(rows) > 1:
            raise InvalidInput(
                f"x should be one observation, but has {len(rows)} rows: give one, or call sample_batched or "
                "log_prob_batched for a batch of them."
            )
        return rows


def stream_of(random_state: RandomState) -> Stream:
    """Return the random numbers of a call."""
    return as_stream(random_state).child("posterior")
