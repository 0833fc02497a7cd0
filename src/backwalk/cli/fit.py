"""`backwalk fit`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.options import (
    device_option,
    drop_options,
    force_option,
    reply_options,
    rows_option,
    seed_option,
    training_options,
)
from backwalk.cli.output import Console, invocation_of, open_console, print_json, say
from backwalk.cli.stops import Stopped, how_to_continue
from backwalk.errors import BackwalkError, CheckpointError, IncompatibleArguments, InvalidInput
from backwalk.formatting import byte_words, bytes_of
from backwalk.limits import LEAST_MEMORY, MEMORY

if TYPE_CHECKING:
    from backwalk.estimator import Diffusion
    from backwalk.fit import ChosenColumns
    from backwalk.table import Option, Table

_KINDS = ("number", "integer", "levels", "constant")


class _Kind(click.ParamType):  # type: ignore[type-arg]
    """NAME=KIND or NAME=LOW..HIGH, as a pair of the name and an option of `Diffusion(columns=...)`."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, sign, kind = value.rpartition("=")
        if sign and ".." in kind:
            from backwalk.cli.given import range_from
            from backwalk.table import Number  # takes a second

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
    path = Path(default_output(data)) if output is None else output
    try:
        with open_console(context) as console:
            estimator, was_fitted = fit_and_save(console, data, path, **options)
    except Stopped as stopped:
        stopped.advice = how_to_continue(checkpoint_of(path), invocation_of(context).arguments)
        raise
    if json:
        model = estimator.model_
        print_json({"model": str(path), "card": model.card, "prior_mismatch": model.prior_mismatch})
    else:
        say(context, f"model: {path}{' (fitted before)' if was_fitted else ''}")


def fit_and_save(
    console: Console,
    data: str,
    path: Path,
    *,
    column: Sequence[tuple[str, Option]] = (),
    missing: str = "absent",
    conditions: Any = "auto",
    ddpm: bool,
    epochs: int | None,
    max_steps: int | None,
    max_time: float | None,
    device: str,
    rows: int | None = None,
    memory: int = MEMORY,
    drop: Sequence[str] = (),
    drop_missing: bool = False,
    seed: int,
    force: bool,
    resume: bool = False,
    checkpoint_every: float = 30.0,
) -> tuple[Diffusion, bool]:
    """Fit a model to files or to draws from a built-in density, and save it.

    Returns the model, and whether an earlier run of the same fit had saved it already, as `resume` allows. The state of
    training is kept in `checkpoint_of(path)` until the model is saved.
    """
    from backwalk.cli.tables import check_exists, is_built_in, read_data, refuse_rows
    from backwalk.estimator import Diffusion
    from backwalk.model import training_words
    from backwalk.model_file import check_target
    from backwalk.table import is_pattern
    from backwalk.training.checkpoint import refuse_foreign

    checkpoint = checkpoint_of(path)
    refuse_foreign(checkpoint)
    if checkpoint.exists() and not (resume or force):
        raise InvalidInput(f"{checkpoint} holds a stopped fit: continue it with --resume, or start over with --force.")
    may_be_done = resume and not force and path.exists()
    if not may_be_done:
        check_target(path, overwrite=force)
    if ddpm and max_steps is not None:
        raise IncompatibleArguments("--max-steps goes with the default settings: with --ddpm, give --epochs.")
    if epochs is not None and not ddpm:
        raise IncompatibleArguments("--epochs goes with --ddpm: with the default settings, give --max-steps.")
    settings: dict[str, Any] = {
        "columns": dict(column) or None,
        "missing": missing,
        "conditions": conditions,
        "max_time": max_time,
        "device": device,
        "random_state": seed,
        "verbose": console.verbose,
    }
    if ddpm:
        estimator = Diffusion.ddpm(**(settings if epochs is None else {"n_epochs": epochs, **settings}))
    else:
        estimator = Diffusion(max_steps=max_steps, **settings)
    files: dict[str, Any] = {}
    if is_built_in(data):
        source: Any = read_data(data, rows, seed, drop=drop, console=console).table
    else:
        refuse_rows(data, rows)
        if not is_pattern(data):
            check_exists(data, name="DATA")
        source, files = data, {"memory": memory, "drop": drop, "drop_missing": drop_missing}
    began = n_rows = 0.0

    def tell(chosen: ChosenColumns) -> None:
        nonlocal began, n_rows
        _say_what_was_read(console, data, chosen, memory)
        if may_be_done:
            saved = _load_same_fit(path, estimator, chosen.table)
            if saved is not None:
                raise _FittedBefore(saved)
            check_target(path, overwrite=force)
        _say_columns(console, data, chosen)
        began, n_rows = time.monotonic(), len(chosen.table.values)

    try:
        estimator.fit(
            source,
            **files,
            on_columns=tell,
            checkpoint=checkpoint,
            resume=resume,
            overwrite=force and not resume,
            checkpoint_every=checkpoint_every,
        )
    except _FittedBefore as before:
        _remove_checkpoint(checkpoint, path, before.estimator)
        return before.estimator, True
    model = estimator.model_
    console.message(
        f"fitted {n_rows:,} rows in {time.monotonic() - began:.1f} s: {model.architecture}, {training_words(model)}"
    )
    estimator.save(path, overwrite=force)
    _remove_checkpoint(checkpoint, path, estimator)
    return estimator, False


