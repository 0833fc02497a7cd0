"""Log-densities of a prior that the user gives, such as a distribution of torch."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.distributions import constraints

from backwalk.errors import InvalidInput


class Prior(Protocol):
    """A distribution of torch, or anything else with its `log_prob`."""

    def log_prob(self, value: Tensor, /) -> Tensor:
        """Return the log-density of parameters, (m, k): (m,)."""
        ...


def log_prior(prior: Prior, theta: Tensor) -> Tensor:
    """Return ln p(theta) of parameters, (n, k), float64: (n,); -inf beyond the support.

    Distributions of torch refuse parameters beyond their support. Raises InvalidInput for results of another shape.
    """
    found = torch.full((len(theta),), -math.inf, dtype=torch.float64)
    within = _within_support(prior, theta)
    if within.any():
        values = _log_prob(prior, theta[within])
        if values.shape != (int(within.sum()),):
            raise InvalidInput(
                f"The prior's log_prob should have shape ({int(within.sum())},), but has {tuple(values.shape)}: take "
                "torch.distributions.Independent(prior, 1)."
            )
        found[within] = values
    return found


def _within_support(prior: Prior, theta: Tensor) -> Tensor:
    support: Any = getattr(prior, "support", None)
    if not isinstance(support, constraints.Constraint):
        return torch.ones(len(theta), dtype=torch.bool)
    within = torch.as_tensor(support.check(theta)).cpu()  # type: ignore[no-untyped-call]
    return within.reshape(len(theta), -1).all(dim=1) if len(theta) else within.new_ones(0)


def _log_prob(prior: Prior, theta: Tensor) -> Tensor:
    try:
        found = prior.log_prob(theta)
    except RuntimeError:  # a distribution of float32, which is torch's default
        found = prior.log_prob(theta.float())
    return torch.as_tensor(found).detach().double().cpu()
