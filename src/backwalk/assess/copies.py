"""Copies: do generated rows repeat training rows, and can whoever has the model tell these from others?

Take equally many training and unseen rows. If the model has learned the density and not the rows, the two kinds are
exchangeable: the nearest real row of a generated row is a training row with probability 1/2, and a score is higher for
a training row in half of the pairs. The shares measure copying; they are no measure of privacy.

A training row is a row that was trained on. Held-out rows are neither training nor unseen rows, as they chose the
weights. The second score subtracts the best baseline's log-probability, so that rows which are likely under any model
count less. A baseline fitted to the tested training rows would hide what the model remembers behind what it remembers
itself, so it is fitted anew to each half of the tested rows, of both kinds, and scores the other half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from backwalk.assess.baselines import Baseline
from backwalk.assess.density import DensityScores
from backwalk.assess.sets import MOST_IN_A_SET, RowSets
from backwalk.assess.statistics.distances import nearest
from backwalk.assess.statistics.nulls import sign_that_matters
from backwalk.errors import InvalidInput
from backwalk.estimates import Estimate, Rows, as_rows, random_rows
from backwalk.model import DiffusionModel
from backwalk.report.blocks import Cell, Row, Section, Table, Text
from backwalk.report.words import with_error
from backwalk.streams import Stream

if TYPE_CHECKING:
    from backwalk.assess.record import Fidelity

_SHARE_MARGIN = 0.05  # one more of 20 generated rows lies nearer to a training row
_AREA_MARGIN = 0.01  # one more of 100 pairs of rows is told apart
_AREA_TO_WARN, _Z = 0.6, 4.0


@dataclass(frozen=True)
class MembershipTest:
    """A test by one score: its area under the ROC curve, 1/2 by chance.

    It is the share of pairs, of a training row and an unseen row, in which the training row has the higher score.
    """

    score: str
    area: Estimate


@dataclass(frozen=True)
class CopyScores:
    """What the model gives away of its training rows.

    `nearest_row_share` is the share of generated rows whose nearest real row was trained on. The `tests` compare
    `n_trained` training rows with `n_unseen` unseen rows, the one by the log-probability first. Of the unseen rows
    `n_impossible` hold values that the model cannot make, so that they are surely no training rows. An area above
    `smallest_area` would have been two standard errors above 1/2.
    """

    nearest_row_share: Estimate
    tests: tuple[MembershipTest, ...]
    n_trained: int
    n_unseen: int
    n_impossible: int
    smallest_area: float

    @property
    def strongest(self) -> MembershipTest:
        """The test with the largest area."""
        return max(self.tests, key=lambda test: test.area.value)

    @property
    def repeats(self) -> bool:
        """Whether generated rows lie nearer to training rows by a difference that matters."""
        share = self.nearest_row_share
        return sign_that_matters(share.value - 0.5, share.standard_error, _SHARE_MARGIN) > 0

    @property
    def can_tell(self) -> bool:
        """Whether the strongest test tells training rows from unseen ones by a difference that matters."""
        area = self.strongest.area
        return sign_that_matters(area.value - 0.5, area.standard_error, _AREA_MARGIN) > 0

    def nearest_text(self) -> str:
        """Return the share of generated rows nearest to a training row in words."""
        share = with_error(self.nearest_row_share.value, self.nearest_row_share.standard_error, percent=True)
        return f"{share} of generated rows lie nearer to a training row than to an unseen row, and 50 % without copying"

    def warnings(self, schema: Any) -> Iterator[str]:  # noqa: ARG002 - every question takes it
        """Yield the warnings about copies, and about training rows that can be recognised."""
        share, test = self.nearest_row_share, self.strongest
        if share.value > 0.5 + max(_SHARE_MARGIN, _Z * share.standard_error):
            yield (f"The model repeats training rows: {self.nearest_text()}. Train for fewer steps, or on more rows.")
        if test.area.value > max(_AREA_TO_WARN, 0.5 + _Z * test.area.standard_error):
            yield (
                f"Training rows can be recognised: {test.score} is higher for a training row than for an unseen row in "
                f"{with_error(test.area.value, test.area.standard_error, percent=True)} of pairs (50 % is nothing). "
                "Train for fewer steps, or on more rows, before you give the model away."
            )

    def section(self, model: DiffusionModel, fidelity: Fidelity) -> Section:  # noqa: ARG002 - every question takes both
        """Show whether training rows are repeated, and whether they can be recognised."""
        words = (
            f"Whoever has the model can compute ln p of any row. {self.n_trained:,} training rows are tested against "
            f"{self.n_unseen:,} unseen rows: is the score of the training row the higher one? Training rows are those "
            "that the model was trained on; held-out rows, which chose its weights, count as neither."
        )
        if self.n_impossible:
            words += f" Unseen rows with values that the model cannot make score −∞: {self.n_impossible:,}."
        rows = []
        for test in self.tests:
            matters = sign_that_matters(test.area.value - 0.5, test.area.standard_error, _AREA_MARGIN)
            told_apart = with_error(test.area.value, test.area.standard_error, percent=True)
            rows.append(Row(test.score, [Cell(told_apart, matters=bool(matters))]))
        blocks = [
            Text(f"{self.nearest_text()}; equally many of both are looked at."),
            Text(words),
            Table(("Score", "Pairs told apart"), rows),
            Text(self._notes(), note=True),
        ]
        return Section("Does it reveal its training rows?", blocks)

    def _notes(self) -> str:
        words = (
            "Pairs told apart: the area under the ROC curve, 50 % by chance. A share in bold is off by more than two "
            f"standard errors and {100 * _AREA_MARGIN:g} %. These rows could have shown "
            f"{100 * self.smallest_area:.1f} % or more."
        )
        if len(self.tests) > 1:
            words += (
                " The second score asks what the model knows that a simple model does not. The simple model is fitted "
                "to other rows than it scores."
            )
        return words


def score(
    model: DiffusionModel,
    sets: RowSets,
    density: DensityScores,
    best: Baseline | None,
    stream: Stream,
    *,
    n_impossible: int = 0,
) -> CopyScores | None:
    """Look for copies of the rows that were trained on, and test whether scores tell them; None without such rows.

    The rows of the tests are those of `density`. `n_impossible` unseen rows, which the model cannot make, were set
    aside; as many of every unseen row that is tested count with a score of -inf. `best` is the baseline of the second
    test, None for none.
    """
    if sets.trained is None or density.trained is None or density.log_p_trained is None:
        return None
    encode, coordinates = sets.representation.encode, sets.representation.coordinates
    share = nearest_row_share(
        sets.represented[:MOST_IN_A_SET, coordinates],
        *(encode(rows)[:, coordinates] for rows in (sets.trained, sets.unseen)),
        stream=stream.child("nearest"),
    )
    trained, unseen = density.trained, density.rows
    n, n_aside = len(trained), round(n_impossible / len(sets.unseen) * len(unseen))
    aside = np.full(n_aside, -np.inf)

    def test_by(name: str, of_trained: Rows, of_unseen: Rows) -> MembershipTest:
        others = np.concatenate([of_unseen, aside])
        return MembershipTest(name, area_under_roc(of_trained, others))

    tests = [test_by("ln p", density.log_p_trained, density.log_p_model)]
    if best is not None:
        rows, scores = np.concatenate([trained, unseen]), np.concatenate([density.log_p_trained, density.log_p_model])
        reference = score_halves(best, model, rows, n, stream)
        # A row that the model cannot make is no training row, whatever the baseline says.
        ratio = np.where(scores == -np.inf, -np.inf, scores - reference)
        tests.append(test_by(f"ln p minus that of {best.name}", ratio[:n], ratio[n:]))
    m = len(unseen) + n_aside
    # The standard error of the area of exchangeable rows without ties is sqrt((n + m + 1) / (12 n m)).
    return CopyScores(share, tuple(tests), n, m, n_aside, 0.5 + 2.0 * math.sqrt((n + m + 1) / (12.0 * n * m)))


def score_halves(baseline: Baseline, model: DiffusionModel, rows: Rows, n_trained: int, stream: Stream) -> Rows:
    """Return ln p of rows (n, d) by a baseline that was fitted to the other half of them: (n,), nats.

    Every second of the first `n_trained` rows and every second of the others are a half.
    """
    number = np.arange(len(rows))
    is_second = np.where(number < n_trained, number, number - n_trained) % 2 == 1
    log_p = np.empty(len(rows))
    for k, scored in enumerate((is_second, ~is_second)):
        fitted = baseline.refit(rows[~scored], model, stream.child(k))
        log_p[scored] = fitted.log_prob_of_rows(rows[scored], stream=stream.child("places"))
    return log_p


def nearest_row_share(generated: ArrayLike, training: ArrayLike, unseen: ArrayLike, *, stream: Stream) -> Estimate:
    """Return the share of generated rows whose nearest real row was trained on; 1/2 without memorisation.

    All are (., d) in one common scale. The larger of `training` and `unseen` is cut at random to the size of the
    smaller. A tie (the same row in both) counts one half, whatever the labels.

    The error is the exact one of exchangeable labels: with w_i the share of generated rows that are nearest to real
    row i of M, without ties, share = sum of w_i over training rows, and over random labels Var = M / (4 (M - 1))
    sum_i (w_i - mean w)^2. For few generated rows it is the binomial 1 / (4 n); for many, it includes the variation due
    to the real rows.

    >>> from backwalk.assess.copies import nearest_row_share
    >>> from backwalk.streams import Stream
    >>> rows = Stream(0).normal(0, 400, 2).numpy()
    >>> nearest_row_share(rows[:200], rows[:200], rows[200:], stream=Stream(1)).value
    1.0
    """
    rows = as_rows(generated, "generated")
    trained, other = (
        as_rows(real, name, d=rows.shape[1]) for real, name in ((training, "training"), (unseen, "unseen"))
    )
    n_real = min(len(trained), len(other))
    trained, other = (
        random_rows(real, n_real, stream=stream.child(name))
        for real, name in ((trained, "training"), (other, "unseen"))
    )
    (to_training, training_index), (to_unseen, unseen_index) = nearest(rows, trained), nearest(rows, other)
    won, lost = to_training < to_unseen, to_training > to_unseen
    counts = np.concatenate([np.bincount(training_index, won, n_real), np.bincount(unseen_index, lost, n_real)])
    weights, m = counts / len(rows), 2 * n_real
    variance = m / (4.0 * (m - 1)) * np.sum((weights - weights.mean()) ** 2)
    return Estimate(0.5 + 0.5 * float(won.mean() - lost.mean()), float(variance) ** 0.5, len(rows))


def area_under_roc(trained: ArrayLike, unseen: ArrayLike) -> Estimate:
    """Return P(score of a training row > score of an unseen row), where a tie counts one half; 1/2 by chance.

    `trained` is (n,) and `unseen` (m,); scores may be infinite. The standard error is that of DeLong, DeLong and
    Clarke-Pearson 1988: with the share p_i of unseen rows below training row i and the share q_j of training rows above
    unseen row j, the variance is var(p) / n + var(q) / m. Raises InvalidInput for fewer than two rows of a kind, and
    for NaN.

    >>> import numpy as np
    >>> from backwalk.assess.copies import area_under_roc
    >>> round(area_under_roc([2.0, 3.0, 4.0], [1.0, 2.0, -np.inf]).value, 3)
    0.944
    """
    x, y = (np.asarray(scores, dtype=np.float64) for scores in (trained, unseen))
    n, m = len(x), len(y)
    if min(n, m) < 2 or np.isnan(x).any() or np.isnan(y).any():
        raise InvalidInput(f"At least two scores of each kind are needed, none of them NaN, but got {n} and {m}.")
    ranks = rankdata(np.concatenate([x, y]))
    above = (ranks[:n] - rankdata(x)) / m
    below = 1.0 - (ranks[n:] - rankdata(y)) / n
    variance = above.var(ddof=1) / n + below.var(ddof=1) / m
    return Estimate(float(above.mean()), float(variance) ** 0.5, n + m)
