"""From encoded rows to a fitted model.

`settings.py` checks what an estimator was given, `plan.py` says what follows from it and from the rows, `fit.py` trains
and measures, and `card.py` writes down what was done.
"""

from backwalk.fitting.card import (
    cells_of_the_fit,
    is_of_the_fit,
    is_of_these_versions,
    parameters_from,
    parameters_record,
    trained_rows,
)
from backwalk.fitting.fit import fitted
from backwalk.fitting.settings import (
    CheckpointOptions,
    Settings,
    check_budget,
    checked_checkpoint_options,
    checked_settings,
    chosen_device,
)

__all__ = [
    "CheckpointOptions",
    "Settings",
    "cells_of_the_fit",
    "check_budget",
    "checked_checkpoint_options",
    "checked_settings",
    "chosen_device",
    "fitted",
    "is_of_the_fit",
    "is_of_these_versions",
    "parameters_from",
    "parameters_record",
    "trained_rows",
]
