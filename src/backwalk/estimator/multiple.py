"""Multiple imputation with the uncertainty of the model: each completed table comes from a separately fitted model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.base import clone

from backwalk.errors import InvalidInput
from backwalk.estimator.diffusion import Diffusion
from backwalk.limits import is_whole
from backwalk.streams import RandomState, Stream, as_stream
from backwalk.table import as_table


def multiple_imputations(
    X: Any, n_draws: int = 20, *, diffusion: Diffusion | None = None, random_state: RandomState = None
) -> Iterator[Any]:
    """Yield completed copies of a table, each drawn from another model.

    Model i is fitted with random weights of the rows, w ~ Exp(1), the Bayesian bootstrap. The copies then differ by the
    uncertainty of the gaps and by that of the model, as `pooled` needs. The copies of `Diffusion.impute` differ by the
    former alone: intervals that are pooled from them are too narrow where many cells are missing. It takes the time of
    `n_draws` fits.

    Source: Rubin 1981, "The Bayesian bootstrap"; Rubin 1987, chapter 4, on proper imputations.

    Parameters
    ----------
    X : array or table, (n, d)
        Rows with gaps.
    n_draws : int, default=20
        Number of completed tables, at least 2.
    diffusion : Diffusion, default=None
        The settings of the fits; None has all defaults and shows no progress. Any columns may be given, unless its
        `conditions` say otherwise.
    random_state : int, numpy.random.Generator or RandomState, default=None
        Seed of the weights, the fits and the draws.

    Yields
    ------
    array or table, (n, d)
        Rows of the kind, columns and dtypes of X; observed cells are unchanged.

    Raises
    ------
    InvalidInput
        A ValueError: a parameter or the rows cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> X[::5, 1] = np.nan
    >>> quick = Diffusion(max_steps=20, verbose=False)
    >>> tables = list(multiple_imputations(X, 2, diffusion=quick, random_state=0))
    >>> len(tables), bool(np.isnan(tables[0]).any())
    (2, False)
    """
    if not is_whole(n_draws) or n_draws < 2:
        raise InvalidInput(f"n_draws should be an integer of at least 2, but got {n_draws!r}: intervals need several.")
    if not isinstance(diffusion, Diffusion | None):
        raise InvalidInput(f"diffusion should be a Diffusion or None, but got {diffusion!r}: give one.")
    settings = Diffusion(verbose=False) if diffusion is None else clone(diffusion)
    if settings.conditions == "auto":
        settings.set_params(conditions="any")
    return _tables(X, int(n_draws), settings, as_stream(random_state).child("multiple imputations"))


def _tables(X: Any, n_draws: int, settings: Diffusion, stream: Stream) -> Iterator[Any]:
    n = len(as_table(X).values)
    for i in range(n_draws):
        weights = -stream.child("weights", i).uniform(0, n, 1)[:, 0].log().numpy()
        model = clone(settings).set_params(random_state=stream.child("fit", i).integer())
        yield model.fit(X, sample_weight=weights).impute(X, random_state=stream.child("draw", i).integer())
