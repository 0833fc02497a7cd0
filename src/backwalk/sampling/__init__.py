"""From x_N back to x_0: solvers, the chain that they walk, and the tiles in which rows are computed."""

from backwalk.sampling.chain import ChainState, walk_back
from backwalk.sampling.sampler import Sampler
from backwalk.sampling.steps import Ancestral, Ddim, DpmSolver, Multistep, Step
from backwalk.sampling.tiles import TILE_ROWS, over_tiles, padded_tile

__all__ = [
    "TILE_ROWS",
    "Ancestral",
    "ChainState",
    "Ddim",
    "DpmSolver",
    "Multistep",
    "Sampler",
    "Step",
    "over_tiles",
    "padded_tile",
    "walk_back",
]
