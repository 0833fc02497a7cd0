"""`backwalk course`."""

from pathlib import Path

import click

from backwalk.cli import options
from backwalk.cli.console import Console


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@options.force_option
@options.verbosity_options
@click.pass_obj
def course(console: Console, folder: Path, force: bool) -> None:
    """Write the course on diffusion as four notebooks into FOLDER.

    The course has twelve exercises, for a reader of Ho et al. 2020. Each exercise has a check that shows a
    counterexample and a hint.
    """
    from backwalk.course import write_lessons

    for path in write_lessons(folder, overwrite=force):
        console.message(str(path))
    console.message("Open the first in Jupyter, VS Code or another editor of notebooks.")
