"""Save and load models, safely while other processes read or write them.

A path that ends in `.safetensors` is a single file. Any other path is a folder with such a file, named by its checksum,
and `model.json`, which names that file and repeats its record in readable form. `model.json` is replaced last, so that
a reader finds the complete old model or the complete new one. Writers wait for each other.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from torch import Tensor, nn

from backwalk.atomic_files import PART, check_folder_writable, locked_folder, made_folder, whole_file
from backwalk.checksummed import NotChecksummed, check_json, checksummed_bytes, open_checksummed
from backwalk.errors import BackwalkError, ModelFileError
from backwalk.formatting import one_line
from backwalk.limits import MODEL_INDEX_BYTES
from backwalk.model import DiffusionModel
from backwalk.model_file.conversion import check_tensors, least_data_bytes, model_of, record_of, tensors_of
from backwalk.model_file.record import FORMAT, VERSION, Record
from backwalk.signals import HeldSignals
from backwalk.torch_state import in_initial_torch_state

SUFFIX: Final = ".safetensors"

_INDEX = "model.json"
_NAME = re.compile(r"model-[0-9a-f]{16}\.safetensors")
_PART = re.compile(rf"\.(model-[0-9a-f]{{16}}\.safetensors|model\.json){PART}")


@in_initial_torch_state
def save(model: DiffusionModel, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a model to `path`: one file where it ends in `.safetensors`, a folder otherwise.

    Raises ModelFileError if it exists (unless `overwrite`) or cannot be written. Only a folder that is empty or holds a
    model is overwritten. Writers of one folder wait for each other if the system has `flock`; a first Ctrl-C, SIGTERM
    or SIGHUP waits until the model is saved.
    """
    target = Path(path)
    with _errors_named(path, "written"):
        _refuse_to_overwrite(target, overwrite)
        record, tensors = record_of(model).model_dump(exclude_unset=True), tensors_of(model)
        check_tensors(tensors)
        content = checksummed_bytes(record, tensors, form=FORMAT, version=VERSION)
        # Signals are deferred until everything is written and cleaned up, but not while waiting for other writers.
        if target.suffix == SUFFIX:
            with HeldSignals(), made_folder(target.parent), whole_file(target, overwrite=overwrite) as file:
                file.write(content)
        else:
            with locked_folder(target), HeldSignals():
                _refuse_to_overwrite(target, overwrite)
                _write_folder(target, content, record)


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Raise ModelFileError if `save` could not write to `path`; to be called before long training."""
    target = Path(path)
    with _errors_named(path, "written"):
        _refuse_to_overwrite(target, overwrite)
        check_folder_writable(target.parent if target.suffix == SUFFIX else target)


@in_initial_torch_state
def load(path: str | Path, network: nn.Module | None = None) -> DiffusionModel:
    """Load the model at `path`, a file or a folder.

    For a model of a user's network, `network` is an instance of it; the weights are loaded into a copy. Raises
    ModelFileError if `path` is not a complete and unaltered model, or has another network.
    """
    with _errors_named(path, "read"):
        record, tensors = _read_folder(Path(path)) if Path(path).is_dir() else _read_file(Path(path))
        return model_of(record, tensors, network)


def stamp(path: str | Path) -> tuple[int, ...]:
    """Return numbers that change when another model is saved to `path`. Raises ModelFileError.

    They are the inode, the size and the modification time of the file that is replaced last.
    """
    target = Path(path)
    with _errors_named(path, "read"):
        status = (_index_of(target) if target.is_dir() else target).stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of the safetensors file of a model, which identifies the model. Raises ModelFileError."""
    target = Path(path)
    with _errors_named(path, "read"):
        name = str(_read_index(target)["file"]) if target.is_dir() else None
        with (target / name if name else target).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_to_overwrite(target: Path, overwrite: bool) -> None:
    if not target.exists():
        return
    if target.is_dir() == (target.suffix == SUFFIX):
        should, is_ = ("file", "folder") if target.is_dir() else ("folder", "file")
        raise ModelFileError(f"it should be a {should}, but is a {is_}: choose another name.")
    if target.is_dir() and not _is_model(target):
        if any(not _is_leftover(path) for path in target.iterdir()):
            raise ModelFileError("it holds other things than a model: choose another name.")
    elif not overwrite:
        raise ModelFileError("it exists already: choose another name, or overwrite it (overwrite=True, --force).")


