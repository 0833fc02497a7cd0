"""The draws of a posterior, and its maximum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from backwalk.inference.observed import Observed, stream_of
from backwalk.inference.values import as_tensor, read_shape
from backwalk.model import refuse_without_gradient
from backwalk.sampling import Sampler, SolverName
from backwalk.streams import RandomState

_N_DRAWS = 500  # from whose best the maximum is climbed


class Draws(Observed):
    """Draws parameters given observations."""

    def sample(
        self,
        sample_shape: int | Sequence[int] = (),
        x: Any = None,
        *,
        sampler: Sampler | SolverName | None = None,
        random_state: RandomState = None,
        show_progress_bars: bool = False,  # noqa: ARG002 - functions of sbi give it
    ) -> Tensor:
        """Draw parameters given an observation.

        Parameters
        ----------
        sample_shape : int or tuple of int, default=()
            The shape of the draws; () is a single one.
        x : tensor or array, (k,) or (1, k); table with one row; or mapping, default=None
            The observation, with the columns `observation_names`. A missing value is integrated out. None is the
            default.
        sampler : Sampler or str, default=None
            See `Diffusion.sample`.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws.
        show_progress_bars : bool, default=False
            Ignored: functions of sbi, such as `run_sbc`, give it.

        Returns
        -------
        Tensor, (..., k)
            Parameters in their own units; the leading axes are `sample_shape`.

        Raises
        ------
        InvalidInput
            A ValueError: the shape, the observation or the sampler cannot be used.

        Warns
        -----
        UnseenValuesWarning
            Less than 1 in 1,000 unseen simulations lie as far from the fitted ones as x: see `check`. `log_prob` and
            `set_default_x` warn as well.

        See Also
        --------
        Posterior.sample_batched : Draws given each of many observations.
        Posterior.log_prob : The log-density of parameters.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.sample((2, 50), x=[0.5], random_state=1).shape
        torch.Size([2, 50, 1])
        """
        shape, rows = read_shape(sample_shape), self._one_observed(x)
        drawn = self._conditional.draw(rows, math.prod(shape), stream=stream_of(random_state), sampler=sampler)[0]
        return as_tensor(drawn.reshape(*shape, len(self.parameter_names)))

    def sample_batched(
        self,
        sample_shape: int | Sequence[int],
        x: Any,
        *,
        sampler: Sampler | SolverName | None = None,
        random_state: RandomState = None,
        show_progress_bars: bool = False,  # noqa: ARG002 - functions of sbi give it
    ) -> Tensor:
        """Draw parameters given each of a batch of observations.

        Parameters
        ----------
        sample_shape : int or tuple of int
            Number of draws for each observation, or their shape.
        x : tensor or array, (b, k), or table with b rows
            One observation per row, each with other parameters.
        sampler : Sampler or str, default=None
            See `Diffusion.sample`.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws.
        show_progress_bars : bool, default=False
            Ignored: functions of sbi give it.

        Returns
        -------
        Tensor, (..., b, k)
            Parameters in their own units; the leading axes are `sample_shape`.

        See Also
        --------
        Posterior.log_prob_batched : The log-density of these draws.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.sample_batched(50, [[0.5], [0.6], [-1.0]], random_state=1).shape
        torch.Size([50, 3, 1])
        """
        shape, rows = read_shape(sample_shape), self._observed(x, warns=False)
        drawn = self._conditional.draw(rows, math.prod(shape), stream=stream_of(random_state), sampler=sampler)
        return as_tensor(drawn.swapaxes(0, 1).reshape(*shape, len(rows), len(self.parameter_names)))

    def map(self, x: Any = None, *, random_state: RandomState = 0) -> Tensor:
        """Return the parameters where the density given one observation is largest (maximum a posteriori).

        The density is that in the units of the parameters, as `log_prob` returns it: another one, such as that of a
        parameter's logarithm, has its maximum elsewhere. The best of some draws is improved by L-BFGS in encoded
        coordinates. Of several maxima the one beside this draw is found. Beside a bound densities are rough, and so are
        maxima there.

        Parameters
        ----------
        x : tensor, array, table or mapping, default=None
            One observation.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of the draws.

        Returns
        -------
        Tensor, (k,)
            Parameters in their own units.

        Raises
        ------
        InvalidInput
            A ValueError: x is not one observation, or there are parameters that are not on a continuous scale.

        See Also
        --------
        Posterior.sample : Draws, which show more than their maximum.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.map([0.5]).shape
        torch.Size([1])
        """
        rows = self._one_observed(x)
        refuse_without_gradient(self._conditional.model, self._conditional.parameters)
        return as_tensor(self._conditional.highest(rows, _N_DRAWS, stream=stream_of(random_state)))
