"""Which numbers are mapped to a normal through their quantiles, by the log-density of held-out rows.

A map that makes each column normal helps a density of skewed or bounded columns, and bends one that is smooth as it is.
Gaussian mixtures of a few sizes are fitted to half of some rows in both encodings, and the better of each compared on
the other half, in the same units.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import special
from threadpoolctl import threadpool_limits

from backwalk.streams import Stream
from backwalk.table.choose_numbers import columns_looked_at
from backwalk.table.dequantisation import place_in_cell
from backwalk.table.maps import Spline
from backwalk.table.number_column import NumberColumn
from backwalk.table.schema import FloatArray

_ROWS_PER_KNOT = 50
_FEWEST_KNOTS, _MOST_KNOTS = 5, 100
_FEWEST_BEYOND = 10  # rows beyond an outer knot
_STEEPEST = 30.0  # slope between knots, which repeated values would exceed

_FEWEST_ROWS, _MOST_ROWS = 1_000, 6_000  # half of them held out
_MOST_COLUMNS = 16  # compared
_SIZES = (8, 32)  # of the mixtures
_ROWS_A_COMPONENT = 10
_LEAST_GAIN = 0.02  # nats a column and a row
_MOST_GAIN = 5.0  # nats a column, of a single row: some rows are far from all in one encoding
_MOST_REPEATED = 0.05  # of rows with the same value, whose density has no bound
_STANDARD_ERRORS = 4.0
_MANY_ROWS = 20_000
_ALLOWANCE, _ALLOWANCE_OF_MANY = 0.025, 0.07  # nats a column, added to the joint gain of tables of few and so many rows
_MOST_GAPS = 0.5  # of the rows, of columns that are chosen together


def fit_spline(y: FloatArray) -> Spline | None:
    """Return the map of numbers y, (n,), to a standard normal, or None for a single knot."""
    knots, quantiles = fit_knots(y)
    if len(knots) < 2:
        return None
    return Spline(tuple(knots.tolist()), tuple(quantiles.tolist()))


def fit_knots(y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return increasing knots at quantiles of y, (n,), and the quantiles of a standard normal there: (K,) each.

    There is a knot for every 50 rows, at most about 100. A repeated value has the middle of its ranks; knots so close
    that the map would be steeper than 30 are left out.
    """
    y, n = np.sort(y), len(y)
    k = int(np.clip(n // _ROWS_PER_KNOT, _FEWEST_KNOTS, _MOST_KNOTS))
    inner = np.arange(1, k) / k
    halvings = max(0, math.floor(math.log2(n / k / _FEWEST_BEYOND))) if n > k * _FEWEST_BEYOND else 0
    tail = 0.5 ** np.arange(halvings, 0, -1) / k
    share = np.concatenate([tail, inner, 1.0 - tail[::-1]])
    at = np.unique(y[np.minimum((share * n).astype(np.intp), n - 1)])
    z, kept = normal_scores(y, at), [0]
    for i in range(1, len(at)):
        if z[i] - z[kept[-1]] <= _STEEPEST * (at[i] - at[kept[-1]]):
            kept.append(i)
    return at[kept], z[kept]


def normal_scores(y: FloatArray, at: FloatArray) -> FloatArray:
    """Return the quantiles of a standard normal at the middle of the ranks that numbers have in increasing y, (n,)."""
    middle = (np.searchsorted(y, at, side="left") + np.searchsorted(y, at, side="right")) / (2.0 * len(y))
    return np.asarray(special.ndtri(middle))


def choose_splines(
    columns: Sequence[NumberColumn],
    x: FloatArray,
    asked: Mapping[int, bool],
    *,
    is_table: bool,
    n_rows: int,
    computed: Collection[int] = (),
) -> list[NumberColumn]:
    """Return the columns of numbers x, (n, d) random rows with gaps, with a spline through quantiles where it helps.

    `asked` says for some columns whether they are to have a spline. Of the others, each has to gain alone, and those
    that do are chosen together by their joint density, if enough rows have all of them: a spline bends what depends on
    other columns. Numbers beside atoms are in few of the same rows, and each of them is chosen alone. The joint density
    is that of the numbers that rules do not compute from others: with the `computed` ones it would be singular. Arrays
    have to gain .02 nats a column and four standard errors. In tables .025 nats a column are added to the gain, as
    mixtures learn what a column is alone more easily than a network does; and .07 from 20,000 rows, `n_rows`, on, from
    which a network learns bends that the trial's mixtures do not.
    """
    gaining = [
        j
        for j, column in enumerate(columns)
        if j not in asked and _may_have_spline(column, x[:, j]) and _splines_help([column], x[:, [j]])
    ]
    together = [j for j in gaining if np.isnan(x[:, j]).mean() < _MOST_GAPS]
    drawn = [j for j in together if j not in computed]
    compared = columns_looked_at(drawn, _MOST_COLUMNS)
    rows = x[~np.isnan(x[:, compared]).any(axis=1)][:, compared]
    can_compare = len(compared) > 1 and len(rows) >= _FEWEST_ROWS
    of_table = _ALLOWANCE_OF_MANY if n_rows >= _MANY_ROWS else _ALLOWANCE
    allowance = of_table if is_table else 0.0
    helps = can_compare and _splines_help([columns[j] for j in compared], rows, allowance)
    if not (helps or (is_table and not can_compare)):
        gaining = [j for j in gaining if j not in together]
    with_spline = {j for j in asked if asked[j]}.union(gaining)
    return [_with_spline(column, x[:, j]) if j in with_spline else column for j, column in enumerate(columns)]


def _may_have_spline(column: NumberColumn, x: FloatArray) -> bool:
    """Return whether a column of values x, (n,), may have one: no periods, not few integers, nor often one value.

    A map that was chosen to be straight stays so.
    """
    if column.periods or (column.bounds is not None and column.bounds.share is not None):
        return False
    if column.dequantisation is not None:
        return column.dequantisation == 0.0
    counts = np.unique(x[~np.isnan(x)], return_counts=True)[1]
    return len(counts) > 0 and counts.max() <= _MOST_REPEATED * counts.sum()


def _with_spline(column: NumberColumn, x: FloatArray) -> NumberColumn:
    """Return a column with a spline fitted to its values x, (n,); the column itself if they have a single knot."""
    x = x[~np.isnan(x)]
    if column.dequantisation is not None:
        x = column.dequantise(x, draw_places(column.dequantisation, len(x), Stream(0).child("knots")))
    return replace(column, spline=fit_spline(column.chain.encode(x)))


def draw_places(c: float, n: int, stream: Stream) -> FloatArray:
    """Return n random places in cells, (n,), from the density 1 + c cos(2 pi u)."""
    return place_in_cell(stream.uniform(0, n, 1).numpy()[:, 0], c)


def _splines_help(columns: Sequence[NumberColumn], x: FloatArray, allowance: float = 0.0) -> bool:
    """Return whether columns with maps give held-out rows of x, (n, d), a clearly higher log-density.

    The `allowance`, nats a column, is added to the gain of the joint density.
    """
    x = x[~np.isnan(x).any(axis=1)]
    if len(x) < _FEWEST_ROWS:
        return False
    some = x[Stream(0).child("map").permutation(len(x))[:_MOST_ROWS]]
    half = len(some) // 2
    places = Stream(0).child("map places")
    encoded, slopes = list[FloatArray](), list[FloatArray]()
    with_splines = [_with_spline(column, some[:half, j]) for j, column in enumerate(columns)]
    for kind in (columns, with_splines):
        z, slope = np.empty(some.shape), np.zeros(len(some) - half)
        for j, column in enumerate(kind):
            c = column.dequantisation
            place = None if c is None else draw_places(c, len(some), places.child(j))
            z[:, j] = column.encode(some[:, j], place)[:, 0]
            slope += column.log_slope(some[half:, j])
        encoded.append(z)
        slopes.append(slope)
    slope = slopes[1] - slopes[0]
    plain, through = encoded
    d = len(columns)
    # Each column alone, as a normal one: where the map gains nothing here, it has nothing to mend.
    alone = slope + 0.5 * (np.square(plain[half:]) - np.square(through[half:])).sum(axis=1)
    gains_alone = _is_clear(alone, d)
    if d == 1 or not gains_alone:
        return gains_alone
    of_plain, of_map = (_best_log_density(z[:half], z[half:]) for z in (plain, through))
    return _is_clear(of_map + slope - of_plain + allowance * d, d)


def _is_clear(gain: FloatArray, d: int) -> bool:
    gain = np.clip(gain, -_MOST_GAIN * d, _MOST_GAIN * d)
    error = float(gain.std()) / math.sqrt(len(gain))
    return float(gain.mean()) > max(_LEAST_GAIN * d, _STANDARD_ERRORS * error)


def _best_log_density(rows: FloatArray, unseen: FloatArray) -> FloatArray:
    """Return the log-density of unseen rows by the mixture of those fitted to rows that gives them the highest."""
    from sklearn.exceptions import ConvergenceWarning  # takes a second
    from sklearn.mixture import GaussianMixture

    scores = list[FloatArray]()
    for size in _SIZES:
        # On a busy machine BLAS's threads wait for each other after each of the many small products.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            # Means that start at rows: k-means would start OpenMP's threads.
            mixture = GaussianMixture(
                min(size, len(rows) // _ROWS_A_COMPONENT),
                init_params="random_from_data",
                reg_covar=1e-4,
                max_iter=30,
                random_state=0,
            ).fit(rows)
        scores.append(mixture.score_samples(unseen))
    return max(scores, key=lambda score: float(score.mean()))
