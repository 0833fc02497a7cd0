"""The methods of an estimator that predict a column given others, and that fill gaps."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from backwalk.errors import InvalidInput
from backwalk.estimator.fitted import Columns, Fitted, RowsT
from backwalk.limits import is_whole
from backwalk.model import (
    Conditional,
    check_unseen,
    column_numbers,
    conditional,
    estimate_rows,
    impute_rows,
    refuse_fractions,
    warn_of_unseen,
)
from backwalk.streams import RandomState, as_stream
from backwalk.table import Schema, from_values

N_DRAWS = 100  # of a number's distribution


class Conditionals(Fitted[RowsT]):
    """Predicts columns given others, and fills gaps."""

    def conditional(
        self,
        X: Any,
        column: str | int,
        *,
        given: Columns | None = None,
        n_draws: int = N_DRAWS,
        random_state: RandomState = 0,
    ) -> Conditional:
        """Return the distribution of a column given other columns, row by row.

        `model.conditional(X, column).mode` classifies, and `.mean` is a regression. Both take one evaluation of the
        network for each row; the mean of a number that is transformed takes 61, and its error is a few hundredths of
        the conditional standard deviation. Draws are made when they are first needed.

        Parameters
        ----------
        X : array or table, (n, d)
            Missing values are integrated out. The column itself is not read; a table with names may lack it, and all
            columns that are not given. `unseen` of `Diffusion` says what values count as that the fit did not see.
        column : str or int
            Name or number of the column.
        given : list of columns, default=None
            Columns that are given; None is all others.
        n_draws : int, default=100
            Draws of a number for each row. Unused for columns of levels.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of the draws.

        Returns
        -------
        backwalk.model.Conditional
            The distributions, with `levels`, `probabilities`, `mode` and `log_prob` of a column of levels; with
            `draws`, `mean`, `quantile`, `interval`, `cdf` and `pit` of a number. Where missing values are generated,
            these are given that there is a value, and `missing` is the probability that there is none.

        Raises
        ------
        InvalidInput
            A ValueError: the columns differ from the fitted ones, the column is constant or given, the model was not
            trained for what is given, or `unseen` is "error" and a given cell holds a value that the fit did not see.

        Warns
        -----
        UnseenValuesWarning
            Given cells hold values that the fit did not see.

        See Also
        --------
        Diffusion.sample : Draws of several columns given others.
        Diffusion.score_samples : Log-densities of columns given others.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, conditions="any", random_state=0).fit(X)
        >>> model.conditional(X[:5], 1, n_draws=20)
        Conditional(column 1, 5 rows)
        """
        check_is_fitted(self)
        _check_draws(n_draws)
        schema = self.model_.schema
        (place,) = column_numbers(schema, [column])
        others = [j for j in range(schema.n_columns) if j != place]
        columns = others if given is None else column_numbers(schema, given)
        if place in columns:
            raise InvalidInput(
                f"The column should not be given, but {schema.label(place)} is: leave it out of given=, whose default "
                "is all other columns."
            )
        values = self._read(X, given=columns, columns=columns).values
        rows = np.where(np.isin(np.arange(schema.n_columns), columns), values, np.nan)
        stream = as_stream(random_state).child("conditional")
        return conditional(self.model_, rows, place, n_draws=int(n_draws), stream=stream)

    @overload
    def impute(
        self,
        X: Any,
        *,
        n_draws: None = None,
        statistic: Literal["mean", "median"] | None = None,
        first_row: int = 0,
        random_state: RandomState = None,
    ) -> RowsT: ...

    @overload
    def impute(
        self,
        X: Any,
        *,
        n_draws: int,
        statistic: Literal["mean", "median"],
        first_row: int = 0,
        random_state: RandomState = None,
    ) -> RowsT: ...

    @overload
    def impute(
        self, X: Any, *, n_draws: int, statistic: None = None, first_row: int = 0, random_state: RandomState = None
    ) -> list[RowsT]: ...

    def impute(
        self,
        X: Any,
        *,
        n_draws: int | None = None,
        statistic: Literal["mean", "median"] | None = None,
        first_row: int = 0,
        random_state: RandomState = None,
    ) -> Any:
        """Fill the gaps of rows, given the observed cells of the same row.

        By default all gaps of a row are drawn jointly, such that the completed rows follow the model's distribution.
        Several draws carry the uncertainty of the gaps into later estimates, but not that of the model, as
        `backwalk.multiple_imputations` does: see `backwalk.pooled`. Estimates are closer to the missing values on
        average, but vary less than these.

        Parameters
        ----------
        X : array or table, (n, d)
            Observed cells whose values the fit did not see stay as they are; `unseen` of `Diffusion` says what the gaps
            are filled given.
        n_draws : int, default=None
            Number of completed tables to draw; with `statistic`, the number of draws behind it (100 by default) where
            one evaluation of the network does not give it.
        statistic : {"mean", "median"}, default=None
            Fill gaps of numbers with their conditional mean or median, rounded to a value that the column has where it
            has levels or steps, and those of labels and truth values with the most probable one. None draws.
        first_row : int, default=0
            The number of the first row in a larger table, of which X is a part. With an integer as `random_state` all
            parts are filled as the whole would be, up to the rounding of the network.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws. An integer fills the same rows in the same way.

        Returns
        -------
        array or table, (n, d), or list of these
            Rows of the kind, columns and dtypes of the fitted ones; observed cells are unchanged. With `n_draws` and
            without `statistic`, a list of `n_draws` tables.

        Raises
        ------
        InvalidInput
            A ValueError: the columns differ from the fitted ones, the model was not trained for these gaps, or `unseen`
            is "error" and an observed cell holds a value that the fit did not see.
        SamplingDiverged
            A row is not finite.

        Warns
        -----
        UnseenValuesWarning
            Observed cells hold values that the fit did not see.

        See Also
        --------
        DiffusionImputer : Fills gaps in a pipeline of scikit-learn.
        multiple_imputations : Completed tables that carry the uncertainty of the model too.
        pooled : One estimate from several completed tables.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, conditions="any", random_state=0).fit(X)
        >>> X[::5, 1] = np.nan
        >>> bool(np.isnan(model.impute(X, random_state=1)).any()), len(model.impute(X, n_draws=3, random_state=1))
        (False, 3)
        """
        check_is_fitted(self)
        if n_draws is not None:
            _check_draws(n_draws)
        if statistic not in (None, "mean", "median"):
            raise InvalidInput(f'statistic should be "mean", "median" or None, but got {statistic!r}: None draws.')
        if not is_whole(first_row) or first_row < 0:
            raise InvalidInput(f"first_row should be an integer >= 0, but got {first_row!r}: 0 is the first.")
        every = range(self.model_.schema.n_columns)
        table = self._matched(X, columns=every, unseen=self.unseen)
        values, schema = table.values, table.schema
        refuse_fractions(schema, values, "X")
        warn_of_unseen(check_unseen(self.model_, values, given=every, unseen=self.unseen))
        place: dict[str, Any] = {"stream": as_stream(random_state).child("impute"), "first_row": int(first_row)}
        if statistic is not None:
            draws = int(n_draws or N_DRAWS)
            return _completed(estimate_rows(self.model_, values, statistic, draws, **place), schema, X)
        completed = impute_rows(self.model_, values, int(n_draws or 1), **place)
        tables = [_completed(rows, schema, X) for rows in completed]
        return tables if n_draws is not None else tables[0]


def _completed(rows: NDArray[np.float64], schema: Schema, X: Any) -> Any:
    table = from_values(rows, schema)
    if schema.kind == "pandas" and hasattr(X, "index") and not callable(X.index):
        table.index = X.index
    return table


def _check_draws(n_draws: Any) -> None:
    if not is_whole(n_draws) or n_draws < 1:
        raise InvalidInput(f"n_draws should be an integer >= 1, but got {n_draws!r}: 5 to 100 are usual.")
