"""The report of an assessment: one self-contained HTML file, and the same numbers as JSON.

Each question has its section. Sections that describe the model itself follow: training, schedule, chain and card.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from backwalk.assess.record import Calibration, Fidelity
from backwalk.files import atomic_write
from backwalk.model import DiffusionModel
from backwalk.report.blocks import Section
from backwalk.report.card import card_section, commands_section
from backwalk.report.chain import chain_section, has_numbers
from backwalk.report.page import render_page
from backwalk.report.schedule import schedule_section
from backwalk.report.training import training_section
from backwalk.streams import Stream

Sections = dict[str, Section | None]
"""The sections of a report that were made before."""


def render_report(
    fidelity: Calibration | None,
    model: DiffusionModel,
    *,
    stream: Stream,
    commands: Sequence[str] = (),
    title: str | None = None,
    is_unfinished: bool = False,
    made: Sections | None = None,
) -> str:
    """Return the report as one HTML page, which loads nothing.

    It draws the rows that `fidelity` was computed from, and frames of the chain from the stream. `commands` are the
    command lines that made the report; `title` defaults to the description in the model's card. A page that
    `is_unfinished` has the sections of the questions answered so far, none of `fidelity` None, and looks for the others
    by itself; sections are kept in `made`, and taken from there.
    """
    description = str(model.card.get("description", "diffusion model"))
    made = {} if made is None else made

    def section(name: str, make: Callable[[], Section | None]) -> Section | None:
        if name not in made:
            made[name] = make()
        return made[name]

    questions = () if fidelity is None else fidelity.questions
    sections = [section(type(each).__name__, partial(each.section, model, fidelity)) for each in questions]
    sections.append(section("training", partial(training_section, model)))
    if not model.has_embedding:
        sections.append(section("schedule", partial(schedule_section, model)))
    if isinstance(fidelity, Fidelity) and not is_unfinished:
        sections.append(_chain(model, fidelity, stream))
    sections += [card_section(model), commands_section(commands)]
    return render_page(
        title=title or description[:1].upper() + description[1:],
        answers=() if fidelity is None else fidelity.answers,
        code="" if fidelity is None else fidelity.code,
        warnings=() if fidelity is None else fidelity.warnings,
        sections=[each for each in sections if each is not None],
        is_unfinished=is_unfinished,
    )


def write_report(
    path: str | Path,
    fidelity: Calibration | None,
    model: DiffusionModel,
    *,
    stream: Stream,
    commands: Sequence[str] = (),
    title: str | None = None,
    overwrite: bool = False,
    is_unfinished: bool = False,
    made: Sections | None = None,
) -> None:
    """Write the page of `render_report` to a file, which is replaced atomically.

    Raises OSError if the file cannot be written, and FileExistsError if it exists and `overwrite` is False.
    """
    page = render_report(
        fidelity, model, stream=stream, commands=commands, title=title, is_unfinished=is_unfinished, made=made
    )
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(page.encode())


def report_record(fidelity: Calibration, model: DiffusionModel, commands: Sequence[str] = ()) -> dict[str, Any]:
    """Return the report as plain JSON values: the fidelity, the model card and the commands."""
    return {**fidelity.to_dict(), "card": dict(model.card), "commands": list(commands)}


def _chain(model: DiffusionModel, fidelity: Fidelity, stream: Stream) -> Any:
    """Return the section of the chain, by two columns of numbers; None where no row has any.

    A column counts by its difference times the share of rows with a number there, and the two that count most are
    shown. Where no row has a number in both, the first is shown alone.
    """
    if not len(model.codec.numbers):
        return None
    real, columns = fidelity.rows.real, model.codec.plottable
    difference = dict(zip(model.codec.varying, (figure.difference for figure in fidelity.columns.figures), strict=True))
    shown = dict(zip(columns, has_numbers(model, real, columns).T, strict=True))
    first, *others = sorted(columns, key=lambda j: -difference[j] * shown[j].mean())
    if not shown[first].any():
        return None
    second = next((j for j in others[:1] if (shown[first] & shown[j]).any()), first)
    return chain_section(model, real, (min(first, second), max(first, second)), stream.child("frames"))
