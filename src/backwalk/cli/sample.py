"""`backwalk sample`."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.options import (
    device_option,
    force_option,
    parts_of,
    parts_options,
    raw_headers_option,
    reply_options,
    table_output_option,
)
from backwalk.cli.output import Console, open_console, print_json, printable
from backwalk.cli.stops import parts_stay
from backwalk.errors import IncompatibleArguments

if TYPE_CHECKING:
    from backwalk.cli.parts import PartsOptions

_USUALLY_DRAWN = 1000


class _Solver(click.Choice):  # type: ignore[type-arg]
    """The registered solvers, looked up when they are needed, as they load torch."""

    case_sensitive = True

    def __init__(self) -> None:
        pass  # the base class would set `choices`

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        from backwalk.sampling import SOLVERS

        return tuple(SOLVERS)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-n",
    "--rows",
    type=click.IntRange(min=1),
    show_default="1000, or one for each row of --given-file",
    help="Rows to draw, in a folder those of all its parts.",
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
@table_output_option
@parts_options
@click.option(
    "--sampler",
    type=_Solver(),
    help="The solver, instead of the model's own. It takes 20 evaluations, ancestral one for each step of the chain, "
    "distilled one.",
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
@raw_headers_option
@device_option
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    show_default="a new one, printed",
    help="Seed of the rows: the same seed gives the same rows.",
)
@force_option
@reply_options
@click.pass_context
def sample(context: click.Context, /, output: str, json: bool, **options: Any) -> None:
    """Draw rows from a saved MODEL.

    Each call draws other rows, unless --seed is given. With --given or --given-file, rows are drawn under conditions,
    whose labels, numbers, dates, true and false are written as in the fitted table. CSV headers that begin with = + -
    @ or a tab, which a spreadsheet would run as formulas, get an apostrophe in front; reading removes it.
    """
    if json and output == "-":
        raise click.UsageError("--json goes with -o FILE: the rows would be on stdout too.")
    with parts_stay(output), open_console(context) as console:
        record = sample_rows(console, output=output, parts=parts_of(options), **options)
    if json:
        print_json(record)


def sample_rows(
    console: Console,
    *,
    model: Path,
    output: str,
    rows: int | None,
    given: Sequence[str] = (),
    given_file: str | None = None,
    parts: PartsOptions | None = None,
    sampler: str | None = None,
    evaluations: int | None = None,
    eta: float | None = None,
    raw_headers: bool = False,
    device: str,
    seed: int | None,
    force: bool,
) -> dict[str, Any]:
    """Draw rows from a saved model, write each piece as soon as it is drawn, and return the record of the command."""
    from backwalk.cli.given import both_given, conditions_from, given_from
    from backwalk.cli.parts import PartsOptions, is_folder, make_in_parts
    from backwalk.cli.tables import count_pieces, load_model
    from backwalk.pieces import sample_parts
    from backwalk.sampling import Sampler, choose_sampler
    from backwalk.table import Table, check_table_path, write_rows

    parts = parts or PartsOptions()
    if eta is not None and sampler != "ddim":
        raise IncompatibleArguments("--eta goes with --sampler ddim: it is that solver's share of fresh noise.")
    if is_folder(output):
        if given_file is not None and given:
            raise both_given()
        asked = Sampler(sampler, evaluations, eta or 0.0) if sampler is not None else None
        make = partial(
            sample_parts,
            model,
            output,
            rows,
            given=given_from(given, load_model(model, device).model_.schema),
            given_file=given_file,
            sampler=asked,
            n_evaluations=None if asked else evaluations,
            seed=seed,
        )
        return make_in_parts(output, "sampling", make, parts, device=device, force=force, console=console)
    parts.refuse_for_file(output)
    check_table_path(output, overwrite=force)
    estimator, began = load_model(model, device), time.monotonic()
    schedule, schema = estimator.model_.schedule, estimator.model_.schema
    solver = choose_sampler(estimator.model_.sampler, schedule, sampler, evaluations, eta or 0.0)
    n_visited = len(solver.times(schedule))
    if evaluations is not None and evaluations > n_visited:
        console.message(f"--evaluations {evaluations:,} exceeds the steps of the chain: {n_visited:,} are used")
    conditions = conditions_from(given, given_file, schema)
    if output == "-" and sys.stdout.isatty() and schema.columns is not None:
        schema = replace(schema, columns=tuple(map(printable, schema.columns)))
    used_seed = secrets.randbits(32) if seed is None else seed
    n = rows or (len(conditions.values) if isinstance(conditions, Table) else _USUALLY_DRAWN)
    pieces = estimator.sample_pieces(n, given=conditions, random_state=used_seed, sampler=solver)
    counted = count_pieces(pieces, console.counter("sampling", n))
    write_rows(output, counted, schema, n_rows=n, escape_formulas=not raw_headers, overwrite=force)
    place = "" if output == "-" else f"{output}: {n:,} rows, "
    again = "" if seed is not None else f" (chosen at random; --seed {used_seed} gives the same rows)"
    if place or again:
        console.message(f"{place}seed {used_seed}{again}")
    return {
        "output": output,
        "rows": n,
        "seed": used_seed,
        "sampler": solver.describe(schedule),
        "seconds": time.monotonic() - began,
    }
