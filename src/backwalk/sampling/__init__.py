"""From x_N back to x_0.

`chain` has the loop, `noise` the random numbers of each row, `solvers` the formula of each step, `times` the choice of
the steps that are visited, and `sampler` the choice of all of these by name.
"""

from backwalk.sampling.chain import (
    TILE_ROWS,
    ChainState,
    last_state,
    over_tiles,
    padded_tile,
    tile_of,
    walk_back,
    walk_rows,
)
from backwalk.sampling.noise import RowNoise
from backwalk.sampling.sampler import (
    EVALUATIONS_OF_CONDITIONALS,
    EVALUATIONS_OF_ONE_NUMBER,
    FEWEST_WITH_NOISE,
    Sampler,
    SolverName,
    choose_sampler,
    default_sampler,
)
from backwalk.sampling.solvers import (
    SOLVERS,
    USUAL_EVALUATIONS,
    Ancestral,
    Ddim,
    Multistep,
    Solver,
    StochasticMultistep,
    Visit,
    mean_weights,
)
from backwalk.sampling.times import angle_places, spread_times

__all__ = [
    "EVALUATIONS_OF_CONDITIONALS",
    "EVALUATIONS_OF_ONE_NUMBER",
    "FEWEST_WITH_NOISE",
    "SOLVERS",
    "TILE_ROWS",
    "USUAL_EVALUATIONS",
    "Ancestral",
    "ChainState",
    "Ddim",
    "Multistep",
    "RowNoise",
    "Sampler",
    "Solver",
    "SolverName",
    "StochasticMultistep",
    "Visit",
    "angle_places",
    "choose_sampler",
    "default_sampler",
    "last_state",
    "mean_weights",
    "over_tiles",
    "padded_tile",
    "spread_times",
    "tile_of",
    "walk_back",
    "walk_rows",
]
