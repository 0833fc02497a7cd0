"""`backwalk fit`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from backwalk.cli import options
from backwalk.cli.console import Console, on_one_line
from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.formatting import byte_words
from backwalk.limits import MEMORY
from backwalk.signals import HeldSignals

if TYPE_CHECKING:
    from backwalk.fit import ChosenColumns
    from backwalk.table import Option

_KINDS = ("number", "integer", "levels", "constant", "clock")


def _kind_of_column(text: str) -> tuple[str, Option]:
    """Return the name and the option of a text NAME=KIND or NAME=LOW..HIGH, for `Diffusion(columns=...)`."""
    name, sign, kind = text.rpartition("=")
    if sign and ".." in kind:
        from backwalk.cli.given import range_from
        from backwalk.table import Number  # takes a second

        try:
            low, high = (None if end is None else float(end) for end in range_from(kind) or ())
            return name, Number(bounds=(low, high))
        except ValueError as error:
            raise click.BadParameter(
                f"{text!r} should have two increasing numbers: leave one out for no bound."
            ) from error
    if not sign or kind not in _KINDS:
        raise click.BadParameter(
            f"{text!r} should be NAME=KIND, with a kind among {', '.join(_KINDS)}, or NAME=LOW..HIGH."
        )
    return name, cast("Option", kind)


def _conditions(text: str) -> Any:
    """Return what a text means for `Diffusion(conditions=...)`: semicolons separate sets, commas their columns."""
    if text in ("auto", "any"):
        return text
    if text == "none":
        return None
    sets = [[name.strip() for name in part.split(",")] for part in text.split(";")]
    if not all(map(all, sets)):
        raise click.BadParameter(f"{text!r} should be any, none, or sets of columns such as 'a;a,b'.")
    return sets


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
    type=_kind_of_column,
    metavar="NAME=KIND|LOW..HIGH",
    help="Kind of a column, if it should not follow from the data: number, integer, levels (texts, each with a "
    "probability), constant, clock (HHMM, such as 930), or a number within bounds such as 0..1 (0.. has no upper "
    "bound); repeat the option for more columns.",
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
    type=_conditions,
    metavar="any|none|SETS",
    show_default="any for tables with levels, gaps, dates or rules, else none",
    default="auto",
    help="Columns that may be given to sample, score and impute: any, none, or one of some sets, such as "
    '"species;species,sex".',
)
@click.option(
    "--rule",
    multiple=True,
    metavar="RULE",
    help="Rule between columns that each row obeys, in place of those that are found: 'start <= end', "
    "'total = a + b', 'y = log(x)', of labels 'city, street -> postcode' or, in a part of the rows, 'paid ?= price'; "
    "repeat the option for more rules.",
)
@click.option("--no-rules", is_flag=True, help="Look for no rules between columns.")
@options.training_options
@options.rows_option
@click.option(
    "--memory",
    type=options.memory_size,
    default=byte_words(MEMORY).replace(".0 ", ""),
    metavar="SIZE",
    show_default=True,
    help="Memory that the fit of files may take, such as 500MB or 8GiB. If a table is larger, all rows are looked at, "
    "and as many as fit are trained on.",
)
@options.text_options
@options.drop_options
@options.run_options
@click.pass_obj
def fit(
    console: Console,
    /,
    data: str,
    output: Path | None,
    column: tuple[tuple[str, Option], ...],
    rule: tuple[str, ...],
    no_rules: bool,
    ddpm: bool,
    epochs: int | None,
    rows: int | None,
    memory: int,
    drop: tuple[str, ...],
    drop_missing: bool,
    seed: int,
    force: bool,
    json: bool,
    **settings: Any,  # the other options, named as the parameters of `Diffusion`
) -> None:
    """Fit a model to DATA and save it.

    DATA is a table file, a folder of files with the same columns, a pattern such as `'data/*.parquet'` (in quotes), or
    a built-in density. Files may be larger than memory: see --memory.

    The columns may hold numbers, texts, true and false, dates and times, and gaps. Their kinds follow from the data and
    are printed before training, with the rules between columns that hold in all rows; identifiers and free text are
    set aside. The page "Choose kinds of columns" of the documentation says more.

    Ctrl-C or SIGTERM ends training, and the best weights so far are saved. A stopped fit is not continued: Python's
    `Diffusion(warm_start=True)` begins with the weights of a model.
    """
    from backwalk.cli.tables import check_file, draw_rows, is_built_in
    from backwalk.estimator import Diffusion
    from backwalk.model import training_words
    from backwalk.model_file import check_target

    path = Path(default_output(data)) if output is None else output
    if not path.name:
        raise InvalidInput(f"OUTPUT should name a file, but got {str(path)!r}: give it a name.")
    check_target(path, overwrite=force)
    if ddpm and settings["max_steps"] is not None:
        raise IncompatibleArguments("--max-steps goes with the default settings: with --ddpm, give --epochs.")
    if epochs is not None and not ddpm:
        raise IncompatibleArguments("--epochs goes with --ddpm: with the default settings, give --max-steps.")
    if rule and no_rules:
        raise IncompatibleArguments("--rule and --no-rules exclude each other: leave one out.")
    settings |= {"columns": dict(column) or None, "random_state": seed, "verbose": not console.quiet}
    settings["rules"] = None if no_rules else list(rule) or "auto"
    if epochs is not None:
        settings["n_epochs"] = epochs
    estimator = Diffusion.ddpm(**settings) if ddpm else Diffusion(**settings)
    source: Any = data
    files: dict[str, Any] = {}
    if is_built_in(data):
        source = draw_rows(data, rows, seed, drop=drop)
    else:
        check_file(data, rows, name="DATA", folders=True)
        source = console.path(data)
        files = {"memory": memory, "drop": drop, "drop_missing": drop_missing}

    held: list[HeldSignals] = []

    def on_columns(chosen: ChosenColumns) -> None:
        _say_what_was_read(console, data, chosen, memory)
        _say_columns(console, data, chosen)
        held.append(until_saved.enter_context(HeldSignals()))

    estimator.set_params(callbacks=[lambda _: any(each.waiting for each in held)])
    with ExitStack() as until_saved:
        estimator.fit(source, **files, on_columns=on_columns)
        model = estimator.model_
        n_rows = model.card["n_rows"] + model.card["n_validation_rows"]
        seconds = f"{model.fit_seconds:.1f} s, {model.history.seconds or 0.0:.1f} of them training"
        console.message(f"fitted {n_rows:,} rows in {seconds}: {model.architecture}, {training_words(model)}")
        estimator.save(path, overwrite=force)
        console.advice = lambda: f"; {path} has the best weights so far"
    if json:
        console.print_json({"model": str(path), "card": model.card, "prior_mismatch": model.prior_mismatch})
    else:
        console.message(f"model: {path}")


def default_output(data: str) -> str:
    """Return the name of a model of this data: its file name with .backwalk for the suffix.

    That of a pattern is the name of its folder.

    >>> from backwalk.cli.fit import default_output
    >>> default_output("data/iris.csv.gz"), default_output("two_moons"), default_output("data/*.parquet")
    ('iris.backwalk', 'two_moons.backwalk', 'data.backwalk')
    """
    from backwalk.table import is_pattern

    if data == "-":
        raise InvalidInput("A model of standard input needs a name: give one with -o.")
    if is_pattern(data):
        plain = [part for part in Path(data).parts if not is_pattern(part)]
        return f"{Path(*plain).name or 'model'}.backwalk"
    return f"{Path(data).name.removesuffix('.gz').rsplit('.', 1)[0] or 'model'}.backwalk"


def _say_what_was_read(console: Console, data: str, chosen: ChosenColumns, memory: int) -> None:
    from backwalk.cli.tables import say_left_out

    say_left_out(console, data, chosen.left_out, chosen.n_rows, chosen.n_read)
    n_taken = len(chosen.table.values)
    if n_taken < chosen.n_rows:
        files = f" in {chosen.n_files:,} files" if chosen.n_files > 1 else ""
        console.message(
            f"{data}: {chosen.n_rows:,} rows{files}, of which the fit takes {n_taken:,}, chosen by their number, in "
            f"{byte_words(memory)} of memory (--memory)"
        )


def _say_columns(console: Console, data: str, chosen: ChosenColumns) -> None:
    from backwalk.table.codec_rules import stated_rules
    from backwalk.table.column_facts import facts_of_codec, lines_of

    if chosen.table.columns is not None:
        console.message(f"columns of {data}:")
        for line in lines_of(facts_of_codec(chosen.table.schema, chosen.codec, chosen.gaps), chosen.set_aside):
            console.message(line)
        stated = stated_rules(chosen.codec, chosen.table.schema.names)
        if stated:
            console.message("rules between them, for each new row; ?= may be equal (--no-rules leaves them out):")
        for rule in stated:
            console.message(f"  {on_one_line(rule)}")
