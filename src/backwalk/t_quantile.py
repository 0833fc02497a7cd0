"""Quantiles of Student's t: how many standard errors show a difference."""

from scipy.special import ndtr, stdtrit


def student_quantile(freedom: int, z: float = 2.0, *, tail: float | None = None) -> float:
    """Return the quantile of Student's t with `freedom` degrees of freedom that leaves a given tail above it.

    The tail is that of a standard normal above `z`, or `tail`, a probability.

    >>> [round(student_quantile(freedom), 1) for freedom in (1, 4, 9, 1000)]
    [14.0, 2.9, 2.3, 2.0]
    """
    return float(stdtrit(freedom, ndtr(z) if tail is None else 1.0 - tail))
