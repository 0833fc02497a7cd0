"""Checksummed files: tensors and a JSON record in one safetensors file, with a checksum of every byte.

The record is in safetensors' metadata, as {"sha256", "format", "version", "record"}. The checksum is the SHA-256 of the
file with 64 zeros in place of the checksum itself. It detects damage, not malice, so that readers of a record still
check its values. Nothing in such a file can run.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
from torch import Tensor

from backwalk.formatting import one_line
from backwalk.limits import CHECKSUMMED_BYTES, CHECKSUMMED_HEADER_BYTES, CHECKSUMMED_HEADER_VALUES

_KEY = "backwalk"
_ZEROS = b"0" * 64
_LENGTH_BYTES = 8  # safetensors: the header's length, little-endian; the header, in JSON; the numbers


class NotChecksummed(ValueError):
    """A file that is not an intact checksummed file of the expected format, or that is too large."""


@dataclass(frozen=True)
class ChecksummedFile:
    """An open file whose header was read: its `record`, not yet checked, and the size of all tensors."""

    record: dict[str, Any]
    data_bytes: int
    _sha256: str
    _head: bytes
    _file: BinaryIO

    def tensors(self) -> dict[str, Tensor]:
        """Check every byte of the file and return the tensors. Raises NotChecksummed and OSError."""
        self._file.seek(0)
        content = self._file.read(len(self._head) + self.data_bytes + 1)
        if content[: len(self._head)] != self._head:
            raise NotChecksummed("it was written to while it was read.")
        if _checksum(content, self._sha256) != self._sha256:
            raise NotChecksummed("it was altered or is incomplete: its checksum does not match.")
        try:
            return safetensors.torch.load(content)
        except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError, AssertionError) as error:
            raise NotChecksummed(f"its tensors cannot be read: {one_line(error)}.") from error


def checksummed_bytes(record: Mapping[str, Any], tensors: Mapping[str, Tensor], *, form: str, version: int) -> bytes:
    """Return the bytes of a checksummed file. `record` is plain JSON; tensors may be on any device.

    Raises NotChecksummed if the file would be too large to be read again.
    """
    n_bytes = sum(tensor.nbytes for tensor in tensors.values())
    if n_bytes > CHECKSUMMED_BYTES - CHECKSUMMED_HEADER_BYTES:
        raise NotChecksummed(
            f"its tensors should take at most {CHECKSUMMED_BYTES - CHECKSUMMED_HEADER_BYTES} bytes, but take {n_bytes}."
        )
    metadata = {"sha256": _ZEROS.decode(), "format": form, "version": version, "record": record}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(contiguous, metadata={_KEY: json.dumps(metadata, allow_nan=False)})
    _check_head(content[: _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")])
    return content.replace(_ZEROS, _checksum(content, _ZEROS.decode()).encode(), 1)


@contextmanager
def open_checksummed(path: Path, *, form: str, version: int) -> Iterator[ChecksummedFile]:
    """Open a checksummed file and read its header, before memory is taken for tensors.

    Raises NotChecksummed and OSError.
    """
    with open_regular(path) as file:
        yield _read_head(file, form, version)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read it. Raises NotChecksummed if it is a folder, a device or a pipe, and OSError."""
    # It is checked after it is opened, as the name may be replaced in between. O_NONBLOCK: a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        os.close(descriptor)
        raise NotChecksummed(f"it should be a file, but is {'a folder' if is_folder else 'a device or a pipe'}.")
    return os.fdopen(descriptor, "rb")


def _read_head(file: BinaryIO, form: str, version: int) -> ChecksummedFile:
    n_bytes = os.fstat(file.fileno()).st_size
    if n_bytes > CHECKSUMMED_BYTES:
        raise NotChecksummed(f"it should have at most {CHECKSUMMED_BYTES} bytes, but has {n_bytes}.")
    start = file.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    if not _LENGTH_BYTES + 2 <= _LENGTH_BYTES + length <= min(n_bytes, CHECKSUMMED_HEADER_BYTES):
        raise NotChecksummed("it is not a safetensors file, or not a whole one.")
    head = start + file.read(length)
    _check_head(head)
    try:
        metadata = json.loads(json.loads(head[_LENGTH_BYTES:])["__metadata__"][_KEY])
        sha256, its_form, its_version, record = (metadata[key] for key in ("sha256", "format", "version", "record"))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotChecksummed(f"it is a safetensors file without the record of a {form}.") from error
    if its_form != form or not isinstance(sha256, str) or not isinstance(record, dict):
        raise NotChecksummed(f"it should be a {form}, but is something else.")
    if its_version != version:
        raise NotChecksummed(
            f"the format version should be {version}, but got {its_version!r}: use another backwalk release."
        )
    return ChecksummedFile(record, n_bytes - len(head), sha256, head, file)


def _check_head(head: bytes) -> None:
    """Raise NotChecksummed for a header that is too long, or that has too many values for the memory they take."""
    if len(head) > CHECKSUMMED_HEADER_BYTES:
        raise NotChecksummed(
            f"its record should have at most {CHECKSUMMED_HEADER_BYTES} bytes, but has {len(head)}: shorten column "
            "names."
        )
    n_values = sum(map(head.count, (b",", b"[", b"{")))
    if n_values > CHECKSUMMED_HEADER_VALUES:
        raise NotChecksummed(f"its record should have at most {CHECKSUMMED_HEADER_VALUES} values, but has {n_values}.")


def _checksum(content: bytes, sha256: str) -> str:
    """Return the SHA-256 of a file's bytes, with zeros where its own checksum, `sha256`, first stands."""
    place = content.find(sha256.encode("ascii", "replace"))
    if place < 0 or len(sha256) != len(_ZEROS):
        return hashlib.sha256(content).hexdigest()
    view = memoryview(content)
    digest = hashlib.sha256(view[:place])
    digest.update(_ZEROS)
    digest.update(view[place + len(_ZEROS) :])
    return digest.hexdigest()
