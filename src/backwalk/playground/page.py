"""The playground as one file that needs no server and asks nothing of a network.

A page that is opened from a disk cannot import modules. So the modules are joined into one script for the page and one
for the worker beside it: each becomes a function that returns what it exports, after those that it imports. A Content
Security Policy allows the page's script and style by their hashes, and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backwalk.formatting import as_json

_FOLDER = Path(__file__).parent
STATIC = _FOLDER / "static"
_STYLE = '<link rel="stylesheet" href="style.css">'
_SCRIPT = '<script type="module" src="main.js"></script>'
_TITLE = "<title>backwalk playground: watch noise become data</title>"
_IMPORT = re.compile(
    r'^import (?:\* as (?P<whole>\w+)|(?P<some>\{[^}]*\})) from "\./(?P<path>[\w/]+)\.js";$', re.MULTILINE
)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:const|let|class|function\*?) (\w+))", re.MULTILINE)
_WORKER = "window.backwalkWorker = URL.createObjectURL(new Blob([{text}], {{ type: 'text/javascript' }}));\n"


def page_of(stored: Mapping[str, Any] | None = None, title: str | None = None) -> str:
    """Return the page, with the `stored` answers of a model from Python, if there are any."""
    page, style = ((STATIC / name).read_text(encoding="utf-8") for name in ("index.html", "style.css"))
    script = _WORKER.format(text=_text(joined("worker"))) + joined("main")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)} blob: 'wasm-unsafe-eval'",
            "worker-src blob:",
            f"style-src {_hash(style)}",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    texts = {
        "models": json.loads((_FOLDER / "models.json").read_text(encoding="utf-8")),
        **({} if stored is None else {"stored": as_json(stored)}),
    }
    scripts = [f'<script type="application/json" id="{name}">{_text(text)}</script>' for name, text in texts.items()]
    title = _TITLE if title is None else f"<title>{html.escape(title)}</title>"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n{title}'
    page = page.replace(_TITLE, head).replace(_STYLE, f"<style>{style}</style>")
    return page.replace(_SCRIPT, "\n".join([*scripts, f"<script>{script}</script>"]))


def joined(start: str) -> str:
    """Return a module and all that it imports as one script, in strict mode."""
    done = dict[str, str]()

    def add(path: str) -> None:
        if path in done:
            return
        text = (STATIC / f"{path}.js").read_text(encoding="utf-8")
        imported = {found[0]: _resolved(path, found["path"]) for found in _IMPORT.finditer(text)}
        for other in imported.values():
            add(other)
        body = _IMPORT.sub(
            lambda found: f"const {found['whole'] or found['some']} = {_name(imported[found[0]])};", text
        )
        exports = ", ".join(_EXPORT.findall(text))
        done[path] = f"const {_name(path)} = (() => {{\n{_EXPORT.sub('', body)}\nreturn {{ {exports} }};\n}})();\n"

    add(start)
    return f'(() => {{ "use strict";\n{"".join(done.values())}}})();\n'


def _resolved(path: str, other: str) -> str:
    """Return the path of a module that is imported by the name ./`other` from a module at `path`."""
    return (Path(path).parent / other).as_posix()


def _name(path: str) -> str:
    return "module_" + path.replace("/", "_")


def _text(value: Any) -> str:
    """Return JSON that may stand within a script."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
