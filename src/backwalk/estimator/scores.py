"""The methods of an estimator that score rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from backwalk.diffusion import BoundTerms, LogDensity
from backwalk.errors import ImpossibleRowsWarning, InvalidInput, warn_caller
from backwalk.estimator.fitted import Columns, Fitted, RowsT
from backwalk.fit.progress import Display
from backwalk.formatting import listed
from backwalk.limits import ReverseVariance
from backwalk.model import (
    N_PLACES,
    bound,
    check_unseen,
    column_numbers,
    impossible_words,
    log_density,
    log_prob_of_allowed,
    rank_scores,
    read_allowed,
)
from backwalk.streams import RandomState, as_stream
from backwalk.table import as_table


class Scores(Fitted[RowsT]):
    """Scores rows."""

    def score_samples(
        self, X: Any, *, given: Columns | None = None, columns: Columns | Mapping[str | int, Any] | None = None
    ) -> NDArray[np.float64]:
        """Return the log-density of each row by the probability-flow ODE: the `log_prob` of `log_density`.

        Parameters
        ----------
        X : array or table, (n, d)
            A missing value is integrated out.
        given : list of columns, default=None
            Columns that are given, by name or number: see `log_density`.
        columns : list of columns, or mapping, default=None
            Columns that are scored: see `log_density`. A mapping from one column to a range `(low, high)` or a set asks
            for ln of the probability that the column lies in it, given the columns `given` of each row, by default all
            others that X has. It takes a model that may be given any columns.

        Returns
        -------
        ndarray, (n,)
            Nats, in the user's units; -inf for rows that the model cannot make.

        Warns
        -----
        UnseenValuesWarning
            See `log_density`.

        See Also
        --------
        Diffusion.log_density : The same with the errors of the computation.
        Diffusion.score_ranks : How unusual rows are among others.
        Diffusion.bound : The variational bound of the chain on -log p.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, conditions="any", random_state=0).fit(X)
        >>> model.score_samples(X[:3], columns=[0]).shape, model.score_samples(X[:3], given=[0]).shape
        ((3,), (3,))
        >>> bool((model.score_samples(X[:3], given=[0], columns={1: (None, 0.0)}) < 0.0).all())
        True
        """
        if isinstance(columns, Mapping):
            return self._log_prob_of_range(X, given, columns)
        return self.log_density(X, given=given, columns=columns).log_prob.numpy()

    def _log_prob_of_range(
        self, X: Any, given: Columns | None, columns: Mapping[str | int, Any]
    ) -> NDArray[np.float64]:
        """Return ln P(a column in a range or set | given), (n,)."""
        check_is_fitted(self)
        schema = self.model_.schema
        allowed = read_allowed(self.model_, columns)
        table = as_table(X)
        if given is None:
            names = schema.names if table.columns is None else table.columns
            of_given = [j for j, name in enumerate(schema.names) if name in names and j != allowed.column]
        else:
            of_given = column_numbers(schema, given)
        if allowed.column in of_given:
            raise InvalidInput(f"given and columns should differ, but both have {schema.label(allowed.column)}.")
        values = self._read(table, given=of_given, columns=of_given, gaps=True).values
        is_given = np.isin(np.arange(schema.n_columns), of_given)
        return log_prob_of_allowed(self.model_, np.where(is_given, values, np.nan), allowed)

    def score_ranks(self, X: Any, reference: Any) -> NDArray[np.float64]:
        """Return the share of reference rows whose log-density is no higher than that of each row.

        A row of rank 0.01 is among the one per cent of least density: an outlier. Ranks among rows that `fit` has not
        seen are unbiased; ranks among training rows are a little too low.

        Parameters
        ----------
        X : array or table, (n, d)
            Rows to rank.
        reference : array or table, (m, d), or ndarray, (m,)
            Rows, such as held-out rows; or their log-densities, the `score_samples` of them.

        Returns
        -------
        ndarray, (n,)
            Numbers from 0 to 1.

        Raises
        ------
        InvalidInput
            A ValueError: the rows cannot be scored, or there are no log-densities to rank among.

        See Also
        --------
        Diffusion.score_samples : The log-densities that are ranked.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(300, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X[:200])
        >>> model.score_ranks([[9.0, 9.0]], X[200:])
        array([0.])
        """
        is_scores = isinstance(reference, np.ndarray) and reference.ndim == 1
        scores = reference if is_scores else self.score_samples(reference)
        if not len(scores) or np.isnan(scores).any():
            what = "has NaN" if len(scores) else "is empty"
            raise InvalidInput(
                f"reference should hold log-densities of rows, but {what}: give rows that the fit has not seen, or the "
                "score_samples of them."
            )
        return rank_scores(self.score_samples(X), scores)

    def log_density(
        self,
        X: Any,
        *,
        given: Columns | None = None,
        columns: Columns | None = None,
        n_intervals: int = 16,
        n_probes: int | None = None,
        n_places: int = N_PLACES,
        random_state: RandomState = 0,
    ) -> LogDensity:
        """Return the log-density of each row by the probability-flow ODE, with its errors.

        It is ln p(columns | given), and ln p of whole rows by default. Columns with levels (labels, truth values, few
        distinct numbers), atoms of numbers, and integers count with their probability; other numbers with their
        density, per unit of the column. Copies and dates come first, then levels column by column,
        ln P(l_j | l_1..l_{j-1}), and then the numbers, given all levels. Columns that are neither scored nor given are
        integrated out, and so are missing values.

        For an integer j the density is integrated over the cell j +- 1/2, at `n_places` places. A row has -inf where a
        constant column differs from the fitted constant, where a column of integers holds another number, and where a
        value is no level of its column. `unseen` of `Diffusion` says what such values count as where they are given,
        and may refuse them. Columns that are neither given nor scored are not checked. The density is blurred by
        noise of standard deviation `model_.blur`, and of more in the tails of columns that are transformed.

        Parameters
        ----------
        X : array or table, (n, d)
            Columns that are neither scored nor given may be left out of a table with names.
        given : list of columns, default=None
            Columns that are given, by name or number. `conditions` of the fit says which may be given.
        columns : list of columns, default=None
            Columns that are scored; None is all that are not given.
        n_intervals : int, default=16
            Even number of intervals of noise levels, in each of which the divergence is computed once. More make the
            solver's error smaller, and time is proportional to them. With 16 the error of fitted models of 2 to 20
            numbers was below .002 nats a row in the mean, and with 8 below .1; `solver_error` was 20 to 100 times as
            large, and smaller than the error in one row of a hundred.
        n_probes : int, default=None
            Random probes per row that estimate the divergence, for the mean over many rows: the error of one row may be
            nats. None computes it exactly up to 32 free numbers, and takes 16 probes beyond.
        n_places : int, default=16
            Places in the joint cell of a row's integers. With m places a row takes about m / 3 + 2 times as long as one
            without integers: 8 times by default.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of probes and places. They also depend on the row's content, so that a row has the same score in any
            batch.

        Returns
        -------
        LogDensity
            `log_prob`, `solver_error` and `standard_error` (that of probes and places), (n,), in nats in the user's
            units.

        Raises
        ------
        InvalidInput
            A ValueError: the columns differ from the fitted ones, a row is too far from the fitted rows, the model was
            not trained for what is given or missing, or `unseen` is "error" and a cell holds a value that the fit did
            not see.
        SamplingDiverged
            A score is not a number.

        Warns
        -----
        UnseenValuesWarning
            Cells that are given or scored hold values that the fit did not see.

        See Also
        --------
        Diffusion.score_samples : The log-densities alone.
        Diffusion.score : Their mean.
        backwalk.model.DiffusionModel : `model_`, whose `blur` says what the density is blurred by.

        Notes
        -----
        With the points of noise level s as x_s = x_0 + s eps, the ODE is dx/ds = (x - x_0_hat(x, s)) / s, and

            ln p(x_0) = ln N(x_S; 0, (1 + S^2) I) + integral of div(dx/ds) ds from s_min to S.

        Source: Chen et al. 2018, "Neural ordinary differential equations"; Song et al. 2021, Eq. 39.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> found = model.log_density(X[:5])
        >>> found.log_prob.shape, bool((found.solver_error.abs() < 1.0).all())
        (torch.Size([5]), True)
        """
        check_is_fitted(self)
        schema = self.model_.schema
        of_given = column_numbers(schema, given or ())
        scored = None if columns is None else column_numbers(schema, columns)
        if scored == []:
            raise InvalidInput("columns should name a column at least, but is empty: leave it out to score whole rows.")
        if scored is None:
            others = [j for j in range(schema.n_columns) if j not in of_given]
            values = self._read(X, given=of_given, scored=others, gaps=True).values
        elif both := sorted(set(scored) & set(of_given)):
            named = listed(map(schema.label, both))
            raise InvalidInput(f"A column should be scored or given, but {named} is both: choose one.")
        else:
            values = self._read(X, given=of_given, scored=scored, columns=[*of_given, *scored]).values
        return self._log_density(
            values,
            given=of_given,
            columns=scored,
            n_intervals=n_intervals,
            n_probes=n_probes,
            n_places=n_places,
            stream=as_stream(random_state),
        )

    def _log_density(self, values: NDArray[np.float64], **options: Any) -> LogDensity:
        """Return the log-density of rows, (n, d), and show the progress."""
        with Display(verbose=self.verbose) as display:
            return log_density(self.model_, values, watch=display.counter("scoring", len(values)), **options)

    def score(self, X: Any, y: None = None) -> float:
        """Return the mean log-density of the rows, in nats per row; larger is better.

        Rows that the model cannot make (see `log_density`) have -inf. They are left out with a warning, because a
        column may be constant in a fold of a cross-validation, and one such row would make every model's mean -inf. If
        no other row is left, the score is -inf.

        Parameters
        ----------
        X : array or table, (n, d)
            A row with missing values counts with the marginal density of the others.
        y : None
            Ignored; part of scikit-learn's signature.

        Returns
        -------
        float
            Nats per row, in the user's units.

        Warns
        -----
        ImpossibleRowsWarning
            Rows are left out.

        See Also
        --------
        Diffusion.score_samples : The log-density of each row.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> -4.0 < model.score(X) < -2.0
        True
        """
        del y  # part of scikit-learn's signature
        values = self._matched(X, gaps=True, unseen=self.unseen).values
        check_unseen(self.model_, values, scored=range(values.shape[1]), unseen=self.unseen)
        words = impossible_words(self.model_, values)
        if words:
            text = (
                f"{words}: such rows have a log-density of -inf, and the score leaves them out. Include such rows in "
                "the fit, or drop the column."
            )
            warn_caller(text, ImpossibleRowsWarning)
        scores = self._log_density(values, stream=as_stream(0)).log_prob.numpy()
        possible = scores[scores > -np.inf]
        return float(possible.mean()) if len(possible) else -np.inf

    def bound(
        self,
        X: Any,
        *,
        reverse_variance: ReverseVariance | None = None,
        decoder_variance: float | None = None,
        n_draws: int = 1,
        random_state: RandomState = None,
    ) -> BoundTerms:
        """Return the variational bound on -log p(x) of a chain, term by term with standard errors.

        The chain's density differs from that of the ODE, which `score_samples` gives. In columns of
        integers it is a bound on -log of their probability, computed at a random place in each cell. The probability of
        levels is exact, and a part of its own (`levels`).

        Parameters
        ----------
        X : array or table, (n, d)
            Missing values are integrated out.
        reverse_variance : {"beta", "beta_tilde", "optimal"}, default=None
            "optimal" is the best scalar of each step, fitted to held-out rows. None is the model's own.
        decoder_variance : float, default=None
            Variance of p(x_0 | x_1), in squared encoded units; None is the model's own.
        n_draws : int, default=1
            Noises per row and step.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the noise.

        Returns
        -------
        BoundTerms
            `prior`, `transitions`, `reconstruction` and `total` with standard errors, and `per_row`, (n,), in nats.

        Raises
        ------
        InvalidInput
            A ValueError: the columns differ from the fitted ones, the model cannot make a row, or there is no such
            chain.
        SamplingDiverged
            A term is not a number.

        See Also
        --------
        Diffusion.score_samples : Log-densities by the probability-flow ODE, which are no bounds.
        backwalk.diffusion.variational_bound : The bound of any denoiser, in encoded units.

        Notes
        -----
        The bound is L = L_N + sum of L_{t-1} over t = 2..N + L_0, with L_N = KL(q(x_N | x_0), N(0, I)),
        L_{t-1} = E KL(q(x_{t-1} | x_t, x_0), p_theta(x_{t-1} | x_t)) and L_0 = -E ln p_theta(x_0 | x_1). It follows
        from Jensen's inequality. Terms that are densities, such as L_0, can be negative. Source: Ho et al. 2020, Eq. 5.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> terms = model.bound(X[:50], random_state=1)
        >>> terms.n_rows, 2.0 < terms.total < 5.0
        (50, True)
        """
        values = self._matched(X, gaps=True).values
        with Display(verbose=self.verbose) as display:
            return bound(
                self.model_,
                values,
                stream=as_stream(random_state).child("bound"),
                reverse_variance=reverse_variance,
                decoder_variance=decoder_variance,
                n_draws=n_draws,
                watch=display.counter("bounding", len(values)),
            )
