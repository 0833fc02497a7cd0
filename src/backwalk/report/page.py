"""The fidelity report: one self-contained HTML file, and the same numbers as JSON.

The page is a list of sections. Text from a user (column names, settings, commands) is escaped by the template, so that
markup stays text; characters that control or reorder text are written as escapes. Pictures are images, in which nothing
runs or loads. A Content Security Policy allows only the page's own style and script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import jinja2
from markupsafe import Markup

from backwalk.assess import Calibration, Fidelity
from backwalk.files import atomic_write
from backwalk.formatting import visible
from backwalk.model import DiffusionModel
from backwalk.report.blocks import Context
from backwalk.report.sections.associations import association_section
from backwalk.report.sections.bound import bound_section
from backwalk.report.sections.card import card_section, commands_section
from backwalk.report.sections.chain import chain_section
from backwalk.report.sections.closeness import closeness_section
from backwalk.report.sections.conditionals import given_section, probability_section
from backwalk.report.sections.likelihood import likelihood_section
from backwalk.report.sections.membership import membership_section
from backwalk.report.sections.memorisation import memorisation_section
from backwalk.report.sections.posteriors import posterior_section
from backwalk.report.sections.prediction import prediction_section
from backwalk.report.sections.rows import row_section
from backwalk.report.sections.schedule import schedule_section
from backwalk.report.sections.training import training_section
from backwalk.streams import Stream

SECTIONS = (
    row_section,
    closeness_section,
    association_section,
    likelihood_section,
    probability_section,
    posterior_section,
    given_section,
    prediction_section,
    memorisation_section,
    membership_section,
    training_section,
    schedule_section,
    bound_section,
    chain_section,
    card_section,
    commands_section,
)
"""The sections of the page, in order: functions of a `Context`, which return None where a section does not apply."""
SECTIONS_OF_POSTERIORS = (posterior_section, training_section, card_section, commands_section)
"""Those of a model that answers for posteriors alone."""


def render_report(
    fidelity: Calibration,
    model: DiffusionModel,
    *,
    stream: Stream,
    commands: Sequence[str] = (),
    title: str | None = None,
) -> str:
    """Return the report as one HTML page, which loads nothing.

    It draws the rows that `fidelity` was computed from, and frames of the chain from the stream. `commands` are the
    command lines that made the report; `title` defaults to the description in the model's card.
    """
    of_rows = isinstance(fidelity, Fidelity)
    context = Context(cast("Fidelity", fidelity), model, stream, commands)
    sections = SECTIONS if of_rows else SECTIONS_OF_POSTERIORS
    description = str(model.card.get("description", "diffusion model"))
    return _ENVIRONMENT.get_template("report.html.j2").render(
        title=title or description[:1].upper() + description[1:],
        policy=_POLICY,
        style=_STYLE,
        script=_SCRIPT,
        fidelity=fidelity,
        sections=[section for section in (of(context) for of in sections) if section is not None],
    )


def write_report(
    path: str | Path,
    fidelity: Calibration,
    model: DiffusionModel,
    *,
    stream: Stream,
    commands: Sequence[str] = (),
    title: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page of `render_report` to a file, which is replaced atomically.

    Raises OSError if the file cannot be written, and FileExistsError if it exists and `overwrite` is False.
    """
    page = render_report(fidelity, model, stream=stream, commands=commands, title=title)
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(page.encode())


def report_record(fidelity: Calibration, model: DiffusionModel, commands: Sequence[str] = ()) -> dict[str, Any]:
    """Return the report as plain JSON values: the fidelity, the model card and the commands."""
    return {**fidelity.to_dict(), "card": dict(model.card), "commands": list(commands)}


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
