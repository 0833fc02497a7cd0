"""Judging a fitted model: every figure beside its null and with its error, simple baselines beside the model.

`assess` takes a model and rows that its fit never saw, and returns a `Fidelity`: figures, nats, warnings and a verdict
in words. The judges themselves live in `backwalk.evaluation` and know no model; this room introduces the two.
"""

from backwalk.assess.assessment import assess, matched_rows, rows_to_judge
from backwalk.assess.fidelity import ChainBound, Contender, Fidelity, LevelGain

__all__ = ["ChainBound", "Contender", "Fidelity", "LevelGain", "assess", "matched_rows", "rows_to_judge"]
