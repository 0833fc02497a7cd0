"""The methods of an estimator that make rows: samples, the chain, latents and interpolation."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from backwalk.errors import InvalidInput
from backwalk.estimator.fitted import Fitted
from backwalk.limits import is_whole
from backwalk.model import (
    WalkState,
    check_policy,
    gather_rows,
    latent,
    read_given,
    sample_pieces,
    walk_backward,
    walk_forward,
    warn_of_far,
    warn_of_unseen,
)
from backwalk.sampling import Sampler, choose_sampler
from backwalk.streams import RandomState, as_stream
from backwalk.table import from_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Direction = Literal["backward", "forward"]


class Draws(Fitted):
    """Draws and transforms rows."""

    def sample(
        self,
        n_samples: int = 1,
        *,
        given: Any = None,
        sampler: Sampler | str | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> Any:
        """Draw new rows, or rows of which some columns are given.

        A row depends only on `random_state`, its number and what is given: sample(100) is the head of sample(1000).
        Levels are drawn column by column, and then the numbers by the solver, given these: rows follow the probability
        that `score_samples` gives. A column with a range or a set is drawn from these values first.

        Parameters
        ----------
        n_samples : int, default=1
        given : mapping or table, default=None
            Conditions. A mapping has columns, by name or number, and for each a value, a list of one value per row, a
            range (low, high) with both ends, of which None is open, or a set of values. A table has a row of values for
            each row to draw. Values are labels, truth values, dates or numbers as in the fitted table; a missing value
            leaves the column free. `conditions` of the fit says which columns may be given, and `unseen` of `Diffusion`
            what values of a table or a list count as that the fit did not see.
        sampler : Sampler or str, default=None
            Sampler, or the name of a solver; None is the model's own. By default a named solver takes 20 evaluations
            ("ancestral": one for each step of the chain; "distilled": one).
        n_evaluations : int, default=None
            Evaluations of the network per row. Without `sampler` the model's solver is used, but "multistep" replaces
            the default solver for fewer than 15.
        random_state : int, numpy.random.Generator or RandomState, default=None

        Returns
        -------
        array or table, (n_samples, d)
            Rows of the kind, columns and dtypes of the fitted ones (arrays: float32 or float64).

        Raises
        ------
        InvalidInput
            A ValueError: the number, the conditions or the sampler cannot be used, a range or a set has a probability
            below 1e-15, or fewer than one draw in a thousand meets several of them.
        SamplingDiverged
            A row is not finite.

        Warns
        -----
        UnseenValuesWarning
            Given cells hold values that the fit did not see, or lie beyond the fitted range, as the end of a range may;
            or one row of all columns of a set in `conditions` lies so far from the fitted rows that less than 1 in
            1,000 unseen rows do.

        Examples
        --------
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, conditions="any", random_state=0).fit(X)
        >>> rows = model.sample(5, given={0: 1.5, 1: (0, None)}, random_state=1)
        >>> (rows[:, 0] == 1.5).all() and (rows[:, 1] >= 0.0).all()
        np.True_
        """
        pieces = self.sample_pieces(
            n_samples, given=given, sampler=sampler, n_evaluations=n_evaluations, random_state=random_state
        )
        return from_values(gather_rows(pieces, int(n_samples), self.model_.codec.n_columns), self.model_.schema)

    def sample_pieces(
        self,
        n_samples: int = 1,
        *,
        given: Any = None,
        sampler: Sampler | str | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> Iterator[NDArray[np.float64]]:
        """Draw the rows of `sample` in pieces, so that there may be more of them than memory holds.

        `backwalk.pieces.sample_parts` draws them into a folder of Parquet files, by several processes.

        Parameters
        ----------
        n_samples, given, sampler, n_evaluations, random_state
            See `sample`.

        Returns
        -------
        iterator of ndarray, (m, d)
            Pieces of m <= 2,048 rows, float64.
        """
        check_is_fitted(self)
        n, stream = _count(n_samples), as_stream(random_state).child("sample")
        chosen = choose_sampler(self.model_.sampler, self.model_.schedule, sampler, n_evaluations)
        conditions = None
        if given is not None:
            check_policy(self.unseen)
            conditions = read_given(self.model_, given, n, self.unseen)
            warn_of_unseen(conditions.unseen, "given")
            if len(conditions.values) == 1:
                columns = np.flatnonzero(~np.isnan(conditions.values[0])).tolist()
                warn_of_far(self.model_, conditions.values, columns, "given")
        return sample_pieces(self.model_, 0, n, stream=stream, sampler=chosen, given=conditions)

    def walk(
        self,
        start: int | Any = 1,
        *,
        direction: Direction = "backward",
        sampler: Sampler | str | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> Iterator[WalkState]:
        """Iterate over the states of the chain: backward from noise to new rows, or forward from rows to noise.

        The last state backward holds the rows that `sample` draws with the same arguments. Forward, noise is added to
        rows step by step, at the steps of the chain that the sampler visits.

        Parameters
        ----------
        start : int or (array or table, (n, d)), default=1
            Number of rows. Forward, also the rows to begin with; rows for a number are drawn from the model.
        direction : {"backward", "forward"}, default="backward"
        sampler, n_evaluations, random_state
            See `sample`. `sampler="ancestral"` visits every step.

        Returns
        -------
        iterator of WalkState
            Each has `t`, the step of the chain; `log_snr` and `noise_level`; `rows`, (n, d), in the user's units; and
            `x_0_hat`, the network's estimate of the final rows, None where there is none.

        Examples
        --------
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> steps = [state.t for state in model.walk(5, sampler="ancestral")]
        >>> steps[:3], steps[-2:]
        ([1000, 999, 998], [1, 0])
        """
        check_is_fitted(self)
        stream = as_stream(random_state).child("sample")
        chosen = choose_sampler(self.model_.sampler, self.model_.schedule, sampler, n_evaluations)
        if direction == "backward":
            return walk_backward(self.model_, _count(start), stream=stream, sampler=chosen)
        if direction != "forward":
            raise InvalidInput(f'direction should be "backward" or "forward", but got {direction!r}.')
        if is_whole(start):
            pieces = sample_pieces(self.model_, 0, _count(start), stream=stream, sampler=chosen)
            rows = gather_rows(pieces, int(start), self.model_.codec.n_columns)
        else:
            rows = self._matched(start, "start").values
        return walk_forward(self.model_, rows, stream=stream.child("forward"), sampler=chosen)

    def plot_chain(
        self,
        start: int | Any = 2000,
        *,
        columns: tuple[int, int] = (0, 1),
        n_panels: int = 6,
        **walked: Any,
    ) -> Figure:
        """Draw two columns of the rows at a few steps of the chain; the model needs two columns or more.

        Parameters
        ----------
        start : int or (array or table, (n, d)), default=2000
            See `walk`.
        columns : tuple of int, default=(0, 1)
            Numbers of the columns on the two axes.
        n_panels : int, default=6
        **walked
            `direction`, `sampler`, `n_evaluations` and `random_state` of `walk`.

        Returns
        -------
        matplotlib Figure
        """
        from backwalk.report import figures

        check_is_fitted(self)
        d = self.model_.codec.n_columns
        if len(columns) != 2 or not all(is_whole(j) and 0 <= j < d for j in columns):
            raise InvalidInput(f"columns should be two numbers in 0..{d - 1}, but got {columns!r}.")
        if not is_whole(n_panels) or n_panels < 2:
            raise InvalidInput(f"n_panels should be an integer >= 2, but got {n_panels!r}: 6 is usual.")
        states = list(self.walk(start, **walked))
        places = np.linspace(0, len(states) - 1, min(int(n_panels), len(states))).round().astype(int)
        shown = [states[i] for i in places]
        frames = [state.rows[:, list(columns)] for state in shown]
        return figures.plot_chain(frames, captions=[f"t = {state.t:,}" for state in shown])

    def show(self, *, port: int | None = None, browser: bool = True) -> None:
        """Open the page of this model, and serve it until Ctrl-C, or until a notebook's cell is stopped.

        Networks and schedules of your own appear as well: see docs/web.md. It needs `pip install "backwalk[web]"`.

        Parameters
        ----------
        port : int, default=None
            A port of 127.0.0.1; by default 8000, or the next one that is free.
        browser : bool, default=True
            Whether to open a browser; the address is printed either way.

        Raises
        ------
        ImportError
            The extra `web` is not installed.
        """
        check_is_fitted(self)
        serve = importlib.import_module("backwalk.web.serve")  # by name, as the page stands on the estimator
        serve.show(self, port=port, browser=browser)

    def to_latent(self, X: Any) -> NDArray[np.float64]:
        """Return the latents of rows: the noise that the probability-flow ODE maps to each row.

        If the model is right, latents of data are draws of N(0, I). `from_latent` is the inverse up to the solver's
        error, which `backwalk.model.latent.to_latent` and `from_latent` also return.

        Parameters
        ----------
        X : array or table, (n, d)

        Returns
        -------
        ndarray, (n, k)
            A coordinate for each of the k columns that vary.
        """
        return latent.to_latent(self.model_, self._matched(X).values).points

    def from_latent(self, Z: ArrayLike) -> Any:
        """Return the rows to which the probability-flow ODE maps latents: the inverse of `to_latent`.

        Integers may lie beyond the fitted range, unlike those of `sample`.

        Parameters
        ----------
        Z : array, (n, k)

        Returns
        -------
        array or table, (n, d)
            Rows of the kind, columns and dtypes of the fitted ones.
        """
        check_is_fitted(self)
        return from_values(latent.from_latent(self.model_, Z).points, self.model_.schema)

    def interpolate(self, x_a: Any, x_b: Any, n: int = 9) -> Any:
        """Interpolate between rows, in latent space.

        The latents are cos(phi) Z_a + sin(phi) Z_b, phi from 0 to pi / 2, which have the distribution N(0, I) if Z_a
        and Z_b are independent draws of it. Between the ends, integers stay within the fitted range.

        Parameters
        ----------
        x_a, x_b : array or table, (m, d)
            The ends of m paths, such as X[:1] and X[1:2].
        n : int, default=9
            Rows of each path, both ends included.

        Returns
        -------
        array or table, (m n, d)
            The paths one after the other, of the kind, columns and dtypes of the fitted rows.
        """
        first, last = self._matched(x_a, "x_a").values, self._matched(x_b, "x_b").values
        return from_values(latent.interpolated(self.model_, first, last, n), self.model_.schema)


def _count(n_samples: Any) -> int:
    if not is_whole(n_samples) or n_samples < 1:
        raise InvalidInput(f"n_samples should be an integer >= 1, but got {n_samples!r}: ask for 1 at least.")
    return int(n_samples)
