"""What several commands do: find the data, fit, write rows, judge, and look at what is saved already.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.invocation import invocation_of
from backwalk.cli.output import echo, print_json, printable, say
from backwalk.errors import BackwalkError, InvalidInput

if TYPE_CHECKING:
    from backwalk.datasets import Density
    from backwalk.diffusion import BoundTerms, LogDensity
    from backwalk.estimator import Diffusion
    from backwalk.model import DiffusionModel
    from backwalk.table import Table


_MOST_DRAWN = 10_000_000


@dataclass(frozen=True)
class Data:
    """Rows, and the density that they were drawn from where it is a built-in one."""

    table: Table
    density: Density | None


def read_data(source: str, rows: int, seed: int, *, unseen: bool = False, name: str = "DATA") -> Data:
    """Return the rows of a file, or so many draws from a built-in density: with `unseen` such as no fit is given.

    `name` is what messages call the source.
    """
    from backwalk.datasets import DENSITIES
    from backwalk.streams import Stream
    from backwalk.table import as_table, read_table

    if source in DENSITIES and not Path(source).exists():
        density, stream = DENSITIES[source](), Stream(seed)
        drawn = density.sample_rows(0, rows, stream=stream.child("unseen") if unseen else stream)
        return Data(as_table(drawn), density)
    if source != "-" and not Path(source).exists():
        raise InvalidInput(
            f"{name} should be a file that is there or one of {', '.join(DENSITIES)}, but got {source!r}."
        )
    if Path(source).is_dir():
        raise InvalidInput(
            f"{name} should be a table, but {source!r} is a folder, maybe a model's: name a file of rows."
        )
    return Data(read_table(source), None)


def read_training(source: str, model: DiffusionModel) -> Data:
    """Return the rows of a file, or of a built-in density those that `fit` drew for this model."""
    drawn = model.card["n_rows"] + model.card["n_validation_rows"]
    # The numbers of a stranger's file: more rows than these nobody has waited for.
    return read_data(source, min(drawn, _MOST_DRAWN), model.card["seed"], name="--training")


def fit_model(
    context: click.Context,
    data: Data,
    seed: int,
    keeping: dict[str, Any],
    *,
    ddpm: bool,
    epochs: int | None,
    device: str = "auto",
    **budget: Any,
) -> Diffusion:
    """Return a model that is fitted as the options of a command say."""
    from backwalk.estimator import Diffusion
    from backwalk.model import training_words

    quiet = invocation_of(context).quiet
    if ddpm:
        given = {} if epochs is None else {"n_epochs": epochs}
        estimator = Diffusion.ddpm(**given, random_state=seed, verbose=not quiet)
        estimator.set_params(max_time=budget["max_time"], device=device)
        if budget["max_steps"] is not None:
            raise click.UsageError("--max-steps goes with the default settings; with --ddpm, give --epochs.")
    else:
        if epochs is not None:
            raise click.UsageError("--epochs goes with --ddpm; with the default settings, give --max-steps.")
        estimator = Diffusion(random_state=seed, verbose=not quiet, device=device, **budget)
    began = time.monotonic()
    estimator.fit(native(data.table), **keeping)
    model = estimator.model_
    chosen = f"{model.architecture}, {training_words(model)}"
    say(context, f"fitted {data.table.values.shape[0]:,} rows in {time.monotonic() - began:.1f} s: {chosen}")
    return estimator


def load_model(path: Path, device: str = "auto") -> Diffusion:
    """Return a saved model, on a device."""
    from backwalk.estimator import Diffusion

    return Diffusion.load(path, device=device)


def native(table: Table) -> Any:
    """Return a table as the kind of object that its rows came in."""
    from backwalk.table import from_values

    return from_values(table.values, table.schema)


def write_samples(
    estimator: Diffusion, number: int, seed: int, output: str | Path, force: bool, *, raw_headers: bool, **choice: Any
) -> None:
    """Write new rows as they are drawn, to a file or to stdout."""
    from backwalk.table import as_table, write_rows

    schema = estimator.model_.schema
    if output == "-" and sys.stdout.isatty() and schema.columns is not None:
        schema = replace(schema, columns=tuple(map(printable, schema.columns)))
    pieces = estimator.sample_pieces(number, random_state=seed, **choice)
    pieces = (as_table(piece, name="the sample").values for piece in pieces)  # finite numbers, or a loud end
    write_rows(output, pieces, schema, n_rows=number, escape_formulas=not raw_headers, overwrite=force)


def score_facts(density: LogDensity, terms: BoundTerms | None) -> dict[str, Any]:
    """Return the means over the rows, nats a row, with their errors: None where there is none.

    Rows of -inf, whose constant columns are not the fit's, are counted and left out.
    """
    finite = density.log_prob.isfinite()
    possible, n = density.log_prob[finite], int(finite.sum())
    facts = {
        "rows": len(finite),
        "impossible_rows": len(finite) - n,
        "log_density": float(possible.mean()) if n else None,
        "standard_error": float(possible.std() / n**0.5) if n > 1 else None,
        "solver_error": float(density.solver_error[finite].mean()) if n else None,
    }
    if terms is not None:
        facts |= {"bound": terms.total, "bound_standard_error": terms.total_standard_error}
    return facts


def score_words(facts: dict[str, Any]) -> str:
    """Return the mean log-density, with its standard error and the solver's, in a line."""
    if facts["log_density"] is None:
        return "log p = -inf in every row: the fit's constant columns hold other values"
    error = "" if facts["standard_error"] is None else f" +- {facts['standard_error']:.4f}"
    words = (
        f"log p = {facts['log_density']:.4f}{error} nats a row on average, by the ODE "
        f"(solver's error {facts['solver_error']:.1g})"
    )
    n = facts["impossible_rows"]
    return words + (f"; left out, as they are -inf: {n:,} row{'s' * (n > 1)}" if n else "")


