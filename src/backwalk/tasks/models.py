"""Loading models, beginning their draws, and checking where models and reports are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.files import check_writable
from backwalk.formatting import one_line
from backwalk.model_file import is_model
from backwalk.table import SUFFIXES


def load_model(path: Path, device: str = "auto", *, data: str | None = None) -> Diffusion:
    """Load a model. Raises InvalidInput if `path` is a table; the message says so if MODEL and `data` are swapped."""
    if path.is_file() and path.name.lower().endswith(SUFFIXES):
        order = " MODEL comes first, then DATA." if data is not None and is_model(data) else ""
        raise InvalidInput(f"MODEL should be a model that `backwalk fit` saved, but {str(path)!r} is a table.{order}")
    return Diffusion.load(path, device=device)


def check_report_target(output: Path, force: bool) -> None:
    """Raise InvalidInput if a report could not be written; to be called before long work."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(
            f"A report's name should end in .html, but got {str(output)!r}: for its figures as JSON, add --json."
        )
    with report_errors(output):
        check_writable(output, overwrite=force)


@contextmanager
def report_errors(output: Path) -> Iterator[None]:
    """Turn OSErrors of writing a report into InvalidInput that names the file."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {one_line(error)}.") from error


def begun(pieces: Iterator[NDArray[np.float64]]) -> Iterator[NDArray[np.float64]]:
    """Return an iterator whose first piece was made, so that its errors come before a file is opened for the others."""
    return chain([next(pieces)], pieces)
