"""The commands: each reads its arguments, makes one call into the library, and says what came of it."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk import __version__
from backwalk.cli.data import read_data, read_training
from backwalk.cli.facts import facts_of, lines_of
from backwalk.cli.invocation import invocation_of
from backwalk.cli.options import (
    device_option,
    drop_missing_option,
    drop_options,
    force_option,
    raw_headers_option,
    reply_options,
    rows_option,
    seed_option,
    table_output_option,
    training_options,
    verbosity_options,
)
from backwalk.cli.output import echo, print_json, say
from backwalk.cli.stops import Stopped, how_to_go_on
from backwalk.cli.work import (
    bound_of,
    check_checkpoint,
    check_output,
    check_report,
    check_split,
    estimator_of,
    fit_model,
    fitted_already,
    judge,
    load_model,
    log_density_of,
    remove_left,
    score_facts,
    score_words,
    scored_rows,
    write_samples,
    write_split,
)
from backwalk.errors import InvalidInput
from backwalk.limits import BOUND_VARIANCES, SOLVERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from backwalk.estimator import Diffusion

_SETTINGS = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "BACKWALK", "max_content_width": 100}


@click.group(context_settings=_SETTINGS)
@click.version_option(__version__, "--version", prog_name="backwalk")
@verbosity_options
def cli() -> None:
    """Generative models of points in R^d by denoising diffusion.

    Noise walks data forward; backwalk walks it back. DATA is a .csv, .parquet or .npy file of numeric columns, - for
    CSV from standard input, or the name of a built-in density such as two_moons (see `backwalk info`).
    """


@cli.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("out/demo"),
    show_default=True,
    help="Folder for model, samples and report.",
)
@training_options
@device_option
@seed_option
@force_option
@reply_options
@click.pass_context
def demo(
    context: click.Context, /, output: Path, device: str, seed: int, force: bool, json: bool, **training: Any
) -> None:
    """Fit two moons, sample, judge, and write a report: the whole way in one go, within a minute by default."""
    if output.exists() and not force:
        raise InvalidInput(f"{output} exists already: name another folder with -o, or overwrite it with --force.")
    model, report = output / "two_moons.backwalk", output / "report.html"
    check_output(model, force)
    say(context, "two moons: 10,000 points with noise 0.05")
    data = read_data(context, "two_moons", None, seed)
    estimator = estimator_of(context, device=device, seed=seed, **training)
    fit_model(context, estimator, data)
    estimator.save(model, overwrite=force)
    check_report(report, force)
    given = {name: value for name, value in training.items() if name != "ddpm" and value is not None}
    options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in given.items())
    where = f" --device {device}" if device != "auto" else ""
    model_, report_, samples = (shlex.quote(str(path)) for path in (model, report, output / "samples.csv"))
    commands = [
        f"backwalk fit two_moons --seed {seed}{options}{' --ddpm' if training['ddpm'] else ''}{where} -o {model_}",
        f"backwalk sample {model_} -n 10000 --seed {seed}{where} -o {samples}",
        f"backwalk report {model_} two_moons --training two_moons --seed {seed}{where} -o {report_}",
    ]
    write_samples(context, estimator, 10_000, seed, output / "samples.csv", force)
    unseen = read_data(context, "two_moons", None, seed, unseen=True)
    judge(context, estimator, unseen, data, seed, report, force, commands, model_path=model, as_json=json)


@cli.command()
@click.argument("data")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder for the model; one file if it ends in .safetensors.",
)
@training_options
@device_option
@rows_option
@drop_options
@seed_option
@force_option
@click.option("--resume", is_flag=True, help="Go on with a fit that was stopped, if there is one.")
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds between two checkpoints.",
)
@reply_options
@click.pass_context
def fit(
    context: click.Context,
    /,
    data: str,
    output: Path,
    rows: int | None,
    drop: tuple[str, ...],
    drop_missing: bool,
    seed: int,
    force: bool,
    resume: bool,
    checkpoint_every: float,
    json: bool,
    **training: Any,
) -> None:
    """Fit a model to DATA and save it.

    While it trains, its state is kept beside the output, in OUTPUT.checkpoint. Whatever stops it, the same command with
    --resume goes on from there, and the model is the same, bit for bit, as if nothing had happened (but with
    --max-time, which follows the clock). With --resume, and without --force, a fit that is done is not done again.
    """
    if not output.name:
        raise InvalidInput(
            f"OUTPUT should name a file or a folder of its own, but got {str(output)!r}: give it a name."
        )
    checkpoint = output.with_name(f"{output.name}.checkpoint")
    check_checkpoint(checkpoint)
    if checkpoint.exists() and not (resume or force):
        raise InvalidInput(
            f"{checkpoint} holds a fit that was stopped: go on with --resume, or begin anew with --force."
        )
    may_be_done = resume and not force and output.exists()
    if not may_be_done:
        check_output(output, force)
    try:
        estimator = estimator_of(context, seed=seed, **training)
        given = read_data(context, data, rows, seed, drop=drop, drop_missing=drop_missing)
        if may_be_done:
            done = fitted_already(output, estimator, given)
            if done is not None:
                remove_left(checkpoint, output, done)
                _tell_of_model(context, output, done, as_json=json, note=", which was fitted already")
                return
            check_output(output, force)
        fit_model(
            context,
            estimator,
            given,
            checkpoint=checkpoint,
            resume=resume,
            overwrite=force and not resume,
            checkpoint_every=checkpoint_every,
        )
        estimator.save(output, overwrite=force)
    except Stopped as stopped:
        stopped.advice = how_to_go_on(checkpoint, invocation_of(context).arguments)
        raise
    remove_left(checkpoint, output, estimator)
    _tell_of_model(context, output, estimator, as_json=json)


def _tell_of_model(
    context: click.Context, output: Path, estimator: Diffusion, *, as_json: bool, note: str = ""
) -> None:
    model = estimator.model_
    if as_json:
        print_json({"model": str(output), "card": model.card, "prior_mismatch": model.prior_mismatch})
    else:
        say(context, f"model: {output}{note}")


@cli.command()
@click.argument("data")
@click.argument("training")
@click.argument("unseen")
@click.option(
    "--share",
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of the rows that goes to UNSEEN.",
)
@rows_option
@drop_options
@seed_option
@force_option
@reply_options
@click.pass_context
def split(
    context: click.Context,
    data: str,
    training: str,
    unseen: str,
    share: float,
    rows: int | None,
    drop: tuple[str, ...],
    drop_missing: bool,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Deal the rows of DATA at random into two files: TRAINING, to fit a model to, and UNSEEN, to judge it by.

    Both are .csv, .parquet or .npy files.
    """
    places = (training, unseen)
    check_split(data, places, force)
    table = read_data(context, data, rows, seed, drop=drop, drop_missing=drop_missing).table
    sizes = write_split(table, places, share, seed, force)
    if json:
        print_json({"training": training, "training_rows": sizes[0], "unseen": unseen, "unseen_rows": sizes[1]})
    else:
        say(context, f"{training}: {sizes[0]:,} rows; {unseen}: {sizes[1]:,}")


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to save it, in place of MODEL itself.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Number of training steps, in place of 3,000.")
@click.option(
    "--max-time",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for all of it, which are all used: more time gives a better student.",
)
@device_option
@seed_option
@click.option("--force", is_flag=True, help="Overwrite what is there, even a student.")
@reply_options
@click.pass_context
def distil(
    context: click.Context,
    /,
    model: Path,
    output: Path | None,
    device: str,
    seed: int,
    force: bool,
    json: bool,
    **budget: Any,
) -> None:
    """Give a saved MODEL a student, for `sample --sampler distilled`: one evaluation per row.

    The student is a small network that learns where the probability-flow ODE of MODEL carries noise. All else stays as
    it was, log-density and bound included. Without -o the student is saved into MODEL.
    """
    from backwalk.model import student_words
    from backwalk.model_file import stamp

    before = stamp(model)
    estimator = load_model(model, device)
    if output is not None:
        check_output(output, force)
    elif estimator.model_.student is not None and not force:
        raise InvalidInput(f"{model} has a student already: name another file with -o, or replace it with --force.")
    else:
        check_output(model, force=True)
    estimator.set_params(verbose=not invocation_of(context).quiet)
    began = time.monotonic()
    student = estimator.distil(random_state=seed, **budget).model_.student
    assert student is not None
    seconds = time.monotonic() - began
    say(context, f"distilled in {seconds:.1f} s: {student_words(student)}")
    if output is None and stamp(model) != before:
        raise InvalidInput(
            f"{model} should be the model that was distilled, but was replaced meanwhile: distil it again, or name "
            "another file with -o."
        )
    estimator.save(output or model, overwrite=output is None or force)
    if json:
        network = repr(student.architecture)
        print_json({"model": str(output or model), "student": network, "error": student.error, "seconds": seconds})
    else:
        say(context, f"model: {output or model}")


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-n", "--rows", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows to generate.")
@table_output_option
@click.option(
    "--sampler",
    type=click.Choice(SOLVERS),
    help="The solver, in place of the model's own. By itself it takes 20 evaluations, ancestral one for each step of "
    "the chain, distilled one.",
)
@click.option(
    "--evaluations",
    type=click.IntRange(min=1),
    help="Evaluations of the network per row, at most one for each step of the chain. For fewer than 15, "
    "and without --sampler, multistep takes the place of the default solver.",
)
@click.option(
    "--eta",
    type=click.FloatRange(min=0.0, max=1.0),
    help="With --sampler ddim: its share of fresh noise, 0 (none) to 1 (that of beta_tilde).",
)
@raw_headers_option
@device_option
@seed_option
@force_option
@reply_options
@click.pass_context
def sample(
    context: click.Context,
    /,
    model: Path,
    rows: int,
    output: str,
    sampler: str | None,
    evaluations: int | None,
    eta: float | None,
    raw_headers: bool,
    device: str,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Generate rows from a saved MODEL.

    A CSV header that begins with = + - @ or a tab gets an apostrophe before it, which reading takes away again: a
    spreadsheet would run it as a formula.
    """
    from backwalk.sampling import asked_sampler

    if json and output == "-":
        raise click.UsageError("--json goes with -o FILE, so that the rows are not on stdout too.")
    if eta is not None and sampler != "ddim":
        raise click.UsageError("--eta goes with --sampler ddim: it is that solver's share of fresh noise.")
    estimator, began = load_model(model, device), time.monotonic()
    own, schedule = estimator.model_.sampler, estimator.model_.schedule
    used = asked_sampler(own, schedule, sampler, evaluations, eta or 0.0)
    write_samples(context, estimator, rows, seed, output, force, raw_headers=raw_headers, sampler=used)
    if json:
        print_json(
            {"output": output, "rows": rows, "sampler": used.describe(schedule), "seconds": time.monotonic() - began}
        )


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@table_output_option
@click.option(
    "--bound",
    type=click.Choice(BOUND_VARIANCES),
    help="Add a column, elbo: the chain's lower bound on log p, with this reverse variance.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="With --bound: bound a shorter chain, of the K steps that are best with the best scalar variances.",
    metavar="K",
)
@device_option
@rows_option
@drop_missing_option
@seed_option
@force_option
@reply_options
@click.pass_context
def score(
    context: click.Context,
    model: Path,
    data: str,
    output: str,
    bound: str | None,
    steps: int | None,
    device: str,
    rows: int | None,
    drop_missing: bool,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Write the log-density of every row of DATA under a saved MODEL, in nats.

    It is the probability-flow ODE's. Beside it stand the ODE solver's error and the standard error of the random probes
    that serve beyond 32 columns (0 up to there). A whole number j was spread over j +- 1/2 before the fit: it is scored
    by ln p(j) - ln q(0), with p the model's density and q the spread's, about the logarithm of its probability. A
    report spreads the numbers again, so that its means differ. A row whose constant column differs from the fit's gets
    -inf, and is left out of the means. --bound adds the variational bound (ELBO), from below; it is the chain's, which
    is another model. With --drop-missing a first column, row, says which rows of DATA these are, counted from 0. The
    means go to stderr; with --json to stdout, and the table is then written with -o FILE only. A built-in density gives
    rows that no fit was given. Columns of DATA that MODEL does not have are left out.
    """
    import numpy as np

    from backwalk.table import Schema, Table, check_table_path, write_table

    if steps is not None and bound is None:
        raise click.UsageError("--steps goes with --bound: it says how many of the chain's steps the bound is for.")
    check_table_path(output, overwrite=force)
    estimator = load_model(model, device)
    found = read_data(context, data, rows, seed, unseen=True, drop_missing=drop_missing, model=estimator.model_)
    scored = scored_rows(found.table, estimator)
    columns = dict[str, "NDArray[Any]"]()
    if drop_missing and found.is_taken is not None:
        columns["row"] = np.flatnonzero(found.is_taken)
    # First, as it refuses what cannot be asked of the model.
    terms, elbo = (None, None) if bound is None else bound_of(context, estimator, scored, seed, bound, steps)
    result = log_density_of(context, estimator, scored, seed)
    columns |= {
        "log_density": result.log_prob.numpy(),
        "solver_error": result.solver_error.numpy(),
        "standard_error": result.standard_error.numpy(),
    }
    if elbo is not None:
        columns["elbo"] = elbo
    schema = Schema(tuple(columns), tuple(str(column.dtype) for column in columns.values()), "pyarrow")
    if output != "-" or not json:
        write_table(output, Table(np.column_stack(list(columns.values())), schema), overwrite=force)
    facts = score_facts(result, terms, bounded=bound is not None)
    if json:
        print_json(facts)
    else:
        say(context, score_words(facts))


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data")
@click.option("--training", help="The rows of the fit, for baselines and memorisation.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The report, an .html file.")
@device_option
@rows_option
@drop_missing_option
@seed_option
@force_option
@reply_options
@click.pass_context
def report(
    context: click.Context,
    model: Path,
    data: str,
    training: str | None,
    output: Path,
    device: str,
    rows: int | None,
    drop_missing: bool,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Judge a saved MODEL by DATA that its fit never saw, and write a report.

    A built-in density gives rows that no fit was given, --rows of them, and as --training those that `backwalk fit`
    drew for MODEL. Columns that MODEL does not have are left out.
    """
    check_report(output, force)
    estimator = load_model(model, device)
    own = estimator.model_
    fitted = read_training(context, training, own, drop_missing=drop_missing) if training else None
    unseen = read_data(context, data, rows, seed, unseen=True, drop_missing=drop_missing, model=own)
    commands = [shlex.join(["backwalk", *invocation_of(context).arguments])]
    judge(context, estimator, unseen, fitted, seed, output, force, commands, model_path=model, as_json=json)


@cli.command()
@click.argument("path", required=False)
@reply_options
def info(path: str | None, json: bool) -> None:
    """Say what a saved model or a table file holds, or a built-in density is; without PATH, list the densities."""
    facts = facts_of(path)
    if json:
        print_json(facts)
        return
    lines = list(lines_of(facts))
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        echo(f"{label:<{width}}  {text}")
