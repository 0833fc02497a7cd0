"""`posterior` and `Posterior`: parameters given observations, in the manner of the package `sbi`.

p(theta | x) is a conditional of the model: draws are those of `Diffusion.sample(given=...)`, and the log-density is
that of `Diffusion.score_samples(given=..., columns=...)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.formatting import MOST_NAMED, html_table, listed
from backwalk.inference.check import ObservationCheck, check_observations
from backwalk.inference.densities import Densities
from backwalk.inference.draws import Draws
from backwalk.inference.observed import Array, stream_of
from backwalk.inference.values import read_observations, read_parameters
from backwalk.model import DiffusionModel, column_numbers, user_terms
from backwalk.streams import RandomState


def posterior(model: Any, given: Sequence[str | int]) -> Posterior:
    """Return the posterior of some columns given the others, in the manner of the package `sbi`.

    Fit a model to rows of parameters, drawn from their prior, with the simulator's data beside them:
    `conditions=[given]` trains this posterior alone, and is more accurate for it than "any". A prior with bounds is
    `columns={"theta": Number(bounds=(low, high))}`: no draw lies beyond, none is rejected, and the density within
    integrates to 1 as it is.

    Parameters
    ----------
    model : Diffusion
        A fitted model.
    given : list of columns
        The observed columns, by name or number; all others are parameters.

    Returns
    -------
    backwalk.inference.Posterior
        With `sample`, `log_prob`, `map`, `check` and more.

    Raises
    ------
    InvalidInput
        A ValueError: the model is not fitted, or was not trained for these columns.

    See Also
    --------
    Diffusion.sample : Draws of some columns given others, as rows.
    Diffusion.conditional : The distribution of one column given others.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion, posterior
    >>> theta = np.random.default_rng(0).normal(size=(300, 1))
    >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
    >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
    >>> of_theta = posterior(model, given=[1]).set_default_x([0.5])
    >>> draws = of_theta.sample(100, random_state=1)
    >>> draws.shape, of_theta.log_prob(draws).shape
    (torch.Size([100, 1]), torch.Size([100]))
    """
    fitted = getattr(model, "model_", model)
    if not isinstance(fitted, DiffusionModel):
        raise InvalidInput(f"model should be a fitted Diffusion, but got {type(model).__name__}: call fit first.")
    columns = column_numbers(fitted.schema, given)
    if not 0 < len(columns) < fitted.schema.n_columns:
        raise InvalidInput(
            f"given should name some of the {fitted.schema.n_columns} columns, but names {len(columns)}: the others "
            "are the parameters."
        )
    fitted.check_pattern(columns)
    return Posterior(fitted, columns)


class Posterior(Draws, Densities):
    """The posterior of the parameters of a simulator, given its data; `posterior` makes it.

    Its methods are named as those of the package `sbi`. They take an observation `x`, or the default that
    `set_default_x` sets. Tensors are float64, on the CPU.

    Parameters
    ----------
    model : backwalk.model.DiffusionModel
        A fitted model, `model_` of a `Diffusion`.
    given : list of int
        Numbers of the observed columns.

    Attributes
    ----------
    parameter_names : tuple of str
        Names of the parameters, in the order of the columns of their tensors.
    observation_names : tuple of str
        Names of the observed columns, in the order of those of `x`.

    See Also
    --------
    backwalk.posterior : Makes it from a fitted `Diffusion`.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion, posterior
    >>> theta = np.random.default_rng(0).normal(size=(300, 1))
    >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
    >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
    >>> of_theta = posterior(model, given=[1])
    >>> of_theta.set_default_x([0.5]).sample(100, random_state=1).shape
    torch.Size([100, 1])
    >>> of_theta.parameter_names, of_theta.observation_names
    (('x1',), ('x2',))
    """

    def check(self, x: Any = None, simulations: Any = None, *, random_state: RandomState = 0) -> ObservationCheck:
        """Return whether observations are like the simulations, and whether the posterior lies at a bound of the prior.

        The distance of x from the fitted rows, which follows their curves, is ranked among those of simulations that
        the fit did not train on. A posterior given an x that the simulator cannot make is an extrapolation. Calls with
        such an x warn, too.

        Parameters
        ----------
        x : tensor, array, table or mapping, default=None
            See `sample`. Several rows are checked one by one.
        simulations : tensor or array, (n, k), or table with n rows, default=None
            Data of unseen simulations, with the columns `observation_names`. None takes the held-out rows of a fit with
            `conditions=[data]`.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of the draws that may lie at bounds.

        Returns
        -------
        ObservationCheck
            With `fits`, `p_value`, and the columns and parameters at the ends of their ranges.

        Raises
        ------
        InvalidInput
            A ValueError: the model has no held-out rows for these data, and there are no simulations; or it has an
            embedding.

        See Also
        --------
        backwalk.Diffusion.assess : Whether posteriors are calibrated, over many observations.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(400, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(400, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows[:300])
        >>> of_theta, unseen = posterior(model, given=[1]), rows[300:, 1:]
        >>> of_theta.check([0.5], unseen).fits, of_theta.check([50.0], unseen).fits
        (True, False)
        """
        rows = self._observed(x, warns=False)
        if simulations is not None:
            simulations = read_observations(self._conditional.model, self._conditional.given, simulations)
        return check_observations(self._conditional, rows, simulations, stream=stream_of(random_state))

    def to_arviz_dict(self, theta: Any, x: Any = None) -> dict[str, dict[str, Array]]:
        """Return draws and their observation as the nested dictionary that `arviz.from_dict` takes.

        Before arviz 1.0, `arviz.from_dict` takes its parts by name: `from_dict(**dictionary)`.

        Parameters
        ----------
        theta : tensor or array, (n, k) or (chains, n, k), or table with n rows
            Draws of `sample`; without an axis of chains they are one chain.
        x : tensor, array, table or mapping, default=None
            See `sample`.

        Returns
        -------
        dict
            Two dictionaries: "posterior", with an array (chains, n) for each parameter, and "observed_data", with an
            array (m,) for each observed column.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion, posterior
        >>> theta = np.random.default_rng(0).normal(size=(300, 1))
        >>> rows = np.hstack([theta, theta + 0.1 * np.random.default_rng(1).normal(size=(300, 1))])
        >>> model = Diffusion(max_steps=20, conditions=[[1]], random_state=0, verbose=False).fit(rows)
        >>> of_theta = posterior(model, given=[1])
        >>> draws = of_theta.sample(100, [0.5], random_state=1)
        >>> found = of_theta.to_arviz_dict(draws, [0.5])
        >>> found["posterior"]["x1"].shape, found["observed_data"]["x2"].shape
        ((1, 100), (1,))
        """
        conditional, rows, k = self._conditional, self._observed(x, warns=False), len(self.parameter_names)
        theta = read_parameters(conditional.model, conditional.parameters, theta, may_miss=True)
        if theta.ndim > 3 or (theta.ndim == 3 and 1 < len(rows) == theta.shape[1]):
            raise InvalidInput(
                f"theta should have shape (n, {k}), or (chains, n, {k}), but has {theta.shape}: give draws of sample, "
                "or those of one observation, theta[:, i], of sample_batched."
            )
        chains = theta.reshape(-1, *theta.shape[-2:])
        return {
            "posterior": {name: chains[..., i] for i, name in enumerate(self.parameter_names)},
            "observed_data": {
                name: rows[:, j] for name, j in zip(self.observation_names, self._conditional.given, strict=True)
            },
        }

    def __repr__(self) -> str:
        """Return the names of parameters and observations."""
        return f"Posterior({listed(self.parameter_names)} given {listed(self.observation_names)})"

    def _repr_html_(self) -> str:
        """Return the columns and the default observation as a table, for notebooks."""
        model, rows = self._conditional.model, self._default_rows
        x = [""] * len(self.observation_names)
        if rows is not None:
            x = [listed(user_terms(model.schema, j, row[j], digits=4) for row in rows) for j in self._conditional.given]
        parameters = [(name, "parameter", "") for name in self.parameter_names]
        observations = [(name, "observed", value) for name, value in zip(self.observation_names, x, strict=True)]
        more = len(observations) - MOST_NAMED
        shown = [*observations[:MOST_NAMED], *([(f"{more} more", "observed", "")] if more > 0 else [])]
        return html_table("Posterior", ["column", "role", "default x"], [*parameters, *shown])
