"""From x_N back to x_0: solvers, the chain that they walk, and the tiles in which rows are computed."""

from backwalk.sampling.chain import ChainState, last_state, walk_back
from backwalk.sampling.fitted_times import N_PILOT, fitted_times
from backwalk.sampling.sampler import (
    FEWEST_WITH_NOISE,
    USUAL_EVALUATIONS,
    Sampler,
    asked_sampler,
    default_sampler,
    spread_times,
    usual_solver,
)
from backwalk.sampling.steps import Ancestral, Ddim, DpmSolver, Multistep, Step, StochasticMultistep
from backwalk.sampling.tiles import TILE_ROWS, over_tiles, padded_tile

__all__ = [
    "FEWEST_WITH_NOISE",
    "N_PILOT",
    "TILE_ROWS",
    "USUAL_EVALUATIONS",
    "Ancestral",
    "ChainState",
    "Ddim",
    "DpmSolver",
    "Multistep",
    "Sampler",
    "Step",
    "StochasticMultistep",
    "asked_sampler",
    "default_sampler",
    "fitted_times",
    "last_state",
    "over_tiles",
    "padded_tile",
    "spread_times",
    "usual_solver",
    "walk_back",
]
