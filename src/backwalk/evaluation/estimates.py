"""A number measured on rows, with its standard error.

Two densities are compared row by row, at the same rows. log p varies by several nats between rows, but the difference
of two good models varies little, so that pairing removes most of the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from backwalk.errors import InvalidInput
from backwalk.evaluation.rows import Rows


@dataclass(frozen=True)
class Estimate:
    """A measured value, its standard error (same unit), and the number of rows that it was measured on."""

    value: float
    standard_error: float
    n: int


def mean_estimate(values: Rows) -> Estimate:
    """Return the mean of independent values (n,) with its standard error, their standard deviation over sqrt(n)."""
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
