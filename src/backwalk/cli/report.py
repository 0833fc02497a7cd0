"""`backwalk report`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli import options
from backwalk.cli.console import Console
from backwalk.errors import InvalidInput
from backwalk.formatting import one_line
from backwalk.limits import Unseen

if TYPE_CHECKING:
    from backwalk.assess import Calibration
    from backwalk.model import DiffusionModel


@click.command()
@options.model_argument
@click.argument("data")
@click.option(
    "--training",
    help="The rows of the fit: adds baselines, copies of training rows, and how well these can be recognised.",
)
@click.option("--target", help="A column of a table: how well do models trained on generated rows predict it?")
@click.option(
    "--given",
    multiple=True,
    metavar="NAMES",
    help="Columns of a simulator's data, with commas between: are posteriors of the other columns calibrated?",
)
@click.option(
    "--quick",
    is_flag=True,
    help="Score at most 1,000 unseen rows, in 3 pairs of sets in place of 8: in less time, with larger errors.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The report, an .html file.")
@options.rows_option
@options.text_options
@options.drop_missing_option
@options.unseen_option
@options.run_options
@click.pass_obj
def report(console: Console, /, output: Path, json: bool, **asked: Any) -> None:
    """Score a saved MODEL on unseen rows, and write a report.

    DATA holds rows that the fit did not see. If DATA is a built-in density, these are --rows new draws, and --training
    with its name gives the rows that `backwalk fit` drew. Columns that MODEL does not have are ignored.
    """
    import shlex

    commands = [shlex.join(["backwalk", *console.arguments])]
    fidelity, model = assess_and_report(console, output=output, **asked, commands=commands)
    if json:
        from backwalk.assess import report_record

        console.print_json({"report": str(output), **report_record(fidelity, model, commands)})
    else:
        print_answers(console, fidelity, output)


def assess_and_report(
    console: Console,
    *,
    model: Path,
    data: str,
    output: Path,
    training: str | None,
    target: str | None = None,
    given: Sequence[str] = (),
    quick: bool = False,
    device: str,
    rows: int | None = None,
    drop_missing: bool = False,
    unseen: Unseen = "nearest",
    seed: int,
    force: bool,
    commands: Sequence[str],
) -> tuple[Calibration, DiffusionModel]:
    """Score a saved model on unseen rows, and write a page that shows the command lines."""
    from backwalk.assess import assess, rows_to_score, write_report
    from backwalk.assess.assessment import QUICK_ROWS
    from backwalk.cli.given import columns_from
    from backwalk.cli.tables import is_built_in, load_model, read_training, read_unseen
    from backwalk.datasets import DENSITIES
    from backwalk.model import check_unseen
    from backwalk.streams import Stream
    from backwalk.table import match_columns

    check_report_target(output, force)
    stream = Stream(seed).child("report")
    fitted = load_model(model, device, data=data).model_
    fit_rows = None
    if training is not None:
        fit_rows = read_training(console, training, fitted, drop_missing=drop_missing)
        rows_to_score(fit_rows, fitted, "--training")
    data_rows, _ = read_unseen(console, data, rows, seed, fitted, drop_missing=drop_missing)
    if unseen == "error":
        values = match_columns(data_rows, fitted.schema, name="DATA").values
        check_unseen(fitted, values, scored=range(fitted.schema.n_columns), unseen=unseen, name="DATA")
    scored, *_ = rows_to_score(data_rows, fitted, "DATA")
    made: dict[str, Any] = {}
    write = partial(write_report, output, model=fitted, stream=stream.child("pictures"), commands=list(commands))

    def show(so_far: Calibration | None) -> None:
        with _errors_named(output):
            write(fidelity=so_far, overwrite=force or bool(made), is_unfinished=True, made=made)
        if so_far is None:
            console.message(f"report: {output.resolve()} has each section once it is done")

    console.message(f"scoring {min(len(scored), QUICK_ROWS) if quick else len(scored):,} unseen rows")
    began = time.monotonic()
    fidelity = assess(
        fitted,
        data_rows,
        training=fit_rows,
        density=DENSITIES[data]() if is_built_in(data) else None,
        target=target,
        given=columns_from(given, fitted.schema) or None,
        stream=stream.child("assess"),
        quick=quick,
        model_path=str(model),
        watch=partial(console.progress, "scoring"),
        show=show,
    )
    console.message(f"scored in {time.monotonic() - began:.1f} s")
    with _errors_named(output):
        write(fidelity=fidelity, overwrite=force or bool(made), made=made)
    return fidelity, fitted


def check_report_target(output: Path, force: bool) -> None:
    """Raise InvalidInput if a report could not be written; to be called before long work."""
    from backwalk.files import check_writable

    if output.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(
            f"A report's name should end in .html, but got {str(output)!r}: for its figures as JSON, add --json."
        )
    with _errors_named(output):
        check_writable(output, overwrite=force)


def print_answers(console: Console, fidelity: Calibration, page: Path) -> None:
    """Print the answers, the warnings, and where the report is."""
    for line in fidelity.lines():
        console.print(line)
    console.print(f"report: {page.resolve()}")


@contextmanager
def _errors_named(output: Path) -> Iterator[None]:
    """Turn OSErrors of writing a report into InvalidInput that names the file."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {one_line(error)}.") from error
