"""The errors that backwalk raises on purpose. Each message gives the rule, the value and the remedy.

```
BackwalkError
├── InvalidInput (ValueError)       data or settings that a caller can put right
│   ├── NotANumber (TypeError)      a cell that is no number
│   └── IncompatibleArguments       arguments that do not go together
├── TableFileError (ValueError)     a table file that cannot be read or written
├── ModelFileError (ValueError)     a model file that is incomplete, altered, or from another version
├── CheckpointError (ValueError)    a checkpoint that is damaged, or belongs to another fit
├── TrainingDiverged (RuntimeError) the loss stopped being finite
└── SamplingDiverged (RuntimeError) a walk between noise and rows left the finite numbers
```

Only the command line turns these into one line on stderr; everything else lets them through.
"""


class BackwalkError(Exception):
    """The root: `except BackwalkError` catches what this library raises on purpose, and nothing else."""


class InvalidInput(BackwalkError, ValueError):
    """Data or settings outside what is accepted; the message says what to change."""


class NotANumber(InvalidInput, TypeError):
    """A cell that is no number. Also a TypeError, which is what NumPy and scikit-learn raise here."""


class IncompatibleArguments(InvalidInput):
    """Arguments that do not go together. The command line ends with the status of wrong usage, 2."""


class TableFileError(BackwalkError, ValueError):
    """A table file that cannot be read or written."""


class ModelFileError(BackwalkError, ValueError):
    """A model file that is missing, incomplete, altered, or written by another format version."""


class CheckpointError(BackwalkError, ValueError):
    """A checkpoint that is incomplete, altered or of another fit, or that cannot be written."""


class TrainingDiverged(BackwalkError, RuntimeError):
    """Training met a loss that is not finite, and stopped."""


class SamplingDiverged(BackwalkError, RuntimeError):
    """A walk from noise to rows, or from rows to noise, left the finite numbers; nothing of it is returned."""


class RepeatedValueWarning(UserWarning):
    """A column holds one number in many rows, which a density cannot give back."""


class PriorMismatchWarning(UserWarning):
    """The chain ends before the data are noise, so that sampling starts from the wrong place."""
