"""Densities with a known log-density and entropy, and one real table.

Each function but `penguins` returns a `Density` with `sample(n, random_state=...)`, `log_prob(x)` and `entropy`, in
nats. `DENSITIES` maps their names to the functions, all of whose arguments have defaults.

>>> from backwalk.datasets import DENSITIES
>>> DENSITIES["rings"]().sample(5, random_state=0).shape
(5, 2)
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from backwalk.datasets.chains import curved_chain, funnel, rotated_chain
from backwalk.datasets.curves import checkerboard, circles, rings, spirals, two_moons
from backwalk.datasets.density import Density
from backwalk.datasets.mixtures import around_points, gaussian_mixture, pinwheel, warped_mixture
from backwalk.datasets.tables import penguins

DENSITIES: Mapping[str, Callable[[], Density]] = MappingProxyType(
    {
        "two_moons": two_moons,
        "circles": circles,
        "rings": rings,
        "spirals": spirals,
        "checkerboard": checkerboard,
        "pinwheel": pinwheel,
        "gaussian_mixture": gaussian_mixture,
        "funnel": funnel,
        "curved_chain": curved_chain,
        "rotated_chain": rotated_chain,
        "warped_mixture": warped_mixture,
    }
)

__all__ = [
    "DENSITIES",
    "Density",
    "around_points",
    "checkerboard",
    "circles",
    "curved_chain",
    "funnel",
    "gaussian_mixture",
    "penguins",
    "pinwheel",
    "rings",
    "rotated_chain",
    "spirals",
    "two_moons",
    "warped_mixture",
]
