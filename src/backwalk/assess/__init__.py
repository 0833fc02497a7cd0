"""Score a fitted model on unseen rows: statistics with their nulls and errors, beside those of baselines.

`assess` returns a `Fidelity`: the figures, the warnings, and answers in words. Of a model with an embedding, which
answers for posteriors alone, it is a `Calibration`. Six questions are a module each, with `score`, the warnings and the
section of the report: `rows`, `columns`, `density`, `levels`, `copies` and `posteriors`. `statistics` compare sets of
rows and do not depend on models; `baselines` are simple models beside the diffusion model.
"""

from backwalk.assess.assessment import assess
from backwalk.assess.baselines import fit_baseline
from backwalk.assess.model_scores import ModelScores
from backwalk.assess.page import render_report, report_record, write_report
from backwalk.assess.record import Calibration, Fidelity
from backwalk.assess.sets import rows_to_score

__all__ = [
    "Calibration",
    "Fidelity",
    "ModelScores",
    "assess",
    "fit_baseline",
    "render_report",
    "report_record",
    "rows_to_score",
    "write_report",
]
