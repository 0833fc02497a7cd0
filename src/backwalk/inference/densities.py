"""The log-density of a posterior, with its gradient by the parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from backwalk.errors import InvalidInput
from backwalk.inference.gradients import attached
from backwalk.inference.observed import Array, Observed
from backwalk.inference.values import as_tensor, asks_for_gradient, read_parameters


class Densities(Observed):
    """Scores parameters given observations."""

    def log_prob(self, theta: Any, x: Any = None) -> Tensor:
        """Return the log-density of parameters given an observation.

        It is normalised within the declared bounds of the parameters, beyond which it is -inf.

        Where theta asks for a gradient, autograd goes back through the steps of the ODE, which takes two to three times
        as long: the gradient is that of the log-density returned, up to rounding, and 0 beyond the bounds. It is
        differentiated once.

        Parameters
        ----------
        theta : tensor or array, (..., k), or table with n rows
            Parameters; (k,) is one row.
        x : tensor, array, table or mapping, default=None
            See `sample`.

        Returns
        -------
        Tensor, (...) or (n,)
            Nats, in the units of the parameters.

        Raises
        ------
        InvalidInput
            A ValueError: theta or x cannot be used; or theta asks for a gradient, and parameters are not on a
            continuous scale.

        See Also
        --------
        Posterior.log_prob_batched : The same for a batch of observations.
        Posterior.map : The parameters of largest density.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> of_theta.log_prob([[0.4], [0.5]], x=[0.5]).shape
        torch.Size([2])
        """
        return self._log_prob_paired(theta, self._one_observed(x))

    def log_prob_batched(self, theta: Any, x: Any) -> Tensor:
        """Return the log-density of parameters given each of a batch of observations.

        Parameters
        ----------
        theta : tensor or array, (..., b, k), or table with b rows
            Parameters, as `sample_batched` draws them. They may ask for a gradient, as in `log_prob`.
        x : tensor or array, (b, k), or table with b rows
            One observation per row.

        Returns
        -------
        Tensor, (..., b)
            Nats, in the units of the parameters.

        See Also
        --------
        Posterior.sample_batched : Draws given each of many observations.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> theta = of_theta.sample_batched(5, [[0.5], [0.6]], random_state=1)
        >>> of_theta.log_prob_batched(theta, [[0.5], [0.6]]).shape
        torch.Size([5, 2])
        """
        rows, k = self._observed(x, warns=False), len(self.parameter_names)
        read = read_parameters(self._conditional.model, self._conditional.parameters, theta)
        if read.shape[-2:] != (len(rows), k):
            raise InvalidInput(
                f"theta should be of shape (..., {len(rows)}, {k}), but has {read.shape}: give parameters for each "
                "observation."
            )
        return self._log_prob_paired(theta, rows)

    def potential(self, theta: Any, x: Any = None) -> Tensor:
        """Return `log_prob` of theta given one observation, under the name that samplers of MCMC call.

        That of sbi may lack a constant; this one is normalised. Samplers of Pyro and of sbi call it at a tensor that
        asks for a gradient: see `log_prob`.

        Parameters
        ----------
        theta : tensor or array, (..., k)
            Parameters.
        x : tensor, array, table or mapping, default=None
            One observation.

        Returns
        -------
        Tensor, (...)
            Nats.

        See Also
        --------
        Posterior.log_prob : The same.

        Notes
        -----
        `NUTS(potential_fn=lambda p: -of_theta.potential(p["theta"]))` is a kernel of Pyro, and
        `MCMCPosterior(lambda theta, x_o: of_theta.potential(theta, x_o), proposal=prior, method="nuts_pyro")` of sbi.

        Examples
        --------
        >>> import torch
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> theta = torch.tensor([[0.5]], dtype=torch.float64, requires_grad=True)
        >>> of_theta.potential(theta, x=[0.5]).sum().backward()
        >>> theta.grad.shape
        torch.Size([1, 1])
        """
        return self._log_prob_paired(theta, self._one_observed(x))

    def _log_prob_paired(self, theta: Any, rows: Array) -> Tensor:
        """Return ln p(theta | x) of parameters, (..., k), of which each (b, k) belong to observations, (b, d)."""
        conditional = self._conditional
        read = read_parameters(conditional.model, conditional.parameters, theta)
        points, shape = read.reshape(-1, read.shape[-1]), read.shape[:-1]
        observed = np.tile(rows, (len(points) // len(rows), 1))
        if asks_for_gradient(theta):
            return attached(theta, *conditional.log_prob_and_gradient(points, observed)).reshape(shape)
        return as_tensor(conditional.log_prob(points, observed).reshape(shape))
