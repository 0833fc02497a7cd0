"""The files of a table: one, those of a folder, or those that match a pattern; and whether they have changed."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass
from pathlib import Path

from backwalk import limits
from backwalk.errors import TableFileError
from backwalk.table.formats import FORMATS, Format, format_of
from backwalk.table.schema import shown

_WILD = "*?["
_HIDDEN = ("_", ".")  # Spark's _SUCCESS, checksums of file systems


@dataclass(frozen=True)
class SourceFile:
    """A file as it was when it was first seen."""

    path: Path
    n_bytes: int
    _stamp: tuple[int, int, int]  # device, inode, time of the last change

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """Return a file as it is now. Raises TableFileError if it cannot be read or is no regular file."""
        try:
            status = path.stat()
        except OSError as error:
            raise TableFileError(f"{path} cannot be read: {error.strerror}.") from error
        if not path.is_file():
            raise TableFileError(f"{path}: a table file should be a regular file: give a pipe as standard input, -.")
        return cls(path, status.st_size, (status.st_dev, status.st_ino, status.st_mtime_ns))

    @property
    def modified(self) -> int:
        """When it was last modified, in nanoseconds since 1970."""
        return self._stamp[2]

    def refuse_changed(self) -> None:
        """Raise TableFileError if the file has changed since."""
        if not self.path.exists():
            raise TableFileError(f"{self.path} was removed while it was read: put it back, and start again.")
        if SourceFile.of(self.path) != self:
            raise changed(self.path)


def changed(path: Path) -> TableFileError:
    """Return the error about a file that another program has changed between two readings."""
    return TableFileError(f"{path} changed while it was read: wait until it is complete, and start again.")


def is_pattern(source: str | Path) -> bool:
    """Return whether a source is a pattern of names, such as data/*.parquet, and not a file."""
    return any(sign in str(source) for sign in _WILD) and not Path(source).exists()


def table_files(source: str | Path) -> tuple[SourceFile, ...]:
    """Return the files of a table, in the order of their names.

    A folder stands for the table files in it, without those whose names begin with _ or a dot; a pattern for the files
    that it matches, ** for folders within folders. Several files have one format, Parquet or text. Raises
    TableFileError.
    """
    place = Path(source)
    if place.is_dir():
        found = sorted(filter(_is_table, place.iterdir()))
        if not found:
            within = next(filter(_is_table, place.rglob("*")), None)
            hint = f"give '{place}/**/*{within.suffix}' for the files in its folders" if within else "name another"
            raise TableFileError(f"{place} should hold table files ({', '.join(FORMATS)}), but holds none: {hint}.")
    elif is_pattern(source):
        names = glob.glob(os.fspath(source), recursive=True)  # noqa: PTH207 - which takes absolute patterns
        found = sorted(path for path in map(Path, names) if path.is_file())
        if not found:
            raise TableFileError(f"{source} should match table files, but matches none: check the spelling.")
    else:
        found = [place]
    if len(found) > limits.TABLE_FILES:
        raise TableFileError(
            f"A table should have at most {limits.TABLE_FILES:,} files, but {source} has {len(found):,}: join some."
        )
    forms = [_own_format(path) for path in found]
    for path, form in zip(found, forms, strict=True):
        if len(found) > 1 and form.kind == "npy":
            raise TableFileError(f"{path}: several files should be Parquet or text: give one .npy file, or convert it.")
        if (form.kind, form.delimiter) != (forms[0].kind, forms[0].delimiter):
            raise TableFileError(
                f"Files of one table should have one format, but {shown(found[0].name)} and {shown(path.name)} differ: "
                "give a pattern, such as '*.parquet'."
            )
    return tuple(map(SourceFile.of, found))


def has_tables(folder: str | Path) -> bool:
    """Return whether a path is a folder with table files."""
    return Path(folder).is_dir() and any(map(_is_table, Path(folder).iterdir()))


def _is_table(path: Path) -> bool:
    try:
        format_of(path)
    except TableFileError:
        return False
    return path.is_file() and not path.name.startswith(_HIDDEN)


def _own_format(path: Path) -> Format:
    try:
        return format_of(path)
    except TableFileError as error:
        raise TableFileError(f"{path}: {error}") from error
