"""Log-densities of a prior that the user gives, such as a distribution of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import constraints

from backwalk.errors import InvalidInput
from backwalk.formatting import listed


class Prior(Protocol):
    """A distribution of torch, or anything else with its `log_prob`."""

    def log_prob(self, value: Tensor, /) -> Tensor:
        """Return the log-density of parameters, (m, k): (m,)."""
        ...


def log_prior(prior: Prior, theta: Tensor, names: Sequence[str]) -> Tensor:
    """Return ln p(theta) of the named parameters, (n, k), float64: (n,); -inf beyond the support.

    Distributions of torch refuse parameters beyond their support. Raises InvalidInput where the prior is not one of k
    parameters.
    """
    found = torch.full((len(theta),), -math.inf, dtype=torch.float64)
    try:
        within = _within_support(prior, theta)
        of_these = _log_prob(prior, theta[within]) if within.any() else found[within]
    except (RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"The prior should be a distribution of {listed(names)} in this order, but its log_prob failed: {error}"
        ) from error
    if of_these.shape == (len(of_these), 1) and theta.shape[1] == 1:  # a distribution of a single number
        of_these = of_these[:, 0]
    if of_these.ndim != 1 or len(of_these) != int(within.sum()):
        raise InvalidInput(
            f"The prior's log_prob should have shape ({int(within.sum())},), but has {tuple(of_these.shape)}: take "
            "torch.distributions.Independent(prior, 1)."
        )
    found[within] = of_these
    return found


def _within_support(prior: Prior, theta: Tensor) -> Tensor:
    everywhere = torch.ones(len(theta), dtype=torch.bool)
    try:
        support: Any = getattr(prior, "support", None)
    except NotImplementedError:  # a distribution that does not state it
        return everywhere
    if not len(theta) or not isinstance(support, constraints.Constraint):
        return everywhere
    within = torch.as_tensor(support.check(theta)).cpu()  # type: ignore[no-untyped-call]
    return within.reshape(len(theta), -1).all(dim=1)


def _log_prob(prior: Prior, theta: Tensor) -> Tensor:
    try:
        found = prior.log_prob(theta)
    except RuntimeError:  # a distribution of float32, which is torch's default
        found = prior.log_prob(theta.float())
    return torch.as_tensor(found).detach().double().cpu()
