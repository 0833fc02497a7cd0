"""The base of the estimator: its fitted model, and checks of the rows that methods are given."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from sklearn.utils.validation import check_is_fitted

from backwalk.model import DiffusionModel
from backwalk.table import Table, as_table, complete, match_columns

_HERE = __name__.rpartition(".")[0]


class Fitted:
    """Holds `model_` once `fit` or `load` has been called."""

    model_: DiffusionModel
    verbose: bool | int

    def _matched(self, X: Any, name: str = "X") -> Table:
        """Return rows as a table with the model's columns in the model's order."""
        check_is_fitted(self)
        table, own = complete(as_table(X, name=name), name=name), type(self).__name__
        same = (table.columns is None) == (self.model_.schema.columns is None)
        if not same and not isinstance(X, Table):  # in scikit-learn's words
            has, was = ("does not have valid", "with") if table.columns is None else ("has", "without")
            words = f"{name} {has} feature names, but {own} was fitted {was} feature names"
            warnings.warn(words, stacklevel=callers_level())
        return match_columns(table, self.model_.schema, name=name, estimator=own)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` or `load` has been called."""
        return hasattr(self, "model_")


def callers_level() -> int:
    """Return the `stacklevel` by which a warning points to the line that called into this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_HERE):
        frame, level = frame.f_back, level + 1
    return level
