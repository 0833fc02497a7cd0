"""How far chance reaches: beyond so many standard errors a difference is shown."""

from scipy.special import ndtr, stdtrit


def student_quantile(freedom: int, z: float = 2.0) -> float:
    """Return the quantile of Student's t, with so many degrees of freedom, that has the tail of a normal's z.

    >>> [round(student_quantile(freedom), 1) for freedom in (1, 4, 9, 1000)]
    [14.0, 2.9, 2.3, 2.0]
    """
    return float(stdtrit(freedom, ndtr(z)))
