"""The only room that changes weights: `Trainer` runs the loop that a `Training` record describes."""

from backwalk.training.config import Training
from backwalk.training.loop import History, Progress, Trainer
from backwalk.training.noise_levels import ChainLevels, LogNormalLevels, NoiseLevels

__all__ = ["ChainLevels", "History", "LogNormalLevels", "NoiseLevels", "Progress", "Trainer", "Training"]
