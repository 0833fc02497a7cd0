"""The exceptions and warnings of backwalk.

```
BackwalkError
├── InvalidInput (ValueError)       data or settings that the caller can correct
│   ├── NotANumber (TypeError)      a cell that is not a number
│   └── IncompatibleArguments       arguments that do not go together
├── TableFileError (ValueError)     a table file that cannot be read or written
├── ModelFileError (ValueError)     a model file that is incomplete, altered, or from another version
├── TrainingDiverged (RuntimeError) the loss or the weights are not finite
└── SamplingDiverged (RuntimeError) rows, latents or scores are not finite

UserWarning
├── ColumnsSetAsideWarning          columns of identifiers or free text are left out of a fit
├── DegenerateRowsWarning           rows that lie in fewer dimensions, repeat each other, or are very few
├── DoubtfulCellsWarning            cells that are likely mistakes
├── ImpossibleRowsWarning           rows that the model cannot make are left out of a score
├── LeftOutRuleWarning              drawn rows go without a found rule, as what is given leaves no others
├── PriorMismatchWarning            the chain ends before the data are noise
├── RepeatedValueWarning            one number stands in many rows of a column
├── ShortTrainingWarning            a time limit or Ctrl-C ended training too soon, or a limit was not kept
└── UnseenValuesWarning             cells hold values that the fit did not see
```

Each message says what is wrong, which value was given, and what to do. The command line turns errors into one line on
stderr; everything else lets them propagate.
"""

import sys
import warnings


class BackwalkError(Exception):
    """The base class of all errors that backwalk raises on purpose.

    Each message says what is wrong, which value was given, and what to do. The command line prints it in one line.

    See Also
    --------
    InvalidInput : Data or settings that cannot be used.

    Examples
    --------
    >>> from backwalk import BackwalkError, Diffusion
    >>> try:
    ...     Diffusion.load("nowhere.backwalk")
    ... except BackwalkError as error:
    ...     print(type(error).__name__)
    ModelFileError
    """


class InvalidInput(BackwalkError, ValueError):
    """Data or settings that cannot be used.

    It is a ValueError. The message says what to change. What `fit` is given is checked before training begins.

    See Also
    --------
    TableFileError : A table file that cannot be read or written.

    Examples
    --------
    >>> from backwalk import Diffusion, InvalidInput
    >>> try:
    ...     Diffusion(max_steps=0).fit([[0.0], [1.0]])
    ... except InvalidInput as error:
    ...     print(error)
    max_steps should be an integer >= 1 or None, but got 0: give 1 at least, or leave it out.
    """


class NotANumber(InvalidInput, TypeError):
    """A cell that is not a number.

    It is also a TypeError, which NumPy and scikit-learn raise here.

    See Also
    --------
    InvalidInput : Its base class.

    Examples
    --------
    >>> from backwalk import Diffusion, InvalidInput
    >>> try:
    ...     Diffusion().fit([[0.0, object()], [1.0, 2.0]])
    ... except InvalidInput as error:
    ...     print(isinstance(error, TypeError))
    True
    """


class IncompatibleArguments(InvalidInput):
    """Arguments that do not go together.

    The command line ends with the status of wrong usage, 2.

    See Also
    --------
    InvalidInput : Its base class.

    Examples
    --------
    >>> from backwalk.errors import IncompatibleArguments, InvalidInput
    >>> issubclass(IncompatibleArguments, InvalidInput)
    True
    """


class TableFileError(BackwalkError, ValueError):
    """A table file that cannot be read or written.

    It is a ValueError. The file is missing, no table, too large, or holds cells that cannot be read; the message names
    the line or the column.

    See Also
    --------
    TextPath : A text file, and how it is written.
    InvalidInput : Rows that cannot be used.

    Examples
    --------
    >>> from backwalk import Diffusion, TableFileError
    >>> try:
    ...     Diffusion().fit("nowhere.csv")
    ... except TableFileError as error:
    ...     print("nowhere.csv" in str(error))
    True
    """


