"""The rows of an assessment: matching columns, comparison with the rows of the fit, and pairs of real sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.assess.fidelity import RowChecks
from backwalk.assess.statistics import RealPairs, disjoint_pairs, random_rows, resampled_pairs
from backwalk.assess.views import View
from backwalk.assess.words import column_name
from backwalk.datasets import Density
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows, as_rows
from backwalk.fitting import is_of_the_fit, trained_rows
from backwalk.limits import is_whole
from backwalk.model import DiffusionModel, possible_rows, refuse_gaps, refuse_impossible
from backwalk.streams import Stream
from backwalk.table import as_table, match_columns

FEWEST_ROWS = 20  # below, classifiers and standard errors are not possible
MOST_IN_A_SET = 10_000
_FEWEST_IN_A_SET = 500  # of disjoint sets; with fewer, halves of all unseen rows are more informative


def matched_rows(x: Any, model: DiffusionModel, name: str) -> Rows:
    """Return the rows of an array or a table with the model's columns, which are matched by name if they have names.

    Raises InvalidInput, which calls the rows `name`, for other columns, for fewer than 20 rows, and for missing values
    that the model was not fitted for.
    """
    table = match_columns(as_table(x, name=name), model.schema, name=name)
    refuse_gaps(table, model.may_be_missing, name=name)
    return as_rows(table.values, name, at_least=FEWEST_ROWS, allow_gaps=True)


def rows_to_score(x: Any, model: DiffusionModel, name: str) -> tuple[Rows, int]:
    """Return the rows of `matched_rows` that the model can make, and the number of the others.

    Raises InvalidInput, as `refuse_impossible` does, if fewer than 20 are left.
    """
    rows = matched_rows(x, model, name)
    possible = possible_rows(model, rows)
    if possible.sum() < FEWEST_ROWS:
        refuse_impossible(model, rows, name)
    return rows[possible], int((~possible).sum())


def row_checks(
    model: DiffusionModel, unseen: Rows, n_impossible: int, training: Rows | None
) -> tuple[RowChecks, NDArray[np.bool_] | None]:
    """Compare the scored rows with those of the fit; return also which training rows, (n,), were trained on."""
    repeated = model.codec.repeated_values(unseen, float(model.schedule.noise_level[1]))
    words = tuple(
        f"{column_name(model.schema, j)} ({number:g} in {share:.0%})" for j, (number, share) in repeated.items()
    )
    is_of_fit = is_of_the_fit(model.card, unseen)
    if training is None:
        return RowChecks(len(unseen), n_impossible, is_of_fit, repeated=words), None
    trained = trained_rows(model.card, training)
    return RowChecks(
        len(unseen),
        n_impossible,
        is_of_fit,
        copied_share=copied_share(unseen, training),
        n_training=int(trained.sum()),
        n_given=len(training),
        is_other_training="data_sha256" in model.card and not is_of_the_fit(model.card, training),
        repeated=words,
    ), trained


def copied_share(unseen: Rows, training: Rows) -> float:
    """Return the share of unseen rows (m, d) that are training rows (n, d), minus the share expected by chance.

    Rows of integers and categories repeat without copying. The share of training rows that equal another training row
    estimates this, and is subtracted.

    >>> rows = np.arange(8.0)[:, None]
    >>> copied_share(rows[:2], rows), copied_share(rows[:2] % 2.0, rows % 2.0)
    (1.0, 0.0)
    """
    known, index, counts = np.unique(training, axis=0, return_inverse=True, return_counts=True)
    stored = set(map(bytes, known))
    found = float(np.mean([bytes(row) in stored for row in np.ascontiguousarray(unseen)]))
    by_nature = float(np.mean(counts[index.reshape(-1)] > 1))
    return max(0.0, found - by_nature)


def check_set_size(n_rows: int | None) -> None:
    """Raise InvalidInput for a number of rows per real set that classifiers cannot use."""
    if n_rows is not None and not (is_whole(n_rows) and n_rows >= FEWEST_ROWS // 2):
        raise InvalidInput(
            f"n_rows should be an integer >= {FEWEST_ROWS // 2}, which classifiers need, but got {n_rows!r}: give "
            "more, or None."
        )


def real_pairs(
    unseen: Rows, view: View, density: Density | None, n_pairs: int, n_rows: int | None, stream: Stream
) -> tuple[Rows, RealPairs, str]:
    """Return the real rows of the statistics in the user's units, their pairs as seen, and their origin in words."""
    most = MOST_IN_A_SET if n_rows is None else n_rows
    if density is not None:
        rows = density.sample_rows(0, 2 * n_pairs * most, stream=stream.child("draws"))
        pairs = disjoint_pairs(view.rows(rows), n_pairs, stream=stream)
        return rows, pairs, f"{n_pairs} pairs of {pairs.n_rows:,} fresh draws from the true density"
    if len(unseen) >= 2 * n_pairs * min(most, _FEWEST_IN_A_SET):
        rows = random_rows(unseen, 2 * n_pairs * most, stream=stream.child("kept"))
        pairs = disjoint_pairs(view.rows(rows), n_pairs, stream=stream)
        return rows, pairs, f"{n_pairs} pairs of {pairs.n_rows:,} unseen rows, none of them used twice"
    rows = random_rows(unseen, 2 * most, stream=stream.child("kept"))
    pairs = resampled_pairs(view.rows(rows), n_pairs, stream=stream)
    return rows, pairs, f"{n_pairs} random splits of the unseen rows into halves of {pairs.n_rows:,}"
