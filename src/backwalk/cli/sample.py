"""`backwalk sample`."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from backwalk.cli import options
from backwalk.cli.console import Console, on_one_line, refuse_rows_and_json
from backwalk.errors import IncompatibleArguments
from backwalk.limits import SOLVER_NAMES, Unseen

_USUALLY_DRAWN = 1000


def _row_range(text: str) -> tuple[int, int]:
    """Return the rows that START:STOP means, as the type of an option."""
    try:
        start, stop = map(int, text.split(":"))
    except ValueError:
        start = stop = 0
    if not 0 <= start < stop:
        raise click.BadParameter(f"{text!r} should be START:STOP with 0 <= START < STOP, such as 0:1000.")
    return start, stop


@click.command()
@options.model_argument
@click.option(
    "-n",
    "--n-samples",
    type=click.IntRange(min=1),
    show_default="1000, or one for each row of --given-file",
    help="Rows to draw.",
)
@click.option(
    "--rows",
    type=_row_range,
    metavar="START:STOP",
    help="Draw rows START to STOP - 1 of the sample with this --seed, instead of the first ones: ranges that follow "
    "each other make one sample.",
)
@click.option(
    "--given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Draw rows with this value in a column, with one in a range (age=30..40, age=30..) or one of a set "
    "(species=Adelie|Gentoo, in quotes); repeat the option for more columns.",
)
@click.option(
    "--given-file",
    metavar="FILE",
    help="A table with a row of values for each row to draw; an empty cell leaves its column free.",
)
@options.text_options
@options.table_output_option
@click.option(
    "--sampler",
    type=click.Choice(SOLVER_NAMES),
    help="The solver, instead of the model's own. It takes 20 evaluations, ancestral one for each step of the chain.",
)
@click.option(
    "--evaluations",
    type=click.IntRange(min=1),
    help="Evaluations of the network per row, at most one for each step of the chain. For fewer than 15, and without "
    "--sampler, multistep replaces the default solver.",
)
@click.option(
    "--eta",
    type=click.FloatRange(min=0.0, max=1.0),
    help="With --sampler ddim: its share of fresh noise, from 0 (none) to 1 (that of beta_tilde).",
)
@options.unseen_option
@click.option(
    "--raw-headers", is_flag=True, help="Write CSV headers that a spreadsheet would run as formulas as they are."
)
@options.device_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    show_default="a new one, printed",
    help="Seed of the rows: the same seed gives the same rows.",
)
@options.force_option
@options.reply_options
@click.pass_obj
def sample(
    console: Console,
    /,
    model: Path,
    n_samples: int | None,
    rows: tuple[int, int] | None,
    given: tuple[str, ...],
    given_file: str | None,
    output: str,
    sampler: str | None,
    evaluations: int | None,
    eta: float | None,
    unseen: Unseen,
    raw_headers: bool,
    device: str,
    seed: int | None,
    force: bool,
    json: bool,
) -> None:
    """Draw rows from a saved MODEL.

    Each call draws other rows, unless --seed is given. With --given or --given-file, rows are drawn under conditions,
    whose labels, numbers, dates, true and false are written as in the fitted table. CSV headers that begin with = + -
    @ or a tab, which a spreadsheet would run as formulas, get an apostrophe in front; reading removes it.
    """
    import secrets

    from backwalk.cli import tables
    from backwalk.cli.given import conditions_from
    from backwalk.sampling import choose_sampler
    from backwalk.table import Selection, check_table_path, read_part, write_rows

    refuse_rows_and_json(output, json)
    if rows is not None and (n_samples is not None or seed is None):
        raise IncompatibleArguments("--rows goes with --seed, which all ranges share, and without -n.")
    if eta is not None and sampler != "ddim":
        raise IncompatibleArguments("--eta goes with --sampler ddim: it is that solver's share of fresh noise.")
    if given_file is not None and given:
        raise IncompatibleArguments("--given and --given-file should not both be given: add the values to the file.")
    check_table_path(output, overwrite=force)
    estimator, began = tables.load_model(model, device).set_params(unseen=unseen), time.monotonic()
    schedule, schema = estimator.model_.schedule, estimator.model_.schema
    conditions = conditions_from(given, schema)
    solver = choose_sampler(estimator.model_.sampler, schedule, sampler, evaluations, eta or 0.0)
    given_rows = None
    if given_file is not None:
        given_rows = read_part(console.path(given_file), Selection.of_schema(schema)).table
        n_samples = n_samples or len(given_rows.values)
    rows = rows or (0, n_samples or _USUALLY_DRAWN)
    n = rows[1] - rows[0]
    if output == "-" and sys.stdout.isatty() and schema.columns is not None:
        schema = replace(schema, columns=tuple(map(on_one_line, schema.columns)))
    used_seed = secrets.randbits(32) if seed is None else seed
    pieces = estimator.sample_pieces(
        rows=rows, given=given_rows or conditions or None, random_state=used_seed, sampler=solver
    )
    counted = tables.count_pieces(pieces, console.counter("sampling", n))
    write_rows(output, counted, schema, n_rows=n, escape_formulas=not raw_headers, overwrite=force)
    place = "" if output == "-" else f"{output}: {n:,} rows, "
    again = "" if seed is not None else f" (chosen at random; --seed {used_seed} gives the same rows)"
    if place or again:
        console.message(f"{place}seed {used_seed}{again}")
    if json:
        seconds = time.monotonic() - began
        solver_words = solver.describe(schedule)
        console.print_json(
            {"output": output, "rows": n, "seed": used_seed, "sampler": solver_words, "seconds": seconds}
        )
