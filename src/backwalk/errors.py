"""The exceptions and warnings of backwalk.

```
BackwalkError
├── InvalidInput (ValueError)       data or settings that the caller can correct
│   ├── NotANumber (TypeError)      a cell that is not a number
│   └── IncompatibleArguments       arguments that do not go together
├── TableFileError (ValueError)     a table file that cannot be read or written
├── ModelFileError (ValueError)     a model file that is incomplete, altered, or from another version
├── CheckpointError (ValueError)    a checkpoint that is damaged, or belongs to another fit
├── TrainingDiverged (RuntimeError) the loss or the weights are not finite
├── SamplingDiverged (RuntimeError) rows, latents or scores are not finite

UserWarning
├── DegenerateRowsWarning           rows that lie in fewer dimensions, repeat each other, or are very few
├── FewEffectiveDrawsWarning        weighted draws that are worth few equally weighted ones
├── ImpossibleRowsWarning           rows that the model cannot make are left out of a score
├── PriorMismatchWarning            the chain ends before the data are noise
├── RepeatedValueWarning            one number stands in many rows of a column
├── ShortTrainingWarning            a time limit ended training after far too few steps
└── UnseenValuesWarning             cells hold values that the fit did not see
```

Each message says what is wrong, which value was given, and what to do. The command line turns errors into one line on
stderr; everything else lets them propagate.
"""

import sys
import warnings


class BackwalkError(Exception):
    """The base class of all errors that backwalk raises on purpose."""


class InvalidInput(BackwalkError, ValueError):
    """Data or settings that cannot be used; the message says what to change."""


class NotANumber(InvalidInput, TypeError):
    """A cell that is not a number. Also a TypeError, which NumPy and scikit-learn raise here."""


class IncompatibleArguments(InvalidInput):
    """Arguments that do not go together. The command line ends with the status of wrong usage, 2."""


class TableFileError(BackwalkError, ValueError):
    """A table file that cannot be read or written."""


class ModelFileError(BackwalkError, ValueError):
    """A model file that is missing, incomplete, altered, or of another format version."""


class CheckpointError(BackwalkError, ValueError):
    """A checkpoint that is incomplete, altered, of another fit, or that cannot be written."""


class TrainingDiverged(BackwalkError, RuntimeError):
    """The loss or the weights stopped being finite during training."""


class SamplingDiverged(BackwalkError, RuntimeError):
    """Rows, latents or scores computed by the network are not finite; none of them is returned."""


class ColumnsSetAsideWarning(UserWarning):
    """Columns of identifiers or free text are left out of a fit."""


class DegenerateRowsWarning(UserWarning):
    """Rows that no density describes well: they lie in fewer dimensions, repeat each other, or are very few."""


class DoubtfulCellsWarning(UserWarning):
    """Cells that are likely mistakes: numbers that stand for missing values, labels that mean one, a row of totals."""


class FewEffectiveDrawsWarning(UserWarning):
    """Draws that are resampled from weighted ones, which are worth few equally weighted ones."""


class ImpossibleRowsWarning(UserWarning):
    """Rows that the model cannot make, as their constant columns differ from the fit's, are left out of a score."""


class PriorMismatchWarning(UserWarning):
    """The chain ends before the data are noise, so that sampling starts from the wrong distribution."""


class RepeatedValueWarning(UserWarning):
    """One number stands in many rows of a column; a density cannot represent such a point mass."""


class ShortTrainingWarning(UserWarning):
    """A time limit ended training after far fewer steps than a sound fit takes."""


class UnseenValuesWarning(UserWarning):
    """Cells that are given or scored hold values that the fit did not see; the message counts them by column."""


def warn_caller(text: str, category: type[UserWarning]) -> None:
    """Warn at the line that called into this package."""
    frame, level = sys._getframe(1), 3
    package = __name__.partition(".")[0]
    while frame.f_back is not None and str(frame.f_back.f_globals.get("__name__")).partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
