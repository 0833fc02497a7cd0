"""The rows of an assessment: columns matched, rows compared with those of the fit, and pairs of real sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.assess.representation import Representation
from backwalk.assess.statistics import RealPairs, disjoint_pairs, resampled_pairs
from backwalk.datasets import Density
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows, as_rows, random_rows
from backwalk.fit import is_of_the_fit, trained_rows
from backwalk.formatting import listed
from backwalk.limits import is_whole
from backwalk.model import DiffusionModel, broken_rules, check_unseen, possible_rows, refuse_gaps, refuse_impossible
from backwalk.streams import Stream
from backwalk.table import as_table, match_columns

FEWEST_ROWS = 20  # below, classifiers and standard errors are not possible
MOST_IN_A_SET = 10_000
_FEWEST_IN_A_SET = 500  # of disjoint sets; with fewer, halves of all unseen rows are more informative
_COPIES_THAT_MATTER = 0.01
_FEW_ROWS = 500


@dataclass(frozen=True)
class Impossible:
    """Rows that the model cannot make: `n_rows` of them, with `columns` and `rules` and how often each.

    `columns` are those with values that no row of the fit has, such as an unseen label, and `rules` those that rows
    break.
    """

    n_rows: int = 0
    columns: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowChecks:
    """Checks of the scored rows, and of the rows given as training rows.

    `n_unseen` rows were scored; those that are `impossible` for the model were set aside, as were those of the given
    training rows in `impossible_training`.
    `is_of_fit` says that the scored rows are the table of the fit. `copied_share` is the share of scored rows that are
    training rows, minus the share of training rows that equal other training rows. Of the `n_given` training rows
    `n_training` were trained on, and the others were held out to choose the weights (both are None without training
    rows). `is_other_training` says that the given training rows are not the table of the fit.
    """

    n_unseen: int
    impossible: Impossible = Impossible()
    is_of_fit: bool = False
    copied_share: float = 0.0
    n_training: int | None = None
    n_given: int | None = None
    is_other_training: bool = False
    impossible_training: Impossible = Impossible()

    @property
    def share_of_fit(self) -> float:
        """The share of the scored rows that are rows of the fit."""
        return 1.0 if self.is_of_fit else self.copied_share

    @property
    def n_impossible(self) -> int:
        """The number of unseen rows that the model cannot make."""
        return self.impossible.n_rows

    @property
    def are_of_fit(self) -> bool:
        """Whether more than half of the scored rows are rows of the fit, so that the scores say nothing."""
        return self.share_of_fit > 0.5

    def warnings(self) -> Iterator[str]:
        """Yield the warnings about rows: what is wrong, by how much, and what to do."""
        if self.is_of_fit:
            yield (
                "The scored rows are the rows that the model was fitted to. A model that repeats its training rows "
                "looks perfect on them: score rows that the fit never saw."
            )
        elif self.copied_share > _COPIES_THAT_MATTER:
            yield (
                f"{self.copied_share:.0%} of the scored rows are training rows too. Remove them from the scored rows, "
                "or from the training rows before you fit."
            )
        if self.is_other_training:
            yield (
                "The given training rows are not the rows of the fit, or are in another order. If they are other rows, "
                "the baselines were fitted to other rows than the model, and copies of the model's training rows may "
                "go unnoticed: give the table that was fitted, read as it was for the fit."
            )
        aside, given = self.impossible_training, self.n_given or 0
        if aside.n_rows:
            yield (
                f"{aside.n_rows:,} of {aside.n_rows + given:,} training rows {_were(aside.n_rows)} set aside, as the "
                f"model cannot make such rows: {listed((*aside.columns, *aside.rules))}."
            )
        if self.impossible.rules:
            yield (
                "Unseen rows break rules between columns that all rows of the fit obey: "
                f"{listed(self.impossible.rules)}. The model cannot make such rows, and their log-density is −∞. If "
                "they are right, fit with rules=None (--no-rules), or declare the rules that hold."
            )
        n = self.n_impossible
        if self.impossible.columns:
            yield (
                f"{n:,} of {n + self.n_unseen:,} unseen rows {_were(n)} "
                "set aside: a value that the model cannot make, such as a label that the fit did not see, stands in "
                f"{listed(self.impossible.columns)}. Their log-density is −∞, and no score but the test of training "
                "rows counts them. Include such rows in the fit, or drop the column."
            )
        if self.n_unseen < _FEW_ROWS:
            yield (
                f"There are only {self.n_unseen} unseen rows, so that standard errors are large. Hold out more rows if "
                "you can."
            )


@dataclass(frozen=True, eq=False)
class RowSets:
    """The sets of rows that the questions compare, in the user's units.

    `unseen` is (m, d) and `generated` (k, d). `training`, (n, d), are the rows of the fit, or None: those of
    `is_trained`, (n,), were trained on, and the others were held out. `pairs` are pairs of real sets and `represented`
    the generated rows, as the `representation` encodes them.
    """

    unseen: Rows
    generated: Rows
    training: Rows | None
    is_trained: NDArray[np.bool_] | None
    representation: Representation
    pairs: RealPairs
    represented: Rows

    @property
    def trained(self) -> Rows | None:
        """The rows that were trained on, or None."""
        return None if self.training is None else self.training[self.is_trained]


def rows_to_score(x: Any, model: DiffusionModel, name: str) -> tuple[Rows, Impossible]:
    """Return the rows of an array or a table that the model can make, and what is wrong with the others.

    Columns are matched by name if they have names. Raises InvalidInput, which calls the rows `name`, for other columns,
    for missing values that the model was not fitted for, and where fewer than 20 rows are left.
    """
    table = match_columns(as_table(x, name=name), model.schema, name=name, unseen="nearest")
    refuse_gaps(table, model.may_be_missing, name=name)
    rows = as_rows(table.values, name, at_least=FEWEST_ROWS, allow_gaps=True)
    possible = possible_rows(model, rows)
    if possible.sum() < FEWEST_ROWS:
        refuse_impossible(model, rows, name)
    cells = check_unseen(model, rows, scored=range(rows.shape[1]), unseen="nearest", name=name)
    broken = broken_rules(cells)
    columns = tuple(f"{column} ({n:,})" for (_, column), n in cells.items() if column not in broken)
    rules = tuple(f"{rule} ({n:,})" for rule, n in broken.items())
    return rows[possible], Impossible(int((~possible).sum()), columns, rules)


def check_rows(
    model: DiffusionModel, unseen: tuple[Rows, Impossible], training: tuple[Rows, Impossible] | None
) -> tuple[RowChecks, NDArray[np.bool_] | None]:
    """Compare rows of `rows_to_score` with those of the fit; return also which of these were trained on."""
    rows, impossible = unseen
    is_of_fit = is_of_the_fit(model.card, rows)
    if training is None:
        return RowChecks(len(rows), impossible, is_of_fit), None
    of_fit, aside = training
    is_trained = trained_rows(model.card, of_fit)
    checks = RowChecks(
        len(rows),
        impossible,
        is_of_fit,
        copied_share=copied_share(rows, of_fit),
        n_training=int(is_trained.sum()),
        n_given=len(of_fit),
        is_other_training="data_sha256" in model.card and not is_of_the_fit(model.card, of_fit),
        impossible_training=aside,
    )
    return checks, is_trained


def copied_share(unseen: Rows, training: Rows) -> float:
    """Return the share of unseen rows (m, d) that are training rows (n, d), minus the share expected by chance.

    Rows of integers and categories repeat without copying. The share of training rows that equal another training row
    estimates this, and is subtracted.

    >>> import numpy as np
    >>> from backwalk.assess.sets import copied_share
    >>> rows = np.arange(8.0)[:, None]
    >>> copied_share(rows[:2], rows), copied_share(rows[:2] % 2.0, rows % 2.0)
    (1.0, 0.0)
    """
    distinct, index, counts = np.unique(training, axis=0, return_inverse=True, return_counts=True)
    stored = set(map(bytes, distinct))
    copied = float(np.mean([bytes(row) in stored for row in np.ascontiguousarray(unseen)]))
    by_nature = float(np.mean(counts[index.reshape(-1)] > 1))
    return max(0.0, copied - by_nature)


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def check_set_size(n_rows: int | None) -> None:
    """Raise InvalidInput for a number of rows per real set that classifiers cannot use."""
    if n_rows is not None and not (is_whole(n_rows) and n_rows >= FEWEST_ROWS // 2):
        raise InvalidInput(
            f"n_rows should be an integer >= {FEWEST_ROWS // 2}, which classifiers need, but got {n_rows!r}: give "
            "more, or None."
        )


def draw_real_pairs(
    unseen: Rows,
    representation: Representation,
    density: Density | None,
    n_pairs: int,
    n_rows: int | None,
    stream: Stream,
) -> tuple[Rows, RealPairs, str]:
    """Return the real rows of the statistics in the user's units, their pairs as represented, and their origin."""
    most = MOST_IN_A_SET if n_rows is None else n_rows
    if density is None and len(unseen) < 2 * n_pairs * min(most, _FEWEST_IN_A_SET):
        rows = random_rows(unseen, 2 * most, stream=stream.child("kept"))
        pairs = resampled_pairs(representation.encode(rows), n_pairs, stream=stream)
        return rows, pairs, f"{n_pairs} random splits of the unseen rows into halves of {pairs.n_rows:,}"
    if density is None:
        rows = random_rows(unseen, 2 * n_pairs * most, stream=stream.child("kept"))
        origin = "unseen rows, none of them used twice"
    else:
        rows = density.sample_rows(0, 2 * n_pairs * most, stream=stream.child("draws"))
        origin = "fresh draws from the true density"
    pairs = disjoint_pairs(representation.encode(rows), n_pairs, stream=stream)
    return rows, pairs, f"{n_pairs} pairs of {pairs.n_rows:,} {origin}"
