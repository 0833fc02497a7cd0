"""Loading models, and checking where models and reports are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backwalk.atomic_files import check_writable
from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.formatting import one_line
from backwalk.model_file import check_target
from backwalk.table import SUFFIXES


def load_model(path: Path, device: str = "auto", *, data: str | None = None) -> Diffusion:
    """Load a model. Raises InvalidInput where `path` is a table, and names the order where `data` is the model."""
    if path.is_file() and path.name.lower().endswith(SUFFIXES):
        order = " MODEL comes first, then DATA." if data is not None and _is_model(data) else ""
        raise InvalidInput(f"MODEL should be a model that `backwalk fit` saved, but {str(path)!r} is a table.{order}")
    return Diffusion.load(path, device=device)


def check_model_target(output: Path, force: bool) -> None:
    """Raise ModelFileError where a model cannot be saved, before long work."""
    check_target(output, overwrite=force)


def check_report_target(output: Path, force: bool) -> None:
    """Raise InvalidInput where a report cannot be written, before long work."""
    if output.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(
            f"A report's name should end in .html, but got {str(output)!r}: for its figures as JSON, add --json."
        )
    with report_errors(output):
        check_writable(output, overwrite=force)


@contextmanager
def report_errors(output: Path) -> Iterator[None]:
    """Turn the system's errors in writing a report into InvalidInput, which names the file."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {one_line(error)}.") from error


def _is_model(source: str) -> bool:
    path = Path(source)
    return path.is_dir() or path.suffix == ".safetensors"
