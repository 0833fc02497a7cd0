"""The methods of an estimator that make rows: samples, the chain, and latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.estimator.fitted import Columns, Fitted, RowsT
from backwalk.limits import is_whole
from backwalk.model import (
    WalkState,
    check_policy,
    column_numbers,
    gather_rows,
    latent,
    read_given,
    sample_pieces,
    walk_backward,
    walk_forward,
    warn_of_far,
)
from backwalk.playground import Page, answers_of, in_notebook
from backwalk.sampling import Sampler, SolverName, choose_sampler
from backwalk.streams import RandomState, as_stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Direction: TypeAlias = Literal["backward", "forward"]
Given = ParamSpec("Given")
Result = TypeVar("Result")

_OTHER_NAMES = {"n_steps": "n_evaluations", "steps": "n_evaluations", "seed": "random_state"}


def _naming(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return a method whose TypeError for a usual name of an argument says the name that it has here."""

    @wraps(method)
    def call(*args: Given.args, **named: Given.kwargs) -> Result:
        for name in _OTHER_NAMES.keys() & named.keys():
            instead = f"{_OTHER_NAMES[name]}={named[name]!r}"
            raise TypeError(f"{method.__name__} takes no {name}, but got {named[name]!r}: give {instead}.")
        return method(*args, **named)

    return call


