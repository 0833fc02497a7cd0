"""A figure beside its null: a statistic of (real, generated) pairs minus the same of (real, other real) pairs.

The k-th pair of real sets is (a_k, b_k). A model scores T(a_k, g_k), its null is T(a_k, b_k), and the difference is
taken pair by pair, so that the effect of a_k cancels. The standard error of the mean over J pairs, whose
standard deviation is s, depends on the source of the pairs:

- `disjoint_pairs`: no row occurs twice. The pairs are independent, and the error is s / sqrt(J). Where the truth can be
  drawn from, draw 2 J n rows and cut them; a table of m unseen rows gives sets of m / (2 J).
- `resampled_pairs`: J random splits of all m rows into halves. The sets are J times larger than disjoint ones, but two
  splits share a share f = 1/2 of the rows of a_k (f = n / m where a statistic looks at n rows of each set).
  Nulls: a split only deals labels to rows. The mean of T over the labels hardly depends on the rows (of ranks, of an
  accuracy it does not at all), so nulls of different splits are uncorrelated, and the error is s / sqrt(J).
  Values and differences: the part of T that is linear in the rows of a_k has a correlation of f between splits, that of
  g_k, which are independent, has none. Both have the same variance where the model is nearly right, so the correlation
  is rho = f / 2, and the error is s sqrt(1/J + rho / (1 - rho)). Parts of higher order are less correlated, so that the
  error of a distance near its null is too large: 1.4 to 1.8 times the true one of the difference, over 300 repetitions
  of 400 rows. So a difference that matters is found a little too seldom, and never too often. Source for the formula
  with a given rho: Nadeau and Bengio 2003.

Within a pair no row occurs twice, in either kind: nearest neighbours and classifiers recognise the copies of a
bootstrap, and the null is no longer that of independent rows.

Cells may be NaN, for missing; the statistic decides what that means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from backwalk.errors import InvalidInput
from backwalk.estimates import Rows, as_rows, student_quantile
from backwalk.report.words import with_error
from backwalk.streams import Stream


@dataclass(frozen=True)
class RealPairs:
    """Pairs of equally large sets of real rows, for nulls.

    The statistic of one set of a pair against the other is the null of a model.

    Parameters
    ----------
    pairs : tuple of pairs of ndarray of shape (n, d)
        The pairs of sets.
    overlap : float
        The share of a set's rows that other pairs' sets have too: 0 for pairs that share no rows.

    See Also
    --------
    disjoint_pairs : Pairs without a common row.
    resampled_pairs : Pairs of random halves.
    compare : A statistic of generated rows beside that of these pairs.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk.assess.statistics import disjoint_pairs
    >>> from backwalk.streams import Stream
    >>> pairs = disjoint_pairs(np.zeros((100, 2)), 5, stream=Stream(0))
    >>> pairs.n_rows, pairs.n_generated
    (10, 50)
    """

    pairs: tuple[tuple[Rows, Rows], ...]
    overlap: float

    @property
    def n_rows(self) -> int:
        """The number of rows in each set."""
        return len(self.pairs[0][0])

    @property
    def n_generated(self) -> int:
        """The number of generated rows that `compare` needs."""
        return self.n_rows * len(self.pairs)

    @property
    def correlation(self) -> float:
        """The correlation of T(a_k, g_k) between pairs, where real and generated rows add equally to its variance."""
        return 0.5 * self.overlap

    @property
    def error_factor(self) -> float:
        """The standard error of a mean over the pairs, over the standard deviation of its terms."""
        rho = self.correlation
        return float((1.0 / len(self.pairs) + rho / (1.0 - rho)) ** 0.5)

    def head(self, n: int) -> RealPairs:
        """Return the pairs of the first rows of each set.

        Parameters
        ----------
        n : int
            The number of rows; of fewer, all are kept.

        Returns
        -------
        RealPairs
            The smaller pairs.
        """
        n = min(n, self.n_rows)
        return RealPairs(tuple((a[:n], b[:n]) for a, b in self.pairs), self.overlap * n / self.n_rows)


def disjoint_pairs(rows: ArrayLike, n_pairs: int, *, stream: Stream) -> RealPairs:
    """Cut rows, in random order, into pairs of sets without a common row.

    Parameters
    ----------
    rows : array-like of shape (m, d)
        The rows, at least 4 n_pairs.
    n_pairs : int
        The number of pairs, at least 2.
    stream : Stream
        The random order.

    Returns
    -------
    RealPairs
        Pairs of sets of m // (2 n_pairs) rows.

    Raises
    ------
    InvalidInput
        For too few rows or pairs.

    See Also
    --------
    resampled_pairs : Larger sets from few rows.
    compare : What the pairs are for.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk.assess.statistics import disjoint_pairs
    >>> from backwalk.streams import Stream
    >>> disjoint_pairs(np.zeros((100, 2)), 5, stream=Stream(0)).n_rows
    10
    """
    real = _enough_rows(rows, n_pairs, at_least=4 * n_pairs)
    size = len(real) // (2 * n_pairs)
    sets = real[stream.permutation(len(real))[: 2 * n_pairs * size]].reshape(n_pairs, 2, size, -1)
    return RealPairs(tuple((a, b) for a, b in sets), overlap=0.0)


def resampled_pairs(rows: ArrayLike, n_pairs: int, *, stream: Stream) -> RealPairs:
    """Split rows several times at random into halves.

    Parameters
    ----------
    rows : array-like of shape (m, d)
        The rows, at least 4.
    n_pairs : int
        The number of pairs, at least 2.
    stream : Stream
        The random orders.

    Returns
    -------
    RealPairs
        Pairs of sets of m // 2 rows.

    Raises
    ------
    InvalidInput
        For too few rows or pairs.

    See Also
    --------
    disjoint_pairs : Pairs that are independent.
    compare : What the pairs are for.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk.assess.statistics import resampled_pairs
    >>> from backwalk.streams import Stream
    >>> resampled_pairs(np.zeros((100, 2)), 5, stream=Stream(0)).n_rows
    50
    """
    real = _enough_rows(rows, n_pairs, at_least=4)
    size = len(real) // 2
    orders = (stream.child(k).permutation(len(real)) for k in range(n_pairs))
    return RealPairs(tuple((real[order[:size]], real[order[size : 2 * size]]) for order in orders), overlap=0.5)


@dataclass(frozen=True)
class Figure:
    """A statistic of generated rows, the same of real rows, and their difference, with standard errors.

    The second is the null: what a perfect model would show.

    Parameters
    ----------
    name : str
        The name of the statistic.
    value : float
        The mean of the statistic of real and generated rows.
    standard_error : float
        Its standard error.
    null : float
        The mean of the statistic of real and other real rows.
    null_standard_error : float
        Its standard error.
    difference : float
        The value minus the null, taken pair by pair.
    difference_standard_error : float
        Its standard error.
    unit : str
        The unit.
    n_rows : int
        The number of rows in each set.
    n_pairs : int
        The number of pairs.
    margin : float, default=0.0
        The smallest difference that would matter.
    more_is_better : bool, default=False
        Whether a larger value is better.
    explanation : str, default=""
        What it measures, in a sentence for readers.
    purpose : str, default=""
        The use of the model that it decides about.

    See Also
    --------
    compare : The function that computes it.

    Examples
    --------
    >>> from backwalk.assess.statistics import c2st, compare, disjoint_pairs, neighbours
    >>> from backwalk.streams import Stream
    >>> pairs = disjoint_pairs(Stream(0).normal(0, 400, 2).numpy(), 5, stream=Stream(1))
    >>> new = Stream(2).normal(0, 400, 2).numpy()
    >>> told_apart = lambda x, y: c2st(x, y, classifier=neighbours, stream=Stream(3))
    >>> compare(told_apart, pairs, new, name="C2ST").n_rows
    40
    """

    name: str
    value: float
    standard_error: float
    null: float
    null_standard_error: float
    difference: float
    difference_standard_error: float
    unit: str
    n_rows: int
    n_pairs: int
    margin: float = 0.0
    more_is_better: bool = False
    explanation: str = ""
    purpose: str = ""

    @property
    def is_share(self) -> bool:
        """Whether it is a share of rows, which is shown in percent."""
        return self.unit in ("accuracy", "share of real rows")

    @property
    def matters(self) -> int:
        """1 if generated rows are worse than real ones by a difference that matters, -1 if better, otherwise 0."""
        return self._sign_of(self.difference, self.difference_standard_error)

    def against(self, other: Figure) -> int:
        """Compare with the figure of another model.

        The standard error is too large, as it treats the two values as independent although both are computed against
        the same real rows.

        Parameters
        ----------
        other : Figure
            The same statistic of the other model.

        Returns
        -------
        int
            1 if the other one is better by a difference that matters, -1 if it is worse, otherwise 0.
        """
        return self._sign_of(self.value - other.value, math.hypot(self.standard_error, other.standard_error))

    def _sign_of(self, difference: float, error: float) -> int:
        """Return 1 if a difference of this statistic is worse and matters, -1 if it is better, otherwise 0."""
        sign = sign_that_matters(difference, error, self.margin, n_pairs=self.n_pairs)
        return -sign if self.more_is_better else sign

    def texts(self) -> tuple[str, str, str]:
        """Return the figure in words.

        Returns
        -------
        tuple of str
            The value, the null and their difference, with errors.
        """
        value = with_error(self.value, self.standard_error, percent=self.is_share)
        null = with_error(self.null, self.null_standard_error, percent=self.is_share)
        return value, null, with_error(self.difference, self.difference_standard_error, percent=self.is_share)


def compare(
    statistic: Callable[[Rows, Rows], float],
    real_pairs: RealPairs,
    generated: ArrayLike,
    *,
    name: str,
    unit: str = "",
) -> Figure:
    """Compare a statistic of real and generated rows with that of real and other real rows.

    Parameters
    ----------
    statistic : callable
        A function of two arrays of shape (n, d), the real one first, that returns a number.
    real_pairs : RealPairs
        The pairs of real sets.
    generated : array-like of shape (m, d)
        Independent rows, at least `real_pairs.n_generated`. The k-th n_rows of them meet the k-th pair.
    name : str
        The name of the statistic.
    unit : str, default=""
        Its unit.

    Returns
    -------
    Figure
        The means with their standard errors, in the statistic's unit.

    Raises
    ------
    InvalidInput
        If there are too few generated rows.

    See Also
    --------
    disjoint_pairs : Pairs from many rows.
    resampled_pairs : Pairs from few rows.

    Notes
    -----
    The k-th pair of real sets is (a_k, b_k), and the k-th generated set g_k. The difference is the mean of
    `T(a_k, g_k) - T(a_k, b_k)`, in which the effect of a_k cancels.

    Examples
    --------
    >>> from functools import partial
    >>> from backwalk.assess.statistics import compare, disjoint_pairs, sliced_wasserstein
    >>> from backwalk.streams import Stream
    >>> pairs = disjoint_pairs(Stream(0).normal(0, 4000, 2).numpy(), 5, stream=Stream(1))
    >>> shifted = Stream(2).normal(0, pairs.n_generated, 2).numpy() + 0.3
    >>> figure = compare(partial(sliced_wasserstein, stream=Stream(3)), pairs, shifted, name="sliced W1")
    >>> figure.difference > 3 * figure.difference_standard_error
    True
    """
    sets = generated_sets(generated, real_pairs)
    values = [statistic(a, g) for (a, _), g in zip(real_pairs.pairs, sets, strict=True)]
    return figure_of(values, [statistic(a, b) for a, b in real_pairs.pairs], real_pairs, name=name, unit=unit)


def generated_sets(generated: ArrayLike, real_pairs: RealPairs, n: int | None = None) -> list[Rows]:
    """Return the generated rows, (m, d), that meet each pair; of each set the first n."""
    d, size = real_pairs.pairs[0][0].shape[1], real_pairs.n_rows
    rows = as_rows(generated, "generated", d=d, at_least=real_pairs.n_generated, allow_gaps=True)
    return [rows[k * size : (k + 1) * size][:n] for k in range(len(real_pairs.pairs))]


def figure_of(
    values: ArrayLike, of_real: ArrayLike, real_pairs: RealPairs, *, name: str, unit: str = "", **more: Any
) -> Figure:
    """Return the figure of a statistic of each pair: with generated rows, `values`, and with real ones, (J,) each."""
    x, y, n_pairs = np.asarray(values, dtype=np.float64), np.asarray(of_real, dtype=np.float64), len(real_pairs.pairs)
    shared = real_pairs.error_factor
    value, null, difference = (
        (float(of_pairs.mean()), float(of_pairs.std(ddof=1)) * factor)
        for of_pairs, factor in ((x, shared), (y, n_pairs**-0.5), (x - y, shared))
    )
    return Figure(name, *value, *null, *difference, unit, real_pairs.n_rows, n_pairs, **more)


def sign_that_matters(difference: float, standard_error: float, margin: float, *, n_pairs: int | None = None) -> int:
    """Return the sign of a difference that is larger than its margin and than two standard errors, otherwise 0.

    Where the error was estimated from a few pairs, the quantile of Student's t with the same tail takes the place of
    two standard errors.

    >>> from backwalk.assess.statistics.nulls import sign_that_matters
    >>> sign_that_matters(-0.01, 0.002, 0.003, n_pairs=8), sign_that_matters(0.01, 0.005, 0.003, n_pairs=8)
    (-1, 0)
    """
    errors = 2.0 if n_pairs is None else student_quantile(n_pairs - 1)
    matters = abs(difference) > max(margin, errors * standard_error)
    return int(matters) * (1 if difference > 0 else -1)


def _enough_rows(rows: ArrayLike, n_pairs: int, *, at_least: int) -> Rows:
    if n_pairs < 2:
        raise InvalidInput(
            f"n_pairs should be at least 2, so that an error can be had, but got {n_pairs}: 5 or 10 serve."
        )
    return as_rows(rows, "rows", at_least=at_least, allow_gaps=True)
