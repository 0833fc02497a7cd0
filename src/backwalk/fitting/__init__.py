"""From encoded rows to a fitted model.

`settings.py` checks the parameters, `speed.py` measures the machine, `plan.py` derives network and training,
`warnings.py` warns of rows and schedules that spoil a model, `fit.py` trains, and `card.py` records what was done.
"""

from backwalk.fitting.card import (
    is_of_the_fit,
    is_of_these_versions,
    parameters_from,
    parameters_record,
    trained_rows,
)
from backwalk.fitting.column_choice import ChosenColumns, chosen_columns, chosen_within, read_rows
from backwalk.fitting.fit import fitted, warn_of_set_aside
from backwalk.fitting.settings import (
    CheckpointOptions,
    Settings,
    check_budget,
    checked_checkpoint_options,
    checked_settings,
    checked_weights,
    chosen_device,
)

__all__ = [
    "CheckpointOptions",
    "ChosenColumns",
    "Settings",
    "check_budget",
    "checked_checkpoint_options",
    "checked_settings",
    "checked_weights",
    "chosen_columns",
    "chosen_device",
    "chosen_within",
    "fitted",
    "is_of_the_fit",
    "is_of_these_versions",
    "parameters_from",
    "parameters_record",
    "read_rows",
    "trained_rows",
    "warn_of_set_aside",
]