class _FittedBefore(Exception):
    """Ends a fit whose model an earlier run has saved."""

    def __init__(self, estimator: Diffusion) -> None:
        self.estimator = estimator


def default_output(data: str) -> str:
    """Return the name of a model of this data: its file name with .backwalk for the suffix.

    That of a pattern is the name of its folder.

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


def checkpoint_of(output: Path) -> Path:
    """Return where a fit keeps the state of its training while it runs."""
    if not output.name:
        raise InvalidInput(f"OUTPUT should name a file, but got {str(output)!r}: give it a name.")
    return output.with_name(f"{output.name}.checkpoint")


def _say_what_was_read(console: Console, data: str, chosen: ChosenColumns, memory: int) -> None:
    from backwalk.cli.tables import say_left_out

    say_left_out(data, chosen.left_out, chosen.n_rows, chosen.n_read, console)
    n_taken = len(chosen.table.values)
    if n_taken < chosen.n_rows:
        files = f" in {chosen.n_files:,} files" if chosen.n_files > 1 else ""
        console.message(
            f"{data}: {chosen.n_rows:,} rows{files}, of which the fit takes {n_taken:,}, chosen by their number, in "
            f"{byte_words(memory)} of memory (--memory)"
        )


def _say_columns(console: Console, data: str, chosen: ChosenColumns) -> None:
    from backwalk.table.column_facts import facts_of_codec, lines_of

    if chosen.table.columns is not None:
        console.message(f"columns of {data}:")
        for line in lines_of(facts_of_codec(chosen.table.schema, chosen.codec, chosen.gaps), chosen.set_aside):
            console.message(line)


def _load_same_fit(path: Path, estimator: Diffusion, table: Table) -> Diffusion | None:
    """Return the saved model if this fit would give the same one: same rows, parameters, seed and versions."""
    from backwalk.cli.tables import load_model
    from backwalk.fit import check_settings, is_of_the_fit, is_of_these_versions, parameters_record

    try:
        saved = load_model(path, "cpu")
    except BackwalkError:
        return None
    settings = check_settings(estimator.get_params(deep=False))
    card, asked = saved.model_.card, parameters_record(settings)
    theirs = {**card["parameters"], "verbose": asked["verbose"]}
    same_rows = saved.model_.schema == table.schema and is_of_the_fit(card, table.values)
    same = same_rows and theirs == asked and card["seed"] == settings.random_state
    return saved if same and is_of_these_versions(card) else None


def _remove_checkpoint(checkpoint: Path, path: Path, estimator: Diffusion) -> None:
    """Remove the checkpoint of the fit that saved `path`, in this run or in an earlier one that was killed.

    Such a checkpoint is older than the model. One that is newer or locked belongs to another fit, and stays.
    """
    from backwalk.files import file_lock
    from backwalk.training.checkpoint import checkpoint_seed, checkpoint_step

    model = estimator.model_
    # The checkpoint may be absent or damaged, or another process may hold it.
    with suppress(CheckpointError, OSError), file_lock(checkpoint):
        whose = checkpoint_seed(checkpoint), checkpoint_step(checkpoint)
        is_older = checkpoint.stat().st_mtime_ns <= path.stat().st_mtime_ns
        if whose == (model.card["seed"], model.history.n_steps) and is_older:
            checkpoint.unlink(missing_ok=True)
