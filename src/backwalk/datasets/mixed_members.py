"""Known densities of mixed rows, families with a seed: arcs with a spike, many levels and spikes, levels alone."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from backwalk.datasets.density import check_at_least, normal_rows
from backwalk.datasets.mixed import Category, MixedDensity, Number
from backwalk.datasets.warps import Affine, Exponential, HyperbolicSine
from backwalk.estimates import Rows
from backwalk.streams import Stream


def mixed_arcs(*, seed: int = 0, n_hidden: int = 8) -> MixedDensity:
    """Return a density of three correlated categories and four numbers, one of them often 0.

    Parameters
    ----------
    seed : int, default=0
        The seed of the directions, radii, correlations and the table.
    n_hidden : int, default=8
        The number of places along the arc.

    Returns
    -------
    MixedDensity
        The density.

    See Also
    --------
    mixed_spikes : Many levels and two numbers with atoms.
    levels_alone : Categories alone.

    Notes
    -----
    `x` and `y` lie along an arc, whose direction follows `site`, whose radius follows `plan` and whose length follows
    `grade`. `cost` is positive and correlated with both, by `plan` one way or the other. `rain` is 0 in about a third
    of the rows; how often follows `site` and `grade`.

    Examples
    --------
    >>> from backwalk.datasets import mixed_arcs
    >>> mixed_arcs().names
    ('site', 'x', 'plan', 'y', 'cost', 'grade', 'rain')
    """
    check_at_least(0, seed=seed)
    check_at_least(1, n_hidden=n_hidden)
    stream = Stream(seed).child("mixed_arcs")
    sizes = (3, 4, 2)  # site, plan, grade
    of_levels = _softmax(_pairwise(sizes, 1.0, stream.child("levels")))
    site, plan, grade = np.meshgrid(*(np.arange(size) for size in sizes), indexing="ij")
    rain_effect = 1.2 * normal_rows(0, sizes[0] * sizes[2], 1, stream.child("rain")).reshape(sizes[0], sizes[2])
    at_atom = 1.0 / (1.0 + np.exp(0.7 + rain_effect[site, grade]))
    table = of_levels[..., None, None] * np.stack([at_atom, 1.0 - at_atom], axis=-1)[..., None] / n_hidden
    table = np.broadcast_to(table, (*sizes, 2, n_hidden)).copy()

    turn = 2.0 * np.pi / 3.0 * (np.arange(3) + 0.3 * normal_rows(0, 3, 1, stream.child("turn"))[:, 0])
    radius = 1.0 + 0.5 * stream.child("radius").permutation(4)
    along = np.linspace(-1.0, 1.0, n_hidden) if n_hidden > 1 else np.zeros(1)
    angle = turn[site][..., None] + np.array([0.9, 1.8])[grade][..., None] * along  # (3, 4, 2, H)
    level = normal_rows(0, 4, 2, stream.child("level"))
    means = np.zeros((*table.shape, 4))
    means[..., 0] = (radius[plan][..., None] * np.cos(angle))[..., None, :]
    means[..., 1] = (radius[plan][..., None] * np.sin(angle))[..., None, :]
    means[..., 2] = level[plan, 0][..., None, None]
    means[..., 3] = (0.8 * level[plan, 1] * np.where(grade == 0, 1.0, -1.0))[..., None, None]
    tilt = 0.6 * np.sign(normal_rows(0, sizes[1], 1, stream.child("tilt"))[:, 0])
    covariances = np.zeros((*table.shape, 4, 4))
    for p in range(sizes[1]):
        root = np.diag([0.25, 0.25, 0.5, 0.6])
        root[2, :2], root[3, :3] = tilt[p] * 0.5, (0.3, -0.3, 0.4 * tilt[p])
        covariances[:, p] = root @ root.T
    columns = (
        Category("site", ("north", "south", "west")),
        Number("x"),
        Category("plan", ("basic", "extra", "family", "none")),
        Number("y", HyperbolicSine()),
        Number("cost", Exponential(scale=100.0, rate=0.7)),
        Category("grade", ("high", "low")),
        Number("rain", Exponential(scale=2.0), atom=0.0),
    )
    # The axes follow the columns: site, plan, grade, rain, and the hidden places.
    return MixedDensity("mixed_arcs", len(columns), columns, table, means, covariances)


def mixed_spikes(*, seed: int = 0, n_levels: int = 20) -> MixedDensity:
    """Return a density of a category of many levels and four numbers, two of them with atoms.

    Parameters
    ----------
    seed : int, default=0
        The seed of means, covariances and probabilities.
    n_levels : int, default=20
        The number of levels, whose frequencies fall as 1 / rank.

    Returns
    -------
    MixedDensity
        The density.

    See Also
    --------
    mixed_arcs : Three categories and four numbers.

    Notes
    -----
    Means and covariances differ from level to level. `gain` is 0 in most rows, `hours` is 40 in about half of them, and
    the two are correlated with each other.

    Examples
    --------
    >>> from backwalk.datasets import mixed_spikes
    >>> mixed_spikes().sample(3, random_state=0).shape
    (3, 5)
    """
    check_at_least(0, seed=seed)
    check_at_least(2, n_levels=n_levels)
    stream = Stream(seed).child("mixed_spikes")
    frequency = 1.0 / (1.0 + stream.child("rank").permutation(n_levels))
    lean = normal_rows(0, n_levels, 2, stream.child("lean"))
    gain, hours = 1.0 / (1.0 + np.exp(1.8 + 0.8 * lean[:, 0])), 1.0 / (1.0 + np.exp(0.9 * lean[:, 1]))  # off the atom
    both = gain * hours + 0.5 * np.minimum(gain * (1 - hours), hours * (1 - gain))
    table = np.stack([1 - gain - hours + both, hours - both, gain - both, both], axis=-1).reshape(n_levels, 2, 2)
    table = (frequency / frequency.sum())[:, None, None] * table
    means = np.broadcast_to(
        normal_rows(0, n_levels, 4, stream.child("mean"))[:, None, None, None], (n_levels, 2, 2, 1, 4)
    )
    mixing = normal_rows(0, n_levels, 16, stream.child("mixing")).reshape(n_levels, 4, 4)
    covariance = 0.1 * mixing @ mixing.transpose(0, 2, 1) + 0.1 * np.eye(4)
    columns = (
        Number("age", Affine(45.0, 12.0)),
        Category("job", tuple(f"job {i:02d}" for i in range(n_levels))),
        Number("gain", Exponential(scale=1000.0), atom=0.0),
        Number("score", HyperbolicSine(scale=2.0)),
        Number("hours", Affine(40.0, 10.0), atom=40.0),
    )
    return MixedDensity(
        "mixed_spikes",
        len(columns),
        columns,
        table[..., None],
        means.copy(),
        np.broadcast_to(covariance[:, None, None, None], (n_levels, 2, 2, 1, 4, 4)).copy(),
    )


def levels_alone(*, seed: int = 0, sizes: tuple[int, ...] = (3, 4, 2, 5), strength: float = 1.5) -> MixedDensity:
    """Return a density of categories alone, whose table can be enumerated.

    Parameters
    ----------
    seed : int, default=0
        The seed of the terms.
    sizes : tuple of int, default=(3, 4, 2, 5)
        The numbers of levels of the categories.
    strength : float, default=1.5
        The standard deviation of the terms.

    Returns
    -------
    MixedDensity
        The density, whose ln p is a sum of normal terms for each level and each pair of levels.

    See Also
    --------
    mixed_arcs : Categories and numbers.

    Examples
    --------
    >>> from backwalk.datasets import levels_alone
    >>> levels_alone().table.shape
    (3, 4, 2, 5, 1)
    """
    check_at_least(0, seed=seed, strength=strength)
    check_at_least(1, **{f"sizes[{i}]": size for i, size in enumerate(sizes)})
    table = _softmax(_pairwise(sizes, strength, Stream(seed).child("levels_alone")))[..., None]
    columns = tuple(
        Category(string.ascii_lowercase[i], tuple(f"{string.ascii_lowercase[i]}{level}" for level in range(size)))
        for i, size in enumerate(sizes)
    )
    return MixedDensity(
        "levels_alone", len(columns), columns, table, np.zeros((*table.shape, 0)), np.zeros((*table.shape, 0, 0))
    )


MIXED_DENSITIES: Mapping[str, Callable[[], MixedDensity]] = MappingProxyType(
    {"mixed_arcs": mixed_arcs, "mixed_spikes": mixed_spikes, "levels_alone": levels_alone}
)
"""The densities of mixed rows by name; all arguments have defaults."""


def _pairwise(sizes: tuple[int, ...], strength: float, stream: Stream) -> Rows:
    """Return a sum of normal terms for every level and every pair of levels, (*sizes)."""
    total = np.zeros(sizes)
    for i in range(len(sizes)):
        for j in range(i, len(sizes)):
            axes = [i] if i == j else [i, j]
            shape = [size if axis in axes else 1 for axis, size in enumerate(sizes)]
            terms = normal_rows(0, int(np.prod(shape)), 1, stream.child(i, j))
            total = total + strength * 0.6 * terms.reshape(shape)
    return total


def _softmax(log_p: Rows) -> Rows:
    p = np.exp(log_p - log_p.max())
    return np.asarray(p / p.sum())
