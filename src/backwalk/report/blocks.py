"""The page as sections of blocks: plain records, which the template turns into HTML.

Blocks hold text as users gave it; the template escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure

from backwalk.report.style import svg


@dataclass(frozen=True)
class Text:
    """A paragraph; a `note` is smaller."""

    text: str
    note: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A figure as the URL of an image, its `label` for screen readers, and a caption below."""

    url: str
    label: str
    caption: str = ""

    @classmethod
    def of(cls, figure: Figure, label: str, caption: str = "") -> Picture:
        """Return a figure as a picture of the page: SVG in a data URL."""
        return cls(f"data:image/svg+xml,{quote(svg(figure), safe=' /:;,=+()@!*?~')}", label, caption)


@dataclass(frozen=True)
class Pictures:
    """Figures side by side: two in a row, three `small` ones, or a `wide` one."""

    pictures: Sequence[Picture]
    small: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Cell:
    """A value, the difference from its reference below it, and whether that difference matters."""

    value: str
    difference: str = ""
    matters: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, an explanation below the name, and its cells."""

    name: str
    cells: Sequence[Cell]
    explanation: str = ""

    @classmethod
    def of(cls, name: str, *texts: str, explanation: str = "") -> Row:
        """Return a row of plain texts."""
        return cls(name, [Cell(text) for text in texts], explanation)


@dataclass(frozen=True)
class Table:
    """A table: a heading per column, and rows. On a narrow screen each row of a `stacked` table becomes a list."""

    head: Sequence[str]
    rows: Sequence[Row]
    stacked: bool = True


@dataclass(frozen=True)
class Details:
    """Blocks that open on a click."""

    summary: str
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    title: str
    blocks: Sequence[Any]
