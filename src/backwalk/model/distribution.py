"""The distribution of one column of each of some rows: levels with probabilities, or draws of a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backwalk.errors import InvalidInput
from backwalk.estimates import as_numbers
from backwalk.formatting import MOST_NAMED, html_table, listed
from backwalk.limits import is_number
from backwalk.model.terms import read_cells, user_terms
from backwalk.streams import RandomState, as_stream
from backwalk.table import Schema, from_values

Array = NDArray[np.float64]
_ROWS_SHOWN = 5  # in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Conditional:
    """The distribution of a column given others, of n rows; `Diffusion.conditional` makes it.

    A column of levels has `levels`, `probabilities`, `mode` and `log_prob`; a number has `draws`, (n, m). Numbers of
    either kind have `mean`, `quantile`, `interval`, `cdf` and `pit`. Results are in the user's terms: labels, truth
    values, dates, or numbers.

    In a column whose missing values are generated, a cell may be missing with the probability `missing`. The mean and
    all that follows from the distribution of numbers are then those given that there is a value. They are NaN in rows
    of which no draw has a value.

    Parameters
    ----------
    label : str
        The column's name in messages.
    schema : Schema
        That of the column alone.
    values : ndarray or callable
        Values of the levels, (L,), with `weights`; or draws, (n, m), increasing, without; or a function that makes the
        draws when they are first needed. Missing ones are NaN, in draws at the end.
    weights : ndarray, (n, L), default=None
        Probabilities of the levels; None for a number.
    expected : ndarray, (n,), default=None
        Means of a number, where they are known without draws.
    gap : ndarray, (n,), default=None
        Probabilities of a missing number, where these are generated.

    See Also
    --------
    backwalk.Diffusion.conditional : Makes it.
    backwalk.Diffusion.score_samples : Gives ln P of a range or a set of values, by `columns`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion
    >>> table = pa.table({"species": ["Adelie", "Gentoo"] * 100, "mass": [3700.0 + i for i in range(200)]})
    >>> model = Diffusion(max_steps=20, random_state=0, verbose=False).fit(table)
    >>> of_species = model.conditional(table[:3], "species")
    >>> of_species.levels.tolist(), of_species.probabilities.shape
    (['Adelie', 'Gentoo'], (3, 2))
    >>> of_mass = model.conditional(table[:3], "mass")
    >>> of_mass.mean.shape, of_mass.interval(0.9).shape
    ((3,), (3, 2))
    """

    label: str
    schema: Schema
    values: Array | Callable[[], Array]
    weights: Array | None = None
    expected: Array | None = None
    gap: Array | None = None

    @cached_property
    def points(self) -> Array:
        """The values of levels, (L,), or the draws of each row, (n, m)."""
        return self.values() if callable(self.values) else self.values

    @property
    def n_rows(self) -> int:
        """The number of rows, n."""
        for part in (self.weights, self.expected):
            if part is not None:
                return len(part)
        return len(self.points)

    @property
    def levels(self) -> NDArray[Any]:
        """The levels in the order of `probabilities`, (L,)."""
        self._of_levels("levels")
        return self._in_user_terms(self.points)

    @property
    def probabilities(self) -> Array:
        """The probability of each level, (n, L)."""
        return self._of_levels("probabilities")

    @property
    def mode(self) -> NDArray[Any]:
        """The most probable level of each row, (n,)."""
        return self._in_user_terms(self.most_probable)

    @property
    def most_probable(self) -> Array:
        """The value of the most probable level of each row, as a number: (n,)."""
        return np.asarray(self.points[self._of_levels("mode").argmax(axis=1)])

    def log_prob(self, values: ArrayLike) -> Array:
        """Return ln P of a level for each row.

        Parameters
        ----------
        values : array, (n,)
            One value for each row, in the user's terms.

        Returns
        -------
        ndarray, (n,)
            Nats; -inf for values that are no level.
        """
        weights, x = self._of_levels("log_prob"), self._values(values)
        place = np.argmax(_equal(self.points, x[:, None]), axis=1)
        is_level = _equal(self.points[place], x)
        with np.errstate(divide="ignore"):
            return np.where(is_level, np.log(weights[np.arange(len(x)), place]), -np.inf)

    @property
    def missing(self) -> Array:
        """The probability that the cell is missing, (n,): 0 but for columns whose missing values are generated."""
        if self.gap is not None:
            return self.gap
        if self.weights is None:
            return np.zeros(self.n_rows)
        return np.asarray(self.weights[:, np.isnan(self.points)].sum(axis=1))

    @property
    def draws(self) -> NDArray[Any]:
        """The draws of each row, (n, m), increasing, and missing ones at the end."""
        if self.weights is not None:
            raise InvalidInput(f"{self.label} has levels, and no draws: take its probabilities, or sample(given=...).")
        return self._numbers_in_user_terms(self.points)

    @property
    def mean(self) -> NDArray[Any]:
        """The mean of each row, (n,)."""
        self._refuse_labels("mean")
        return self._numbers_in_user_terms(self.mean_value)

    @property
    def mean_value(self) -> Array:
        """The mean of each row as a number, (n,)."""
        if self.expected is not None:
            return self.expected
        points, weights = self._points_and_weights()
        return np.asarray((np.nan_to_num(points) * weights).sum(axis=1))

    def quantile(self, q: ArrayLike) -> NDArray[Any]:
        """Return quantiles of each row.

        Those of m draws are interpolated between order statistics: the k-th is the quantile k / (m + 1), such that a
        further draw lies below the result with probability q.

        Parameters
        ----------
        q : float or array, (k,)
            Probabilities in [0, 1]; 0.5 is the median.

        Returns
        -------
        ndarray, (n,) or (n, k)
            Values in the user's terms.
        """
        self._refuse_labels("quantiles")
        share = as_numbers(q, "q")
        if share.ndim > 1 or not bool(((share >= 0.0) & (share <= 1.0)).all()):
            raise InvalidInput(f"q should be numbers in [0, 1], but got {q!r}: 0.5 is the median.")
        quantiles = self.quantile_values(np.atleast_1d(share))
        return self._numbers_in_user_terms(quantiles if share.ndim else quantiles[:, 0])

    def quantile_values(self, q: Array) -> Array:
        """Return quantiles of each row as numbers.

        Parameters
        ----------
        q : ndarray, (k,)
            Probabilities in [0, 1].

        Returns
        -------
        ndarray, (n, k)
            Numbers, also for dates and labels.
        """
        points, weights = self._points_and_weights()
        if self.weights is None:
            most = self._n_values[:, None] - 1
            place = np.clip(q * (most + 2) - 1.0, 0.0, np.maximum(most, 0))
            low = np.floor(place).astype(np.intp)
            below, above = (np.take_along_axis(points, k, axis=1) for k in (low, np.minimum(low + 1, most.clip(0))))
            return np.asarray(below + (place - low) * (above - below))
        below = np.cumsum(weights, axis=1)
        place = (below[:, :, None] < q * (1.0 - 1e-12)).sum(axis=1).clip(max=points.shape[1] - 1)
        return np.asarray(np.take_along_axis(points, place, axis=1))

    def interval(self, share: float = 0.9) -> NDArray[Any]:
        """Return the central interval that holds a share of the probability.

        Parameters
        ----------
        share : float, default=0.9
            The share, in [0, 1].

        Returns
        -------
        ndarray, (n, 2)
            Its ends, the quantiles (1 - share) / 2 and (1 + share) / 2.
        """
        if not is_number(share) or not 0.0 <= share <= 1.0:
            raise InvalidInput(f"share should be a number in [0, 1], but got {share!r}: give 0.9 for 90 per cent.")
        return self.quantile([0.5 - 0.5 * share, 0.5 + 0.5 * share])

    def cdf(self, values: ArrayLike) -> Array:
        """Return P(column <= value) for one value of each row.

        Parameters
        ----------
        values : array, (n,)
            One value for each row, in the user's terms.

        Returns
        -------
        ndarray, (n,)
            Probabilities; NaN for a missing value.
        """
        return self._at_most(self._values(values))[1]

    def pit(self, values: ArrayLike, *, random_state: RandomState = 0) -> Array:
        """Return the probability integral transform of one value of each row.

        If the values follow the distribution, the results are uniform and independent. Ties are broken at random.

        Parameters
        ----------
        values : array, (n,)
            One value for each row, in the user's terms.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of the random places of ties.

        Returns
        -------
        ndarray, (n,)
            Numbers in (0, 1); NaN for a missing value.
        """
        below, at_most = self._at_most(self._values(values))
        u = as_stream(random_state).child("pit").uniform(0, self.n_rows, 1).numpy()[:, 0]
        if self.weights is None:  # the rank of a value among itself and m draws is uniform on 0..m
            m = self._n_values
            below, at_most = below * m / (m + 1), (at_most * m + 1) / (m + 1)
        return np.asarray(below + u * (at_most - below))

    def __repr__(self) -> str:
        """Return the column, the number of rows, and the levels."""
        rows = f"{self.n_rows:,} row{'' if self.n_rows == 1 else 's'}"
        if self.weights is None:
            return f"Conditional({self.label}, {rows})"
        levels = listed(user_terms(self.schema, 0, value) for value in self.points)
        return f"Conditional({self.label}, {rows}, levels {levels})"

    def _repr_html_(self) -> str:
        """Return the first rows as a table, for notebooks. No draws are made for it."""

        def cell(value: float) -> str:
            return user_terms(self.schema, 0, value, digits=4)

        n = min(self.n_rows, _ROWS_SHOWN)
        if self.weights is not None:
            shown = range(min(len(self.points), MOST_NAMED))
            header = [f"P({cell(self.points[j])})" for j in shown]
            columns = [[f"{p:.3f}" for p in self.weights[:n, j]] for j in shown]
        else:
            header, columns = ["mean"], [[cell(mean) for mean in self.mean_value[:n]]]
            if not callable(self.values) or "points" in self.__dict__:
                shares = np.array([0.05, 0.5, 0.95])
                header += [f"{share:.0%}" for share in shares]
                columns += [[cell(value) for value in values] for values in self.quantile_values(shares)[:n].T]
        if self.missing.any():
            header, columns = [*header, "P(missing)"], [*columns, [f"{p:.3f}" for p in self.missing[:n]]]
        rows = [(str(i), *cells) for i, cells in enumerate(zip(*columns, strict=True))]
        more = [("...", *[""] * len(columns))] if self.n_rows > n else []
        return html_table(f"Conditional of {self.label}, {self.n_rows:,} rows", ["row", *header], [*rows, *more])

    def _of_levels(self, what: str) -> Array:
        if self.weights is None:
            raise InvalidInput(
                f"{self.label} is a number and has no {what}, which levels have: take its mean or quantiles, or "
                "score_samples for its density."
            )
        return self.weights

    def _refuse_labels(self, what: str) -> None:
        if self.schema.labels[0] is not None:
            raise InvalidInput(f"{self.label} has labels and no {what}: take its probabilities or its mode.")

    @property
    def _n_values(self) -> NDArray[np.intp]:
        """The number of draws of each row that have a value, (n,)."""
        return np.asarray((~np.isnan(self.points)).sum(axis=1))

    def _points_and_weights(self) -> tuple[Array, Array]:
        """Return the points of each row, increasing, and their weights given that there is a value, (n, m) each."""
        if self.weights is None:
            with np.errstate(divide="ignore", invalid="ignore"):  # of rows without a value, whose weights are NaN
                share = np.where(np.isnan(self.points), 0.0, 1.0) / self._n_values[:, None]
            return self.points, share
        order = np.argsort(self.points)[: int((~np.isnan(self.points)).sum())]
        weights = self.weights[:, order]
        if len(order) < len(self.points):
            with np.errstate(invalid="ignore"):
                weights = weights / weights.sum(axis=1, keepdims=True)
        return np.broadcast_to(self.points[order], weights.shape), weights

    def _at_most(self, values: Array) -> tuple[Array, Array]:
        """Return P(column < value) and P(column <= value), (n,) each."""
        self._refuse_labels("distribution function")
        points, weights = self._points_and_weights()
        below, at_most = points < values[:, None], points <= values[:, None]
        is_missing = np.isnan(values)
        least, most = (np.where(is_missing, np.nan, (weights * part).sum(axis=1)) for part in (below, at_most))
        return least, most

    def _values(self, values: ArrayLike) -> Array:
        x = read_cells(self.schema, 0, list(np.atleast_1d(np.asarray(values))), "values", "nearest")
        if len(x) != self.n_rows:
            raise InvalidInput(
                f"values should have one value for each of {self.n_rows:,} rows, but has {len(x):,}: give as many."
            )
        return x

    def _in_user_terms(self, values: Array) -> NDArray[Any]:
        rows = from_values(values.reshape(-1, 1), self.schema)
        if self.schema.kind == "numpy":
            column = rows[:, 0]
        elif self.schema.kind == "pandas":
            column = rows.iloc[:, 0].to_numpy()
        elif self.schema.kind == "polars":
            column = rows.to_series().to_numpy()
        else:
            column = rows.column(0).to_numpy(zero_copy_only=False)
        return np.asarray(column).reshape(values.shape)

    def _numbers_in_user_terms(self, values: Array) -> NDArray[Any]:
        """Return means and the like: numbers as they are, dates and times in the column's dtype."""
        return values if self.schema.units[0] is None else self._in_user_terms(values)


def _equal(one: Array, other: Array) -> NDArray[np.bool_]:
    return np.asarray((one == other) | (np.isnan(one) & np.isnan(other)))
