"""Score a fitted model on unseen rows: statistics with their nulls and errors, beside those of baselines.

`assess` returns a `Fidelity`: the figures, the warnings, and a verdict in words. The statistics come from
`backwalk.assess.statistics`, which does not depend on models.
"""

from backwalk.assess.assessment import assess
from backwalk.assess.baselines.tables import TableBaseline, table_baseline
from backwalk.assess.fidelity import ChainBound, Fidelity, LevelGain, ModelScores
from backwalk.assess.posterior_scores import PosteriorScores
from backwalk.assess.rows import matched_rows, rows_to_score
from backwalk.assess.table_fidelity import TableScores

__all__ = [
    "ChainBound",
    "Fidelity",
    "LevelGain",
    "ModelScores",
    "PosteriorScores",
    "TableBaseline",
    "TableScores",
    "assess",
    "matched_rows",
    "rows_to_score",
    "table_baseline",
]
