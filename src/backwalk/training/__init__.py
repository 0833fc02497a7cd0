"""Training, the only code that changes weights: `Trainer` runs the loop that a `Training` record describes."""

from backwalk.training.batches import TrainingRows
from backwalk.training.config import Training
from backwalk.training.loop import Trainer
from backwalk.training.noise_levels import ChainLevels, LogNormalLevels, NoiseLevels
from backwalk.training.pace import History, Progress
from backwalk.training.patterns import Patterns, Shares
from backwalk.training.validation import split_rows

__all__ = [
    "ChainLevels",
    "History",
    "LogNormalLevels",
    "NoiseLevels",
    "Patterns",
    "Progress",
    "Shares",
    "Trainer",
    "Training",
    "TrainingRows",
    "split_rows",
]
