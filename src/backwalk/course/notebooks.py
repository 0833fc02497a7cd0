"""Write the lessons as notebooks.

A lesson is a Markdown file in `lessons/`: its fenced blocks of Python are the notebook's code cells, and the text
between them is its cells of text. A block marked `demonstration` trains or draws; no exercise needs it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.files import atomic_write
from backwalk.playground import Page

LESSONS = ("1_noise_forward", "2_backward", "3_sampling", "4_how_good")
DEMONSTRATION = "demonstration"
PLAYGROUND = "playground.html"  # beside the notebooks, whose links lead to its states
_BLOCK = re.compile(rf"^```python( {DEMONSTRATION})?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """A cell of a lesson: text, or code that may be a demonstration."""

    source: str
    is_code: bool = False
    is_demonstration: bool = False


def read_lesson(name: str) -> list[Cell]:
    """Return the cells of a lesson, one of `LESSONS`.

    >>> from backwalk.course.notebooks import read_lesson
    >>> read_lesson("1_noise_forward")[0].source.splitlines()[0]
    '# 1. Noise forward'
    """
    text = files("backwalk.course").joinpath("lessons", f"{name}.md").read_text(encoding="utf-8")
    cells, end = [], 0
    for block in _BLOCK.finditer(text):
        cells += [Cell(text[end : block.start()]), Cell(block[2], True, block[1] is not None)]
        end = block.end()
    cells.append(Cell(text[end:]))
    return [Cell(cell.source.strip("\n"), cell.is_code, cell.is_demonstration) for cell in cells if cell.source.strip()]


def write_lessons(folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write the four lessons as notebooks, and the playground that they link to, into a folder.

    The folder is made if it is not there.

    Parameters
    ----------
    folder : str or Path
        The folder.
    overwrite : bool, default=False
        Whether notebooks of these names are replaced, with all that was written in them.

    Returns
    -------
    list of Path
        The notebooks in the order of the course.

    Raises
    ------
    InvalidInput
        If a notebook is there and `overwrite` is False; then none is written.
    OSError
        If a notebook cannot be written.

    See Also
    --------
    check : The check of an exercise.

    Examples
    --------
    >>> import tempfile
    >>> from backwalk.course import write_lessons
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in write_lessons(folder)]
    ['1_noise_forward.ipynb', '2_backward.ipynb', '3_sampling.ipynb', '4_how_good.ipynb']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.ipynb" for name in LESSONS]
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise InvalidInput(
            f"{there[0]} exists already, perhaps with your solutions: name another folder, or overwrite it "
            "(overwrite=True, --force)."
        )
    for name, path in zip(LESSONS, paths, strict=True):
        with atomic_write(path, overwrite=overwrite) as file:
            file.write(json.dumps(_as_notebook(read_lesson(name)), indent=1, ensure_ascii=False).encode() + b"\n")
    Page().save(folder / PLAYGROUND, overwrite=True)
    return paths


def _as_notebook(cells: list[Cell]) -> dict[str, Any]:
    """Return cells as the JSON of a notebook, version 4.5 of Jupyter's format."""
    return {
        "cells": [_as_json(cell, number) for number, cell in enumerate(cells)],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _as_json(cell: Cell, number: int) -> dict[str, Any]:
    common = {
        "id": f"cell-{number:02d}",
        "metadata": {"tags": [DEMONSTRATION]} if cell.is_demonstration else {},
        "source": cell.source.splitlines(keepends=True),
    }
    if cell.is_code:
        return {"cell_type": "code", "execution_count": None, "outputs": [], **common}
    return {"cell_type": "markdown", **common}
