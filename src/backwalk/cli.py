"""The command line: each command reads its arguments, makes one call into the library, and says what came of it.

Data go to stdout, messages to stderr. Exit status: 0 done; 1 an error of ours, in one line; 2 wrong usage; 130 Ctrl-C;
143 SIGTERM. Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from backwalk import __version__
from backwalk.errors import BackwalkError, InvalidInput, PriorMismatchWarning

if TYPE_CHECKING:
    from backwalk.datasets import Density
    from backwalk.estimator import Diffusion
    from backwalk.model import DiffusionModel
    from backwalk.table import Table

JSON_VERSION = 1
_SETTINGS = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "BACKWALK", "max_content_width": 100}
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, "--version", prog_name="backwalk")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
def cli(quiet: bool, verbose: bool) -> None:
    """Generative models of points in R^d by denoising diffusion.

    Noise walks data forward; backwalk walks it back. DATA is a .csv, .parquet or .npy file of numeric columns, or the
    name of a built-in density such as two_moons (see `backwalk info`).
    """
    del quiet, verbose  # read from the context, where main() also finds them


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_seed = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all randomness.")
_force = click.option("--force", is_flag=True, help="Overwrite what is there.")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
_table_output = click.option(
    "-o", "--output", default="-", show_default=True, help="A .csv, .parquet or .npy file; - is CSV to stdout."
)
_raw_headers = click.option(
    "--raw-headers", is_flag=True, help="Leave CSV headers as they are that a spreadsheet would take for formulas."
)
_rows = click.option(
    "--rows", type=click.IntRange(min=1), default=10_000, show_default=True, help="Rows drawn from a built-in density."
)
_training_options = _options(
    click.option("--ddpm", is_flag=True, help="The course notebook's settings (Ho et al. 2020)."),
    click.option("--epochs", type=click.IntRange(min=1), default=5000, show_default=True, help="Epochs of --ddpm."),
    click.option("--max-steps", type=click.IntRange(min=1), help="Training steps, in place of what the data suggest."),
    click.option("--max-time", type=click.FloatRange(min=0, min_open=True), help="A budget for training, in seconds."),
)


class _Stopped(BaseException):
    """A signal asked the program to end; `advice` says how to go on."""

    def __init__(self, number: int) -> None:
        self.number, self.advice = number, ""


@cli.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for model, samples and report.",
)
@_training_options
@_seed
@_force
@click.pass_context
def demo(context: click.Context, /, output: Path, seed: int, force: bool, **training: Any) -> None:
    """Fit two moons, sample, judge, and write a report: the whole way in one go, within a minute."""
    if output.exists() and not force:
        raise InvalidInput(f"{output} exists already: name another folder with -o, or overwrite it with --force.")
    model, report = output / "two_moons.backwalk", output / "report.html"
    _check_target(model, force)
    _say(context, "two moons: 10,000 points with noise 0.05")
    data = _data("two_moons", 10_000, seed)
    estimator = _fit(context, data, seed, {}, **training)
    estimator.save(model, overwrite=force)
    options = "".join(
        f" --{name.replace('_', '-')} {value}" for name, value in training.items() if _is_set(name, value)
    )
    commands = [
        f"backwalk fit two_moons --seed {seed}{options}{' --ddpm' if training['ddpm'] else ''} -o {model}",
        f"backwalk sample {model} -n 10000 --seed {seed} -o {output / 'samples.csv'}",
        f"backwalk report {model} two_moons --training two_moons --seed {seed} -o {report}",
    ]
    _write_samples(estimator, 10_000, seed, output / "samples.csv", force, raw_headers=False)
    verdict = _report(context, estimator, _data("two_moons", 10_000, seed + 1), data, seed, report, force, commands)
    _echo(verdict)
    _echo(f"report: {report.resolve()}")


@cli.command()
@click.argument("data")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the model; one file if it ends in .safetensors.",
)
@_training_options
@_rows
@_seed
@_force
@click.option("--resume", is_flag=True, help="Go on with a fit that was stopped, if there is one.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds between two checkpoints.",
)
@_json
@click.pass_context
def fit(
    context: click.Context,
    /,
    data: str,
    output: Path,
    rows: int,
    seed: int,
    force: bool,
    resume: bool,
    checkpoint_every: float,
    as_json: bool,
    **training: Any,
) -> None:
    """Fit a model to DATA and save it.

    While it trains, its state is kept beside the output, in OUTPUT.checkpoint. Whatever stops it, the same command with
    --resume goes on from there, and the model is the same, bit for bit, as if nothing had happened (but with
    --max-time, which follows the clock).
    """
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    if checkpoint.exists() and not (resume or force):
        raise InvalidInput(
            f"{checkpoint} holds a fit that was stopped: go on with --resume, or begin anew with --force."
        )
    saved = resume and not force and checkpoint.exists() and _may_be_of(output, checkpoint)
    if not saved:
        _check_target(output, force)
    try:
        keeping = {
            "checkpoint": checkpoint,
            "resume": resume,
            "overwrite": force and not resume,
            "checkpoint_every": checkpoint_every,
        }
        estimator = _fit(context, _data(data, rows, seed), seed, keeping, **training)
        if not (saved and _is_saved(estimator, output)):
            estimator.save(output, overwrite=force)
    except _Stopped as stopped:
        stopped.advice = _how_to_go_on(checkpoint, context.obj)
        raise
    checkpoint.unlink(missing_ok=True)
    if as_json:
        _print_json(
            {"model": str(output), "card": estimator.model_.card, "prior_mismatch": estimator.model_.prior_mismatch}
        )
    else:
        _say(context, f"model: {output}")


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to save it, in place of MODEL itself.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Training steps, in place of 3,000.")
@click.option("--max-time", type=click.FloatRange(min=0, min_open=True), help="A budget for all of it, in seconds.")
@_seed
@click.option("--force", is_flag=True, help="Overwrite what is there, be it a student.")
@click.pass_context
def distil(context: click.Context, /, model: Path, output: Path | None, seed: int, force: bool, **budget: Any) -> None:
    """Give a saved MODEL a student, for `sample --sampler distilled`: one evaluation a row.

    The student is a small network that learns where the probability-flow ODE of MODEL carries noise. All else stays as
    it was, log-density and bound included. Without -o the student is saved into MODEL.
    """
    from backwalk.model import student_words

    estimator = _load(model)
    if output is not None:
        _check_target(output, force)
    elif estimator.model_.student is not None and not force:
        raise InvalidInput(f"{model} has a student already: name another file with -o, or replace it with --force.")
    estimator.set_params(verbose=not context.find_root().params["quiet"])
    began = time.monotonic()
    student = estimator.distil(random_state=seed, **budget).model_.student
    assert student is not None
    _say(context, f"distilled in {time.monotonic() - began:.1f} s: {student_words(student)}")
    estimator.save(output or model, overwrite=output is None or force)
    _say(context, f"model: {output or model}")


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-n", "--number", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows to generate.")
@click.option(
    "-o", "--output", default="-", show_default=True, help="A .csv, .parquet or .npy file; - is CSV to stdout."
)
@click.option(
    "--sampler",
    type=click.Choice(["ancestral", "ddim", "dpm++2m", "dpm++2m-sde", "multistep", "distilled"]),
    help="The solver, in place of the model's own.",
)
@click.option("--evaluations", type=click.IntRange(min=1), help="Evaluations of the network a row.")
@click.option(
    "--eta",
    type=click.FloatRange(min=0.0, max=1.0),
    help="With --sampler ddim: its share of fresh noise, 0 (none) to 1 (that of beta_tilde).",
)
@_raw_headers
@_seed
@_force
def sample(
    model: Path,
    number: int,
    output: str,
    sampler: str | None,
    evaluations: int | None,
    eta: float | None,
    raw_headers: bool,
    seed: int,
    force: bool,
) -> None:
    """Generate rows from a saved MODEL.

    A CSV header that begins with = + - @ or a tab gets an apostrophe before it, which reading takes away again: a
    spreadsheet would run it as a formula.
    """
    from backwalk.sampling import Sampler

    choice: dict[str, Any] = {"sampler": sampler, "n_evaluations": evaluations}
    if eta is not None:
        if sampler != "ddim":
            raise click.UsageError("--eta goes with --sampler ddim: it is that solver's share of fresh noise.")
        choice = {"sampler": Sampler("ddim", evaluations, eta)}
    _write_samples(_load(model), number, seed, output, force, raw_headers=raw_headers, **choice)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option(
    "-o", "--output", default="-", show_default=True, help="A .csv, .parquet or .npy file; - is CSV to stdout."
)
@click.option(
    "--bound",
    "reverse_variance",
    type=click.Choice(["beta", "beta_tilde", "optimal", "full"]),
    help="Add a column: the chain's bound on -log p, with this reverse variance.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="With --bound: only so many of the chain's steps, the best with fitted scalar variances.",
)
@_rows
@_seed
@_force
@click.pass_context
def score(
    context: click.Context,
    model: Path,
    data: str,
    output: str,
    reverse_variance: str | None,
    steps: int | None,
    rows: int,
    seed: int,
    force: bool,
) -> None:
    """Write the log-density of every row of DATA under a saved MODEL, in nats.

    It is the probability-flow ODE's. Beside it stand the ODE solver's error and the standard error of the random probes
    that serve beyond 32 columns (0 up to there). --bound adds the
    chain's variational bound, which is another model's, from above.
    """
    import numpy as np

    from backwalk.table import as_table, write_table
    from backwalk.table.schema import Schema, from_values

    if steps is not None and reverse_variance is None:
        raise click.UsageError("--steps goes with --bound: it says how many of the chain's steps the bound is for.")
    estimator, table = _load(model), _native(_data(data, rows, seed).table)
    result = estimator.log_density(table)
    columns = {
        "log_density": result.log_prob.numpy(),
        "solver_error": result.solver_error.numpy(),
        "standard_error": result.standard_error.numpy(),
    }
    if reverse_variance is not None:
        terms = estimator.bound(table, reverse_variance=reverse_variance, steps=steps, random_state=seed)
        columns["bound"] = terms.per_row.numpy()
        _say(context, f"-log p <= {terms.total:.4f} +- {terms.total_standard_error:.4f} nats a row, by the chain")
    schema = Schema(tuple(columns), ("float64",) * len(columns), "pyarrow")
    scores = from_values(np.column_stack(list(columns.values())), schema)
    write_table(output, as_table(scores, allow_missing=True), overwrite=force)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--training", "training_data", help="The rows of the fit, for baselines and memorisation.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The report, an .html file.")
@_rows
@_seed
@_force
@_json
@click.pass_context
def report(
    context: click.Context,
    model: Path,
    data: str,
    training_data: str | None,
    output: Path,
    rows: int,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Judge a saved MODEL by DATA that its fit never saw, and write a report.

    A built-in density gives fresh rows, and its training rows are those that `fit` drew with the same --seed.
    """
    training = _data(training_data, rows, seed) if training_data else None
    unseen = _data(data, rows, seed + 1)
    commands = [" ".join(["backwalk", *sys.argv[1:]])]
    verdict = _report(context, _load(model), unseen, training, seed, output, force, commands, as_json=as_json)
    if not as_json:
        _echo(verdict)
        _echo(f"report: {output.resolve()}")


