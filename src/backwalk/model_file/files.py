"""Save and load models. A model is one file, which is replaced as a whole while other processes may read it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from torch import Tensor, nn

from backwalk.checksummed import NotChecksummed, checksummed_bytes, open_checksummed, open_regular
from backwalk.errors import BackwalkError, ModelFileError
from backwalk.files import atomic_write, check_folder_writable
from backwalk.formatting import one_line
from backwalk.model import DiffusionModel
from backwalk.model_file.conversion import check_tensors, model_of, record_of, tensors_of
from backwalk.model_file.record import FORMAT, VERSION, Record
from backwalk.signals import HeldSignals
from backwalk.table import Codec
from backwalk.torch_state import in_initial_torch_state

_HEAD_BYTES = 1024  # a checksummed file names its format within these


@in_initial_torch_state
def save(model: DiffusionModel, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a model to the file `path`; missing folders are made.

    A first Ctrl-C, SIGTERM or SIGHUP waits until the model is saved. Raises ModelFileError if the file exists (unless
    `overwrite`) or cannot be written.
    """
    check_target(path, overwrite=overwrite)
    with _errors_named(path, "written"):
        record, tensors = record_of(model).model_dump(exclude_unset=True), tensors_of(model)
        check_tensors(tensors)
        content = checksummed_bytes(record, tensors, form=FORMAT, version=VERSION)
        with HeldSignals():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, overwrite=overwrite) as file:
                file.write(content)


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise ModelFileError if `save` could not write to `path`; to be called before long training."""
    target = Path(path)
    with _errors_named(path, "written"):
        if target.exists() and not target.is_file():
            is_ = "a folder" if target.is_dir() else "a device or a pipe"
            raise ModelFileError(f"it should be a file, but is {is_}: choose another name.")
        if target.exists() and not overwrite:
            raise ModelFileError("it exists already: choose another name, or overwrite it (overwrite=True, --force).")
        check_folder_writable(target.absolute().parent)


@in_initial_torch_state
def load(path: str | Path, network: nn.Module | None = None, embedding: nn.Module | None = None) -> DiffusionModel:
    """Load the model in the file `path`.

    For a model of a user's network, `network` is an instance of it, and `embedding` one of a user's embedding; the
    weights are loaded into copies. Raises ModelFileError if the file is not a complete and unaltered model, or has
    another network.
    """
    with _errors_named(path, "read"):
        return model_of(*_read(path), network, embedding)


def n_network_columns(path: str | Path) -> int:
    """Return d, the number of columns that the network of a model's file takes. Raises ModelFileError."""
    with _errors_named(path, "read"):
        return Codec.from_dict(_read(path)[0].codec).n_encoded


def is_model(path: str | Path) -> bool:
    """Return whether a path is a file that begins as a model does."""
    try:
        with open_regular(Path(path)) as file:
            return FORMAT.encode() in file.read(_HEAD_BYTES)
    except (OSError, NotChecksummed):
        return False


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a model's file. Equal fits are equal files. Raises ModelFileError."""
    with _errors_named(path, "read"), open_regular(Path(path)) as file:
        return hashlib.sha256(file.read()).hexdigest()


def _read(path: str | Path) -> tuple[Record, dict[str, Tensor]]:
    """Check a model's file, and return its record and tensors. Tensors take memory only once the record is checked."""
    with open_checksummed(Path(path), form=FORMAT, version=VERSION) as file:
        return Record.model_validate(file.record), file.tensors()


@contextmanager
def _errors_named(path: str | Path, done: str) -> Iterator[None]:
    """Turn every error of a model file into a ModelFileError that names it."""
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{path} cannot be {done}: {one_line(error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise ModelFileError(f"{path} cannot be {done}: in the model's record, {where}: {first['msg']}.") from error
    except (ModelFileError, NotChecksummed) as error:
        raise ModelFileError(f"{path} cannot be {done}: {error}") from error
    except (BackwalkError, ValueError, RuntimeError, RecursionError, MemoryError) as error:
        raise ModelFileError(f"{path} cannot be {done} as a whole backwalk model: {one_line(error)}.") from error