def judge(
    context: click.Context,
    estimator: Diffusion,
    unseen: Data,
    training: Data | None,
    seed: int,
    output: Path,
    force: bool,
    commands: Sequence[str],
    *,
    model_path: Path,
    as_json: bool,
) -> None:
    """Judge a model, write the report, and say the verdict, or all figures as JSON."""
    from backwalk.assess import assess
    from backwalk.durable import check_writable
    from backwalk.report import report_record, write_report
    from backwalk.streams import Stream
    from backwalk.table import match_columns

    if output.exists() and not force:
        raise InvalidInput(f"{output} exists already: choose another name, or overwrite it with --force.")
    with _report_told(output):
        check_writable(output, overwrite=force)
    model, stream = estimator.model_, Stream(seed).child("report")
    rows = match_columns(unseen.table, model.schema, name="DATA").values
    training_rows = None if training is None else match_columns(training.table, model.schema, name="--training").values
    began = time.monotonic()
    fidelity = assess(
        model,
        rows,
        training=training_rows,
        density=unseen.density,
        stream=stream.child("assess"),
        model_path=str(model_path),
    )
    say(context, f"judged in {time.monotonic() - began:.1f} s")
    with _report_told(output):
        write_report(
            output,
            fidelity,
            model,
            data=rows if training_rows is None else training_rows,
            stream=stream.child("pictures"),
            commands=list(commands),
            overwrite=force,
        )
    if as_json:
        print_json(report_record(fidelity, model, commands))
    else:
        echo(fidelity.verdict)
        echo(f"report: {output.resolve()}")


@contextmanager
def _report_told(output: Path) -> Iterator[None]:
    """Turn what keeps a report from being written into one line that names it."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {error.strerror or error}.") from error


def facts_of(path: str | None) -> dict[str, Any]:
    """Return what a model or a table file holds, or, without one, the built-in densities."""
    from backwalk.datasets import DENSITIES
    from backwalk.model import blur_words, student_words, training_words

    if path is None:
        return {name: f"d = {make().d}" for name, make in DENSITIES.items()}
    if Path(path).is_dir() or Path(path).suffix == ".safetensors":
        model = load_model(Path(path), "cpu").model_
        columns = list(model.schema.columns or [f"column {j}" for j in range(model.schema.n_columns)])
        heavy = [columns[j] for j in model.codec.heavy_tailed_columns]
        return {
            "model": path,
            "columns": columns,
            **({"heavy_tailed": heavy} if heavy else {}),
            "network": repr(model.architecture),
            "training": training_words(model),
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
    table = read_data(path, 10_000, 0, name="PATH").table
    values = table.values
    facts: dict[str, Any] = {"table": path, "rows": len(values), "n_columns": values.shape[1]}
    for j in range(values.shape[1]):
        spread = f"mean {values[:, j].mean():.6g}, sd {values[:, j].std():.6g}"
        facts[table.schema.label(j)] = f"{spread}, from {values[:, j].min():.6g} to {values[:, j].max():.6g}"
    return facts


def check_output(output: Path, force: bool) -> None:
    """Raise ModelFileError where a model could not be saved, before anybody waits for it."""
    from backwalk.model_file import check_target

    check_target(output, overwrite=force)


def may_be_of(output: Path, checkpoint: Path) -> bool:
    """Return whether `output` holds the model that a checkpoint's fit ends in: it was killed after it had saved it."""
    from backwalk.training.checkpoint import checkpoint_seed, checkpoint_step

    if not output.exists():
        return False
    try:
        model = load_model(output, "cpu").model_
        return (model.card["seed"], model.history.n_steps) == (checkpoint_seed(checkpoint), checkpoint_step(checkpoint))
    except BackwalkError:
        return False


def is_saved(estimator: Diffusion, output: Path) -> bool:
    """Return whether `output` holds this very model, but for its card and the seconds that its fit took."""
    from backwalk.model_file.record import record_of, tensors_of

    def content(model: DiffusionModel) -> object:
        record = record_of(model).model_dump(exclude={"card": True, "history": {"seconds"}})
        return record, {name: tensor.numpy().tobytes() for name, tensor in tensors_of(model).items()}

    return content(estimator.model_) == content(load_model(output, "cpu").model_)