@cli.command()
@click.argument("path", required=False)
@_json
def info(path: str | None, as_json: bool) -> None:
    """Say what a saved model or a table file holds; without PATH, list the built-in densities."""
    facts = _facts(path)
    if as_json:
        _print_json(facts)
        return
    width = max(map(len, facts))
    for name, value in facts.items():
        _echo(f"{name.replace('_', ' '):<{width}}  {value if not isinstance(value, float) else f'{value:.6g}'}")


@dataclass(frozen=True)
class _Data:
    """Rows, and the density that they were drawn from where it is a built-in one."""

    table: Table
    density: Density | None


def _data(source: str, rows: int, seed: int) -> _Data:
    from backwalk.datasets import DENSITIES
    from backwalk.table import as_table, read_table

    if source in DENSITIES and not Path(source).exists():
        density = DENSITIES[source]()
        return _Data(as_table(density.sample(rows, random_state=seed)), density)
    if source != "-" and not Path(source).exists() and not Path(source).suffix:
        raise InvalidInput(f"DATA should be a file or one of {', '.join(DENSITIES)}, but got {source!r}.")
    return _Data(read_table(source), None)


def _fit(
    context: click.Context,
    data: _Data,
    seed: int,
    keeping: dict[str, Any],
    *,
    ddpm: bool,
    epochs: int,
    **budget: Any,
) -> Diffusion:
    from backwalk.estimator import Diffusion

    quiet = bool(context.find_root().params["quiet"])
    if ddpm:
        estimator = Diffusion.ddpm(n_epochs=epochs, random_state=seed, verbose=not quiet)
        estimator.set_params(max_time=budget["max_time"])
        if budget["max_steps"] is not None:
            raise click.UsageError("--max-steps goes with the default settings; with --ddpm, give --epochs.")
    else:
        estimator = Diffusion(random_state=seed, verbose=not quiet, **budget)
    began = time.monotonic()
    estimator.fit(_native(data.table), **keeping)
    _say(context, f"fitted {data.table.values.shape[0]:,} rows in {time.monotonic() - began:.1f} s")
    return estimator


