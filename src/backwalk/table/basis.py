"""What ordered levels share: smoothed frequencies, and the functions by which a network reads and tilts them.

The probabilities of L ordered levels given anything are p(l) = softmax_l(ln q_l + phi_l f), with frequencies q that are
smoothed over neighbours, and a basis phi, (L, K), of functions of the level. Neighbours share what is learnt, so that a
thousand levels cost no more than K of them, and single levels that stand out have a function of their own. Without a
basis each level has its own function.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from backwalk.table.schema import FloatArray

MOST_OF_THEIR_OWN = 16  # levels, which need no basis
_MOST_LEVELS = 1024  # with a basis; columns of more are trained on few rows (`denoiser/layout.py`)
_DEGREE, _N_HATS, _N_SPIKES = 3, 16, 16
_DECAY = 2.0  # of the functions' variances
_ROWS_PER_FUNCTION = 25  # at least, of a hat or of a value that stands out
_LEAST_NORM = 1e-3  # of what a function adds to those before it
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

    The last `n_apart` levels have no place in the order: a missing value, "other than an atom". The functions are
    polynomials of the normal score u_l, hats between quantiles, and indicators of the levels that stand out most among
    their neighbours, each made orthogonal to 1 and to those before it under the frequencies. The k-th has a variance
    proportional to 1 / k^2, and all together 1: what is smooth is learnt first, and single values are learnt where many
    rows have them. Of frequencies that were counted in `n_rows` there is a hat for every 25 rows, at most 16, and
    indicators, at most 16, of values that 25 rows have beyond what their neighbours make likely; all of these by
    default.
    """
    n_levels = len(frequencies)
    if not MOST_OF_THEIR_OWN < n_levels <= _MOST_LEVELS:
        return None
    in_order = frequencies[: n_levels - n_apart]
    u = normal_scores(in_order)
    single = np.eye(n_levels)
    functions = [single[n_levels - i - 1] for i in range(n_apart)]
    functions += [_placed(u**degree, n_levels) for degree in range(1, _DEGREE + 1)]
    spread = np.sqrt(in_order).cumsum()  # so that a spike does not take all knots
    n_hats = _N_HATS if n_rows is None else min(n_rows // _ROWS_PER_FUNCTION, _N_HATS)
    knots = np.unique(np.interp((np.arange(n_hats) + 0.5) / max(n_hats, 1), spread / spread[-1], u))
    functions += [_placed(np.interp(u, knots, hat), n_levels) for hat in np.eye(len(knots))]
    functions += [single[i] for i in _standing_out(in_order, n_rows)]
    found = [np.ones(n_levels)]
    for each in functions:
        each = each - (each @ frequencies)
        size = np.sqrt(np.square(each) @ frequencies)
        for _ in range(2):  # twice, against rounding
            for other in found:
                each = each - (each * other) @ frequencies * other
        left = np.sqrt(np.square(each) @ frequencies)
        if left > _LEAST_NORM * size and len(found) < n_levels:
            found.append(each / left)
    variances = np.arange(1.0, len(found)) ** -_DECAY
    return np.asarray(np.stack(found[1:], axis=1) * np.sqrt(variances / variances.sum()))


def _placed(values: FloatArray, n_levels: int) -> FloatArray:
    return np.append(values, np.zeros(n_levels - len(values)))


def _standing_out(frequencies: FloatArray, n_rows: int | None) -> NDArray[np.intp]:
    """Return the levels of the largest excess over the mean of their neighbours, by decreasing excess."""
    padded = np.pad(frequencies, 2, mode="reflect")
    excess = frequencies - (padded[:-4] + padded[1:-3] + padded[3:-1] + padded[4:]) / 4.0
    first = np.argsort(-excess, kind="stable")[:_N_SPIKES]
    return np.asarray(first if n_rows is None else first[excess[first] * n_rows >= _ROWS_PER_FUNCTION])
