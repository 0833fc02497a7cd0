"""Known densities of rows with categories, numbers and spikes: every marginal and every conditional is exact.

A row draws a component k from a table of probabilities. The component fixes the level of every category, and for every
number with an atom whether it equals its atom. The numbers that do not are z ~ N(mu_k, S_k), mapped by a smooth,
increasing function each, x_j = f_j(z_j). The table's last axis is hidden, so that numbers given all levels are still
mixtures. As maps act on single numbers, any set C of columns has the closed form

    p(x_C) = sum_k pi_k [levels of C are those of k] N(z_C; mu_k, S_k) prod_{j in C} 1 / f_j'(z_j),

over the numbers of C that are not at an atom. It is a probability in categories and atoms, and a density in numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtr, softmax

from backwalk.datasets.density import Density, normal_rows, uniform_rows
from backwalk.datasets.warps import Affine, Monotone
from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, as_rows, mean_estimate
from backwalk.streams import Stream

_LOG_2_PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, eq=False)
class GaussianComponents:
    """z ~ N(mu_k, S_k) in component k: `means` (K, m), `covariances` (K, m, m). `chosen` are some of 0..m-1."""

    means: Rows
    covariances: Rows

    def draw(self, k: NDArray[np.intp], eps: Rows) -> Rows:
        """Return z, (n, m), of the components k, (n,), from standard normal numbers, (n, m)."""
        z = self.means[k]
        for i in range(self.means.shape[1]):  # not by a product, which may round a row differently in a larger batch
            z = z + self._roots[k][:, :, i] * eps[:, i, None]
        return z

    def log_prob(self, z: Rows, chosen: NDArray[np.intp]) -> Rows:
        """Return the log-density of the chosen numbers at z, (n, len(chosen)), in every component, (n, K)."""
        roots = np.linalg.cholesky(self._covariance(chosen, chosen))
        inverse = np.linalg.inv(roots)
        whitened = z @ inverse.transpose(2, 0, 1).reshape(len(chosen), -1)  # one product for all components
        centres = np.einsum("kij,kj->ki", inverse, self.means[:, chosen])
        white = whitened.reshape(len(z), *centres.shape) - centres
        log_det = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(-1)
        return np.asarray(-0.5 * (np.square(white).sum(-1) + len(chosen) * _LOG_2_PI) - log_det)

    def conditional(self, number: int, z: Rows, chosen: NDArray[np.intp]) -> tuple[Rows, Rows]:
        """Return mean and standard deviation of a number given the chosen ones, (n, K) and (K,)."""
        wanted = np.array([number])
        gain = np.linalg.solve(self._covariance(chosen, chosen), self._covariance(chosen, wanted))[..., 0]
        mean = self.means[:, number] + np.einsum("kj,nkj->nk", gain, z[:, None] - self.means[:, chosen])
        explained = (gain * self._covariance(chosen, wanted)[..., 0]).sum(-1)
        return np.asarray(mean), np.sqrt(self.covariances[:, number, number] - explained)

    def _covariance(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Rows:
        return self.covariances[:, rows[:, None], columns]

    @cached_property
    def _roots(self) -> Rows:
        return np.asarray(np.linalg.cholesky(self.covariances), dtype=np.float64)


if TYPE_CHECKING:
    import pandas as pd

_ENTROPY_ROWS = 2**15
_AS_IT_IS = Affine()


@dataclass(frozen=True)
class Category:
    """A column of levels in a known density of a table.

    Rows hold the codes 0..L-1 of the levels, which the labels name.

    Parameters
    ----------
    name : str
        The name of the column.
    labels : tuple of str
        The names of the L levels.

    See Also
    --------
    MixedDensity : The density.
    Number : A column of numbers.

    Examples
    --------
    >>> from backwalk.datasets import Category
    >>> Category("species", ("Adelie", "Chinstrap", "Gentoo")).labels[1]
    'Chinstrap'
    """

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Number:
    """A column of numbers in a known density of a table.

    Not to be confused with `backwalk.Number`, the choice of how a model treats a column.

    Parameters
    ----------
    name : str
        The name of the column.
    f : Monotone, optional
        The increasing map from a mixture of Gaussians to the numbers. By default they are the mixture itself.
    atom : float, optional
        A value that some rows have instead.

    See Also
    --------
    MixedDensity : The density.
    Category : A column of levels.

    Examples
    --------
    >>> from backwalk.datasets import Number
    >>> Number("rain", atom=0.0).atom
    0.0
    """

    name: str
    f: Monotone = _AS_IT_IS
    atom: float | None = None


@dataclass(frozen=True, eq=False)
class MixedDensity(Density):
    """A known density of tables: categories as codes, numbers and atoms as they are.

    Each marginal and each conditional of some columns is known as well.

    Parameters
    ----------
    name : str
        The name, which is part of the seed.
    d : int
        The number of columns.
    columns : tuple of Category and Number
        The columns.
    table : ndarray
        The weights of the components. Its axes are the categories and the numbers with an atom (level 0: at the atom,
        level 1: not), in the order of the columns, and a hidden axis.
    means : ndarray
        The means of the m numbers in each component: the shape of `table` and an axis of m.
    covariances : ndarray
        Their covariances: the shape of `table` and two axes of m.

    Raises
    ------
    InvalidInput
        If the shapes do not go together.

    See Also
    --------
    MIXED_DENSITIES : The functions that make such densities, by name.
    Density : The base class.

    Notes
    -----
    A component k fixes the levels and whether numbers are at their atom. The others are `x_j = f_j(z_j)` with
    z ~ N(mu_k, S_k). The log-density of some columns is a log-probability in levels and atoms.

    Examples
    --------
    >>> from backwalk.datasets import mixed_arcs
    >>> density = mixed_arcs()
    >>> rows = density.sample(1000, random_state=0)
    >>> rows.shape, density.log_prob(rows).shape
    ((1000, 7), (1000,))
    >>> density.level_log_probs(rows, "plan").shape  # ln P(plan | all other columns)
    (1000, 4)
    """

    columns: tuple[Category | Number, ...]
    table: Rows
    means: Rows
    covariances: Rows

    def __post_init__(self) -> None:
        m = len(self.numbers)
        sizes = tuple(len(self.labels(j)) for j in self.with_levels)
        shapes = (self.table.shape[:-1], self.means.shape, self.covariances.shape)
        if shapes != (sizes, (*self.table.shape, m), (*self.table.shape, m, m)):
            raise InvalidInput(f"table, means and covariances should go with levels {sizes}, but are {shapes}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, (d,)."""
        return tuple(column.name for column in self.columns)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The places of the m columns of numbers."""
        return tuple(self._numbers)

    @cached_property
    def with_levels(self) -> tuple[int, ...]:
        """The places of the columns that have an axis of the table: categories, and numbers with an atom."""
        return tuple(j for j, c in enumerate(self.columns) if isinstance(c, Category) or c.atom is not None)

    def labels(self, column: int) -> tuple[str, ...]:
        """Return the names of a column's levels.

        Parameters
        ----------
        column : int
            The place of the column.

        Returns
        -------
        tuple of str
            The labels of a category; "atom" and "continuous" for a number with an atom.
        """
        of = self.columns[column]
        return of.labels if isinstance(of, Category) else ("atom", "continuous")

    def levels(self, rows: ArrayLike) -> NDArray[np.intp]:
        """Return the levels of rows.

        Parameters
        ----------
        rows : array-like of shape (n, d)
            The rows.

        Returns
        -------
        ndarray of int of shape (n, B)
            The levels, one column for each of `with_levels`.
        """
        x = as_rows(rows, "rows", d=self.d, at_least=0)
        return np.stack([self._levels_of(x, j) for j in self.with_levels], axis=1)

    def marginal_log_prob(self, rows: ArrayLike, columns: Sequence[str]) -> Rows:
        """Return the log-density of some columns.

        Parameters
        ----------
        rows : array-like of shape (n, d)
            The rows.
        columns : sequence of str
            The columns.

        Returns
        -------
        ndarray of shape (n,)
            `ln p(columns)`, in nats: a log-probability in levels and atoms, a log-density in numbers.
        """
        x, places = as_rows(rows, "rows", d=self.d, at_least=0), self._places(columns)
        return self._in_parts(lambda part: _log_sum(self._log_joint(part, places)), x)

    def conditional_log_prob(self, rows: ArrayLike, columns: Sequence[str], *, given: Sequence[str]) -> Rows:
        """Return the log-density of some columns given others.

        Parameters
        ----------
        rows : array-like of shape (n, d)
            The rows.
        columns : sequence of str
            The columns in question.
        given : sequence of str
            The columns that are given.

        Returns
        -------
        ndarray of shape (n,)
            `ln p(columns | given)`, in nats.
        """
        return self.marginal_log_prob(rows, [*columns, *given]) - self.marginal_log_prob(rows, given)

    def level_log_probs(self, rows: ArrayLike, column: str, *, given: Sequence[str] | None = None) -> Rows:
        """Return the log-probabilities of the levels of a column given others.

        Parameters
        ----------
        rows : array-like of shape (n, d)
            The rows.
        column : str
            A column with L levels.
        given : sequence of str, optional
            The columns that are given: all others by default.

        Returns
        -------
        ndarray of shape (n, L)
            `ln P(level | given)`, in nats.

        Raises
        ------
        InvalidInput
            If the column has no levels or is given.
        """
        x = as_rows(rows, "rows", d=self.d, at_least=0)
        given = [name for name in self.names if name != column] if given is None else given
        (place,), places = self._places([column]), self._places(given)
        if place not in self.with_levels or place in places:
            raise InvalidInput(f"column should have levels and not be given, but got {column!r}: choose another.")
        axis = 1 + self.with_levels.index(place)
        others = tuple(i for i in range(1, self.table.ndim + 1) if i != axis)

        def of_part(part: Rows) -> Rows:
            joint = self._log_joint(part, places).reshape(len(part), *self.table.shape)
            by_level = _log_sum(joint, others)
            return np.asarray(by_level - _log_sum(by_level)[:, None])

        return self._in_parts(of_part, x)

    def conditional_cdf(self, rows: ArrayLike, column: str, *, given: Sequence[str] | None = None) -> Rows:
        """Return the cumulative probabilities of a column's numbers given others.

        Parameters
        ----------
        rows : array-like of shape (n, d)
            The rows.
        column : str
            A column of numbers.
        given : sequence of str, optional
            The columns that are given: all others by default.

        Returns
        -------
        ndarray of shape (n,)
            `P(number <= its value in the row | given)`.

        Raises
        ------
        InvalidInput
            If the column is no number or is given.
        """
        x = as_rows(rows, "rows", d=self.d, at_least=0)
        given = [name for name in self.names if name != column] if given is None else given
        (place,), places = self._places([column]), self._places(given)
        number = self.columns[place]
        if not isinstance(number, Number) or place in places:
            raise InvalidInput(f"column should be a number that is not given, but got {column!r}: choose another.")
        atom, f = number.atom, number.f

        def of_part(part: Rows) -> Rows:
            value = part[:, place]
            z, log_slope = f.inverse(value)
            below = np.zeros((len(part), len(self._weights)))
            for here, chosen in self._groups(part, places):
                mean, deviation = self._components.conditional(
                    self.numbers.index(place), self._unmapped(part[here], chosen)[0], chosen
                )
                below[here] = ndtr((z[here, None] - mean) / deviation)
            below[~np.isfinite(log_slope)] = 0.0
            if atom is not None:
                at_atom = self._level_of_component[self.with_levels.index(place)] == 0
                below[:, at_atom] = (value >= atom)[:, None]
            return np.asarray((softmax(self._log_joint(part, places), axis=1) * below).sum(1))

        return self._in_parts(of_part, x)

    def as_frame(self, rows: ArrayLike) -> pd.DataFrame:
        """Return rows as a pandas DataFrame, with the labels of categories as text.

        Parameters
        ----------
        rows : array-like of shape (n, d)
            The rows.

        Returns
        -------
        DataFrame
            The table.
        """
        import pandas as pd

        x = as_rows(rows, "rows", d=self.d, at_least=0)
        return pd.DataFrame(
            {
                column.name: np.array(column.labels)[x[:, j].astype(int)] if isinstance(column, Category) else x[:, j]
                for j, column in enumerate(self.columns)
            }
        )

    def from_frame(self, frame: Any) -> Rows:
        """Return the rows of a DataFrame that has these columns.

        Parameters
        ----------
        frame : DataFrame
            The table, with labels as text.

        Returns
        -------
        ndarray of shape (n, d)
            The rows.

        Raises
        ------
        InvalidInput
            For unknown labels.
        """
        x = np.zeros((len(frame), self.d))
        for j, column in enumerate(self.columns):
            values = np.asarray(frame[column.name])
            if isinstance(column, Category):
                code = {label: i for i, label in enumerate(column.labels)}
                unknown = sorted({str(value) for value in values} - code.keys())
                if unknown:
                    raise InvalidInput(f"{column.name} should be one of {column.labels}, but has {unknown[0]!r}.")
                values = np.array([code[str(value)] for value in values])
            x[:, j] = values
        return x

    def _draw(self, start: int, stop: int, stream: Stream) -> Rows:
        u = uniform_rows(start, stop, 1, stream.child("component"))[:, 0]
        k = np.searchsorted(np.cumsum(self._weights)[:-1], u)
        eps = normal_rows(start, stop, max(1, len(self.numbers)), stream.child("noise"))
        z = self._components.draw(k, eps)
        x = np.zeros((stop - start, self.d))
        for axis, j in enumerate(self.with_levels):
            x[:, j] = self._level_of_component[axis][k]
        for i, (j, number) in enumerate(self._numbers.items()):
            values = number.f.forward(z[:, i])
            x[:, j] = values if number.atom is None else np.where(x[:, j] == 0, number.atom, values)
        return x

    def _log_prob(self, x: Rows) -> Rows:
        return self.marginal_log_prob(x, self.names)

    def _find_entropy(self) -> Estimate:
        stream = Stream(0).child("entropy", self.name)
        return mean_estimate(-self.log_prob(self._draw(0, _ENTROPY_ROWS, stream)))

    def _places(self, names: Sequence[str]) -> tuple[int, ...]:
        for name in names:
            if name not in self.names:
                raise InvalidInput(f"columns should be among {', '.join(self.names)}, but got {name!r}.")
        if len(set(names)) < len(names):
            raise InvalidInput(f"columns should be different, but got {list(names)}: name each once.")
        return tuple(self.names.index(name) for name in names)

    def _levels_of(self, x: Rows, j: int) -> NDArray[np.intp]:
        column = self.columns[j]
        if isinstance(column, Number):
            return np.asarray(x[:, j] != column.atom, dtype=np.intp)
        codes = x[:, j].astype(np.intp)
        if bool(((codes != x[:, j]) | (codes < 0) | (codes >= len(column.labels))).any()):
            raise InvalidInput(f"{column.name} should hold codes 0..{len(column.labels) - 1}: encode its labels.")
        return codes

    def _log_joint(self, x: Rows, places: tuple[int, ...]) -> Rows:
        """Return ln of pi_k times the density of these columns in component k, (n, K)."""
        with np.errstate(divide="ignore"):
            log_joint = np.tile(np.log(self._weights), (len(x), 1))
        for axis, j in enumerate(self.with_levels):
            if j in places:
                log_joint[self._levels_of(x, j)[:, None] != self._level_of_component[axis]] = -np.inf
        for here, chosen in self._groups(x, places):
            if len(chosen):
                z, log_slope = self._unmapped(x[here], chosen)
                log_joint[here] += self._components.log_prob(z, chosen) + log_slope[:, None]
        return log_joint

    def _groups(self, x: Rows, places: tuple[int, ...]) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Return groups of rows with those of the m numbers that are among these columns and not at an atom."""
        applies = np.zeros((len(x), len(self._numbers)), dtype=bool)
        for i, (j, number) in enumerate(self._numbers.items()):
            applies[:, i] = (j in places) & (True if number.atom is None else x[:, j] != number.atom)
        patterns, group = np.unique(applies, axis=0, return_inverse=True)
        return [(np.flatnonzero(group.reshape(-1) == g), np.flatnonzero(p)) for g, p in enumerate(patterns)]

    def _unmapped(self, x: Rows, chosen: NDArray[np.intp]) -> tuple[Rows, Rows]:
        """Return z of the chosen numbers, (n, len(chosen)), and the sum of ln dz/dx, (n,)."""
        z, log_slope = np.zeros((len(x), len(chosen))), np.zeros(len(x))
        for i, j in enumerate(self.numbers[c] for c in chosen):
            z[:, i], of_number = self._numbers[j].f.inverse(x[:, j])
            log_slope += of_number
        return z, log_slope

    def _in_parts(self, function: Callable[[Rows], Rows], x: Rows) -> Rows:
        """Return function(x), computed for parts of the rows, in bounded memory."""
        step = max(1, 2**21 // (len(self._weights) * (1 + 2 * len(self._numbers))))
        return np.concatenate([function(x[i : i + step]) for i in range(0, max(1, len(x)), step)])

    @cached_property
    def _numbers(self) -> dict[int, Number]:
        return {j: column for j, column in enumerate(self.columns) if isinstance(column, Number)}

    @cached_property
    def _level_of_component(self) -> tuple[NDArray[np.intp], ...]:
        """The level of each component, (K,), for each of `with_levels`."""
        return np.unravel_index(np.arange(self.table.size), self.table.shape)[:-1]

    @cached_property
    def _weights(self) -> Rows:
        return np.asarray(self.table.ravel() / self.table.sum())

    @cached_property
    def _components(self) -> GaussianComponents:
        k, m = self.table.size, len(self._numbers)
        return GaussianComponents(self.means.reshape(k, m), self.covariances.reshape(k, m, m))


def _log_sum(values: Rows, axes: tuple[int, ...] = (1,)) -> Rows:
    with np.errstate(divide="ignore"):
        return np.asarray(logsumexp(values, axis=axes))
