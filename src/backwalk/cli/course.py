"""`backwalk course`, and `backwalk course grade`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.console import Console, on_one_line
from backwalk.cli.options import force_option, memory_size, reply_options, verbosity_options

if TYPE_CHECKING:
    from backwalk.course import GradedStudent

_SIGNS = {"passed": "+", "failed": "-", "unwritten": ".", "missing": " "}


class _Course(click.Group):
    """A group whose first argument may also be the folder of its command `write`."""

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        """Put `write` before a folder."""
        is_folder = arguments and arguments[0] not in self.commands and arguments[0] not in context.help_option_names
        return super().parse_args(context, ["write", *arguments] if is_folder else arguments)


@click.group(cls=_Course, subcommand_metavar="FOLDER | grade NOTEBOOKS...")
def course() -> None:
    """Write the course on diffusion as notebooks into FOLDER, or grade the notebooks of a class.

    The course has four lessons and twelve exercises, for a reader of Ho et al. 2020. Each exercise has a check that
    shows a counterexample and a hint.
    """


@course.command()
@click.argument("folder", type=click.Path(path_type=Path))
@force_option
@verbosity_options
@click.pass_obj
def write(console: Console, folder: Path, force: bool) -> None:
    """Write the four notebooks into FOLDER; `backwalk course FOLDER` is short for it."""
    from backwalk.course import write_lessons

    for path in write_lessons(folder, overwrite=force):
        console.message(str(path))
    console.message("Open the first in Jupyter, VS Code or another editor of notebooks.")


@course.command()
@click.argument("notebooks", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="FILE", help="Write the table too: a .csv, .tsv or .parquet file.")
@click.option(
    "--max-time",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for each notebook.",
)
@click.option(
    "--memory", type=memory_size, default="4GiB", metavar="SIZE", show_default=True, help="Memory for each notebook."
)
@force_option
@reply_options
@click.pass_obj
def grade(
    console: Console,
    notebooks: tuple[Path, ...],
    output: str | None,
    max_time: float,
    memory: int,
    force: bool,
    json: bool,
) -> None:
    """Grade NOTEBOOKS: a table of students and exercises.

    NOTEBOOKS are .ipynb files, or the folder of a class with a folder or a notebook for each student. A single file
    belongs to the student whom its name or its folder names. Each notebook runs in a process with limits of time and
    memory, which do not protect from malice: grade notebooks of people whom you do not know in a container.
    """
    from backwalk.course import EXERCISES, grade
    from backwalk.table import as_table, check_table_path, write_table

    if output is not None:
        check_table_path(output, overwrite=force)
    students = grade(notebooks, seconds=max_time, memory=memory, watch=console.progress)
    if output is not None:
        import pyarrow as pa

        rows = [
            {
                "student": student.name,
                **student.states,
                "passed": student.n_passed,
                "notes": "; ".join(student.notes) or None,
            }
            for student in students
        ]
        write_table(output, as_table(pa.Table.from_pylist(rows)), overwrite=force)
    if json:
        console.print_json({"students": [_record(student) for student in students]})
    else:
        for line in _lines(students, list(EXERCISES)):
            console.print(on_one_line(line))


def _record(student: GradedStudent) -> dict[str, Any]:
    """Return the states and notes of a student, and what the checks say, as JSON values."""
    texts = {name: text for notebook in student.notebooks for name, text in notebook.texts.items()}
    return {
        "student": student.name,
        "states": student.states,
        "passed": student.n_passed,
        "checks": texts,
        "notes": student.notes,
    }


def _lines(students: list[GradedStudent], exercises: list[str]) -> Iterator[str]:
    """Yield a table with a column for each exercise, what its numbers and signs mean, and all notes."""
    width = max(len(name) for name in ["student", *(student.name for student in students)])
    yield f"{'student':<{width}}  {' '.join(f'{k:2d}' for k in range(1, len(exercises) + 1))}  passed"
    for student in students:
        signs = " ".join(f" {_SIGNS[state]}" for state in student.states.values())
        yield f"{student.name:<{width}}  {signs}  {student.n_passed:6d}"
    yield "+ passed, - failed, . not written, blank: not in the notebooks"
    yield ", ".join(f"{k} {name}" for k, name in enumerate(exercises, start=1))
    for student in students:
        for note in student.notes:
            yield f"{student.name}: {note}"
