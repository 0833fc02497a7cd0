"""Training within a fit, with checkpoints, callbacks and progress."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

from backwalk.errors import InvalidInput, TrainingDiverged
from backwalk.fitting.settings import CheckpointOptions, Settings
from backwalk.model import DiffusionModel
from backwalk.progress import FitProgress, progress_bar
from backwalk.training import Progress, Trainer, checkpointed


def trained(
    trainer: Trainer,
    settings: Settings,
    options: CheckpointOptions | None,
    slowness: float,
    model_so_far: Callable[[], DiffusionModel],
) -> TrainingDiverged | None:
    """Train to the end, or until a callback returns True.

    Return the error where training diverged and the trainer has finite weights.
    """
    steps: Generator[Progress] = (
        trainer.run()
        if options is None
        else checkpointed(
            trainer,
            options.path,
            resume=options.resume,
            overwrite=options.overwrite,
            every=options.every,
            slowness=slowness,
        )
    )
    stops = False
    try:
        with progress_bar(settings.verbose) as show, closing(_memory_checked(steps)) as checked_steps:
            for progress in checked_steps:
                told = FitProgress(**vars(progress), model=model_so_far)
                answers = [callback(told) for callback in (show, *settings.callbacks)]
                stops = any(answer is True for answer in answers)
                if stops:
                    break
        if stops:  # the generator has written its checkpoint
            with enough_memory():
                trainer.stop()
    except TrainingDiverged as stopped:
        if trainer.give_up() is None:
            raise
        with enough_memory():
            deque(trainer.run(), maxlen=0)  # takes no step, but copies the chosen weights into the network
        return stopped
    if trainer.diverged:
        warnings.warn(
            f"Training diverged at step {trainer.step}: the model has the chosen weights, of step "
            f"{trainer.history().chosen_step}.",
            RuntimeWarning,
            stacklevel=4,
        )
    return None


def _memory_checked(steps: Generator[Progress]) -> Generator[Progress]:
    """Turn running out of memory in a step into InvalidInput; exceptions of callbacks propagate."""
    with closing(steps):
        while True:
            with enough_memory():
                progress = next(steps, None)
            if progress is None:
                return
            yield progress


@contextmanager
def enough_memory() -> Iterator[None]:
    """Turn out-of-memory errors of NumPy and torch into InvalidInput."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("can't allocate|out of memory|bad_alloc", str(error)):
            raise
        raise InvalidInput(
            "The fit needs more memory than there is: give fewer rows, or a `denoiser` of smaller width and a "
            "`training` of smaller batch_size."
        ) from error
