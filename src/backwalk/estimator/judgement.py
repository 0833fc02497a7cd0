"""The methods of an estimator that assess its model on unseen rows, and that report it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.utils.validation import check_is_fitted

from backwalk.estimator.fitted import Columns, Fitted, RowsT
from backwalk.files import check_writable
from backwalk.fit.progress import Display
from backwalk.streams import RandomState, as_stream

if TYPE_CHECKING:
    from backwalk.assess import Fidelity
    from backwalk.datasets import Density


class Judgement(Fitted[RowsT]):
    """Assesses and reports the model."""

    def assess(
        self,
        X: Any,
        *,
        training: Any = None,
        density: Density | None = None,
        given: Columns | None = None,
        random_state: RandomState = 0,
        **more: Any,
    ) -> Fidelity | Any:
        """Score the model on rows that `fit` has not seen: statistics with nulls and errors, and answers in words.

        Parameters
        ----------
        X : array or table, (n, d)
            At least 20 rows, better 500 or more. Rows with values that the fit did not see are left out and counted,
            unless `unseen` of `Diffusion` is "error".
        training : array or table, default=None
            The rows of the fit: baselines are fitted to them, copies are counted, and it is tested how well the model's
            log-probability tells them from unseen rows.
        density : Density, default=None
            The true density, where it is known.
        given : list of columns, default=None
            Columns of data, of which the posterior of all others is scored: rank statistics, expected coverage, TARP.
            None is the only set in `conditions` of the fit, if there is one.
        random_state : int, numpy.random.Generator or RandomState, default=0
            Seed of draws and of random halves of rows.
        **more
            Other arguments of `backwalk.assess.assess`.

        Returns
        -------
        backwalk.assess.Fidelity or backwalk.assess.Calibration
            The figures, warnings and answers. A model with an embedding has a `Calibration`, with `answers`,
            `warnings`, `checks` and `posterior` alone.

        See Also
        --------
        Diffusion.report : Writes it as an HTML page.
        backwalk.assess.assess : The function behind it.

        Examples
        --------
        >>> from backwalk import Diffusion
        >>> from backwalk.datasets import two_moons
        >>> X = two_moons().sample(700, random_state=0)
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X[:500])
        >>> fidelity = model.assess(X[500:], training=X[:500])  # doctest: +SKIP
        >>> print(fidelity.answers[0].question)  # doctest: +SKIP
        Is it good enough?
        """
        from backwalk.assess import assess

        check_is_fitted(self)
        if self.unseen != "nearest":  # whose rows are left out, and told in the result
            self._read(X, scored=range(self.model_.schema.n_columns))
        stream = as_stream(random_state).child("report", "assess")
        with Display(verbose=self.verbose) as display:
            watch = partial(display.show, "scoring")
            return assess(
                self.model_, X, training=training, density=density, given=given, stream=stream, watch=watch, **more
            )

    def report(
        self,
        path: str | Path,
        X: Any,
        *,
        training: Any = None,
        density: Density | None = None,
        given: Columns | None = None,
        random_state: RandomState = 0,
        overwrite: bool = False,
        **more: Any,
    ) -> Fidelity | Any:
        """Write a report of `assess` to one HTML file, and return its record.

        Parameters
        ----------
        path : str or Path
            The name of the file, such as `report.html`.
        X : array or table, (n, d)
            Rows that `fit` has not seen: see `assess`.
        training : array or table, default=None
            The rows of the fit: see `assess`.
        density : Density, default=None
            The true density, where it is known.
        given : list of columns, default=None
            See `assess`.
        random_state : int, numpy.random.Generator or RandomState, default=0
            See `assess`.
        overwrite : bool, default=False
            Whether to replace an existing file.
        **more
            See `assess`: with `quick=True` a report takes less time, and its errors are larger.

        Returns
        -------
        backwalk.assess.Fidelity or backwalk.assess.Calibration
            What `assess` returns.

        Raises
        ------
        OSError
            The file cannot be written, or it exists and `overwrite` is False.

        See Also
        --------
        Diffusion.assess : The figures without a page.

        Examples
        --------
        >>> from backwalk import Diffusion
        >>> from backwalk.datasets import two_moons
        >>> X = two_moons().sample(700, random_state=0)
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X[:500])
        >>> fidelity = model.report("report.html", X[500:], training=X[:500])  # doctest: +SKIP
        """
        from backwalk.assess import write_report

        check_writable(path, overwrite=overwrite)  # before the work
        fidelity = self.assess(X, training=training, density=density, given=given, random_state=random_state, **more)
        stream = as_stream(random_state).child("report", "pictures")
        write_report(path, fidelity, self.model_, stream=stream, overwrite=overwrite)
        return fidelity
