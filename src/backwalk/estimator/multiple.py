"""Multiple imputation: completed tables that carry the uncertainty of their gaps, and estimates pooled from them.

Each completed table comes from a separately fitted model. Rubin's rules pool the estimates Q_1..Q_m, with variances
U_1..U_m:

    Q = mean Q_i,    U = mean U_i,    B = variance of the Q_i (divisor m - 1),    T = U + (1 + 1/m) B.

With lambda = (1 + 1/m) B / T, (Q - truth) / sqrt(T) follows Student's t with nu degrees of freedom,

    nu_m = (m - 1) / lambda^2,    nu_obs = (nu_com + 1) / (nu_com + 3) nu_com (1 - lambda),
    1/nu = 1/nu_m + 1/nu_obs,

where nu_com are those of the complete table. Where all U_i are 0, nu is nu_m, as in Rubin 1987.

Source: Rubin 1987, "Multiple imputation for nonresponse in surveys"; Barnard & Rubin 1999, "Small-sample degrees of
freedom with multiple imputation".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit
from sklearn.base import clone

from backwalk.errors import InvalidInput
from backwalk.estimates import as_numbers
from backwalk.estimator.diffusion import AnyTable, Diffusion
from backwalk.formatting import listed
from backwalk.limits import is_number, is_whole
from backwalk.streams import RandomState, Stream, as_stream
from backwalk.table import as_table

Array = NDArray[np.float64]


@overload
def multiple_imputations(
    X: NDArray[Any] | Sequence[Sequence[Any]],
    n_draws: int = 20,
    *,
    diffusion: Diffusion | None = None,
    random_state: RandomState = None,
) -> Iterator[NDArray[Any]]: ...


@overload
def multiple_imputations(
    X: AnyTable, n_draws: int = 20, *, diffusion: Diffusion | None = None, random_state: RandomState = None
) -> Iterator[AnyTable]: ...


def multiple_imputations(
    X: Any, n_draws: int = 20, *, diffusion: Diffusion | None = None, random_state: RandomState = None
) -> Iterator[Any]:
    """Return completed copies of a table, each drawn from another model.

    The copies differ by the uncertainty of the gaps and by that of the model, as `pooled` needs. The copies of
    `Diffusion.impute` differ by the former alone: intervals that are pooled from them are too narrow where many cells
    are missing. It takes the time of `n_draws` fits; each is done when its copy is asked for.

    Parameters
    ----------
    X : array or table, (n, d)
        Rows with gaps.
    n_draws : int, default=20
        Number of completed tables, at least 2.
    diffusion : Diffusion, default=None
        The settings of the fits; None has all defaults and shows no progress. Any columns may be given, unless its
        `conditions` say otherwise.
    random_state : int, numpy.random.Generator or RandomState, default=None
        Seed of the weights, the fits and the draws.

    Returns
    -------
    iterator of array or table, (n, d)
        Rows of the kind, columns and dtypes of X; observed cells are unchanged.

    Raises
    ------
    InvalidInput
        A ValueError: a parameter or the rows cannot be used.

    See Also
    --------
    pooled : Pools the estimates from the copies.
    Diffusion.impute : Several completions by one model.

    Notes
    -----
    Model i is fitted with random weights of the rows, w ~ Exp(1), the Bayesian bootstrap. Source: Rubin 1981, "The
    Bayesian bootstrap"; Rubin 1987, chapter 4, on proper imputations.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion, multiple_imputations
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> X[::5, 1] = np.nan
    >>> quick = Diffusion(max_steps=20, verbose=False)
    >>> tables = list(multiple_imputations(X, 2, diffusion=quick, random_state=0))
    >>> len(tables), bool(np.isnan(tables[0]).any())
    (2, False)
    """
    if not is_whole(n_draws) or n_draws < 2:
        raise InvalidInput(f"n_draws should be an integer of at least 2, but got {n_draws!r}: intervals need several.")
    if not isinstance(diffusion, Diffusion | None):
        raise InvalidInput(f"diffusion should be a Diffusion or None, but got {diffusion!r}: give one.")
    settings = Diffusion(verbose=False) if diffusion is None else clone(diffusion)
    if settings.conditions == "auto":
        settings.set_params(conditions="any")
    return _tables(X, int(n_draws), settings, as_stream(random_state).child("multiple imputations"))


def _tables(X: Any, n_draws: int, settings: Diffusion, stream: Stream) -> Iterator[Any]:
    n = len(as_table(X).values)
    for i in range(n_draws):
        weights = -stream.child("weights", i).uniform(0, n, 1)[:, 0].log().numpy()
        model = clone(settings).set_params(random_state=stream.child("fit", i).integer())
        yield model.fit(X, sample_weight=weights).impute(X, random_state=stream.child("draw", i).integer())


@dataclass(frozen=True, eq=False, repr=False)
class Pooled:
    """Estimates pooled from several completed tables, as `pooled` returns them.

    All parts have the same shape: () for one estimate, or that of several.

    Parameters
    ----------
    estimate : ndarray
        The pooled estimate Q, the mean of those of the tables.
    within : ndarray
        U, the mean of their variances.
    between : ndarray
        B, the variance between them.
    variance : ndarray
        The variance T = U + (1 + 1/m) B of the pooled estimate.
    freedom : ndarray
        Degrees of freedom nu of (Q - truth) / sqrt(T), which follows Student's t.
    missing_information : ndarray
        Share of the information on the estimate that is missing, (r + 2 / (nu + 3)) / (r + 1), r = (1 + 1/m) B / U.

    See Also
    --------
    backwalk.pooled : Makes it, by Rubin's rules.

    Examples
    --------
    >>> from backwalk import pooled
    >>> found = pooled([1.0, 1.2, 0.8], [0.04, 0.04, 0.04])
    >>> float(found.estimate), round(float(found.standard_error), 3)
    (1.0, 0.306)
    """

    estimate: Array
    within: Array
    between: Array
    variance: Array
    freedom: Array
    missing_information: Array

    @property
    def standard_error(self) -> Array:
        """The standard error of the estimate, sqrt(T)."""
        return np.sqrt(self.variance)

    def interval(self, share: float = 0.95) -> Array:
        """Return the central confidence interval.

        Parameters
        ----------
        share : float, default=0.95
            The level, in (0, 1).

        Returns
        -------
        ndarray, (..., 2)
            Its ends.

        Examples
        --------
        >>> from backwalk import pooled
        >>> pooled([1.0, 1.2, 0.8], [0.04, 0.04, 0.04]).interval(0.9).round(2)
        array([0.41, 1.59])
        """
        if not is_number(share) or not 0.0 < share < 1.0:
            raise InvalidInput(f"share should be between 0 and 1, but got {share!r}: give 0.95 for 95 per cent.")
        tail = 0.5 + 0.5 * share
        finite = np.where(np.isfinite(self.freedom), self.freedom, 1.0)
        quantile = np.where(np.isfinite(self.freedom), stdtrit(finite, tail), ndtri(tail))
        half = quantile * self.standard_error
        return np.stack([self.estimate - half, self.estimate + half], axis=-1)

    def __repr__(self) -> str:
        """Return each estimate with its standard error, its degrees of freedom and the share that is missing."""
        parts = np.broadcast_arrays(self.estimate, self.standard_error, self.freedom, self.missing_information)
        lines = [
            f"{q:.6g} +- {error:.2g} ({freedom:.3g} degrees of freedom, {missing:.0%} of the information missing)"
            for q, error, freedom, missing in zip(*(part.ravel() for part in parts), strict=True)
        ]
        return f"Pooled({listed(lines)})"


def pooled(estimates: ArrayLike, variances: ArrayLike, *, complete_freedom: float = np.inf) -> Pooled:
    """Pool estimates from m completed tables by Rubin's rules.

    Parameters
    ----------
    estimates : array, (m, ...)
        An estimate, or several, of each of m >= 2 completed tables, as `multiple_imputations(X, m)` gives them.
    variances : array, (m, ...)
        Their squared standard errors.
    complete_freedom : float, default=inf
        Degrees of freedom of the estimate for a complete table, such as n - 1 of a mean of n rows.

    Returns
    -------
    Pooled
        With `estimate`, `standard_error`, `interval`, `freedom`, `missing_information` and the parts of the variance.

    Raises
    ------
    InvalidInput
        A ValueError: there are fewer than two estimates, the shapes differ, or a number cannot be used.

    See Also
    --------
    multiple_imputations : The completed tables.

    Notes
    -----
    Of estimates Q_i with variances U_i, the pooled one is Q = mean Q_i, with the variance T = U + (1 + 1/m) B, where
    U = mean U_i and B is the variance of the Q_i. Source: Rubin 1987, "Multiple imputation for nonresponse in surveys";
    Barnard & Rubin 1999 for the degrees of freedom.

    Examples
    --------
    >>> from backwalk import pooled
    >>> pooled([1.0, 1.2, 0.8], [0.04, 0.04, 0.04])
    Pooled(1 +- 0.31 (6.13 degrees of freedom, 67% of the information missing))
    """
    q, u = as_numbers(estimates, "estimates"), as_numbers(variances, "variances")
    if q.ndim < 1 or len(q) < 2 or q.shape != u.shape:
        raise InvalidInput(
            f"estimates and variances should be of two tables or more, and of one shape, but have the shapes {q.shape} "
            f"and {u.shape}: give both of every table."
        )
    if not np.isfinite(q).all() or not np.isfinite(u).all() or not (u >= 0.0).all():
        raise InvalidInput("estimates should be finite, and variances finite and >= 0: leave out others.")
    if not is_number(complete_freedom) or not complete_freedom > 0.0:
        raise InvalidInput(
            f"complete_freedom should be a number > 0, but got {complete_freedom!r}: leave it out for many."
        )
    m = len(q)
    estimate, within, between = q.mean(axis=0), u.mean(axis=0), q.var(axis=0, ddof=1)
    excess = (1.0 + 1.0 / m) * between
    variance = within + excess
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(variance > 0.0, excess / variance, 0.0)
        inverse = share**2 / (m - 1)
        if np.isfinite(complete_freedom):
            of_complete = (complete_freedom + 3.0) / (complete_freedom + 1.0) / complete_freedom / (1.0 - share)
            inverse = inverse + np.where(share < 1.0, of_complete, 0.0)
        freedom = 1.0 / inverse
        missing = share + (1.0 - share) * 2.0 / (freedom + 3.0)
    return Pooled(estimate, within, between, variance, np.asarray(freedom), np.asarray(missing))
