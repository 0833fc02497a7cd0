"""Simulation-based inference: parameters of a simulator given its data, by a model of rows of both.

A fitted model of rows (parameters, data) holds p(parameters | data) as one of its conditionals. `posterior` gives it
the interface of the package `sbi`: draws and exact log-densities as torch tensors, for one observation or for a batch.
"""

from backwalk.inference.check import ObservationCheck
from backwalk.inference.conditionals import ParameterConditional
from backwalk.inference.posteriors import Posterior, posterior

__all__ = ["ObservationCheck", "ParameterConditional", "Posterior", "posterior"]