def _load(path: Path) -> Diffusion:
    from backwalk.estimator import Diffusion

    return Diffusion.load(path)


def _native(table: Table) -> Any:
    from backwalk.table import from_values

    return from_values(table.values, table.schema)


def _write_samples(
    estimator: Diffusion, number: int, seed: int, output: str | Path, force: bool, *, raw_headers: bool, **choice: Any
) -> None:
    from backwalk.table import as_table, write_rows

    schema = estimator.model_.schema
    if output == "-" and sys.stdout.isatty() and schema.columns is not None:
        schema = replace(schema, columns=tuple(map(_printable, schema.columns)))
    pieces = estimator.sample_pieces(number, random_state=seed, **choice)
    pieces = (as_table(piece, name="the sample").values for piece in pieces)  # finite numbers, or a loud end
    write_rows(output, pieces, schema, n_rows=number, escape_formulas=not raw_headers, overwrite=force)


def _report(
    context: click.Context,
    estimator: Diffusion,
    unseen: _Data,
    training: _Data | None,
    seed: int,
    output: Path,
    force: bool,
    commands: Sequence[str],
    *,
    as_json: bool = False,
) -> str:
    """Judge a model, write the report, and return the verdict."""
    from backwalk.assess import assess
    from backwalk.report import write_report
    from backwalk.streams import Stream
    from backwalk.table import match_columns

    if output.exists() and not force:
        raise InvalidInput(f"{output} exists already: choose another name, or overwrite it with --force.")
    model, stream = estimator.model_, Stream(seed).child("report")
    rows = match_columns(unseen.table, model.schema, name="DATA").values
    training_rows = None if training is None else match_columns(training.table, model.schema, name="--training").values
    began = time.monotonic()
    fidelity = assess(model, rows, training=training_rows, density=unseen.density, stream=stream.child("assess"))
    _say(context, f"judged in {time.monotonic() - began:.1f} s")
    try:
        write_report(
            output,
            fidelity,
            model,
            data=rows if training_rows is None else training_rows,
            stream=stream.child("pictures"),
            commands=list(commands),
            overwrite=force,
        )
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {error.strerror or error}.") from error
    if as_json:
        _print_json(fidelity.to_dict())
    return fidelity.verdict


