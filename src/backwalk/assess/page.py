"""The report of an assessment: one self-contained HTML file, and the same numbers as JSON.

Each question has its section. Sections that describe the model itself follow: training, schedule, chain and card.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backwalk.assess.record import Calibration, Fidelity
from backwalk.files import atomic_write
from backwalk.model import DiffusionModel
from backwalk.report.card import card_section, commands_section
from backwalk.report.chain import chain_section
from backwalk.report.page import render_page
from backwalk.report.schedule import schedule_section
from backwalk.report.training import training_section
from backwalk.streams import Stream


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
    description = str(model.card.get("description", "diffusion model"))
    sections = [question.section(model, fidelity) for question in fidelity.questions]
    sections.append(training_section(model))
    if isinstance(fidelity, Fidelity):
        sections += [schedule_section(model), _chain(model, fidelity, stream)]
    sections += [card_section(model), commands_section(commands)]
    return render_page(
        title=title or description[:1].upper() + description[1:],
        answers=fidelity.answers,
        code=fidelity.code,
        warnings=fidelity.warnings,
        sections=[section for section in sections if section is not None],
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


def _chain(model: DiffusionModel, fidelity: Fidelity, stream: Stream) -> Any:
    """Return the section of the chain, by the two columns of numbers that differ most; None without numbers."""
    if not len(model.codec.numbers):
        return None
    columns = model.codec.plottable
    difference = dict(zip(model.codec.varying, (figure.difference for figure in fidelity.columns.figures), strict=True))
    first, *others = sorted(columns, key=lambda j: -difference[j])
    pair = sorted((first, others[0] if others else first))
    return chain_section(model, fidelity.rows.real, (pair[0], pair[1]), stream.child("frames"))
