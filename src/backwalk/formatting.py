"""Values as JSON, in sentences and in tables, errors in one line, and text without control characters."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from html import escape
from typing import Any

MOST_NAMED = 6
NO_NAME = "(no name)"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b|)")


def as_json(value: Any) -> Any:
    """Return a value as plain JSON: mappings, lists, numbers and texts, and None for a number that is not finite.

    Dataclasses become mappings; tensors, arrays and NumPy numbers what their `tolist` returns; other values stay.

    >>> from backwalk.formatting import as_json
    >>> as_json({"bound": (1.5, float("inf"))})
    {'bound': [1.5, None]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def one_line(error: Exception) -> str:
    """Return the message of an error on one line of at most 300 characters, without the full stop."""
    known = error.strerror if isinstance(error, OSError) else None
    text = " ".join((known or str(error) or type(error).__name__).split())
    return text.rstrip(".") if len(text) <= 300 else f"{text[:297]}..."


def listed(texts: Iterable[str]) -> str:
    """Return the first six of some texts, and the number of the others.

    >>> from backwalk.formatting import listed
    >>> listed("abcdefghi")
    'a, b, c, d, e, f and 3 more'
    """
    texts = list(texts)
    more = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for notebooks. It names no colours, so that it takes those of the page, light or dark.

    >>> from backwalk.formatting import html_table
    >>> html_table("one row", ["name"], [["a < b"]]).count("a &lt; b")
    1
    """
    left = 'style="text-align: left; white-space: pre-wrap; vertical-align: top"'

    def line(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag} {left}>{escape(visible(cell))}</{tag}>' for cell in cells)}</tr>"

    head = f"<thead>{line(header, 'th')}</thead>" if header else ""
    body = "".join(line(cells, "td") for cells in rows)
    return f"<div>{escape(visible(caption))}</div><table>{head}<tbody>{body}</tbody></table>"


def byte_words(n: int) -> str:
    """Return a number of bytes in a unit of which there is at least one.

    >>> from backwalk.formatting import byte_words
    >>> byte_words(2**31), byte_words(1500)
    ('2.0 GiB', '1.5 KiB')
    """
    size, unit = float(n), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024.0:
            break
        size, unit = size / 1024.0, larger
    return f"{n:,} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def bytes_of(text: str) -> int:
    """Return the number of bytes that a text such as "2GiB", "500 MB" or "1.5g" means. Raises ValueError for others.

    KiB, MiB and GiB, or K, M and G, are powers of 1,024, kB, MB and GB of 1,000.

    >>> from backwalk.formatting import bytes_of
    >>> bytes_of("2GiB"), bytes_of("500 MB"), bytes_of("1.5g")
    (2147483648, 500000000, 1610612736)
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is no number of bytes, such as 2GiB or 500MB")
    base = 1000 if match[2] and match[3] == "b" else 1024
    return int(float(match[1]) * base ** " kmgt".index(match[2] or " "))


def visible(text: str) -> str:
    r"""Return text whose control characters, and those that reorder text, are written as escapes; line ends stay.

    >>> from backwalk.formatting import visible
    >>> visible("price\u202e\x1b[31m")
    'price\\u202e\\x1b[31m'
    """
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in "\n\u200c\u200d" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else c
        for c in text
    )
