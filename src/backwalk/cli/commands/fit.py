"""`backwalk fit`."""

from pathlib import Path
from typing import Any

import click

from backwalk.cli.invocation import invocation_of
from backwalk.cli.options import (
    device_option,
    drop_options,
    force_option,
    reply_options,
    rows_option,
    seed_option,
    training_options,
)
from backwalk.cli.output import observed, print_json, say
from backwalk.cli.stops import Stopped, how_to_continue
from backwalk.formatting import byte_words, bytes_of
from backwalk.limits import LEAST_MEMORY, MEMORY

_KINDS = ("number", "integer", "levels", "constant")


class _Kind(click.ParamType):  # type: ignore[type-arg]
    """NAME=KIND or NAME=LOW..HIGH, as a pair of the name and an option of `Diffusion(columns=...)`."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, sign, kind = value.rpartition("=")
        if sign and ".." in kind:
            from backwalk.table import Number  # takes a second
            from backwalk.tasks.given import range_from

            try:
                low, high = (None if end is None else float(end) for end in range_from(kind) or ())
                return name, Number(bounds=(low, high))
            except ValueError:
                self.fail(f"{value!r} should have two increasing numbers: leave one out for no bound.", param, ctx)
        if not sign or kind not in _KINDS:
            self.fail(
                f"{value!r} should be NAME=KIND, with a kind among {', '.join(_KINDS)}, or NAME=LOW..HIGH.", param, ctx
            )
        return name, kind


class _Conditions(click.ParamType):  # type: ignore[type-arg]
    """any, none, or sets of columns: semicolons between the sets, commas between their columns."""

    name = "conditions"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or value in ("auto", "any"):
            return value
        if value == "none":
            return None
        sets = [[name.strip() for name in part.split(",")] for part in value.split(";")]
        if not all(map(all, sets)):
            self.fail(f"{value!r} should be any, none, or sets of columns such as 'a;a,b'.", param, ctx)
        return sets


class _Bytes(click.ParamType):  # type: ignore[type-arg]
    """A size of memory with its unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            n_bytes = bytes_of(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if n_bytes < LEAST_MEMORY:
            self.fail(f"{value!r} should be at least {byte_words(LEAST_MEMORY)}.", param, ctx)
        return n_bytes


@click.command()
@click.argument("data")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    show_default="DATA's name with .backwalk, in the current folder",
    help="File for the model.",
)
@click.option(
    "--column",
    multiple=True,
    type=_Kind(),
    metavar="NAME=KIND|LOW..HIGH",
    help="Kind of a column, if it should not follow from the data: number, integer, levels (texts, each with a "
    "probability), constant, or a number within bounds such as 0..1 (0.. has no upper bound); repeat the option for "
    "more columns.",
)
@click.option(
    "--missing",
    type=click.Choice(["absent", "generate"]),
    default="absent",
    show_default=True,
    help="Learn from rows with gaps but draw complete rows (absent), or draw gaps like those of DATA (generate).",
)
@click.option(
    "--conditions",
    type=_Conditions(),
    metavar="any|none|SETS",
    show_default="any for tables with levels or gaps, else none",
    default="auto",
    help="Columns that may be given to sample, score and impute: any, none, or one of some sets, such as "
    '"species;species,sex".',
)
@training_options
@device_option
@rows_option
@click.option(
    "--memory",
    type=_Bytes(),
    default=MEMORY,
    metavar="SIZE",
    show_default=byte_words(MEMORY).replace(".0 ", ""),
    help="Memory that the fit of files may take, such as 500MB or 8GiB. Of a table that does not fit all rows are "
    "looked at, and those trained on that fit.",
)
@drop_options
@seed_option
@force_option
@click.option("--resume", is_flag=True, help="Continue a stopped fit, if there is one.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds between two checkpoints.",
)
@reply_options
@click.pass_context
def fit(context: click.Context, /, data: str, output: Path | None, json: bool, **options: Any) -> None:
    """Fit a model to DATA and save it.

    DATA is a table file, a folder of files with the same columns, a pattern such as 'data/*.parquet' (in quotes), or
    a built-in density. Files may be larger than memory: see --memory.

    The columns may hold numbers, texts, true and false, dates and times, and gaps. Their kinds follow from the data and
    are printed before training; identifiers and free text are set aside. docs/tables.md says more.

    During training the state is saved in OUTPUT.checkpoint. After an interruption, the same command with --resume
    continues from there and gives the same model, bit for bit, as an uninterrupted fit (except with --max-time). With
    --resume, a fit that is complete is not repeated.
    """
    from backwalk.tasks.fit import checkpoint_of, default_output
    from backwalk.tasks.fit import fit as run

    path = Path(default_output(data)) if output is None else output
    kinds = dict(options.pop("column"))
    try:
        with observed(context) as observer:
            result = run(data, path, columns=kinds or None, **options, observer=observer)
    except Stopped as stopped:
        stopped.advice = how_to_continue(checkpoint_of(path), invocation_of(context).arguments)
        raise
    if json:
        print_json(result.record())
    else:
        say(context, f"model: {result.path}{' (fitted before)' if result.was_fitted else ''}")
