"""`Diffusion`: the model in scikit-learn's manner. The mathematics is elsewhere; this is the shell around it."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from backwalk import model_file
from backwalk.defaults import default_distillation, default_pairs, default_student
from backwalk.denoiser import Architecture, EnsembleDenoiser, Textbook
from backwalk.diffusion import BoundTerms, LogDensity, NoiseSchedule
from backwalk.distillation import distilled
from backwalk.errors import InvalidInput, ModelFileError, TrainingDiverged
from backwalk.fitting import (
    CheckpointOptions,
    cells,
    check_budget,
    checked_checkpoint_options,
    checked_settings,
    chosen_device,
    fitted,
    parameters_from,
)
from backwalk.formatting import one_line
from backwalk.latent import from_latent, mixed, to_latent
from backwalk.limits import FARTHEST_TO_FIT, is_whole
from backwalk.model import (
    DiffusionModel,
    bound,
    gathered,
    log_density,
    refuse_impossible,
    sample_pieces,
)
from backwalk.progress import Callback, progress_bar
from backwalk.sampling import Sampler, asked_sampler
from backwalk.streams import RandomState, Stream, as_stream
from backwalk.table import Codec, Table, as_table, complete, from_values, match_columns
from backwalk.training import History, Training
from backwalk.training.checkpoint import SECONDS_BETWEEN, checkpoint_seed


class Diffusion(DensityMixin, BaseEstimator):  # type: ignore[misc]
    """A denoising diffusion model of points in R^d.

    Noise is added to the data in small steps until nothing of them is left; a network learns to take it away again;
    new points are made by walking back from noise. Without arguments every choice follows from the data (see
    `backwalk.defaults`); `Diffusion.ddpm()` gives the settings of the course notebook.

    Parameters
    ----------
    n_steps : int, default=None
        The number N of steps of the chain's default schedule; None is 1,000.
    schedule : NoiseSchedule, default=None
        The chain's noise levels; None is even in the log-SNR, from below the data's finest scale to noise alone.
    denoiser : Residual, Textbook or torch.nn.Module, default=None
        The network's sizes, or a network of your own: a module that maps points, (n, d), and noise levels, (n,), to
        (n, d), as `backwalk.denoiser.own_network` says; its copy is trained. None is what n and d suggest.
    training : Training, default=None
        The training plan; None is what n and d suggest.
    reverse_variance : {"optimal", "beta", "beta_tilde"}, default="optimal"
        sigma_t^2 of p_theta. "optimal" is fitted on validation rows; on those trained on where there are no others, and
        is then too small for a model that remembers them.
    sampler : Sampler or str, default=None
        What the fitted model keeps as the default of `sample`, or a solver's name; None is "multistep-sde" with 20
        evaluations, and in a chain of fewer steps what these allow.
    max_steps : int, default=None
        The number of training steps (not of the chain), in place of the plan's; with `max_time` whichever of the two is
        reached first ends the training.
    max_time : float, default=None
        Seconds that the whole fit, from rows to model, takes; but half of them at least are for training, whatever
        reading the rows and measuring took. They are used: more time trains more networks for longer, and the learning
        rates follow the clock, so that fits with the same seed are no longer equal bit for bit. None ends by itself,
        after about 6 s for 10,000 rows in two columns.
    validation_fraction : float, default=None
        The share of the rows given to `fit` that are not trained on, but choose the weights and fit the reverse
        variance. None is a tenth of n rows, of many sqrt(10 n) rows, at most 1,000, and none of fewer than 20; in up to
        three columns at most the larger of 50 rows and a twentieth. 0 trains on all.
    scale : bool, default=True
        Whether columns are brought to mean 0 and variance 1, those with heavy tails transformed before.
    device : str, default="auto"
        "cpu", "cuda", or "auto": CUDA where torch finds it.
    random_state : int, numpy.random.Generator or RandomState, default=None
        The same integer gives the same model, on the same kind of machine and with the same versions.
    callbacks : sequence of callables, default=()
        Each is called with a `Progress` after every training step; torch is set to one thread meanwhile.
    verbose : bool or int, default=True
        Whether a fit that takes longer than a moment shows its progress, on a terminal or in a notebook; in a log, one
        line every half minute.
    warm_start : bool, default=False
        Whether `fit` starts from the weights of the fit before. On the same rows those that choose the weights stay the
        same, as long as no more are asked for; others may have been trained on before.

    Attributes
    ----------
    model_ : DiffusionModel
        What the fit has left; the methods below are about it.
    schedule_, denoiser_, codec_, history_ : NoiseSchedule, EnsembleDenoiser, Codec, History
        Its parts.
    training_ : Training
        The training plan of its fit. To change one thing of it, give `dataclasses.replace(training_, ...)` back as
        `training`.
    n_features_in_, feature_names_in_ : int, ndarray of str
        As everywhere in scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal([1.0, 5.0], [1.0, 0.1], size=(500, 2))
    >>> model = Diffusion(max_steps=60, random_state=0).fit(X)
    >>> model.sample(3, random_state=1).shape
    (3, 2)
    """

    def __init__(
        self,
        n_steps: int | None = None,
        *,
        schedule: NoiseSchedule | None = None,
        denoiser: Architecture | None = None,
        training: Training | None = None,
        reverse_variance: str = "optimal",
        sampler: Sampler | str | None = None,
        max_steps: int | None = None,
        max_time: float | None = None,
        validation_fraction: float | None = None,
        scale: bool = True,
        device: str = "auto",
        random_state: RandomState = None,
        callbacks: Sequence[Callback] = (),
        verbose: bool | int = True,
        warm_start: bool = False,
    ) -> None:
        self.n_steps = n_steps
        self.schedule = schedule
        self.denoiser = denoiser
        self.training = training
        self.reverse_variance = reverse_variance
        self.sampler = sampler
        self.max_steps = max_steps
        self.max_time = max_time
        self.validation_fraction = validation_fraction
        self.scale = scale
        self.device = device
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose
        self.warm_start = warm_start

    @classmethod
    def ddpm(
        cls,
        *,
        n_epochs: int = 5000,
        max_time: float | None = None,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: bool | int = True,
    ) -> Diffusion:
        """Return the model of the usual course notebook to the letter: Ho et al. 2020 on points, with N = 100.

        N = 100, beta linear from 0.001 to 0.02; a network of 4 hidden layers of 100 tanh units on (x, t/N) that
        predicts eps; Adam at 1e-3 on L_simple, batches of 1,000, the last short one dropped, 5,000 epochs; no average
        of weights, no scaling, no validation rows; sampling with sigma^2 = beta and no noise at t = 1. Its alpha_bar_N
        is 0.3475, which costs what `fit` warns of before it trains.

        Parameters
        ----------
        n_epochs : int, default=5000
        max_time, device, random_state, verbose
            As everywhere in this class.

        Returns
        -------
        Diffusion
            Not fitted yet.
        """
        return cls(
            schedule=NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02),
            denoiser=Textbook(width=100, n_hidden=4),
            training=Training(
                n_epochs=n_epochs, batch_size=1000, learning_rate=1e-3, ema_width=None, decay=False, levels="chain"
            ),
            reverse_variance="beta",
            sampler=Sampler("ancestral"),
            validation_fraction=0.0,
            scale=False,
            max_time=max_time,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )

    def fit(
        self,
        X: Any,
        y: None = None,
        *,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        checkpoint_every: float = SECONDS_BETWEEN,
        overwrite: bool = False,
    ) -> Self:
        """Fit the model to rows.

        With `warm_start`, a fit begins with the weights of the one before, in place of random ones. All else begins
        anew, but for which rows choose the weights, where they are the same rows: scaling, which columns are
        transformed for their heavy tails, noise levels, the optimiser and the learning rate's rise and fall. So new
        rows should look like the old ones, and the network has to have the same sizes.

        Parameters
        ----------
        X : array or pandas, polars or pyarrow table of numbers, (n, d)
        y : None
            There for scikit-learn.
        checkpoint : str or Path, default=None
            A file in which the state of training is kept: written anew every so often, and when Ctrl-C, SIGTERM or
            SIGHUP stops the fit (after the step that is being taken; a second one stops at once). It stays when the fit
            is done: delete it once the model is saved.
        resume : bool, default=False
            Go on from the checkpoint, or begin where there is none. The model is then the very same, bit for bit, on
            the same kind of machine, as if it had never been stopped (but for its `history_.seconds`, and unless
            `max_time` is set). Same rows, settings, seed and versions are asked for; where `random_state` is no
            integer, the checkpoint's own seed is taken.
        checkpoint_every : float, default=30.0
            Seconds between two checkpoints.
        overwrite : bool, default=False
            Begin anew, and delete the checkpoint that is there once all checks are passed.

        Returns
        -------
        Diffusion
            The estimator itself.

        Raises
        ------
        InvalidInput
            A ValueError, for what cannot be fitted, before any training.
        CheckpointError
            Where a checkpoint is there and `resume` is False, where it is damaged or of another fit, where another
            program's file stands in its place, or where it cannot be written.
        TrainingDiverged
            Where the loss or the weights stop being finite. The estimator is then a model of its last good weights, if
            there were any: the message says of which step. A checkpoint keeps them too.
        """
        began = time.perf_counter()
        del y  # scikit-learn's signature
        table = complete(as_table(X))
        settings = checked_settings(self.get_params(deep=False))
        keeping = checked_checkpoint_options(checkpoint, resume, checkpoint_every, overwrite)
        codec = Codec.fit(table, scale=settings.scale)
        stream = self._stream(keeping)
        z = codec.encode(table.values, stream=cells(stream))
        if np.abs(z).max() > FARTHEST_TO_FIT:
            raise InvalidInput(
                f"X should stay within {FARTHEST_TO_FIT:g} where columns are not scaled, but got {np.abs(z).max():g}: "
                "set scale=True (leave --ddpm out), or give smaller numbers."
            )
        model, diverged = fitted(
            z,
            table,
            codec,
            settings,
            stream=stream,
            before=getattr(self, "model_", None) if settings.warm_start else None,
            keeping=keeping,
            began=began,
        )
        self._adopt(model)
        if diverged is not None:
            raise TrainingDiverged(
                f"{diverged} This estimator is now the model of its last good weights, of step "
                f"{model.history.chosen_step}: judge it before it is used."
            ) from diverged
        return self

    def distil(
        self, *, max_steps: int | None = None, max_time: float | None = None, random_state: RandomState = None
    ) -> Self:
        """Give the fitted model a student, with which `sample(n, sampler="distilled")` costs one evaluation per row.

        The student is a small network that learns, from pairs that the model makes, where the probability-flow ODE
        carries noise. Its rows are an approximation of that ODE's: `model_.student.error` says how far they are from
        those that the model makes of the same noise, the root mean square in units of a column's scale. Log-density,
        bound, latents and all other samplers stay those of the model. `fit` begins without a student again.

        Parameters
        ----------
        max_steps : int, default=None
            The number of training steps, in place of 3,000.
        max_time : float, default=None
            The seconds that all of it takes, pairs included (12,288 are made at least, fewer beyond 8,192 columns, and
            half of the time is for training); two students are then no longer equal bit for bit.
        random_state : int, numpy.random.Generator or RandomState, default=None
            The same integer gives the same student.

        Returns
        -------
        Diffusion
            The estimator itself.

        Raises
        ------
        InvalidInput
            A ValueError, for other limits than these.
        SamplingDiverged, TrainingDiverged
            Where the model's own rows, or the student's loss, are not finite; the model is as it was.

        Examples
        --------
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X).distil(max_time=0.1, random_state=1)
        >>> model.sample(5, sampler="distilled", random_state=2).shape
        (5, 2)
        """
        check_is_fitted(self)
        check_budget(max_steps, max_time)
        k, stream = self.model_.codec.n_encoded, as_stream(random_state)
        architecture = default_student(k, self.model_.architecture)
        steps = None if max_steps is None else int(max_steps)
        with progress_bar(self.verbose) as show:
            model = distilled(
                self.model_,
                architecture,
                default_distillation(k, architecture, steps, max_time, self.model_.denoiser.device),
                n_pairs=default_pairs(k),
                stream=stream.child("distil"),
                max_time=max_time,
                watch=lambda progress: [callback(progress) for callback in (show, *self.callbacks)],
            )
        self._adopt(model)
        return self

    def sample(
        self,
        n_samples: int = 1,
        *,
        sampler: Sampler | str | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> Any:
        """Draw new rows.

        A row depends on `random_state` and its number alone: sample(100) is the head of sample(1000).

        Parameters
        ----------
        n_samples : int, default=1
        sampler : Sampler or str, default=None
            A sampler, or a solver's name; None is the model's own, `model_.sampler`. A name alone takes 20 evaluations,
            "ancestral" one for each step of the chain, "distilled" one.
        n_evaluations : int, default=None
            Evaluations per row. A number alone keeps the model's solver; only the default one, "multistep-sde", is
            replaced by "multistep" for fewer than 15 evaluations. With fewer than 6 no solver does well: see `distil`.
        random_state : int, numpy.random.Generator or RandomState, default=None

        Returns
        -------
        array or table, (n_samples, d)
            Of the kind, columns and dtypes of the fitted rows (arrays: float32 or float64).

        Raises
        ------
        InvalidInput
            A ValueError, for a number or a sampler that cannot be.
        SamplingDiverged
            Where a row is not finite.
        """
        pieces = self.sample_pieces(n_samples, sampler=sampler, n_evaluations=n_evaluations, random_state=random_state)
        return from_values(gathered(pieces, int(n_samples), self.model_.codec.n_columns), self.model_.schema)

    def sample_pieces(
        self,
        n_samples: int = 1,
        *,
        sampler: Sampler | str | None = None,
        n_evaluations: int | None = None,
        random_state: RandomState = None,
    ) -> Iterator[NDArray[np.float64]]:
        """Draw the rows of `sample`, the same for the same `random_state`, piece by piece: more than memory holds.

        Parameters
        ----------
        n_samples, sampler, n_evaluations, random_state
            As of `sample`.

        Returns
        -------
        iterator of ndarray, (m, d)
            Pieces of m <= 2,048 rows, float64, in the user's units.
        """
        check_is_fitted(self)
        if not is_whole(n_samples) or n_samples < 1:
            raise InvalidInput(f"n_samples should be an integer >= 1, but got {n_samples!r}: ask for 1 at least.")
        return sample_pieces(
            self.model_,
            0,
            int(n_samples),
            stream=as_stream(random_state).child("sample"),
            sampler=asked_sampler(self.model_.sampler, self.model_.schedule, sampler, n_evaluations),
        )

    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-density of each row by the probability-flow ODE.

        It is the `log_prob` of `log_density`, which also gives its errors.

        Parameters
        ----------
        X : array or table, (n, d)

        Returns
        -------
        ndarray, (n,)
            Nats, in the user's units.
        """
        return self.log_density(X).log_prob.numpy()

    def log_density(
        self, X: Any, *, n_intervals: int = 16, n_probes: int | None = None, random_state: RandomState = 0
    ) -> LogDensity:
        """Return the log-density of each row by the probability-flow ODE, with its errors: nats, in the user's units.

        A row whose constant column differs from the fitted constant gets -inf. A whole number j was spread over j +-
        1/2 before the fit: it is scored by ln p(j) - ln q(0), with p the model's density and q the spread's, which is
        the logarithm of the number's probability where the model has learnt the spread. A model that bulges at whole
        numbers scores higher, so compare models by the report, which spreads them again. The density is blurred by
        noise of standard deviation `model_.blur`, and of more in the tails of columns that are transformed.

        Parameters
        ----------
        X : array or table, (n, d)
        n_intervals : int, default=16
            An even number of the ODE's steps: the more, the smaller the solver's error.
        n_probes : int, default=None
            Random probes per row that estimate the divergence. None is none up to 32 columns that vary, where it is
            computed exactly, and 16 beyond.
        random_state : int, numpy.random.Generator or RandomState, default=0
            It gives the probes, together with a row's own content: a row scores the same alone and in any batch.

        Returns
        -------
        LogDensity
            `log_prob`, `solver_error` and `standard_error`, that of the probes, (n,) each.

        Raises
        ------
        InvalidInput
            A ValueError, for other columns, and for rows beyond the network's range.
        SamplingDiverged
            Where the network's answers are no numbers.
        """
        values = self._matched(X).values
        stream = as_stream(random_state)
        return log_density(self.model_, values, n_intervals=n_intervals, n_probes=n_probes, stream=stream)

    def score(self, X: Any, y: None = None) -> float:
        """Return the mean log-density of the rows, nats per row: larger is better, but see `log_density` for whole
        numbers.

        It is -inf where the model cannot make some row, whose constant columns hold other values than the fit's.

        Parameters
        ----------
        X : array or table, (n, d)
        y : None
            There for scikit-learn.

        Returns
        -------
        float
        """
        del y  # scikit-learn's signature
        return float(self.score_samples(X).mean())

    def bound(
        self,
        X: Any,
        *,
        reverse_variance: str | None = None,
        steps: int | Sequence[int] | None = None,
        decoder_variance: float | None = None,
        n_draws: int = 1,
        random_state: RandomState = None,
    ) -> BoundTerms:
        """Return the variational bound on a chain's -log p(x), term by term with standard errors: nats per row.

        The chain is a model of its own: its density is another than the ODE's, which `score_samples` gives. It is the
        fitted chain unless said otherwise. Whole numbers are taken as in `log_density`.

        Parameters
        ----------
        X : array or table, (n, d)
        reverse_variance : {"beta", "beta_tilde", "optimal", "full"}, default=None
            "optimal" is the best scalar per step, fitted on validation rows; "full" the covariance that the denoiser's
            Jacobian gives, for at most 64 columns: the tightest, and the dearest. None is the model's own.
        steps : int or sequence of int, default=None
            The number K of steps, then those K of the chain's N that are best with the best scalar variances, by the
            fitted denoising errors, whatever `reverse_variance`; or the times, such as `evenly_spaced(N, K)`.
        decoder_variance : float, default=None
            That of p(x_0 | x_1), in squared encoded units.
        n_draws : int, default=1
            Noises per row and step.
        random_state : int, numpy.random.Generator or RandomState, default=None

        Returns
        -------
        BoundTerms
            `prior`, `transitions`, `reconstruction` and `total` with their standard errors, and `per_row`, (n,).

        Raises
        ------
        InvalidInput
            A ValueError, for other columns, for rows that the model cannot make, and for no such chain.
        SamplingDiverged
            Where the network's answers are no numbers.
        """
        return bound(
            self.model_,
            self._matched(X).values,
            stream=as_stream(random_state).child("bound"),
            reverse_variance=reverse_variance,
            steps=steps,
            decoder_variance=decoder_variance,
            n_draws=n_draws,
        )

    def to_latent(self, X: Any) -> NDArray[np.float64]:
        """Return the noise that each row comes from by the probability-flow ODE.

        Where the model is right, latents of data are draws of N(0, I). `from_latent` leads back to the row, up to the
        solver's errors: `backwalk.latent.to_latent(model_, values)` and `from_latent` return them beside the points.

        Parameters
        ----------
        X : array or table, (n, d)

        Returns
        -------
        ndarray, (n, k)
            A number for each of the k columns that vary.
        """
        return to_latent(self.model_, self._matched(X).values).points

    def from_latent(self, Z: ArrayLike) -> Any:
        """Return the rows that latents become by the probability-flow ODE: the way back from `to_latent`.

        `backwalk.latent.from_latent(model_, Z)` also returns the solver's error of each number. Whole numbers are not
        kept within the fitted range, as those of `sample` are: latents of rows beyond it lead back to these rows.

        Parameters
        ----------
        Z : array, (n, k)
            A number for each of the k columns that vary.

        Returns
        -------
        array or table, (n, d)
            Of the kind, columns and dtypes of the fitted rows.
        """
        check_is_fitted(self)
        return from_values(from_latent(self.model_, Z).points, self.model_.schema)

    def interpolate(self, x_a: Any, x_b: Any, n: int = 9) -> Any:
        """Return rows on the way from a row to another.

        The latents of the two are mixed as cos(phi) Z_a + sin(phi) Z_b, phi from 0 to pi / 2: for independent rows a
        mix is again a draw of N(0, I), and so a row like others. (For rows that depend on each other it is not:
        half-way between a row and itself lies sqrt(2) Z_a.) Between the ends whole numbers stay within the fitted
        range.

        Parameters
        ----------
        x_a, x_b : array or table, (m, d)
            Equally many rows, such as X[:1] and X[1:2].
        n : int, default=9
            Rows of each way, both ends included.

        Returns
        -------
        array or table, (m n, d)
            The m ways follow each other. Of the kind, columns and dtypes of the fitted rows.
        """
        if not is_whole(n) or n < 2:
            raise InvalidInput(f"n should be an integer >= 2, as both ends count, but got {n!r}: 9 is usual.")
        ends = [self._matched(x, name).values for x, name in ((x_a, "x_a"), (x_b, "x_b"))]
        for end, name in zip(ends, ("x_a", "x_b"), strict=True):
            refuse_impossible(self.model_, end, name)
        if len(ends[0]) != len(ends[1]):
            raise InvalidInput(
                f"x_a and x_b should have equally many rows, but have {len(ends[0])} and {len(ends[1])}: give one row "
                "of each for every way."
            )
        latent_a, latent_b = np.split(to_latent(self.model_, np.concatenate(ends)).points, 2)
        path = mixed(latent_a, latent_b, int(n))
        rows = from_latent(self.model_, path.reshape(-1, path.shape[-1])).points
        is_between = np.tile(np.arange(n) % (n - 1) > 0, len(path))  # the ends are the caller's own rows
        rows[is_between] = self.model_.codec.within_range(rows[is_between])
        return from_values(rows, self.model_.schema)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the fitted model to disk.

        Parameters
        ----------
        path : str or Path
            One file where it ends in `.safetensors`, or else a folder with the same file beside a `model.json` that
            people can read.
        overwrite : bool, default=False

        Raises
        ------
        ModelFileError
            Where it exists already and `overwrite` is False, and where it cannot be written; what was there is then
            still there.
        """
        check_is_fitted(self)
        model_file.save(self.model_, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto", denoiser: nn.Module | None = None) -> Diffusion:
        """Return the model that `save` wrote. Nothing in the file is run.

        The parameters are those of the fit, but for `callbacks`, which no file can hold, `device`, which is given here,
        and `random_state`, which is None where it was no integer (the seed that was used is `model_.card["seed"]`); a
        solver's name is a `Sampler` now, and `verbose` a truth value.

        Parameters
        ----------
        path : str or Path
        device : str, default="auto"
            "auto" is CUDA where there is one.
        denoiser : torch.nn.Module, default=None
            For a model with a network of your own: an instance of the same class, whose copy takes the weights. A file
            holds no code.

        Returns
        -------
        Diffusion

        Raises
        ------
        ModelFileError
            Where there is no such model, or one that is not whole and unaltered, or of another network.
        """
        place = chosen_device(device)
        model = model_file.load(path, denoiser)
        estimator = cls(device=device)
        try:
            estimator.set_params(**parameters_from(model.card["parameters"], model.schedule, denoiser))
            checked_settings(estimator.get_params(deep=False))
            estimator._adopt(model)
        except (KeyError, AttributeError, TypeError, ValueError, ArithmeticError) as error:
            raise ModelFileError(
                f"{path} cannot be read: in its card, parameters or training: {one_line(error)}."
            ) from error
        assert isinstance(model.denoiser, EnsembleDenoiser)  # no file holds another
        for network in (model.denoiser, *([model.student.denoiser] if model.student else [])):
            network.to(place)
        return estimator

    def _stream(self, keeping: CheckpointOptions | None) -> Stream:
        """Return the stream of a fit: where the seed is left to chance, a resumed one keeps what chance gave."""
        state = self.random_state
        by_chance = state is None or isinstance(state, (np.random.Generator, np.random.RandomState))
        if by_chance and keeping is not None and keeping.resume and keeping.path.exists():
            return Stream(checkpoint_seed(keeping.path))
        return as_stream(self.random_state)

    def _adopt(self, model: DiffusionModel) -> None:
        self.model_ = model
        self.training_ = Training(**model.card["settings"]["training"])
        self.schedule_, self.denoiser_, self.codec_ = model.schedule, model.denoiser, model.codec
        self.history_: History = model.history
        self.n_features_in_ = model.schema.n_columns
        self.__dict__.pop("feature_names_in_", None)  # scikit-learn: there only where the columns have names
        if model.schema.columns is not None:
            self.feature_names_in_ = np.array(model.schema.columns, dtype=object)

    def _matched(self, X: Any, name: str = "X") -> Table:
        check_is_fitted(self)
        table, own = complete(as_table(X, name=name), name=name), type(self).__name__
        same = (table.columns is None) == (self.model_.schema.columns is None)
        if not same and not isinstance(X, Table):  # in scikit-learn's words
            has, was = ("does not have valid", "with") if table.columns is None else ("has", "without")
            words = f"{name} {has} feature names, but {own} was fitted {was} feature names"
            warnings.warn(words, stacklevel=_callers_level())
        return match_columns(table, self.model_.schema, name=name, estimator=own)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` or `load` has been called."""
        return hasattr(self, "model_")


def _callers_level() -> int:
    """Return the `stacklevel` by which a warning points to the line that called into this module."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame, level = frame.f_back, level + 1
    return level
