"""Estimates from several completed tables, pooled into one: Rubin's rules.

For estimates Q_1..Q_m with variances U_1..U_m,

    Q = mean Q_i,    U = mean U_i,    B = variance of the Q_i (divisor m - 1),    T = U + (1 + 1/m) B.

With lambda = (1 + 1/m) B / T, (Q - truth) / sqrt(T) follows Student's t with nu degrees of freedom,

    nu_m = (m - 1) / lambda^2,    nu_obs = (nu_com + 1) / (nu_com + 3) nu_com (1 - lambda),
    1/nu = 1/nu_m + 1/nu_obs,

where nu_com are those of the complete table. Where all U_i are 0, nu is nu_m, as in Rubin 1987.

Source: Rubin 1987, "Multiple imputation for nonresponse in surveys"; Barnard & Rubin 1999, "Small-sample degrees of
freedom with multiple imputation".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit

from backwalk.errors import InvalidInput
from backwalk.formatting import listed

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Pooled:
    """One estimate from several completed tables, or several estimates, all of the same shape.

    `estimate` is Q, `within` U, `between` B and `variance` T. `freedom` is nu; `missing_information` the share of the
    information on the estimate that is missing, (r + 2 / (nu + 3)) / (r + 1) with r = (1 + 1/m) B / U.
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
        """Return the central confidence interval, (..., 2), of a share in (0, 1)."""
        if not 0.0 < share < 1.0:
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
        `estimate`, `standard_error`, `interval`, `freedom`, `missing_information` and the parts of the variance.

    Raises
    ------
    InvalidInput
        A ValueError: there are fewer than two estimates, the shapes differ, or a number cannot be used.

    Examples
    --------
    >>> pooled([1.0, 1.2, 0.8], [0.04, 0.04, 0.04])
    Pooled(1 +- 0.31 (6.13 degrees of freedom, 67% of the information missing))
    """
    q, u = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if q.ndim < 1 or len(q) < 2 or q.shape != u.shape:
        raise InvalidInput(
            f"estimates and variances should be of two tables or more, and of one shape, but have the shapes {q.shape} "
            f"and {u.shape}: give both of every table."
        )
    if not np.isfinite(q).all() or not np.isfinite(u).all() or not (u >= 0.0).all():
        raise InvalidInput("estimates should be finite, and variances finite and >= 0: leave out others.")
    if not complete_freedom > 0.0:
        raise InvalidInput(f"complete_freedom should be positive, but got {complete_freedom!r}: leave it out for many.")
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