class Draws(Fitted[RowsT]):
    """Draws and transforms rows."""

    @_naming
    def sample(
        self,
        n_samples: int | None = None,
        *,
        rows: tuple[int, int] | None = None,
        given: Any = None,
        sampler: Sampler | SolverName | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> RowsT:
        """Draw new rows, or rows of which some columns are given.

        A row depends only on `random_state`, its number and what is given: sample(100) is the head of sample(1000), and
        sample(rows=(100, 200)) its next hundred rows. Levels are drawn column by column, and then the numbers by the
        solver, given these: rows follow the probability that `score_samples` gives. A column with a range or a set is
        drawn from these values first.

        Parameters
        ----------
        n_samples : int, default=None
            Number of rows; 1 without `rows`.
        rows : tuple of int, default=None
            Draw the rows start..stop-1 of the sample with this `random_state`, an integer, as (start, stop). Ranges
            that follow each other give the bits of one sample on one kind of processor, in any process and order.
        given : mapping or table, default=None
            Conditions. A mapping has columns, by name or number, and for each a value, a list of one value per row, a
            range (low, high) with both ends, of which None is open, or a set of values. A table has a row of values for
            each row to draw, with `rows` for the rows start..stop-1. Values are labels, truth values, dates or numbers
            as in the fitted table; a missing value leaves the column free. `conditions` of the fit says which columns
            may be given, and `unseen` of `Diffusion` what values of a table or a list count as that the fit did not
            see.
        sampler : Sampler or str, default=None
            Sampler, or the name of a solver; None is the model's own. By default a named solver takes 20 evaluations
            ("ancestral": one for each step of the chain).
        n_evaluations : int, default=None
            Evaluations of the network per row, at most one for each step of the chain: more are cut to that. Without
            `sampler` the model's solver is used; the default one is "auto", which is "multistep" for fewer than 15.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws. An integer gives the same rows in every call.

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
            Given cells hold values that the fit did not see, or lie beyond the fitted range; or one row of all columns
            of a set in `conditions` lies so far from the fitted rows that less than 1 in 1,000 unseen rows do.

        See Also
        --------
        Diffusion.sample_pieces : More rows than memory holds.
        Diffusion.conditional : The distribution of one column given others, without draws where it can be.
        Diffusion.impute : Fills the gaps of given rows.
        Diffusion.walk : The states of the chain, from noise to rows.

        Notes
        -----
        The solver visits steps N = t_K > ... > t_1 of the chain, with one evaluation of the network at each.
        "ancestral" draws x_{t-1} = mu_theta(x_t, t) + sigma_t z (Ho et al. 2020, algorithm 2). The default takes
        larger steps of the reverse stochastic differential equation, with half of its noise.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, conditions="any", random_state=0).fit(X)
        >>> rows = model.sample(5, given={0: 1.5, 1: (0, None)}, random_state=1)
        >>> bool((rows[:, 0] == 1.5).all()), bool((rows[:, 1] >= 0.0).all())
        (True, True)
        """
        pieces = self.sample_pieces(
            n_samples, rows=rows, given=given, sampler=sampler, n_evaluations=n_evaluations, random_state=random_state
        )
        start, stop = _range(n_samples, rows, random_state)
        return self._of_kind(gather_rows(pieces, stop - start, self.model_.codec.n_columns))

    def sample_pieces(
        self,
        n_samples: int | None = None,
        *,
        rows: tuple[int, int] | None = None,
        given: Any = None,
        sampler: Sampler | SolverName | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> Iterator[NDArray[np.float64]]:
        """Draw the rows of `sample` in pieces, so that there may be more of them than memory holds.

        Parameters
        ----------
        n_samples : int, default=None
            Number of rows; 1 without `rows`.
        rows : tuple of int, default=None
            See `sample`.
        given : mapping or table, default=None
            See `sample`.
        sampler : Sampler or str, default=None
            See `sample`.
        n_evaluations : int, default=None
            See `sample`.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the draws.

        Returns
        -------
        iterator of ndarray, (m, d)
            Pieces of m <= 2,048 rows, float64. Labels are codes: see `codec_`.

        See Also
        --------
        Diffusion.sample : The rows as one array or table.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> [len(piece) for piece in model.sample_pieces(3000, random_state=1)]
        [2048, 952]
        """
        check_is_fitted(self)
        (start, stop), stream = _range(n_samples, rows, random_state), as_stream(random_state).child("sample")
        chosen = choose_sampler(self.model_.sampler, self.model_.schedule, sampler, n_evaluations)
        condition = None
        if given is not None:
            check_policy(self.unseen)
            condition = read_given(self.model_, given, stop - start, self.unseen)
            if condition.n_rows == 1:
                columns = np.flatnonzero(~np.isnan(condition.values[0])).tolist()
                warn_of_far(self.model_, condition.values, columns, "given")
        return sample_pieces(self.model_, start, stop, stream=stream, sampler=chosen, given=condition)

    @_naming
    def walk(
        self,
        start: int | Any = 1,
        *,
        direction: Direction = "backward",
        sampler: Sampler | SolverName | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> Iterator[WalkState]:
        """Iterate over the states of the chain: backward from noise to new rows, or forward from rows to noise.

        The last state backward holds the rows that `sample` draws with the same arguments. Where the model has rules
        between columns, `sample` draws those rows again that break one, and the walk does not. Forward, noise is added
        to rows step by step, at the steps of the chain that the sampler visits.

        Parameters
        ----------
        start : int or (array or table, (n, d)), default=1
            Number of rows. Forward, also the rows to begin with; rows for a number are drawn from the model.
        direction : {"backward", "forward"}, default="backward"
            From noise to rows, or from rows to noise.
        sampler : Sampler or str, default=None
            See `sample`. "ancestral" visits every step.
        n_evaluations : int, default=None
            See `sample`.
        random_state : int, numpy.random.Generator or RandomState, default=None
            Seed of the noise.

        Returns
        -------
        iterator of WalkState
            Each has `t`, the step of the chain; `log_snr` and `noise_level`; `rows`, (n, d), in the user's units; and
            `x_0_hat`, the network's estimate of the final rows, None where there is none.

        See Also
        --------
        Diffusion.plot_chain : A picture of some states.

        Examples
        --------
        >>> import numpy as np
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
        columns: Columns = (0, 1),
        n_panels: int = 6,
        **walked: Any,
    ) -> Figure:
        """Draw two columns of the rows at a few steps of the chain; the model needs two columns or more.

        Parameters
        ----------
        start : int or (array or table, (n, d)), default=2000
            See `walk`.
        columns : sequence of two names or numbers, default=(0, 1)
            The columns on the two axes.
        n_panels : int, default=6
            Number of states, at least 2, evenly among those of the chain.
        **walked
            `direction`, `sampler`, `n_evaluations` and `random_state` of `walk`.

        Returns
        -------
        matplotlib Figure
            The picture, with a panel for each state.

        See Also
        --------
        Diffusion.walk : The states themselves.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> len(model.plot_chain(100, n_panels=3, random_state=1).axes)
        3
        """
        from backwalk.report.clouds import plot_chain

        check_is_fitted(self)
        shown_columns = column_numbers(self.model_.schema, columns)
        if len(shown_columns) != 2:
            raise InvalidInput(f"columns should be two names or numbers, but got {columns!r}: name one for each axis.")
        if not is_whole(n_panels) or n_panels < 2:
            raise InvalidInput(f"n_panels should be an integer >= 2, but got {n_panels!r}: 6 is usual.")
        states = list(self.walk(start, **walked))
        places = np.linspace(0, len(states) - 1, min(int(n_panels), len(states))).round().astype(int)
        shown = [states[i] for i in places]
        frames = [state.rows[:, shown_columns] for state in shown]
        return plot_chain(frames, captions=[f"t = {state.t:,}" for state in shown])

    def show(self, X: Any = None, *, columns: Columns | None = None) -> Page:
        """Show the model in the playground, a page on which noise becomes data.

        The page holds the chain, single steps, the field and the bound of two columns, and needs no server. A notebook
        shows it inline; elsewhere it opens in the browser. Networks, schedules and solvers of your own appear as well.

        Parameters
        ----------
        X : array or table, (n, d), optional
            Data from which the forward chain starts; by default rows of the model.
        columns : sequence of two names or numbers, optional
            The columns that are shown: by default the first two that are numbers.

        Returns
        -------
        Page
            The page; `save(path)` writes it to a file.

        Raises
        ------
        InvalidInput
            If the model has fewer than two columns of numbers, or `columns` are no two of them.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> Diffusion(max_steps=20, random_state=0).fit(X).show(X)  # doctest: +SKIP
        """
        check_is_fitted(self)
        rows = None if X is None else self._matched(X).values
        page = Page(answers_of(self.model_, rows, columns=columns))
        if not in_notebook():
            page.open()
        return page

    def to_latent(self, X: Any) -> NDArray[np.float64]:
        """Return the latents of rows: the noise that the probability-flow ODE maps to each row.

        If the model is right, latents of data are draws of N(0, I). `from_latent` is the inverse up to the solver's
        error.

        Parameters
        ----------
        X : array or table, (n, d)
            Rows of numbers.

        Returns
        -------
        ndarray, (n, k)
            A coordinate for each of the k columns that vary.

        See Also
        --------
        Diffusion.from_latent : The inverse.

        Notes
        -----
        The ODE is dx/ds = (x - x_0_hat(x, s)) / s in the noise level s, for points scaled as x_0 + s eps. Source: Song
        et al. 2021; Karras et al. 2022, Eq. 4.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
        >>> Z = model.to_latent(X[:5])
        >>> Z.shape, bool(np.abs(model.from_latent(Z) - X[:5]).max() < 1e-3)
        ((5, 2), True)
        """
        return latent.to_latent(self.model_, self._matched(X).values)

    def from_latent(self, Z: ArrayLike) -> RowsT:
        """Return the rows to which the probability-flow ODE maps latents: the inverse of `to_latent`.

        Integers may lie beyond the fitted range, unlike those of `sample`.

        Parameters
        ----------
        Z : array, (n, k)
            Latents, such as draws of N(0, I).

        Returns
        -------
        array or table, (n, d)
            Rows of the kind, columns and dtypes of the fitted ones.

        See Also
        --------
        Diffusion.to_latent : The inverse, with an example.
        """
        check_is_fitted(self)
        return self._of_kind(latent.from_latent(self.model_, Z))


def _count(n_samples: Any) -> int:
    if not is_whole(n_samples) or n_samples < 1:
        raise InvalidInput(f"n_samples should be an integer >= 1, but got {n_samples!r}: ask for 1 at least.")
    return int(n_samples)


def _range(n_samples: Any, rows: Any, random_state: RandomState) -> tuple[int, int]:
    """Return the numbers of the first row of a sample that is drawn, and of the row after the last one."""
    if rows is None:
        return 0, _count(1 if n_samples is None else n_samples)
    if n_samples is not None:
        raise IncompatibleArguments(
            f"n_samples and rows should not both be given, but got {n_samples!r} and {rows!r}: leave one out."
        )
    if not (isinstance(rows, (tuple, list)) and len(rows) == 2 and all(map(is_whole, rows)) and 0 <= rows[0] < rows[1]):
        raise InvalidInput(
            f"rows should be a pair of integers (start, stop) with 0 <= start < stop, but got {rows!r}: (0, 1000) are "
            "the first 1,000 rows."
        )
    if not is_whole(random_state):
        raise IncompatibleArguments(
            f"rows goes with an integer as random_state, but got {random_state!r}: give the same one for every range."
        )
    return int(rows[0]), int(rows[1])
