"""From a table to a fitted model.

`fit.py` has the five steps of a fit, and `settings.py` the parameters. `columns.py` chooses the columns, `plan.py`
derives network and training, `warnings.py` warns of rows and schedules that spoil a model, and `card.py` records what
was done. `speed.py` serves fits with a time limit, and `progress.py` shows how far they are. The plan's defaults follow
from the data: noise levels by `structure.py`, network and training by `rules.py` and, for tables, `table_rules.py`;
research/defaults.md has the measurements. `distil.py` trains a student of a fitted model, and `oracle.py` makes a model
around a given denoiser.
"""

from backwalk.fit.card import is_of_the_fit, is_of_these_versions, parameters_from, parameters_record, trained_rows
from backwalk.fit.columns import ChosenColumns, choose_columns, choose_from_files, choose_within, read_rows
from backwalk.fit.distil import default_distillation, default_pairs, default_student, distil_model
from backwalk.fit.fit import fit_model, warn_of_set_aside
from backwalk.fit.oracle import oracle_model
from backwalk.fit.progress import FitProgress
from backwalk.fit.rules import (
    FitRules,
    default_architecture,
    default_training,
    default_validation_fraction,
    fit_rules,
    has_fast_bfloat16,
    reference_step_seconds,
    usual_steps,
)
from backwalk.fit.settings import (
    CheckpointOptions,
    Settings,
    check_budget,
    check_checkpoint_options,
    check_settings,
    check_weights,
    choose_device,
)
from backwalk.fit.structure import complete_cases, default_schedule, finest_scale
from backwalk.fit.table_rules import default_evaluations, default_shares, table_rules

__all__ = [
    "CheckpointOptions",
    "ChosenColumns",
    "FitProgress",
    "FitRules",
    "Settings",
    "check_budget",
    "check_checkpoint_options",
    "check_settings",
    "check_weights",
    "choose_columns",
    "choose_device",
    "choose_from_files",
    "choose_within",
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
    "distil_model",
    "finest_scale",
    "fit_model",
    "fit_rules",
    "has_fast_bfloat16",
    "is_of_the_fit",
    "is_of_these_versions",
    "oracle_model",
    "parameters_from",
    "parameters_record",
    "read_rows",
    "reference_step_seconds",
    "table_rules",
    "trained_rows",
    "usual_steps",
    "warn_of_set_aside",
]