class ModelFileError(BackwalkError, ValueError):
    """A model file that is missing, incomplete, altered, or of another format version.

    It is a ValueError. `Diffusion.save` raises it where the file exists, or cannot be written. A file of another
    version names both: fit again, or use the version that wrote it.

    See Also
    --------
    Diffusion.load : Reads a model file.
    Diffusion.save : Writes a model file.

    Examples
    --------
    >>> from backwalk import Diffusion, ModelFileError
    >>> try:
    ...     Diffusion.load("nowhere.backwalk")
    ... except ModelFileError as error:
    ...     print("nowhere.backwalk" in str(error))
    True
    """


class TrainingDiverged(BackwalkError, RuntimeError):
    """The loss or the weights stopped being finite during training.

    It is a RuntimeError. The estimator then has the weights chosen so far, if there are any. Take a smaller
    `learning_rate`, or look for rows that are far from all others.

    See Also
    --------
    Training : The training plan, with `learning_rate`.
    SamplingDiverged : Rows or scores that are not finite.

    Examples
    --------
    >>> from backwalk import TrainingDiverged
    >>> issubclass(TrainingDiverged, RuntimeError)
    True
    """


class SamplingDiverged(BackwalkError, RuntimeError):
    """Rows, latents or scores that the network computes are not finite; none of them is returned.

    It is a RuntimeError. Fit again with a `training` of smaller `learning_rate`.

    See Also
    --------
    TrainingDiverged : A loss or weights that are not finite.

    Examples
    --------
    >>> from backwalk import SamplingDiverged
    >>> issubclass(SamplingDiverged, RuntimeError)
    True
    """


class ColumnsSetAsideWarning(UserWarning):
    """Columns of identifiers or free text are left out of a fit.

    New rows do not have them. Name such a column in `columns` of `Diffusion` to keep it.

    See Also
    --------
    Diffusion.fit : Warns of them, or calls `on_columns`.

    Examples
    --------
    >>> import warnings
    >>> import pyarrow as pa
    >>> from backwalk import ColumnsSetAsideWarning, Diffusion
    >>> table = pa.table({"id": [f"A-{i:04}" for i in range(200)], "mass": [i**0.5 for i in range(200)]})
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", ColumnsSetAsideWarning)
    ...     model = Diffusion(max_steps=20, random_state=0).fit(table)
    >>> model.sample(2, random_state=1).column_names
    ['mass']
    """


class DegenerateRowsWarning(UserWarning):
    """Rows that no density describes well.

    They lie in fewer dimensions than they have columns, repeat each other, or are very few. Leave out columns that
    follow from others, or give more rows.

    See Also
    --------
    RepeatedValueWarning : One number in many rows.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from backwalk import DegenerateRowsWarning, Diffusion
    >>> x = np.random.default_rng(0).normal(size=(200, 1))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = Diffusion(max_steps=20, rules=None, random_state=0).fit(np.hstack([x, 2 * x]))
    >>> [warning.category.__name__ for warning in caught]
    ['DegenerateRowsWarning']
    """


class DoubtfulCellsWarning(UserWarning):
    """Cells that are likely mistakes.

    They are numbers that stand for missing values, such as -999, different labels that mean one, numbers that look like
    clock times, such as 930, or blank rows. Mend them before the fit, or name the kind "clock". `na` of `TextPath`
    names cells that are missing values.

    See Also
    --------
    TextPath : A text file, and its missing values.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion, DoubtfulCellsWarning
    >>> mass = np.random.default_rng(0).normal(50.0, 5.0, 300)
    >>> mass[::30] = -999.0
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = Diffusion(max_steps=20, random_state=0).fit(pa.table({"mass": mass}))
    >>> [warning.category.__name__ for warning in caught]
    ['DoubtfulCellsWarning']
    """


class ImpossibleRowsWarning(UserWarning):
    """Rows that the model cannot make are left out of a score.

    Such a row has another value than the fit's in a constant column, a value that is no level of its column, a number
    off its grid, or breaks a rule. Its log-density is -inf, which would make every mean -inf.

    See Also
    --------
    Diffusion.score : Warns of them.
    Diffusion.score_samples : Returns -inf for them.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from backwalk import Diffusion, ImpossibleRowsWarning
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> X[:, 1] = 7.0
    >>> model = Diffusion(max_steps=20, random_state=0).fit(X)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = model.score([[0.0, 7.0], [0.0, 8.0]])
    >>> [warning.category.__name__ for warning in caught]
    ['ImpossibleRowsWarning']
    """


