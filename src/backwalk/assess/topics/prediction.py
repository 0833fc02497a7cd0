"""Can generated rows teach: models of a target column, trained on generated rows and on real rows."""

from __future__ import annotations

from dataclasses import dataclass

from backwalk.assess.representation import kinds_of
from backwalk.assess.statistics import Utility, utility
from backwalk.assess.topics.rows import RowSets
from backwalk.model import DiffusionModel
from backwalk.streams import Stream


@dataclass(frozen=True)
class PredictionScores:
    """How well the column number `target` is predicted in unseen rows."""

    target: int
    utility: Utility


def score_prediction(model: DiffusionModel, sets: RowSets, target: int, stream: Stream) -> PredictionScores | None:
    """Train on generated rows and on training rows, test on unseen rows; None without training rows."""
    if sets.trained is None:
        return None
    kinds = kinds_of(model.codec)
    return PredictionScores(target, utility(sets.generated, sets.trained, sets.unseen, kinds, target, stream=stream))
