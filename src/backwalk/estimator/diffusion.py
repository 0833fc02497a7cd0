"""`Diffusion`: its parameters and its fit."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self, TypeVar, overload

import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils.metadata_routing import UNUSED
from torch import nn

from backwalk.denoiser import Architecture, Embedding, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput, TrainingDiverged
from backwalk.estimator.conditionals import Conditionals
from backwalk.estimator.draws import Draws
from backwalk.estimator.files import Files
from backwalk.estimator.fitted import RowsT
from backwalk.estimator.judgement import Judgement
from backwalk.estimator.scores import Scores
from backwalk.fit import (
    ChosenColumns,
    check_settings,
    check_weights,
    choose_from_files,
    fit_model,
    warn_of_set_aside,
)
from backwalk.fit.progress import Callback, Display
from backwalk.limits import MEMORY, Missing, Predicts, ReverseVariance, Unseen
from backwalk.sampling import Sampler, SolverName
from backwalk.streams import RandomState
from backwalk.table import Option, Rule, StrPath, Table, as_table
from backwalk.training import Training

AnyTable = TypeVar("AnyTable")


class Diffusion(
    Draws[RowsT],
    Scores[RowsT],
    Conditionals[RowsT],
    Judgement[RowsT],
    DensityMixin,  # type: ignore[misc]
    Files[RowsT],
):
    """Denoising diffusion model of the rows of an array or a table.

    The fitted model draws new rows, draws or predicts some columns given others, fills gaps, and returns log-densities
    of rows. Noise is added to the rows in small steps until only noise is left, and a network learns to remove it. New
    rows start from noise, which is removed step by step.

    All defaults follow from the data. `Diffusion.ddpm()` has the settings of the course notebook.

    Parameters
    ----------
    n_steps : int, default=None
        Number N of steps of the default schedule; None is 1,000.
    schedule : NoiseSchedule, default=None
        Noise levels of the chain. None is even in the log-SNR, from below the data's finest scale to noise alone.
    denoiser : Residual, Textbook or torch.nn.Module, default=None
        Sizes of the network; or your own network, a module that maps points, (n, d), and noise levels, (n,), to (n, d),
        of which a copy is trained. None follows from the numbers of rows and columns.
    predicts : {"F", "eps", "v", "x_0"}, default="F"
        What your own network returns. "F" is the residual of the best linear denoiser, a function of x_t and the noise
        level, and is learnt best. The others are functions of x_t and t / N, as in a course notebook: the noise, v =
        sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0, or the clean point.
    embedding : CNNEmbedding, FCEmbedding or torch.nn.Module, default=None
        Network from the data columns, (n, m), to features of them, (n, k), for series and other data of many columns.
        It is trained together with the denoiser. The data columns are the only set of `conditions`, and the model
        answers for the other columns given all of these alone.
    training : Training, default=None
        Training plan; None follows from the numbers of rows and columns.
    reverse_variance : {"optimal", "beta", "beta_tilde"}, default="optimal"
        Variance sigma_t^2 of p_theta. "optimal" is fitted to held-out rows, or to the training rows where none are held
        out; it is then too small for a model that overfits.
    sampler : Sampler or str, default=None
        Default sampler of the fitted model, or the name of a solver. None is "auto" with 20 evaluations, with 60 where
        only some sets of columns may be given and all others are numbers, and with 8 for one number beside levels.
    max_steps : int, default=None
        The most training steps, of all networks together. With `max_time`, training ends at whichever limit is reached
        first. Without either it ends once the loss on held-out rows no longer falls, and no later than after 20,000
        steps; without held-out rows, after 1,000.
    max_time : float, default=None
        Seconds that the fit may take, from reading the rows to measuring the network's errors. A fit that takes more
        than a tenth longer, as a limit shorter than its preparation makes it, warns. A fit that the limit stops is not
        reproducible bit for bit. None sets no limit.
    validation_fraction : float, default=None
        Share of the rows that is held out to choose the weights and to fit the reverse variances, in [0, 0.5]. None
        follows from the numbers of rows and columns: a tenth at most, and none of fewer than 20 rows. 0 trains on all
        rows.
    scale : bool, default=True
        Whether columns are standardised. Columns with heavy tails are first transformed by asinh.
    device : str, default="auto"
        Where networks run: "cpu", "cuda", or "auto", which is CUDA where torch finds it.
    random_state : int, numpy.random.Generator or RandomState, default=None
        Seed of the fit. An integer makes it reproducible, on the same kind of machine with the same versions.
    callbacks : sequence of callables, default=()
        Functions that are called with a `FitProgress` after every training step. Where one returns True, training
        ends, and the model has the weights chosen so far.
    verbose : bool or int, default=True
        Whether work that takes longer than a second shows its progress: a bar on a terminal or in a notebook, and a
        line every half minute in a log.
    warm_start : bool, default=False
        Whether `fit` starts from the weights of the previous fit, as after Ctrl-C, which ends training with the best
        weights so far. On the same table the same rows are held out,
        unless more are asked for; rows of another table may have been trained on before. Columns and levels have to be
        the same.
    columns : mapping, default=None
        Kinds of columns that should not follow from the data, by name (or by number, in arrays and tables in memory):
        "number", "levels", "integer", "constant", "clock" (HHMM, such as 930), `Number(...)` or `Levels(...)`.
    missing : {"absent", "generate"}, default="absent"
        Whether new rows have missing values. "absent" learns from rows with gaps without generating any; "generate"
        makes gaps like the data's.
    conditions : "auto", "any", None or list of lists of columns, default="auto"
        Columns that may be given to `sample`, `score_samples` and `impute`: any, none, or one of some sets of columns.
        "auto" is any for tables with levels, gaps, dates or rules, and none for numbers alone, whose whole rows are
        then learnt better in the same time.
    unseen : {"nearest", "error"}, default="nearest"
        What later calls do about values that the fit did not see, such as a new label. "nearest" warns of them: where
        they are given, numbers and ordered categories count as the nearest level, and other labels as missing; where
        they are scored, the row's log-density is -inf. "error" refuses them. `set_params` changes it after the fit.
    rules : "auto", None or list of rules, default="auto"
        Rules between the columns of a table that each row obeys: in draws, conditions and imputations, and as a
        log-density of -inf where a row breaks one. "auto" are those that hold in all rows and that chance does not
        explain; None is none. A rule is a text, such as "start <= end", "total = a + b", "y = log(x)" or
        "city -> country", or an `Order`, `Total`, `Computed` or `Determines` of `backwalk.table`. A `Copy`, such as
        "paid ?= price", is an equality in a part of the rows, which no row breaks.

    Attributes
    ----------
    model_ : DiffusionModel
        The fitted model, with all that follows.
    schedule_ : NoiseSchedule
        Its noise levels.
    denoiser_ : EnsembleDenoiser
        Its trained networks.
    codec_ : Codec
        The map between the user's columns and encoded rows.
    history_ : History
        Losses of the training, step by step.
    training_ : Training
        Its training plan. `dataclasses.replace(training_, ...)` makes another one for `training`.
    columns_ : dict
        Kind of each column, such as "levels" or "integer", by name; by number from 0 if the columns have no names.
    rules_ : list of str
        Rules between columns that each new row obeys, found or declared.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str, (d,)
        Names of the columns, where they have names.

    See Also
    --------
    DiffusionImputer : Fills gaps in a pipeline of scikit-learn.
    multiple_imputations : Completes a table several times, to pool estimates from the copies.
    posterior : The posterior of a simulator's parameters, by a fitted model.

    Notes
    -----
    The chain adds noise to a row x_0 of n numbers, q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I) for
    t = 1..N. The network returns x_0_hat, an estimate of E[x_0 | x_t], from which eps_theta and mu_theta follow.
    Columns with levels are drawn one after the other from their probabilities, and then the numbers given these.

    Source: Ho et al. 2020, "Denoising diffusion probabilistic models"; Song et al. 2021, "Score-based generative
    modeling through stochastic differential equations".

    Examples
    --------
    >>> import numpy as np
    >>> from backwalk import Diffusion
    >>> X = np.random.default_rng(0).normal([1.0, 5.0], [1.0, 0.1], size=(500, 2))
    >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
    >>> model.sample(3, random_state=1).shape
    (3, 2)
    >>> model.score_samples(X[:3]).shape
    (3,)

    A table with gaps, of which any columns may be given:

    >>> import pyarrow as pa
    >>> table = pa.table({"species": ["Adelie", "Gentoo"] * 100, "mass": [3700.0, None, 3800.0, 5100.0] * 50})
    >>> model = Diffusion(max_steps=20, random_state=0).fit(table)
    >>> model.sample(2, given={"species": "Gentoo"}, random_state=1)["species"].to_pylist()
    ['Gentoo', 'Gentoo']
    """

    # Of the arguments of `fit`, scikit-learn routes what has an entry for each row.
    __metadata_request__fit = dict.fromkeys(
        (
            "memory",
            "drop",
            "drop_missing",
            "on_columns",
        ),
        UNUSED,
    )

    def __init__(
        self,
        n_steps: int | None = None,
        *,
        schedule: NoiseSchedule | None = None,
        denoiser: Architecture | None = None,
        predicts: Predicts = "F",
        embedding: Embedding | None = None,
        training: Training | None = None,
        reverse_variance: ReverseVariance = "optimal",
        sampler: Sampler | SolverName | None = None,
        max_steps: int | None = None,
        max_time: float | None = None,
        validation_fraction: float | None = None,
        scale: bool = True,
        device: str = "auto",
        random_state: RandomState = None,
        callbacks: Sequence[Callback] = (),
        verbose: bool | int = True,
        warm_start: bool = False,
        columns: Mapping[Any, Option] | None = None,
        missing: Missing = "absent",
        conditions: Literal["auto", "any"] | Sequence[Sequence[str | int]] | None = "auto",
        unseen: Unseen = "nearest",
        rules: Literal["auto"] | Sequence[Rule | str] | None = "auto",
    ) -> None:
        self.unseen: Unseen = unseen
        self.rules = rules
        self.columns = columns
        self.missing = missing
        self.conditions = conditions
        self.n_steps = n_steps
        self.schedule = schedule
        self.denoiser = denoiser
        self.predicts: Predicts = predicts
        self.embedding = embedding
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
    def ddpm(cls, *, n_epochs: int = 5000, **parameters: Any) -> Self:
        """Return an unfitted model with the settings of the usual course notebook.

        It is Ho et al. 2020 on points: N = 100, beta linear from 0.001 to 0.02; 4 hidden layers of 100 tanh units on
        (x, t/N) that predict eps; Adam at 1e-3 on L_simple, batches of 1,000, the last short one dropped, 5,000 epochs;
        no average of weights, no scaling, no held-out rows; sampling with sigma^2 = beta and no noise at t = 1. Its
        alpha_bar_N is 0.3475, and `fit` warns of what that costs. A network of your own as `denoiser` predicts eps from
        (x, t/N) here, unless `predicts` says otherwise.

        Parameters
        ----------
        n_epochs : int, default=5000
            Passes through the rows.
        **parameters
            Other parameters of `Diffusion`, such as `max_time`, `random_state` or `schedule`. A schedule should end a
            little above alpha_bar = 0, because the error of eps is divided by sqrt(alpha_bar):
            `NoiseSchedule.linear(100, beta_max=0.1)` does, `NoiseSchedule.cosine(100)` does not.

        Returns
        -------
        Diffusion
            The unfitted estimator.

        See Also
        --------
        NoiseSchedule.linear : Its schedule, with other beta.

        Examples
        --------
        >>> from backwalk import Diffusion
        >>> model = Diffusion.ddpm(n_epochs=7)
        >>> model.schedule.n_steps, model.reverse_variance, model.training.n_epochs
        (100, 'beta', 7)
        """
        notebook = {
            "schedule": NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02),
            "denoiser": Textbook(width=100, n_hidden=4),
            "training": Training(
                n_epochs=n_epochs, batch_size=1000, learning_rate=1e-3, ema_width=None, decay=None, levels="chain"
            ),
            "reverse_variance": "beta",
            "sampler": Sampler("ancestral"),
            "validation_fraction": 0.0,
            "scale": False,
        }
        if isinstance(parameters.get("denoiser"), nn.Module):
            notebook["predicts"] = "eps"
        return cls(**{**notebook, **parameters})

    @overload
    def fit(
        self,
        X: StrPath,
        y: None = None,
        *,
        memory: int | str = MEMORY,
        drop: Sequence[str] = (),
        drop_missing: bool = False,
        on_columns: Callable[[ChosenColumns], object] | None = None,
    ) -> Diffusion[pa.Table]: ...

    @overload
    def fit(
        self,
        X: NDArray[Any] | Sequence[Sequence[Any]],
        y: None = None,
        sample_weight: ArrayLike | None = None,
        *,
        on_columns: Callable[[ChosenColumns], object] | None = None,
    ) -> Diffusion[NDArray[Any]]: ...

    @overload
    def fit(
        self,
        X: AnyTable,
        y: None = None,
        sample_weight: ArrayLike | None = None,
        *,
        on_columns: Callable[[ChosenColumns], object] | None = None,
    ) -> Diffusion[AnyTable]: ...

    def fit(
        self,
        X: Any,
        y: None = None,
        sample_weight: ArrayLike | None = None,
        *,
        memory: int | str = MEMORY,
        drop: Sequence[str] = (),
        drop_missing: bool = False,
        on_columns: Callable[[ChosenColumns], object] | None = None,
    ) -> Diffusion[Any]:
        """Fit the model to rows.

        New rows are of the kind of `X`, with the same columns and dtypes: an array, or a pandas, polars or pyarrow
        table.

        Parameters
        ----------
        X : array or pandas, polars or pyarrow table, (n, d); or str or Path
            Columns hold numbers, texts, categories, truth values, dates or times, with or without missing values. A
            path names a table file, a folder of files with the same columns, or a pattern such as `data/*.parquet`; the
            files may be larger than memory, and new rows are pyarrow tables. A `TextPath` says how texts are written.
        y : None
            Ignored; part of scikit-learn's signature.
        sample_weight : array, (n,), default=None
            Weights of the rows, >= 0, of which only the ratios matter. They count in the frequencies of levels, in the
            scales of columns, in the joint Gaussian that the network of a table starts from, in the loss, and on
            held-out rows in the choice of the network's weights. All rows count alike in the schedule, and all held-out
            rows in the reverse variances. Rows of weight 0 are left out.
        memory : int or str, default="2GiB"
            Bytes that a fit of files may take. Of a table that does not fit, names, types, ranges, gaps, levels and
            their frequencies are those of all rows, and the rows that fit are trained on: they are chosen by their
            number, without replacement.
        drop : sequence of str, default=()
            Columns of the files that are left out.
        drop_missing : bool, default=False
            Whether to leave out rows of the files with missing values.
        on_columns : callable, default=None
            Called before training with the columns that were chosen, their kinds and the reasons of those that are set
            aside, instead of a warning. An exception that it raises ends the fit.

        Returns
        -------
        Diffusion
            The fitted estimator.

        Raises
        ------
        InvalidInput
            A ValueError: the rows or parameters cannot be used. It is raised before training.
        TrainingDiverged
            The loss or the weights are not finite. The estimator then has the chosen weights, if there are any.

        Warns
        -----
        ColumnsSetAsideWarning, DoubtfulCellsWarning, DegenerateRowsWarning, RepeatedValueWarning,
        PriorMismatchWarning, ShortTrainingWarning
            Before training, about rows or a schedule that spoil the model; after it, if a time limit ended it too soon.

        See Also
        --------
        Diffusion.save : Writes the fitted model to a file.
        backwalk.TextPath : A text file, and how it is written.

        Examples
        --------
        >>> import numpy as np
        >>> from backwalk import Diffusion
        >>> X = np.random.default_rng(0).normal(size=(200, 2))
        >>> model = Diffusion(max_steps=20, random_state=0).fit(X, sample_weight=np.arange(200))
        >>> model.history_.n_steps
        20
        """
        began = time.perf_counter()
        del y  # part of scikit-learn's signature
        settings = check_settings(self.get_params(deep=False))
        rows: Table | ChosenColumns
        row_weights = None
        if isinstance(X, ChosenColumns):
            rows = X
        elif isinstance(X, (str, os.PathLike)):
            if isinstance(drop, str) or not isinstance(drop, Iterable) or not all(isinstance(n, str) for n in drop):
                raise InvalidInput(f"drop should be a list of names of columns, but got {drop!r}: give ['id'], say.")
            if sample_weight is not None:
                raise InvalidInput("sample_weight goes with rows, but X names files: read them, or leave it out.")
            with Display(verbose=self.verbose) as display:
                rows = choose_from_files(X, settings, memory, drop=drop, drop_missing=drop_missing, watch=display.show)
            if on_columns is None:
                warn_of_set_aside(rows, stacklevel=3)
        else:
            if drop or drop_missing:
                raise InvalidInput("drop and drop_missing go with files, but X holds rows: leave them out of X.")
            rows = table = as_table(X)
            row_weights = check_weights(sample_weight, len(table.values))
            settings = settings.with_names(table.schema)
        previous_model = getattr(self, "model_", None) if settings.warm_start else None
        model, diverged = fit_model(
            rows,
            settings,
            previous_model=previous_model,
            began=began,
            row_weights=row_weights,
            on_columns=on_columns,
        )
        self._adopt(model)
        if diverged is not None:
            raise TrainingDiverged(
                f"{diverged} The estimator has the chosen weights, of step {model.history.chosen_step}: check it "
                "before use."
            ) from diverged
        return self
