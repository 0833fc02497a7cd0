"""The base of the estimator: its fitted model, and checks of the rows that methods are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from typing_extensions import TypeVar

from backwalk.diffusion import Denoiser, NoiseSchedule
from backwalk.errors import warn_caller
from backwalk.limits import Unseen
from backwalk.model import DiffusionModel, check_policy, check_unseen, refuse_gaps, warn_of_unseen
from backwalk.table import Codec, Table, as_table, from_values, match_columns
from backwalk.table.codec_rules import stated_rules
from backwalk.table.column_facts import kind_of
from backwalk.training import History, Training

_FIT_WITH_GAPS = (
    'fill them, leave out these rows (--drop-missing on the command line) or columns, or fit with conditions="any"'
)
Columns: TypeAlias = Sequence[str | int]
"""Columns by name, or by number from 0."""
RowsT = TypeVar("RowsT", default=Any)
"""The kind of the fitted rows, of which drawn and completed ones are too: an array, or a table of some library."""


class Fitted(Generic[RowsT]):
    """Holds `model_` once `fit` or `load` has been called."""

    model_: DiffusionModel
    verbose: bool | int
    unseen: Unseen

    def _read(
        self,
        X: Any,
        *,
        given: Sequence[int] = (),
        scored: Sequence[int] = (),
        gaps: bool = False,
        columns: Sequence[int] | None = None,
    ) -> Table:
        """Return rows as `_matched` does, and warn of values in some columns that the fit did not see, by `unseen`."""
        table = self._matched(X, gaps=gaps, columns=columns, unseen=self.unseen)
        warn_of_unseen(check_unseen(self.model_, table.values, given=given, scored=scored, unseen=self.unseen))
        return table

    def _matched(
        self,
        X: Any,
        name: str = "X",
        *,
        gaps: bool = False,
        columns: Sequence[int] | None = None,
        unseen: Unseen = "error",
    ) -> Table:
        """Return rows as a table with the model's columns in the model's order.

        With `gaps` they may have missing values where the model takes them: see `DiffusionModel.may_be_missing`. With
        `columns`, numbers of columns, the others are not looked at, and may be missing from the table.
        """
        check_is_fitted(self)
        check_policy(unseen)
        table, estimator = as_table(X, name=name), type(self).__name__
        schema = self.model_.schema
        same = (table.columns is None) == (schema.columns is None)
        if not same and not isinstance(X, Table):  # in scikit-learn's words
            has, was = ("does not have valid", "with") if table.columns is None else ("has", "without")
            words = f"{name} {has} feature names, but {estimator} was fitted {was} feature names"
            warn_caller(words, UserWarning)
        if columns is not None:
            return match_columns(table, schema, columns=columns, name=name, estimator=estimator, unseen=unseen)
        matched = match_columns(table, schema, name=name, estimator=estimator, unseen=unseen)
        if gaps:
            return refuse_gaps(matched, self.model_.may_be_missing, name=name, remedy=_FIT_WITH_GAPS)
        return refuse_gaps(matched, self.model_.codec.missing_levels, name=name)

    def _of_kind(self, values: NDArray[np.float64]) -> RowsT:
        """Return rows, (n, d), as the kind of the fitted ones."""
        rows: RowsT = from_values(values, self.model_.schema)
        return rows

    def _adopt(self, model: DiffusionModel) -> None:
        """Set the attributes of a fitted estimator."""
        self.model_ = model
        self.training_: Training = Training(**model.card["settings"]["training"])
        self.schedule_: NoiseSchedule = model.schedule
        self.denoiser_: Denoiser = model.denoiser
        self.codec_: Codec = model.codec
        self.history_: History = model.history
        self.n_features_in_: int = model.schema.n_columns
        names: Sequence[str | int] = model.schema.columns or range(model.schema.n_columns)
        self.columns_: dict[str | int, str] = {
            name: kind_of(model.schema, j, column)
            for j, (name, column) in enumerate(zip(names, model.codec.columns, strict=True))
        }
        self.rules_: list[str] = stated_rules(model.codec, model.schema.names)
        self.__dict__.pop("feature_names_in_", None)  # scikit-learn sets it only if the columns have names
        if model.schema.columns is not None:
            self.feature_names_in_: NDArray[np.object_] = np.array(model.schema.columns, dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether `fit` or `load` has been called."""
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: rows may hold categories, texts and missing values."""
        tags = super().__sklearn_tags__()  # type: ignore[misc]  # of BaseEstimator
        tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.allow_nan = True
        return tags
