"""`backwalk distil`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from backwalk.cli.console import Console
from backwalk.cli.options import device_option, reply_options, seed_option
from backwalk.errors import InvalidInput


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Save there instead of into MODEL.")
@click.option("--max-steps", type=click.IntRange(min=1), show_default="3000", help="Number of training steps.")
@click.option(
    "--max-time",
    type=click.FloatRange(min=0, min_open=True),
    help="Time budget in seconds, all of which is used: more time gives a better student.",
)
@device_option
@seed_option
@click.option("--force", is_flag=True, help="Overwrite what is there, even another student.")
@reply_options
@click.pass_obj
def distil(
    console: Console,
    model: Path,
    output: Path | None,
    max_steps: int | None,
    max_time: float | None,
    device: str,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Train a student of MODEL, which needs one evaluation per row.

    `sample --sampler distilled` uses it. The student is a small network that maps noise to the rows that the
    probability-flow ODE of MODEL reaches. The model itself does not change: log-density, bound and the other samplers
    stay as they are.
    """
    from backwalk.cli import tables
    from backwalk.model import student_words
    from backwalk.model_file import check_target, stamp

    place, before = output or model, stamp(model)
    estimator = tables.load_model(model, device).set_params(verbose=not console.quiet)
    if output is None and estimator.model_.student is not None and not force:
        raise InvalidInput(f"{model} has a student already: save to another place with -o, or replace it with --force.")
    check_target(place, overwrite=output is None or force)
    began = time.monotonic()
    student = estimator.distil(max_steps=max_steps, max_time=max_time, random_state=seed).model_.student
    assert student is not None
    seconds = time.monotonic() - began
    console.message(f"distilled in {seconds:.1f} s: {student_words(student)}")
    if output is None and stamp(model) != before:
        raise InvalidInput(
            f"{model} was replaced while it was distilled: distil it again, or save to another place with -o."
        )
    estimator.save(place, overwrite=output is None or force)
    if json:
        network = repr(student.architecture)
        console.print_json({"model": str(place), "student": network, "error": student.error, "seconds": seconds})
    else:
        console.message(f"model: {place}")