def _is_model(folder: Path) -> bool:
    """Return whether a folder holds a model, possibly a damaged one; other programs also write a `model.json`."""
    try:
        index = _parsed_index(folder)
    except (OSError, ValueError, RecursionError):
        names = [path.name for path in folder.iterdir() if not _PART.fullmatch(path.name)]
        return _INDEX in names and len(names) > 1 and all(name == _INDEX or _NAME.fullmatch(name) for name in names)
    return isinstance(index, dict) and index.get("format") == FORMAT


def _is_leftover(path: Path) -> bool:
    """Return whether a file may be left over from a writer that was killed."""
    return bool(_NAME.fullmatch(path.name) or _PART.fullmatch(path.name))


def _write_folder(folder: Path, content: bytes, record: dict[str, Any]) -> None:
    """Write a model into a folder that this process has locked."""
    name = f"model-{hashlib.sha256(content).hexdigest()[:16]}{SUFFIX}"
    index = {"format": FORMAT, "version": VERSION, "file": name, "model": record}
    text = json.dumps(index, indent=1, allow_nan=False).encode()
    check_json(text, MODEL_INDEX_BYTES, _INDEX)
    try:
        with whole_file(folder / name, overwrite=True, like=folder / _INDEX) as file:
            file.write(content)
        with whole_file(folder / _INDEX, overwrite=True) as file:
            file.write(text)
    except BaseException:
        if _name_in(folder) != name:  # if flushing the folder failed, the index may already name the new file
            (folder / name).unlink(missing_ok=True)
        raise
    for path in folder.iterdir():  # the old model's file, and what killed writers left
        if _is_leftover(path) and path.name != name:
            path.unlink(missing_ok=True)


def _read_folder(folder: Path) -> tuple[Record, dict[str, Tensor]]:
    while True:
        index = _read_index(folder)
        name, written = index.get("file"), index.get("model")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ModelFileError(f"{_INDEX} should name the model's file, but names {str(name)[:80]!r}.")
        try:
            return _read_file(folder / name, written)
        except FileNotFoundError:
            # Another process replaced the model between the two reads; if the index still names the file, it is lost.
            if _name_in(folder) == name:
                raise


def _read_file(path: Path, written: object = None) -> tuple[Record, dict[str, Tensor]]:
    """Read a checksummed file; `written` is the record that `model.json` has, if there is one."""
    with open_checksummed(path, form=FORMAT, version=VERSION) as file:
        if written is not None and written != file.record:
            raise ModelFileError(f"{_INDEX} was altered: its record differs from that of {path.name}.")
        record = Record.model_validate(file.record)
        needed = least_data_bytes(record)
        if file.data_bytes < needed:
            raise ModelFileError(f"its tensors should take {needed} bytes or more, but take {file.data_bytes}.")
        return record, file.tensors()


def _index_of(folder: Path) -> Path:
    path = folder / _INDEX
    if not path.exists():
        raise FileNotFoundError(
            errno.ENOENT, f"it is a folder without {_INDEX}; give the path that was given to `save` or `fit -o`"
        )
    return path


def _parsed_index(folder: Path) -> Any:
    path = _index_of(folder)
    if not path.is_file():
        raise ModelFileError(f"{_INDEX} should be a file.")  # reading a pipe would never end
    with path.open("rb") as file:
        text = file.read(MODEL_INDEX_BYTES + 1)
    check_json(text, MODEL_INDEX_BYTES, _INDEX)
    return json.loads(text)


def _read_index(folder: Path) -> dict[str, Any]:
    index = _parsed_index(folder)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ModelFileError(f"{_INDEX} should have the format {FORMAT!r}.")
    if index.get("version") != VERSION:
        raise ModelFileError(
            f"the format version should be {VERSION}, but got {index.get('version')!r}: use another backwalk release."
        )
    if not isinstance(index.get("model"), dict):
        raise ModelFileError(f"{_INDEX} should repeat the model's record.")
    return index


def _name_in(folder: Path) -> str | None:
    """Return the name of the file that a folder's `model.json` names, or None if that file is not sound."""
    try:
        return str(_read_index(folder).get("file"))
    except (OSError, ValueError, RecursionError):
        return None


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
    except (BackwalkError, ValueError, RuntimeError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be {done} as a whole backwalk model: {one_line(error)}.") from error
