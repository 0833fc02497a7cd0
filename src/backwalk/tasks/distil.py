"""Train a student of a saved model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.model import Student, student_words
from backwalk.model_file import check_target, stamp
from backwalk.tasks.models import load_model
from backwalk.tasks.observer import SILENT, Observer


@dataclass(frozen=True, eq=False)
class DistilResult:
    """The path of the model, its student, and the seconds that training the student took."""

    path: Path
    student: Student
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        network = repr(self.student.architecture)
        return {"model": str(self.path), "student": network, "error": self.student.error, "seconds": self.seconds}


def distil(
    model: str | Path,
    output: str | Path | None = None,
    *,
    max_steps: int | None = None,
    max_time: float | None = None,
    device: str = "auto",
    seed: int = 0,
    force: bool = False,
    observer: Observer = SILENT,
) -> DistilResult:
    """Train a student of a saved model, and save both to `output`, by default over the model."""
    source = Path(model)
    target = source if output is None else Path(output)
    before = stamp(source)
    estimator = load_model(source, device)
    if output is not None:
        check_target(target, overwrite=force)
    elif estimator.model_.student is not None and not force:
        raise InvalidInput(
            f"{source} has a student already: save to another place with -o, or replace it with --force."
        )
    else:
        check_target(source, overwrite=True)
    estimator.set_params(verbose=observer.verbose, callbacks=tuple(observer.callbacks))
    began = time.monotonic()
    student = estimator.distil(max_steps=max_steps, max_time=max_time, random_state=seed).model_.student
    assert student is not None
    seconds = time.monotonic() - began
    observer.message(f"distilled in {seconds:.1f} s: {student_words(student)}")
    if output is None and stamp(source) != before:
        raise InvalidInput(
            f"{source} was replaced while it was distilled: distil it again, or save to another place with -o."
        )
    estimator.save(target, overwrite=output is None or force)
    return DistilResult(target, student, seconds)
