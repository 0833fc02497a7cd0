"""The posterior of a fitted model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.inference.posteriors import Posterior
from backwalk.inference.priors import Prior
from backwalk.model import DiffusionModel, column_numbers


def posterior(model: Any, given: Sequence[str | int], *, prior: Prior | None = None) -> Posterior:
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
    prior : object with log_prob, default=None
        The distribution that the simulations' parameters were drawn from, such as one of torch, with the parameters in
        the order of `parameter_names`. It serves several observations of the same parameters, and is not used for one.
        None takes the model's own marginal of the parameters, if it was fitted with `conditions="any"`.

    Returns
    -------
    Posterior

    Raises
    ------
    InvalidInput
        A ValueError: the model is not fitted, or was not trained for these columns.

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
    own = getattr(model, "model_", model)
    if not isinstance(own, DiffusionModel):
        raise InvalidInput(f"model should be a fitted Diffusion, but got {type(model).__name__}: call fit first.")
    if isinstance(given, str):
        raise InvalidInput(f"given should be a list of columns, but got {given!r}: write [{given!r}].")
    columns = column_numbers(own.schema, given)
    if not 0 < len(columns) < own.schema.n_columns:
        raise InvalidInput(
            f"given should name some of the {own.schema.n_columns} columns, but names {len(columns)}: the others are "
            "the parameters."
        )
    if prior is not None and not hasattr(prior, "log_prob"):
        raise InvalidInput(f"prior should have log_prob, but got {type(prior).__name__}: give a torch distribution.")
    own.check_pattern(columns)
    return Posterior(own, columns, prior)
