"""From a table to a fitted model.

`fit.py` has the eight steps of a fit, and `settings.py` the parameters. `columns.py` chooses the columns, `plan.py`
derives network and training, `warnings.py` warns of rows and schedules that spoil a model, and `card.py` records what
was done. `progress.py` shows how far a fit is. What the settings leave open follows from the data: noise levels by
`structure.py`, all else by `defaults.py`. `oracle.py` makes a model around a given denoiser.
"""

from backwalk.fit.card import is_of_the_fit, parameters_from, parameters_record, trained_rows
from backwalk.fit.columns import ChosenColumns, choose_columns, choose_from_files, choose_within, read_rows
from backwalk.fit.defaults import (
    default_architecture,
    default_evaluations,
    default_shares,
    default_training,
    default_validation_fraction,
    has_fast_bfloat16,
)
from backwalk.fit.fit import fit_model, warn_of_set_aside
from backwalk.fit.oracle import oracle_model
from backwalk.fit.progress import FitProgress
from backwalk.fit.settings import Settings, check_settings, check_weights, choose_device
from backwalk.fit.structure import default_schedule, finest_scale

__all__ = [
    "ChosenColumns",
    "FitProgress",
    "Settings",
    "check_settings",
    "check_weights",
    "choose_columns",
    "choose_device",
    "choose_from_files",
    "choose_within",
    "default_architecture",
    "default_evaluations",
    "default_schedule",
    "default_shares",
    "default_training",
    "default_validation_fraction",
    "finest_scale",
    "fit_model",
    "has_fast_bfloat16",
    "is_of_the_fit",
    "oracle_model",
    "parameters_from",
    "parameters_record",
    "read_rows",
    "trained_rows",
    "warn_of_set_aside",
]
