"""Simulation-based inference: parameters of a simulator given its data, by a model of rows of both.

A fitted model of rows (parameters, data) holds p(parameters | data) as one of its conditionals. `posterior` gives it
the interface of the package `sbi`: draws and exact log-densities as torch tensors, for one observation or for a batch.
`pooled.py` combines several observations of the same parameters, and `truncated.py` restricts the prior for further
rounds of simulations, both by the weighted draws of `importance.py`.
"""

from backwalk.inference.check import ObservationCheck
from backwalk.inference.conditionals import ParameterConditional
from backwalk.inference.posteriors import Posterior, WeightedDraws, posterior
from backwalk.inference.truncated import TruncatedPrior

__all__ = ["ObservationCheck", "ParameterConditional", "Posterior", "TruncatedPrior", "WeightedDraws", "posterior"]
