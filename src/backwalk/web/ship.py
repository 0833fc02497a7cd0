"""Make the files that ship with the page: `python -m backwalk.web.ship [answers | course]`.

Without an argument the models are fitted again as well, which takes minutes. `course` makes the course's lessons one
page, and needs the packages markdown-it-py and latex2mathml.
"""

from __future__ import annotations

import html
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from hashlib import sha256
from importlib.resources import files
from typing import Any

from backwalk.datasets import DENSITIES, MIXED_DENSITIES, Density, MixedDensity
from backwalk.sampling import SOLVERS
from backwalk.streams import Stream
from backwalk.web import pictures, shipped
from backwalk.web.models import make_estimator
from backwalk.web.opened import shipped_data, shipped_model
from backwalk.web.requests import MOST_ROWS_IN_TABLE, ChainRequest, SettingsRequest
from backwalk.web.security import UPLOAD_BYTES

_N_IN_THUMBNAIL = 200


def make_catalogue() -> dict[str, Any]:
    """Return what the page offers to choose from: densities, schedules, networks, samplers, and limits."""
    return {
        "densities": [_density(name, make) for name, make in {**DENSITIES, **MIXED_DENSITIES}.items()],
        "schedules": [
            _choice("log_snr", "even in log-SNR", "even in the log-SNR, to noise alone"),
            _choice("linear", "linear beta", "beta from 0.001 to 0.02, linear in t (Ho et al. 2020)"),
            _choice("cosine", "cosine", "alpha_bar is a squared cosine (Nichol & Dhariwal 2021)"),
        ],
        "networks": [
            {
                **_choice("residual", "residual", "residual blocks on x_t and the log-SNR"),
                "denoiser": {"kind": "residual", "width": 64, "depth": 3, "members": 1},
            },
            {
                **_choice("textbook", "textbook", "tanh layers on x_t and t/N, which predict eps"),
                "denoiser": {"kind": "textbook", "width": 100, "depth": 4, "members": 1},
            },
        ],
        "samplers": [_choice(name, name, _first_line(solver)) for name, solver in SOLVERS.items()],
        "reverse_variances": [
            _choice("optimal", "optimal", "fitted to held-out rows: the least bound"),
            _choice("beta", "\u03c3\u00b2 = \u03b2", "right for data that are standard normal"),
            _choice("beta_tilde", "\u03c3\u00b2 = \u03b2\u0303", "right for data that are a single point"),
        ],
        "limits": {"rows": MOST_ROWS_IN_TABLE, "upload_bytes": UPLOAD_BYTES},
    }


def _choice(name: str, label: str, description: str) -> dict[str, Any]:
    return {"name": name, "label": label, "description": description}


def _density(name: str, make: Callable[[], Density]) -> dict[str, Any]:
    """Return a choice with a thumbnail: two columns of a few draws, scaled to 0..1."""
    density = make()
    numbers = density.numbers if isinstance(density, MixedDensity) else range(density.d)
    columns = [*numbers, *range(density.d)][:2]
    points = density.sample_rows(0, _N_IN_THUMBNAIL, stream=Stream(0))[:, columns]
    low, high = points.min(axis=0), points.max(axis=0)
    choice = _choice(name, name.replace("_", " "), _first_line(make).removeprefix("Return "))
    return {**choice, "thumbnail": ((points - low) / (high - low)).round(3).tolist()}


def _first_line(described: object) -> str:
    return (inspect.getdoc(described) or "").split("\n", 1)[0]


def write_models() -> None:
    """Fit and write the models."""
    rows = DENSITIES[shipped.DENSITY]().sample_rows(0, shipped.N_ROWS, stream=Stream(shipped.SEED))
    for model in shipped.MODELS.values():
        settings = SettingsRequest(**model.settings)
        estimator = make_estimator(settings, {}, shipped.SEED, device="cpu").set_params(verbose=True)
        estimator.fit(rows).save(shipped.FOLDER / model.file, overwrite=True)


def write_answers() -> None:
    """Write the catalogue, and the card and the chain of the first model."""
    entry = shipped_model(shipped.START, shipped_data())
    chain = pictures.compute_chain(entry, ChainRequest(**shipped.FIRST_CHAIN))
    (shipped.FOLDER / "catalogue.json").write_text(json.dumps(make_catalogue()), encoding="utf-8")
    (shipped.FOLDER / "model.json").write_text(json.dumps(entry.record()), encoding="utf-8")
    (shipped.FOLDER / "chain.bin").write_bytes(chain.to_bytes())


def read_lessons() -> str:
    """Return the lessons of the course, without the marks of demonstrations."""
    folder = files("backwalk.course").joinpath("lessons")
    lessons = sorted((each.name, each.read_text(encoding="utf-8")) for each in folder.iterdir())
    return "\n".join(text for _, text in lessons).replace("```python demonstration", "```python")


def digest_of(lessons: str) -> str:
    """Return what tells whether the page was made of these lessons."""
    return sha256(lessons.encode()).hexdigest()


def make_course() -> str:
    """Return the lessons as one page, with formulas as MathML, and the sections' numbers as anchors."""
    lessons, formulas = read_lessons(), list[str]()
    to_mathml = importlib.import_module("latex2mathml.converter").convert
    to_html = importlib.import_module("markdown_it").MarkdownIt("commonmark").enable("table").render

    def keep(found: re.Match[str]) -> str:
        if found["code"]:
            return found["code"]
        is_block = found["block"] is not None
        formulas.append(to_mathml(found["block"] or found["inline"], display="block" if is_block else "inline"))
        return f"FORMULA{len(formulas) - 1}ENDS"

    kinds = r"(?P<code>^```.*?^```|`[^`\n]+`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$]+?)\$"
    body = to_html(re.sub(kinds, keep, lessons, flags=re.DOTALL | re.MULTILINE))
    body = re.sub(r"FORMULA(\d+)ENDS", lambda found: formulas[int(found[1])], body)
    body = re.sub(r"<h2>(\d\.\d)", r'<h2 id="\1">\1', body)
    body = re.sub(r"<h1>(\d)\.", r'<h2 class="lesson" id="\1">Lesson \1.', body).replace("</h1>", "</h2>")
    body = body.replace("<pre>", '<pre class="code" tabindex="0">')
    contents = re.findall(r'<h2 class="lesson" id="(\d)">(.*?)</h2>', body)
    links = "".join(f'<li><a href="#{number}">{title}</a></li>' for number, title in contents)
    return _COURSE.format(digest=html.escape(digest_of(lessons)), links=links, body=body)


_COURSE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="lessons" content="{digest}">
<title>backwalk: the course</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="style.css">
</head>
<body>
<main class="course">
<h1>Denoising diffusion in four lessons</h1>
<p>These are the lessons to read. <code>backwalk course lessons/</code> writes them as notebooks, in which the twelve
exercises are solved and checked; a teacher grades a folder by <code>backwalk course grade</code>.</p>
<ul>{links}</ul>
{body}</main>
</body>
</html>
"""


def write_course() -> None:
    """Write the course's page."""
    (shipped.STATIC / "course.html").write_text(make_course(), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["course"]:
        write_course()
    else:
        if sys.argv[1:] != ["answers"]:
            write_models()
        write_answers()
