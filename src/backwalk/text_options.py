"""How text files are written, where their cells do not show it: the options of a path.

Without an option, what a file's cells agree on is taken: see `table.text_files` and `table.text_types`. `TextOptions`
declares each option with its help, from which the command line has it.
"""

from __future__ import annotations

import codecs
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from backwalk.errors import InvalidInput

StrPath: TypeAlias = str | os.PathLike[str]
DATE_ORDERS = ("day", "month")


def _option(metavar: str, help: str, *, default: Any = None) -> Any:
    """Return the field of an option; one whose default is a tuple may be repeated."""
    return field(default=default, metadata={"metavar": metavar, "help": help})


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How a text file is written; None is what its cells agree on. See `TextPath`."""

    sep: str | None = _option(
        "SIGN", "Of text files, the character between cells, such as ';', or tab, if the rows do not show it."
    )
    decimal: str | None = _option(
        ".|,", "The decimal sign of numbers such as 1.234, where no other number of a file shows it."
    )
    encoding: str | None = _option("NAME", "The encoding of text files that are not UTF-8, such as cp1252.")
    na: str | Sequence[str] = _option(
        "WORD",
        "Cells that are missing values, such as '?' or -999, besides empty ones and NA; repeat it for more.",
        default=(),
    )
    dates: str | None = _option(
        "day|month|FORMAT",
        "What comes first in dates such as 3/4/2021, where no other date of a file shows it, or a format such as "
        "'%d.%m.%y'.",
    )

    def __post_init__(self) -> None:
        na = (self.na,) if isinstance(self.na, str) else tuple(self.na)
        object.__setattr__(self, "na", na)
        object.__setattr__(self, "sep", {"tab": "\t", "\\t": "\t"}.get(self.sep or "", self.sep))
        if self.sep is not None and (len(self.sep) != 1 or not self.sep.isascii() or self.sep in "\r\n\"'"):
            raise InvalidInput(f"sep should be one character, such as ';' or '\\t', but got {self.sep!r}.")
        if self.decimal not in (None, ".", ","):
            raise InvalidInput(f"decimal should be '.' or ',', but got {self.decimal!r}.")
        if self.dates is not None and self.dates not in DATE_ORDERS and "%" not in self.dates:
            raise InvalidInput(
                f"dates should be 'day' or 'month', whichever comes first, or a format such as '%d.%m.%y', but got "
                f"{self.dates!r}."
            )
        try:
            is_text = self.encoding is None or codecs.lookup(self.encoding)._is_text_encoding
        except LookupError:
            is_text = False
        if not is_text:
            raise InvalidInput(
                f"encoding should be one that Python knows, such as 'cp1252', 'latin-1' or 'utf-16', but got "
                f"{self.encoding!r}."
            )

    @property
    def options(self) -> TextOptions:
        """The options without a path."""
        return TextOptions(**{each.name: getattr(self, each.name) for each in fields(TextOptions)})


@dataclass(frozen=True)
class TextPath(TextOptions):
    """A path of text files, and how they are written.

    It can stand wherever a path of a table can. Without an option, what a file's cells agree on is taken.

    Parameters
    ----------
    path : str or Path
        The file, a folder of files with the same columns, or a pattern such as `data/*.csv`.
    sep : str, default=None
        The character between cells; "tab" is one too.
    decimal : {".", ","}, default=None
        The mark of fractions, for numbers such as 1.234, which may be a fraction or thousands.
    encoding : str, default=None
        Any encoding of text that Python knows. None is UTF-8, or UTF-16 where the file begins with its mark.
    na : tuple of str, default=()
        Cells that are missing values, besides empty ones and those like NA. A number stands for all cells of this
        value.
    dates : str, default=None
        "day" or "month", for dates such as 3/4/2021, in which either may come first; or a format of dates, such as
        "%d.%m.%y" or "%d/%m/%Y %H:%M".

    Raises
    ------
    InvalidInput
        A ValueError: an option has another value.

    See Also
    --------
    Diffusion.fit : Takes such a path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from backwalk import TextPath
    >>> from backwalk.table import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "sales.csv"
    ...     _ = path.write_text("day;price\\n3/4/2021;1.234\\n5/4/2021;?\\n")
    ...     table = read_table(TextPath(path, decimal=",", na="?", dates="day"))
    >>> table.values.tolist(), table.schema.units
    ([[18720.0, 1234.0], [18722.0, nan]], ('D', None))
    """

    path: StrPath

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)


def options_of(path: StrPath) -> TextOptions:
    """Return the options of a path; those of a plain path are all None."""
    return path.options if isinstance(path, TextPath) else TextOptions()


def named(option: str, *values: str) -> str:
    """Return how an option is given, for the remedy of an error.

    >>> from backwalk.text_options import named
    >>> named("dates", "day", "month")
    '--dates day or --dates month (dates= of TextPath in Python)'
    """
    flags = " or ".join(f"--{option} {shlex.quote(value)}" for value in values)
    return f"{flags} ({option}= of TextPath in Python)"
