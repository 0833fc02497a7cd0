"""Membership: can whoever has the model tell the rows that it was trained on from others, by its own log-probability?

A training row is a row that was trained on. Held-out rows are neither training nor unseen rows, as they chose the
weights. The second test subtracts the best baseline's log-probability, so that rows which are likely under any model
count less (the likelihood-ratio test). A baseline fitted to the tested training rows would hide what the model
remembers behind what it remembers itself, so it is fitted anew to each half of the tested rows, of both kinds, and
scores the other half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backwalk.assess.baselines import Baseline
from backwalk.assess.statistics.membership import Found, area_under_roc, found_rows, smallest_area_shown
from backwalk.assess.topics.likelihood import LikelihoodScores
from backwalk.assess.words import with_error
from backwalk.estimates import Estimate, Rows
from backwalk.model import DiffusionModel
from backwalk.streams import Stream

AREA_MARGIN = 0.01  # one more of 100 pairs of rows is told apart
_AREA_TO_WARN, _Z = 0.6, 4.0


@dataclass(frozen=True)
class MembershipTest:
    """A test by one score: its area under the ROC curve, 1/2 by chance, and the training rows found at 1 % alarms.

    The area is the share of pairs, of a training row and an unseen row, in which the training row has the higher score.
    `found` is None with fewer than 99 unseen rows.
    """

    score: str
    area: Estimate
    found: Found | None


@dataclass(frozen=True)
class MembershipScores:
    """The tests of `n_trained` training rows against `n_unseen` unseen rows, the one by the log-probability first.

    Of the unseen rows `n_impossible` hold values that the model cannot make, so that they are surely no training rows.
    An area above `smallest_area` would have been two standard errors above 1/2.
    """

    tests: tuple[MembershipTest, ...]
    n_trained: int
    n_unseen: int
    n_impossible: int
    smallest_area: float

    @property
    def strongest(self) -> MembershipTest:
        """The test with the largest area."""
        return max(self.tests, key=lambda test: test.area.value)

    def warnings(self) -> Iterator[str]:
        """Yield the warning about training rows that can be recognised."""
        test = self.strongest
        if test.area.value > max(_AREA_TO_WARN, 0.5 + _Z * test.area.standard_error):
            yield (
                f"Training rows can be recognised: {test.score} is higher for a training row than for an unseen row in "
                f"{with_error(test.area.value, test.area.standard_error, percent=True)} of pairs (50 % is nothing). "
                "Train for fewer steps, or on more rows, before you give the model away."
            )


def score_membership(
    model: DiffusionModel,
    likelihood: LikelihoodScores,
    best: Baseline | None,
    stream: Stream,
    *,
    share_impossible: float = 0.0,
) -> MembershipScores | None:
    """Test whether scores of training rows exceed those of unseen rows; None where no training rows were scored.

    Both are the rows of `likelihood`. For each of its unseen rows, which the model can make, `share_impossible` more
    count with a score of -inf. `best` is the baseline of the likelihood-ratio test, None for none.
    """
    trained, log_p = likelihood.trained, likelihood.log_p_trained
    if trained is None or log_p is None:
        return None
    n, m = len(trained), len(likelihood.rows)
    impossible = np.full(round(share_impossible * m), -np.inf)

    def by(score: str, of_trained: Rows, of_unseen: Rows) -> MembershipTest:
        others = np.concatenate([of_unseen, impossible])
        return MembershipTest(score, area_under_roc(of_trained, others), found_rows(of_trained, others))

    tests = [by("ln p", log_p, likelihood.log_p_model)]
    if best is not None:
        rows, scores = np.concatenate([trained, likelihood.rows]), np.concatenate([log_p, likelihood.log_p_model])
        reference = score_halves(best, model, rows, n, stream)
        # A row that the model cannot make is no training row, whatever the baseline says.
        ratio = np.where(scores == -np.inf, -np.inf, scores - reference)
        tests.append(by(f"ln p minus that of {best.name}", ratio[:n], ratio[n:]))
    m += len(impossible)
    return MembershipScores(tuple(tests), n, m, len(impossible), smallest_area_shown(n, m))


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
