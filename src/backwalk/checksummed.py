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
    sha256: str
    data_bytes: int
    _head: bytes
    _file: BinaryIO

    def tensors(self) -> dict[str, Tensor]:
        """Check every byte of the file and return the tensors. Raises NotChecksummed and OSError."""
        self._file.seek(0)
        content = self._file.read(len(self._head) + self.data_bytes + 1)
        if content[: len(self._head)] != self._head:
            raise NotChecksummed("it was written to while it was read.")
        if _checksum(content, self.sha256) != self.sha256:
            raise NotChecksummed("it was altered or is incomplete: its checksum does not match.")
        try:
            return safetensors.torch.load(content)
        except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError, AssertionError) as error:
            raise NotChecksummed(f"its tensors cannot be read: {one_line(error)}.") from error


def checksummed_bytes(record: Mapping[str, Any], tensors: Mapping[str, Tensor], *, form: str, version: int) -> bytes:
    """Return the bytes of a checksummed file. `record` is plain JSON; tensors may be on any device.

    Raises NotChecksummed if the file would be too large to be read again.
    """
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > CHECKSUMMED_BYTES - CHECKSUMMED_HEADER_BYTES:
        raise NotChecksummed(
            f"its tensors should take at most {CHECKSUMMED_BYTES - CHECKSUMMED_HEADER_BYTES} bytes, but take {size}."
        )
    whole = {"sha256": _ZEROS.decode(), "format": form, "version": version, "record": record}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(plain, metadata={_KEY: json.dumps(whole, allow_nan=False)})
    _refuse_long(content[: _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")])
    return content.replace(_ZEROS, _checksum(content, _ZEROS.decode()).encode(), 1)


@contextmanager
def open_checksummed(path: Path, *, form: str, version: int) -> Iterator[ChecksummedFile]:
    """Open a checksummed file and read its header, before memory is taken for tensors.

    Raises NotChecksummed and OSError.
    """
    with _regular(path) as file:
        yield _opened(file, form, version)


def _regular(path: Path) -> BinaryIO:
    """Open a file and check that it is a regular file, after opening it, as the name may be replaced in between."""
    # O_NONBLOCK, because opening a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotChecksummed("it should be a file.")
    return os.fdopen(descriptor, "rb")


def _opened(file: BinaryIO, form: str, version: int) -> ChecksummedFile:
    size = os.fstat(file.fileno()).st_size
    start = file.read(_LENGTH_BYTES)
    length = int.from_bytes(start, "little")
    if size > CHECKSUMMED_BYTES:
        raise NotChecksummed(f"it should have at most {CHECKSUMMED_BYTES} bytes, but has {size}.")
    if not _LENGTH_BYTES + 2 <= _LENGTH_BYTES + length <= min(size, CHECKSUMMED_HEADER_BYTES):
        raise NotChecksummed("it is not a safetensors file, or not a whole one.")
    head = start + file.read(length)
    _refuse_long(head)
    try:
        whole = json.loads(json.loads(head[_LENGTH_BYTES:])["__metadata__"][_KEY])
        found, sha256, record = (whole["format"], whole["version"]), whole["sha256"], whole["record"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotChecksummed(f"it is a safetensors file without the record of a {form}.") from error
    if found[0] != form or not isinstance(sha256, str) or not isinstance(record, dict):
        raise NotChecksummed(f"it should be a {form}, but is something else.")
    if found[1] != version:
        raise NotChecksummed(
            f"the format version should be {version}, but got {found[1]!r}: use another backwalk release."
        )
    return ChecksummedFile(record, sha256, size - len(head), head, file)


def check_json(text: bytes, most_bytes: int, what: str) -> None:
    """Raise NotChecksummed for JSON that is too long, or that has too many values for the memory they take."""
    if len(text) > most_bytes:
        raise NotChecksummed(
            f"{what} should have at most {most_bytes} bytes, but has {len(text)}: shorten column names."
        )
    values = sum(map(text.count, (b",", b"[", b"{")))
    if values > CHECKSUMMED_HEADER_VALUES:
        raise NotChecksummed(f"{what} should have at most {CHECKSUMMED_HEADER_VALUES} values, but has {values}.")


def _refuse_long(head: bytes) -> None:
    check_json(head, CHECKSUMMED_HEADER_BYTES, "its record")


def _checksum(content: bytes, own: str) -> str:
    """Return the hexadecimal SHA-256 of bytes, with zeros in the first place of their `own` checksum."""
    place = content.find(own.encode("ascii", "replace"))
    digest, view = hashlib.sha256(), memoryview(content)
    for part in (
        (view,) if place < 0 or len(own) != len(_ZEROS) else (view[:place], _ZEROS, view[place + len(_ZEROS) :])
    ):
        digest.update(part)
    return digest.hexdigest()
