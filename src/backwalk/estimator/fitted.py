"""The base of the estimator: its fitted model, and checks of the rows that methods are given."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from sklearn.utils.validation import check_is_fitted

from backwalk.model import DiffusionModel, refuse_gaps
from backwalk.table import Table, as_table, match_columns

_FIT_WITH_GAPS = (
    'fill them, leave out these rows (--drop-missing on the command line) or columns, or fit with conditions="any"'
)
Columns = Sequence[str | int]
"""Columns by name, or by number from 0."""

_HERE = __name__.rpartition(".")[0]


class Fitted:
    """Holds `model_` once `fit` or `load` has been called."""

    model_: DiffusionModel
    verbose: bool | int

    def _matched(self, X: Any, name: str = "X", *, gaps: bool = False, columns: Sequence[int] | None = None) -> Table:
        """Return rows as a table with the model's columns in the model's order.

        With `gaps` they may have missing values where the model takes them: see `DiffusionModel.may_be_missing`. With
        `columns`, numbers of columns, the others are not looked at, and may be missing from the table.
        """
        check_is_fitted(self)
        table, estimator = as_table(X, name=name), type(self).__name__
        schema = self.model_.schema
        same = (table.columns is None) == (schema.columns is None)
        if not same and not isinstance(X, Table):  # in scikit-learn's words
            has, was = ("does not have valid", "with") if table.columns is None else ("has", "without")
            words = f"{name} {has} feature names, but {estimator} was fitted {was} feature names"
            warnings.warn(words, stacklevel=callers_level())
        if columns is not None:
            return match_columns(table, schema, columns=columns, name=name, estimator=estimator)
        matched = match_columns(table, schema, name=name, estimator=estimator)
        if gaps:
            return refuse_gaps(matched, self.model_.may_be_missing, name=name, remedy=_FIT_WITH_GAPS)
        return refuse_gaps(matched, self.model_.codec.missing_levels, name=name)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` or `load` has been called."""
        return hasattr(self, "model_")


def callers_level() -> int:
    """Return the `stacklevel` by which a warning points to the line that called into this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_HERE):
        frame, level = frame.f_back, level + 1
    return level
