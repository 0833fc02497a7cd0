"""The one definition of a difference that matters, for the verdict, the warnings and the marks in the tables.

A difference matters if it is significant (larger than two standard errors, or for few pairs the quantile of Student's
t with the same tail) and larger than the margin of its statistic. The margins are choices:

- log-density, 0.01 nats per row: the densities of a typical row differ by 1 %;
- total variation, 0.01: some event's probability is wrong by one percentage point more;
- accuracy of a classifier, 0.003: it is right in three more of 1,000 cases;
- sliced Wasserstein, 0.01 standard deviations: rows have to be moved by 1 % of a column's spread further;
- energy distance, 0.001 standard deviations: about what a shift of every column by 4 % of its spread adds;
- worst column, 0.01: a cumulative distribution, or the frequencies of levels, are off by one percentage point more;
- correlations and associations, 0.01: they are off by 0.01 more, on average over pairs of columns;
- coverage, 0.01: one more of 100 real rows has no generated row nearby.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from backwalk.estimates import student_quantile

LOG_DENSITY, TOTAL_VARIATION = "Log-density", "Total variation"
C2ST, C2ST_NEAREST = "C2ST, boosting", "C2ST, nearest rows"
ENERGY, WASSERSTEIN, WORST_COLUMN = "Energy distance", "Sliced Wasserstein", "Worst column (KS)"
CORRELATIONS, COVERAGE = "Correlations", "Coverage"
WORST_OF_KINDS, ASSOCIATIONS = "Worst column", "Associations"

MARGINS: Mapping[str, float] = MappingProxyType(
    {
        LOG_DENSITY: 0.01,
        TOTAL_VARIATION: 0.01,
        C2ST: 0.003,
        C2ST_NEAREST: 0.003,
        ENERGY: 0.001,
        WASSERSTEIN: 0.01,
        WORST_COLUMN: 0.01,
        WORST_OF_KINDS: 0.01,
        CORRELATIONS: 0.01,
        ASSOCIATIONS: 0.01,
        COVERAGE: 0.01,
    }
)


def sign_that_matters(name: str, difference: float, standard_error: float, *, n_pairs: int | None = None) -> int:
    """Return the sign of a difference of the statistic `name` if it matters, otherwise 0.

    `n_pairs` is the number of pairs from which the standard error was estimated; None for means over many rows.

    >>> sign_that_matters(C2ST, -0.01, 0.002, n_pairs=8), sign_that_matters(C2ST, 0.01, 0.005, n_pairs=8)
    (-1, 0)
    """
    errors = 2.0 if n_pairs is None else student_quantile(n_pairs - 1)
    matters = abs(difference) > max(MARGINS[name], errors * standard_error)
    return int(matters) * (1 if difference > 0 else -1)
