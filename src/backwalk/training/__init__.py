"""Training, the only code that changes weights: `Trainer` runs the loop that a `Training` record describes."""

from backwalk.training.checkpoint import checkpointed
from backwalk.training.config import Training
from backwalk.training.history import History, Progress
from backwalk.training.loop import Trainer
from backwalk.training.noise_levels import ChainLevels, LogNormalLevels, NoiseLevels, OneLevel
from backwalk.training.patterns import Patterns, Shares
from backwalk.training.validation import split_rows
from backwalk.training.workers import ALONE, Workers, torchrun_workers

__all__ = [
    "ALONE",
    "ChainLevels",
    "History",
    "LogNormalLevels",
    "NoiseLevels",
    "OneLevel",
    "Patterns",
    "Progress",
    "Shares",
    "Trainer",
    "Training",
    "Workers",
    "checkpointed",
    "split_rows",
    "torchrun_workers",
]
