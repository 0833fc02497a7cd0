"""What ordered levels share: smoothed frequencies, and the functions by which a network reads and tilts them.

The probabilities of L ordered levels given anything are p(l) = softmax_l(ln q_l + phi_l f), with frequencies q that are
smoothed over neighbours, and a basis phi, (L, K), of functions of the level. Neighbours share what is learnt, so that a
thousand levels cost no more than K of them, and single levels that stand out have a function of their own. Without a
basis each level has its own function.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special
from scipy.interpolate import BSpline

from backwalk.table.schema import FloatArray

MOST_OF_THEIR_OWN = 16  # levels, which need no basis
_MOST_LEVELS = 1024  # with a basis; columns of more are trained on few rows (`denoiser/layout.py`)
_MOST_KNOTS, _N_SPIKES = 64, 16
_DECAY = 2.0  # of the functions' variances
_ROWS_PER_SPIKE = 25  # at least, beyond what its neighbours make likely
_LEAST_NORM = 1e-3  # of what a function adds to those before it
_LEAST_SIZE = 1e-4  # of a spline beside the largest, and of a knot's distance from the ends
_ROUNDING = 1e-10  # of products of splines
_N_ITERATIONS = 100  # of EM


def smoothed_frequencies(rows: FloatArray) -> FloatArray:
    """Return the probability of each of L places of a grid that has some rows, (L,): positive, with the sum 1.

    It is a mixture of the rows' own frequencies, of their neighbours' within 1, 2, 4, 8, ... places, and of equal
    shares. Each row is predicted by the others, and EM gives the mixture that predicts them best. So spikes stay where
    rows repeat, and values that no row has are as likely as rows with values that no other row has (Good 1953).

    >>> import numpy as np
    >>> from backwalk.table.basis import smoothed_frequencies
    >>> smoothed_frequencies(np.array([90.0, 0.0, 10.0])).round(3)
    array([0.891, 0.005, 0.104])
    """
    n, n_levels = rows.sum(), len(rows)
    own = rows / n
    others = [(rows - 1.0).clip(min=0.0) / max(n - 1.0, 1.0)]
    smooth = [own]
    reach = 1
    while reach < n_levels:
        of_neighbours = _neighbours(rows, reach)
        smooth.append(of_neighbours / of_neighbours.sum())
        others.append(smooth[-1])
        reach *= 2
    smooth.append(np.full(n_levels, 1.0 / n_levels))
    others.append(smooth[-1])
    left_out, weight = np.array(others), np.full(len(others), 1.0 / len(others))
    for _ in range(_N_ITERATIONS):
        share = weight[:, None] * left_out
        share /= share.sum(axis=0)
        # half a row of equal shares, so that every value stays possible
        counts = share @ rows + np.append(np.zeros(len(weight) - 1), 0.5)
        weight = counts / counts.sum()
    q = weight @ np.array(smooth)
    return np.asarray(q / q.sum())


def _neighbours(rows: FloatArray, reach: int) -> FloatArray:
    """Return the mean rows of the places within some reach of each place, without its own, (L,)."""
    n_levels, places = len(rows), np.arange(len(rows))
    up_to = np.concatenate([[0.0], rows.cumsum()])
    first, stop = np.maximum(places - reach, 0), np.minimum(places + reach + 1, n_levels)
    return np.asarray((up_to[stop] - up_to[first] - rows) / (stop - first - 1))


def rank_scores(frequencies: FloatArray) -> FloatArray:
    """Return Phi^-1 of the probability of smaller levels and half of each one's own, (L,)."""
    return np.asarray(special.ndtri((frequencies.cumsum() - 0.5 * frequencies) / frequencies.sum()))


def normal_scores(frequencies: FloatArray) -> FloatArray:
    """Return the `rank_scores`, (L,), shifted and scaled to mean 0 and variance 1."""
    u = rank_scores(frequencies)
    u = u - u @ frequencies / frequencies.sum()
    return np.asarray(u / np.sqrt(np.square(u) @ frequencies / frequencies.sum()))