def _facts(path: str | None) -> dict[str, Any]:
    from backwalk.datasets import DENSITIES
    from backwalk.model import blur_words, heavy_tailed_words, student_words

    if path is None:
        return {name: f"d = {make().d}" for name, make in DENSITIES.items()}
    if Path(path).is_dir() or Path(path).suffix == ".safetensors":
        model = _load(Path(path)).model_
        columns = model.schema.columns or [f"column {j}" for j in range(model.schema.n_columns)]
        return {
            "model": path,
            "columns": ", ".join(columns),
            **({"heavy_tailed": heavy_tailed_words(model)} if model.codec.heavy_tailed_columns else {}),
            "schedule": repr(model.schedule),
            "alpha_bar_N": float(model.schedule.alpha_bar[-1]),
            "prior_mismatch_nats": model.prior_mismatch,
            "reverse_variance": model.reverse_variance,
            "log_density": f"the probability-flow ODE's, blurred by {blur_words(model)}",
            "sampler": model.sampler.describe(model.schedule),
            **({"student": student_words(model.student)} if model.student else {}),
            "chosen_step": f"{model.history.chosen_step} of {model.history.n_steps}",
            **{name: value for name, value in model.card.items() if not isinstance(value, dict)},
            **{f"{name}_version": version for name, version in model.card["versions"].items()},
        }
    table = _data(path, 10_000, 0).table
    values = table.values
    facts: dict[str, Any] = {"table": path, "rows": len(values), "columns": values.shape[1]}
    for j in range(values.shape[1]):
        spread = f"mean {values[:, j].mean():.6g}, sd {values[:, j].std():.6g}"
        facts[table.schema.label(j)] = f"{spread}, from {values[:, j].min():.6g} to {values[:, j].max():.6g}"
    return facts


