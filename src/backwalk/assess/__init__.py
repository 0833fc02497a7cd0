"""Score a fitted model on unseen rows: statistics with their nulls and errors, beside those of baselines.

`assess` returns a `Fidelity`: the figures, the warnings, and answers in words. Of a model with an embedding, which
answers for posteriors alone, it is a `Calibration`. `statistics` compare sets of rows and do not depend on models;
`baselines` are simple models beside the diffusion model. Each module of `topics` holds the scores of one topic, the
function that computes them, and the warnings about them.
"""

from backwalk.assess.assessment import assess
from backwalk.assess.baselines import Baseline, fit_baseline
from backwalk.assess.fidelity import Calibration, Fidelity, ModelScores
from backwalk.assess.topics.rows import matched_rows, rows_to_score

__all__ = [
    "Baseline",
    "Calibration",
    "Fidelity",
    "ModelScores",
    "assess",
    "fit_baseline",
    "matched_rows",
    "rows_to_score",
]