def level_basis(frequencies: FloatArray, n_apart: int = 0, n_rows: int | None = None) -> FloatArray | None:
    """Return the basis of ordered levels, (L, K); None for up to 16 and beyond 1,024, which have a function each.

    The last `n_apart` levels have no place in the order: a missing value, "other than an atom". Besides their
    indicators the functions are cubic splines of the normal score u_l, the smoothest first, and indicators of the
    levels that stand out most among their neighbours, each made orthogonal to 1 and to those before it under the
    frequencies. The k-th has a variance proportional to 1 / k^2, and all together 1: what is smooth is learnt first,
    and single values are learnt where many rows have them. Of frequencies that were counted in n rows there are
    (2 n)^(1/3) knots, the bins of a histogram (Terrell & Scott 1985), at most 64, and indicators, at most 16, of values
    that 25 rows have beyond what their neighbours make likely; all of these by default.

    Where a level nearly follows from others, its probabilities are a narrow peak, which no network learns to the end.
    Smooth functions put what is learnt in the right place. Functions with kinks, such as hats, draw it to the kinks:
    values there were drawn up to three times too often.
    """
    n_levels = len(frequencies)
    if not MOST_OF_THEIR_OWN < n_levels <= _MOST_LEVELS:
        return None
    in_order, single = frequencies[: n_levels - n_apart], np.eye(n_levels)
    most = min(_MOST_KNOTS, len(in_order) - 4)  # with 1 and a cubic, as many functions as levels
    n_knots = most if n_rows is None else min(int(np.cbrt(2.0 * n_rows)), most)
    splines = _splines(normal_scores(in_order), in_order / in_order.sum(), n_knots)
    functions = [single[-1 - i] for i in range(n_apart)]
    functions += [np.append(each, np.zeros(n_apart)) for each in splines.T]
    functions += [single[i] for i in _standing_out(in_order, n_rows)]
    found, n_found = np.ones((n_levels, 1 + len(functions))), 1
    for each in functions:
        each = each - (each @ frequencies)
        size = np.sqrt(np.square(each) @ frequencies)
        for _ in range(2):  # twice, against rounding
            each = each - found[:, :n_found] @ (each * frequencies @ found[:, :n_found])
        left = np.sqrt(np.square(each) @ frequencies)
        if left > _LEAST_NORM * size and n_found < n_levels:
            found[:, n_found], n_found = each / left, n_found + 1
    variances = np.arange(1.0, n_found) ** -_DECAY
    return np.asarray(found[:, 1:n_found] * np.sqrt(variances / variances.sum()))


def _splines(u: FloatArray, shares: FloatArray, n_knots: int) -> FloatArray:
    """Return cubic splines at scores u, (L, n_knots + 3): uncorrelated under the shares, with mean 0 and variance 1.

    There are fewer where levels are few. The first is linear, and each is the smoothest, by the integral of f''^2, of
    those that are uncorrelated with the splines before it (Demmler & Reinsch 1975).
    """
    spread = np.sqrt(shares).cumsum()  # so that a spike does not take all knots
    knots = np.interp((np.arange(n_knots) + 0.5) / max(n_knots, 1), spread / spread[-1], u)
    least = _LEAST_SIZE * (u[-1] - u[0])  # so that rounding does not decide on a knot at an end
    ends = np.array([u[0], *knots[(knots > u[0] + least) & (knots < u[-1] - least)], u[-1]])
    every = BSpline(np.pad(ends, 3, mode="edge"), np.eye(len(ends) + 2), 3)
    values = every(u)
    values -= shares @ values
    _, sizes, rows = linalg.svd(np.sqrt(shares)[:, None] * values, full_matrices=False)
    is_seen = sizes > _LEAST_SIZE * sizes[0]
    uncorrelated = rows[is_seen].T / sizes[is_seen]
    half = 0.5 * np.diff(ends)
    middle = ends[:-1] + half
    second = every.derivative(2)(np.concatenate([middle - half / np.sqrt(3.0), middle + half / np.sqrt(3.0)]))
    weighted = rows @ second.T * np.sqrt(np.tile(half, 2))  # Gauss's two points: f'' is linear between knots
    _, roughness, free = linalg.svd(weighted[~is_seen], full_matrices=False)  # of splines that are 0 at all levels
    free = free[roughness > _ROUNDING * linalg.norm(weighted)]
    weighted = weighted[is_seen] / sizes[is_seen, None]
    weighted -= weighted @ free.T @ free  # between the levels each is as smooth as it can be
    smoothest_first = values @ uncorrelated @ linalg.eigh(weighted @ weighted.T)[1]
    return np.asarray(smoothest_first * np.where(smoothest_first[-1] < 0.0, -1.0, 1.0))  # as signs are arbitrary


def _standing_out(frequencies: FloatArray, n_rows: int | None) -> NDArray[np.intp]:
    """Return the levels of the largest excess over the mean of their neighbours, by decreasing excess."""
    padded = np.pad(frequencies, 2, mode="reflect")
    excess = frequencies - (padded[:-4] + padded[1:-3] + padded[3:-1] + padded[4:]) / 4.0
    first = np.argsort(-excess, kind="stable")[:_N_SPIKES]
    return np.asarray(first if n_rows is None else first[excess[first] * n_rows >= _ROWS_PER_SPIKE])