def _check_target(output: Path, force: bool) -> None:
    from backwalk.model_file import check_target

    check_target(output, overwrite=force)


def _may_be_of(output: Path, checkpoint: Path) -> bool:
    """Return whether `output` holds the model that a checkpoint's fit ends in: it was killed after it had saved it."""
    from backwalk.training.checkpoint import checkpoint_seed, checkpoint_step

    if not output.exists():
        return False
    try:
        model = _load(output).model_
        return (model.card["seed"], model.history.n_steps) == (checkpoint_seed(checkpoint), checkpoint_step(checkpoint))
    except BackwalkError:
        return False


def _is_saved(estimator: Diffusion, output: Path) -> bool:
    """Return whether `output` holds this very model, but for its card and the seconds that its fit took."""
    from backwalk.model_file.record import record_of, tensors_of

    def content(model: DiffusionModel) -> object:
        record = record_of(model).model_dump(exclude={"card": True, "history": {"seconds"}})
        return record, {name: tensor.numpy().tobytes() for name, tensor in tensors_of(model).items()}

    return content(estimator.model_) == content(_load(output).model_)


def _is_set(name: str, value: Any) -> bool:
    return name != "ddpm" and value is not None and (name, value) != ("epochs", 5000)


def _print_json(record: dict[str, Any]) -> None:
    click.echo(json.dumps({"version": JSON_VERSION, **record}, indent=1, default=str))


def _say(context: click.Context, message: str) -> None:
    if not context.find_root().params["quiet"]:
        _echo(message, err=True)


def _echo(text: str, *, err: bool = False) -> None:
    """Print text, some of which files have brought along, without what a terminal would take for commands."""
    click.echo("\n".join(map(_printable, text.split("\n"))), err=err)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _how_to_go_on(checkpoint: Path, arguments: Sequence[str]) -> str:
    """Return what to do after a fit was stopped, for the end of a message."""
    if not checkpoint.exists():
        return " before there was anything to keep"
    from backwalk.training.checkpoint import checkpoint_step

    command = shlex.join(["backwalk", *(argument for argument in arguments if argument != "--resume"), "--resume"])
    try:
        return f"; {checkpoint} keeps step {checkpoint_step(checkpoint)}: go on with {command}"
    except BackwalkError:  # damaged, which is no answer to a signal; the next fit says so
        return ""


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise `_Stopped`; whoever signals again, while it is cleaned up, ends the program at
    once."""

    def stop(number: int, _: object) -> None:
        for other in before:
            signal.signal(other, lambda again, _: os._exit(128 + again))
        raise _Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and leave with its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with _signals_raised(), warnings.catch_warnings():
        warnings.simplefilter("always", PriorMismatchWarning)
        warnings.showwarning = lambda message, *_, **__: _echo(f"warning: {message}", err=True)
        status = _run(given)
        try:
            sys.stdout.flush()
        except OSError:  # told by _run; in the end Python would try again, and fail with another status
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(status)


def _run(arguments: list[str]) -> int:
    verbose = bool({"-v", "--verbose"} & set(arguments))
    try:
        result = cli.main(arguments, prog_name="backwalk", standalone_mode=False, obj=arguments)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except _Stopped as stopped:
        what = "interrupted" if stopped.number == signal.SIGINT else "terminated"
        _echo(f"{what}{stopped.advice}", err=True)
        return 128 + stopped.number
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except SystemExit:
        return 0  # click leaves so, and only so, when whoever reads our stdout has had enough
    except (BackwalkError, OSError, MemoryError) as error:
        if verbose:
            traceback.print_exc()
        text = " ".join(str(error).split()) or "there is not enough memory: ask for fewer rows"
        if isinstance(error, OSError) and error.filename is None:  # whatever else is written names its path
            text = f"standard output cannot be written: {error.strerror or text}"
        _echo(f"error: {text}", err=True)
        return 1
