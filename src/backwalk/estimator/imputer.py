"""`DiffusionImputer`: gaps filled by a diffusion model, as a transformer of scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.utils.validation import check_is_fitted

from backwalk.errors import InvalidInput
from backwalk.estimator.conditionals import Conditionals
from backwalk.estimator.diffusion import AnyTable, Diffusion
from backwalk.estimator.fitted import RowsT
from backwalk.limits import Unseen
from backwalk.model import DiffusionModel
from backwalk.streams import RandomState, as_stream


class DiffusionImputer(OneToOneFeatureMixin, TransformerMixin, Conditionals[RowsT], BaseEstimator):  # type: ignore[misc]
    """Fill gaps of arrays or tables by a diffusion model that is fitted to rows with gaps.

    Each gap is filled given all observed cells of its row: with its conditional mean, which has the least squared
    error, or by a draw, which keeps the distribution.

    Parameters
    ----------
    diffusion : Diffusion, default=None
        The model, of which a copy is fitted; None has all defaults and shows no progress. Any columns may be given,
        unless its `conditions` say otherwise. Its `unseen` is that of the imputer too.
    statistic : {"mean", "median"}, default="mean"
        What gaps of numbers are filled with, rounded where a column has steps; labels and truth values are the most
        probable ones. None draws.
    n_draws : int, default=None
        Draws behind an estimate that one evaluation of the network does not give; None is 100.
    random_state : int, numpy.random.Generator or RandomState, default=None
        Seed of draws, and of the fit where `diffusion` is None. The same table is always filled in the same way.

    Attributes
    ----------
    diffusion_ : Diffusion
        The fitted model.
    model_ : backwalk.model.DiffusionModel
        Its record.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str, (d,)
        Names of the columns, where they have names.

    See Also
    --------
    Diffusion.impute : Fills gaps by a model that is fitted already.
    multiple_imputations : Completes a table several times, to pool estimates from the copies.

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion, DiffusionImputer
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> X[::5, 1] = np.nan
    >>> imputer = DiffusionImputer(Diffusion(max_steps=20, random_state=0, verbose=False))
    >>> bool(np.isnan(imputer.fit_transform(X)).any())
    False
    """

    def __init__(
        self,
        diffusion: Diffusion | None = None,
        *,
        statistic: Literal["mean", "median"] | None = "mean",
        n_draws: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.diffusion = diffusion
        self.statistic = statistic
        self.n_draws = n_draws
        self.random_state = random_state

    @property
    def unseen(self) -> Unseen:  # type: ignore[override]
        """What values count as that the fit did not see: `unseen` of the fitted `Diffusion`."""
        return self.diffusion_.unseen

    @overload
    def fit(self, X: NDArray[Any] | Sequence[Sequence[Any]], y: None = None) -> DiffusionImputer[NDArray[Any]]: ...

    @overload
    def fit(self, X: AnyTable, y: None = None) -> DiffusionImputer[AnyTable]: ...

    def fit(self, X: Any, y: None = None) -> DiffusionImputer[Any]:
        """Fit the model to rows with or without gaps.

        Parameters
        ----------
        X : array or table, (n, d)
            Columns hold numbers, texts, categories, truth values, dates or times.
        y : None
            Ignored; part of scikit-learn's signature.

        Returns
        -------
        DiffusionImputer
            The fitted imputer.

        See Also
        --------
        Diffusion.fit : The fit of the model.
        """
        del y  # part of scikit-learn's signature
        stream = as_stream(self.random_state)
        if self.diffusion is None:
            model = Diffusion(random_state=stream.child("fit").integer(), verbose=False)
        elif isinstance(self.diffusion, Diffusion):
            model = clone(self.diffusion)
        else:
            raise InvalidInput(f"diffusion should be a Diffusion or None, but got {self.diffusion!r}: give one.")
        if model.conditions == "auto":
            model.set_params(conditions="any")
        self.diffusion_: Diffusion = model.fit(X)
        self.model_: DiffusionModel = self.diffusion_.model_
        self._seed = stream.child("draws").integer()
        self.n_features_in_: int = model.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(model, "feature_names_in_"):
            self.feature_names_in_: NDArray[np.object_] = model.feature_names_in_
        return self

    def transform(self, X: Any) -> RowsT:
        """Fill the gaps of rows.

        Parameters
        ----------
        X : array or table, (n, d)
            Rows with or without gaps, with the fitted columns.

        Returns
        -------
        array or table, (n, d)
            Rows of the kind, columns and dtypes of the fitted ones; observed cells are unchanged.

        See Also
        --------
        DiffusionImputer.impute : Fills gaps by several draws.
        """
        check_is_fitted(self)
        if self.statistic is None:
            return self.impute(X, random_state=self._seed)
        return self.impute(X, statistic=self.statistic, n_draws=self.n_draws, random_state=self._seed)
