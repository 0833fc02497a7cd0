"""The scores of a table with levels or gaps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from backwalk.assess.conditionals import given_panels, level_scores, number_scores, self_test
from backwalk.assess.margins import ASSOCIATIONS, MARGINS
from backwalk.assess.statistics import RareCopies, RealPairs, associations, rare_copies, utility
from backwalk.assess.table_fidelity import AssociationScores, Beyond, TableScores
from backwalk.assess.views import View, kinds_of
from backwalk.estimates import Rows, student_quantile
from backwalk.model import DiffusionModel
from backwalk.streams import Stream

_FALSE_ALARM = 0.01  # over all pairs of columns
_MOST_ROWS = 5_000  # of a set


def table_scores(
    model: DiffusionModel,
    view: View,
    pairs: RealPairs,
    seen: Rows,
    generated: Rows,
    unseen: Rows,
    fitted: Rows | None,
    trained: NDArray[np.bool_] | None,
    target: int | None,
    *,
    stream: Stream,
) -> TableScores:
    """Return the scores of a table with levels or gaps.

    `pairs` and `seen`, the generated rows, are as the `view` shows them; `generated`, `unseen` and `fitted`, the rows
    of the fit, are (., d) in the user's units. `trained` says which of these were trained on; the others were held
    out. `target` is the number of a column that is predicted.
    """
    conditional = model.conditions == "any"
    training = None if fitted is None else fitted[trained]
    found = None
    if training is not None and target is not None:
        found = utility(generated, training, unseen, kinds_of(view.codec), target, stream=stream.child("utility"))
    rare = None if training is None else repeated_rare_rows(generated, training, unseen, view, stream.child("rare"))
    return TableScores(
        kinds=view.kinds,
        gaps=view.gaps is not None,
        associations=association_scores(pairs, seen, view),
        rare_copies=rare,
        levels=tuple(level_scores(model, unseen, training, target, stream.child("levels"))) if conditional else (),
        numbers=tuple(number_scores(model, unseen, view.codec.varying, stream.child("numbers"))) if conditional else (),
        beyond=() if fitted is None else tuple(beyond_range(generated, fitted, unseen, view)),
        self_test=self_test(model, unseen, stream.child("self-test")) if conditional else None,
        target=target,
        utility=found,
        panels=tuple(given_panels(model, unseen, stream.child("panels"))) if conditional else (),
    )


def association_scores(pairs: RealPairs, generated: Rows, view: View) -> AssociationScores | None:
    """Return the associations of real rows, and the differences of generated rows from them.

    The rows are those of the `view`: generated ones are (m, v + k), the k-th set of them meets the k-th pair.
    """
    d = len(view.kinds)
    if d < 2:
        return None
    n, some = pairs.n_rows, pairs.head(_MOST_ROWS)

    def matrices(sets: list[Rows]) -> Rows:
        return np.array([associations(rows[:, view.values], view.kinds) for rows in sets])

    k, size = len(pairs.pairs), some.n_rows
    a, b = matrices([a for a, _ in some.pairs]), matrices([b for _, b in some.pairs])
    g = matrices([generated[i * n : i * n + size] for i in range(k)])
    rho = some.correlation
    shared = (1.0 / k + rho / (1.0 - rho)) ** 0.5
    difference, error = (g - a).mean(axis=0), (g - a).std(axis=0, ddof=1) * shared
    quantile = student_quantile(k - 1, tail=0.5 * _FALSE_ALARM / (d * (d - 1) / 2))
    matters = np.abs(difference) > np.maximum(MARGINS[ASSOCIATIONS], quantile * error)
    np.fill_diagonal(matters, False)
    return AssociationScores(0.5 * (a + b).mean(axis=0), difference, error, (b - a).mean(axis=0), matters)


def repeated_rare_rows(generated: Rows, training: Rows, unseen: Rows, view: View, stream: Stream) -> RareCopies | None:
    """Return how often generated rows repeat rare combinations of levels; None with fewer than two columns of levels.

    Rows are (., d) in the user's units.
    """
    columns = [j for j, kind in enumerate(kinds_of(view.codec)) if kind.levels]
    if len(columns) < 2:
        return None
    return rare_copies(generated[:, columns], training[:, columns], unseen[:, columns], stream=stream)


def beyond_range(generated: Rows, fitted: Rows, unseen: Rows, view: View) -> Iterator[Beyond]:
    """Yield each column of numbers in which generated rows lie beyond the rows of the fit, (., d) in the user's units.

    Held-out rows are among these, as the bounds of columns are those of all rows of the fit.
    """
    kinds = kinds_of(view.codec)
    for j in view.codec.varying:
        known = fitted[~np.isnan(fitted[:, j]), j]
        if kinds[j].levels or not len(known):
            continue
        shares = [
            float(np.mean(outside)) if len(outside) else 0.0
            for x in (generated[:, j], unseen[:, j])
            for outside in (x[~np.isnan(x)] < known.min(), x[~np.isnan(x)] > known.max())
        ]
        found = Beyond(j, *shares)
        if found.generated > 0.0:
            yield found
