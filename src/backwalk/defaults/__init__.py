"""Choices that follow from the data: noise levels, network and training.

`structure.py` derives the noise levels from the rows, `fit.py` the network and its training from the numbers of rows
and columns, `tables.py` the patterns in which a table's columns are given or absent, `student.py` those of a distilled
student, and `bfloat16.py` the precision of the products from the device.
All rows are encoded. docs/defaults.md has the measurements: none was made on the rows of a benchmark, though some
densities are the benchmark's too.
"""

from backwalk.defaults.bfloat16 import has_fast_bfloat16
from backwalk.defaults.fit import (
    FitRules,
    default_architecture,
    default_training,
    default_validation_fraction,
    fit_rules,
    reference_step_seconds,
    usual_steps,
)
from backwalk.defaults.structure import STRUCTURE, complete_cases, default_schedule, finest_scale
from backwalk.defaults.student import default_distillation, default_pairs, default_student
from backwalk.defaults.tables import default_evaluations, default_shares, table_rules

__all__ = [
    "STRUCTURE",
    "FitRules",
    "complete_cases",
    "default_architecture",
    "default_distillation",
    "default_evaluations",
    "default_pairs",
    "default_schedule",
    "default_shares",
    "default_student",
    "default_training",
    "default_validation_fraction",
    "finest_scale",
    "fit_rules",
    "has_fast_bfloat16",
    "reference_step_seconds",
    "table_rules",
    "usual_steps",
]
