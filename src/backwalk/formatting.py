"""Values as others take them: as JSON, and in a sentence; and what an error says, in a line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

MOST_NAMED = 6


def as_json(value: Any) -> Any:
    """Return a value as JSON has it: mappings, lists, numbers and texts, and None for a number that is not finite.

    What has a `tolist` (a tensor, an array, a NumPy number) becomes what that returns; all else stays as it is.

    >>> as_json({"bound": (1.5, float("inf"))})
    {'bound': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if hasattr(value, "tolist"):
        return as_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def one_line(error: Exception) -> str:
    """Return what an error says, on one line, without the full stop, and not endless."""
    known = error.strerror if isinstance(error, OSError) else None
    text = " ".join((known or str(error) or type(error).__name__).split())
    return text.rstrip(".") if len(text) <= 300 else f"{text[:297]}..."


def listed(texts: Iterable[str]) -> str:
    """Return the first few of some texts, and how many more there are.

    >>> listed("abcdefghi")
    'a, b, c, d, e, f and 3 more'
    """
    texts = list(texts)
    more = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
