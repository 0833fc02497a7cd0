"""How far chance reaches: beyond so many standard errors a difference is shown."""

from scipy.special import ndtr, stdtrit


def student_quantile(freedom: int, z: float = 2.0, *, tail: float | None = None) -> float:
    """Return the quantile of Student's t, with so many degrees of freedom, that has the tail of a normal's z.

    With `tail` it is the one that is exceeded with this probability.

    >>> [round(student_quantile(freedom), 1) for freedom in (1, 4, 9, 1000)]
    [14.0, 2.9, 2.3, 2.0]
    """
    return float(stdtrit(freedom, ndtr(z) if tail is None else 1.0 - tail))
