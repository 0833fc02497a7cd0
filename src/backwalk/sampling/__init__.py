"""From x_N back to x_0: solvers, the loop over a chain's steps, and the tiles in which rows are computed."""

from backwalk.sampling.chain import ChainState, last_state, walk_back
from backwalk.sampling.fitted_times import N_PILOT, fitted_times
from backwalk.sampling.multistep import DpmSolver, Multistep, StochasticMultistep
from backwalk.sampling.sampler import (
    EVALUATIONS_OF_CONDITIONALS,
    EVALUATIONS_OF_ONE_NUMBER,
    FEWEST_WITH_NOISE,
    Sampler,
    asked_sampler,
    default_sampler,
    usual_solver,
)
from backwalk.sampling.steps import SOLVERS, USUAL_EVALUATIONS, Ancestral, Ddim, Distilled, Step, Weights, step_weights
from backwalk.sampling.tiles import TILE_ROWS, over_tiles, padded_tile
from backwalk.sampling.times import spread_times

__all__ = [
    "EVALUATIONS_OF_CONDITIONALS",
    "EVALUATIONS_OF_ONE_NUMBER",
    "FEWEST_WITH_NOISE",
    "N_PILOT",
    "SOLVERS",
    "TILE_ROWS",
    "USUAL_EVALUATIONS",
    "Ancestral",
    "ChainState",
    "Ddim",
    "Distilled",
    "DpmSolver",
    "Multistep",
    "Sampler",
    "Step",
    "StochasticMultistep",
    "Weights",
    "asked_sampler",
    "default_sampler",
    "fitted_times",
    "last_state",
    "over_tiles",
    "padded_tile",
    "spread_times",
    "step_weights",
    "usual_solver",
    "walk_back",
]
