"""Rows of points, and numbers measured on rows with their standard errors.

Points are NumPy float64 arrays of shape (n, d). Distances mix the columns, so the caller scales them first (for example
by the standard deviations of the training rows); the results then have that unit.

Two densities are compared row by row, at the same rows. log p varies by several nats between rows, but the difference
of two good models varies little, so that pairing removes most of the error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from backwalk.errors import InvalidInput
from backwalk.formatting import one_line
from backwalk.streams import Stream

Rows = NDArray[np.float64]


def as_rows(
    x: ArrayLike, name: str = "x", *, d: int | None = None, at_least: int = 1, allow_gaps: bool = False
) -> Rows:
    """Return x as float64 rows (n, d), or raise InvalidInput that calls it `name`.

    Only with `allow_gaps` may cells be NaN, for missing.
    """
    rows = np.asarray(x)
    if rows.dtype.kind not in "fiub":
        raise InvalidInput(f"{name} should hold real numbers, but has dtype {rows.dtype}: encode its columns first.")
    rows = rows.astype(np.float64, copy=False)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise InvalidInput(
            f"{name} should have shape (n, d) with d >= 1, but has {rows.shape}: put one point in a row."
        )
    if d is not None and rows.shape[1] != d:
        raise InvalidInput(f"{name} should have {d} columns, but has {rows.shape[1]}: give points of the same space.")
    if len(rows) < at_least:
        raise InvalidInput(f"{name} should have at least {at_least} rows, but has {len(rows)}: give more rows.")
    refused = np.isinf(rows) if allow_gaps else ~np.isfinite(rows)
    if refused.any():
        row, column = np.argwhere(refused)[0]
        raise InvalidInput(
            f"{name} should be finite, but holds {rows[row, column]} in row {row}, column {column}: drop that row."
        )
    return rows


def as_numbers(values: ArrayLike, name: str) -> Rows:
    """Return values as a float64 array of any shape, or raise InvalidInput that calls them `name`."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:  # texts, and lists of different lengths
        raise InvalidInput(f"{name} should hold numbers, but {one_line(error)}: give a number, or an array.") from error


def as_two_sets(x: ArrayLike, y: ArrayLike, *, at_least: int = 1, allow_gaps: bool = False) -> tuple[Rows, Rows]:
    """Return x (n, d) and y (m, d) as float64 rows of the same space."""
    x_rows = as_rows(x, "x", at_least=at_least, allow_gaps=allow_gaps)
    return x_rows, as_rows(y, "y", d=x_rows.shape[1], at_least=at_least, allow_gaps=allow_gaps)


def random_rows(rows: NDArray[Any], n: int, *, stream: Stream) -> NDArray[Any]:
    """Return n of the rows at random, without replacement: (n, d); all, in a random order, if there are no more."""
    return np.asarray(rows[stream.permutation(len(rows))[:n]])


@dataclass(frozen=True)
class Estimate:
    """A measured value with its standard error.

    Figures of an assessment have this form.

    Parameters
    ----------
    value : float
        The value.
    standard_error : float
        Its standard error, in the same unit.
    n : int
        The number of rows that it was measured on.

    See Also
    --------
    Figure : A statistic beside its null.

    Examples
    --------
    >>> from backwalk.assess.statistics import Estimate
    >>> Estimate(0.5, 0.1, 100).value
    0.5
    """

    value: float
    standard_error: float
    n: int


def mean_estimate(values: Rows) -> Estimate:
    """Return the mean of independent values (n,), with its standard error: their standard deviation over sqrt(n).

    The error is infinite if a value is.

    >>> import numpy as np
    >>> from backwalk.estimates import mean_estimate
    >>> mean_estimate(np.array([1.0, 2.0, 3.0]))
    Estimate(value=2.0, standard_error=0.5773502691896258, n=3)
    """
    n = len(values)
    if not np.isfinite(values).all():
        return Estimate(float(values.mean()), float("inf"), n)
    return Estimate(float(values.mean()), float(values.std(ddof=1)) / n**0.5, n)


def log_ratio(log_p_true: ArrayLike, log_p_model: ArrayLike) -> Rows:
    """Return log p_model - log p_true, (n,), nats, of rows drawn from p_true, or raise InvalidInput.

    Both are (n,), at the same rows and in the same units of x. The truth must be finite, for it gave the rows; the
    model may give some of them no density, -inf.
    """
    true, model = (np.asarray(values, dtype=np.float64) for values in (log_p_true, log_p_model))
    if true.ndim != 1 or true.shape != model.shape or len(true) < 2:
        raise InvalidInput(
            f"log_p_true and log_p_model should both be (n,) with n >= 2, but are {true.shape} and {model.shape}: "
            "score the same rows with both."
        )
    if not np.isfinite(true).all():
        row = int(np.argmax(~np.isfinite(true)))
        raise InvalidInput(
            f"log_p_true should be finite, but is {true[row]} in row {row}: use rows drawn from the true density."
        )
    if not (model < np.inf).all():
        row = int(np.argmax(~(model < np.inf)))
        raise InvalidInput(
            f"log_p_model should be below infinity, but is {model[row]} in row {row}: mend the model's density."
        )
    return model - true


def student_quantile(freedom: int, z: float = 2.0, *, tail: float | None = None) -> float:
    """Return the quantile of Student's t with `freedom` degrees of freedom that leaves a given tail above it.

    The tail is that of a standard normal above `z`, or `tail`, a probability.

    >>> from backwalk.estimates import student_quantile
    >>> [round(student_quantile(freedom), 1) for freedom in (1, 4, 9, 1000)]
    [14.0, 2.9, 2.3, 2.0]
    """
    return float(stdtrit(freedom, ndtr(z) if tail is None else 1.0 - tail))