class LeftOutRuleWarning(UserWarning):
    """Drawn rows that go without a rule which was found in the fitted rows.

    What is given contradicts the rule, or next to no draws obey it. A declared rule is an error there.

    See Also
    --------
    Diffusion.sample : Warns of such rows.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion, LeftOutRuleWarning
    >>> a, b = np.random.default_rng(0).poisson(20, (2, 200))
    >>> model = Diffusion(max_steps=20, random_state=0).fit(pa.table({"a": a, "b": b, "both": a + b}))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = model.sample(2, given={"a": 20, "b": 20, "both": 41}, random_state=0)
    >>> LeftOutRuleWarning in [warning.category for warning in caught]
    True
    """


class PriorMismatchWarning(UserWarning):
    """The chain ends before the data are noise.

    Sampling starts from N(0, I), but q(x_N) still holds signal, which costs the bound at least the prior mismatch in
    nats per row, whatever the network. Use more steps or larger betas, or leave the schedule to `Diffusion`.

    See Also
    --------
    NoiseSchedule : Schedules, and where they end.
    backwalk.diffusion.prior_mismatch : The cost in nats.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from backwalk import Diffusion, NoiseSchedule, PriorMismatchWarning
    >>> x = np.random.default_rng(0).normal(size=(200, 1))
    >>> X = np.hstack([x, x + np.random.default_rng(1).normal(size=(200, 1))])
    >>> short = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = Diffusion(schedule=short, max_steps=20, random_state=0).fit(X)
    >>> [warning.category.__name__ for warning in caught]
    ['PriorMismatchWarning']
    """


class RepeatedValueWarning(UserWarning):
    """One number stands in many rows of a column.

    A density cannot represent such a point mass: new rows scatter around the number. Give the rows as a table and leave
    out the column's kind: the number then has a probability of its own.

    See Also
    --------
    DegenerateRowsWarning : Rows in fewer dimensions.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from backwalk import Diffusion, RepeatedValueWarning
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> X[:120, 1] = 0.0
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = Diffusion(max_steps=20, random_state=0).fit(X)
    >>> [warning.category.__name__ for warning in caught]
    ['RepeatedValueWarning']
    """


class ShortTrainingWarning(UserWarning):
    """A time limit ended training too soon or could not be kept, or Ctrl-C ended training.

    Give a larger `max_time`, or leave it out.

    See Also
    --------
    Diffusion : Its parameter `max_time`.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from backwalk import Diffusion, ShortTrainingWarning
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = Diffusion(max_time=0.01, random_state=0).fit(X)
    >>> {warning.category.__name__ for warning in caught}  # training was cut short, and the limit could not be kept
    {'ShortTrainingWarning'}
    """


class UnseenValuesWarning(UserWarning):
    """Cells that are given or scored hold values that the fit did not see.

    The message counts them by column. What they count as is `unseen` of `Diffusion`. It also says that an observation
    lies farther from the fitted rows than held-out rows do.

    See Also
    --------
    Diffusion : Its parameter `unseen`.
    backwalk.inference.Posterior.check : Whether an observation is like the simulations.

    Examples
    --------
    >>> import warnings
    >>> import pyarrow as pa
    >>> from backwalk import Diffusion, UnseenValuesWarning
    >>> table = pa.table({"species": ["Adelie", "Gentoo"] * 100, "mass": [3700.0 + i for i in range(200)]})
    >>> model = Diffusion(max_steps=20, random_state=0).fit(table)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = model.conditional(pa.table({"species": ["Emperor"]}), "mass")
    >>> [warning.category.__name__ for warning in caught]
    ['UnseenValuesWarning']
    """


def warn_caller(text: str, category: type[UserWarning]) -> None:
    """Warn at the line that called into this package."""
    frame, level = sys._getframe(1), 3
    package = __name__.partition(".")[0]
    while frame.f_back is not None and str(frame.f_back.f_globals.get("__name__")).partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
