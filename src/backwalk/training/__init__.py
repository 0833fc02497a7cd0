"""Training, the only code that changes weights.

`EnsembleTrainer` trains networks one after another; `Trainer` is the loop of one, as a `Training` record describes it.
"""

from backwalk.training.batches import TrainingRows
from backwalk.training.config import Training
from backwalk.training.ensemble import EnsembleTrainer
from backwalk.training.loop import Trainer
from backwalk.training.noise_levels import ChainLevels, LogNormalLevels, NoiseLevels
from backwalk.training.pace import History, Progress
from backwalk.training.patterns import Patterns, Shares
from backwalk.training.validation import split_rows

__all__ = [
    "ChainLevels",
    "EnsembleTrainer",
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
