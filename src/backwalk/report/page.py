"""A page as one self-contained HTML file.

Text from a user (column names, settings, commands) is escaped by the template, so that markup stays text; characters
that control or reorder text are written as escapes. Pictures are images, in which nothing runs or loads. A Content
Security Policy allows only the page's own style and script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from backwalk.formatting import visible
from backwalk.report.blocks import Section


def render_page(
    *,
    title: str,
    answers: Sequence[Any],
    code: str,
    warnings: Sequence[str],
    sections: Sequence[Section],
    is_unfinished: bool = False,
) -> str:
    """Return a page of answers, each with a `question` and a `text`, code to copy, warnings and sections.

    A page that `is_unfinished` says so, and loads itself again every few seconds.
    """
    return _ENVIRONMENT.get_template("report.html.j2").render(
        title=title,
        policy=_POLICY,
        style=_STYLE,
        script=_SCRIPT,
        answers=answers,
        code=code,
        warnings=warnings,
        sections=sections,
        is_unfinished=is_unfinished,
    )


def _unbroken(text: str) -> str:
    """Keep a number on one line with its error and its unit."""
    return text.replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")


def _read(name: str) -> Markup:
    """Return a file of the package, to be put into the page as it is."""
    return Markup((files("backwalk.report") / "templates" / name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_STYLE, _SCRIPT = _read("report.css"), _read("report.js")
_POLICY = "; ".join(
    [
        "default-src 'none'",
        f"script-src {_hash(_SCRIPT)}",
        f"style-src {_hash(_STYLE)}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
)
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("backwalk.report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=lambda value: visible(value) if type(value) is str else value,
)
_ENVIRONMENT.filters["unbroken"] = _unbroken
_ENVIRONMENT.filters["kind"] = lambda block: type(block).__name__.lower()
