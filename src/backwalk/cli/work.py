"""What several commands do: fit, write rows, judge, and look at what is saved already.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.data import Data
from backwalk.cli.invocation import invocation_of
from backwalk.cli.output import counted, echo, print_json, printable, say
from backwalk.errors import BackwalkError, CheckpointError, InvalidInput
from backwalk.formatting import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backwalk.diffusion import BoundTerms, LogDensity
    from backwalk.estimator import Diffusion
    from backwalk.sampling import Sampler
    from backwalk.table import Table


def estimator_of(
    context: click.Context,
    *,
    ddpm: bool,
    epochs: int | None,
    max_steps: int | None,
    max_time: float | None,
    device: str,
    seed: int,
) -> Diffusion:
    """Return the estimator that the options of a command mean."""
    from backwalk.estimator import Diffusion

    common: dict[str, Any] = {
        "max_time": max_time,
        "device": device,
        "random_state": seed,
        "verbose": not invocation_of(context).quiet,
    }
    if ddpm:
        if max_steps is not None:
            raise click.UsageError("--max-steps goes with the default settings; with --ddpm, give --epochs.")
        return Diffusion.ddpm(**(common if epochs is None else {"n_epochs": epochs, **common}))
    if epochs is not None:
        raise click.UsageError("--epochs goes with --ddpm; with the default settings, give --max-steps.")
    return Diffusion(max_steps=max_steps, **common)


def fit_model(context: click.Context, estimator: Diffusion, data: Data, **keeping: Any) -> None:
    """Fit an estimator, and say what was chosen."""
    from backwalk.model import training_words

    began = time.monotonic()
    estimator.fit(data.table, **keeping)
    model = estimator.model_
    chosen = f"{model.architecture}, {training_words(model)}"
    say(context, f"fitted {data.table.values.shape[0]:,} rows in {time.monotonic() - began:.1f} s: {chosen}")


def fitted_already(output: Path, estimator: Diffusion, data: Data) -> Diffusion | None:
    """Return the saved model where it is what this very fit would give: same rows, parameters, seed and versions."""
    from backwalk.fitting import checked_settings, is_of_the_fit, is_of_these_versions, parameters_record

    try:
        saved = load_model(output, "cpu")
    except BackwalkError:
        return None
    card, asked = saved.model_.card, parameters_record(checked_settings(estimator.get_params(deep=False)))
    theirs = {**card["parameters"], "verbose": asked["verbose"]}
    same_rows = saved.model_.schema == data.table.schema and is_of_the_fit(card, data.table.values)
    same = same_rows and theirs == asked and card["seed"] == estimator.random_state
    return saved if same and is_of_these_versions(card) else None


def load_model(path: Path, device: str = "auto") -> Diffusion:
    """Return a saved model, on a device."""
    from backwalk.estimator import Diffusion

    return Diffusion.load(path, device=device)


def write_samples(
    context: click.Context,
    estimator: Diffusion,
    number: int,
    seed: int,
    output: str | Path,
    force: bool,
    *,
    raw_headers: bool = False,
    sampler: Sampler | None = None,
) -> None:
    """Write new rows as they are drawn, to a file or to stdout, by the model's own sampler unless another is given."""
    from backwalk.table import write_rows

    schema = estimator.model_.schema
    if output == "-" and sys.stdout.isatty() and schema.columns is not None:
        schema = replace(schema, columns=tuple(map(printable, schema.columns)))
    pieces = estimator.sample_pieces(number, random_state=seed, sampler=sampler)
    count = counted(context, "drawn", number)
    write_rows(output, _watched(pieces, count), schema, n_rows=number, escape_formulas=not raw_headers, overwrite=force)
    if output != "-":
        say(context, f"{output}: {number:,} rows")


def _watched(pieces: Iterator[NDArray[np.float64]], watch: Callable[[int], None]) -> Iterator[NDArray[np.float64]]:
    for piece in pieces:
        yield piece
        watch(len(piece))


def scored_rows(table: Table, estimator: Diffusion) -> NDArray[np.float64]:
    """Return the rows of DATA with the columns in the order of the fitted ones, (n, d)."""
    from backwalk.table import match_columns

    return match_columns(table, estimator.model_.schema, name="DATA").values


def bound_of(
    context: click.Context,
    estimator: Diffusion,
    rows: NDArray[np.float64],
    seed: int,
    reverse_variance: str,
    steps: int | None,
) -> tuple[BoundTerms | None, NDArray[np.float64]]:
    """Return the terms of the bound over the rows that the model can make, and the ELBO of every row, -inf of others.

    The terms are None where it can make none. Their mean is said.
    """
    import numpy as np

    from backwalk.model import bound, possible_rows
    from backwalk.streams import Stream

    model = estimator.model_
    is_possible = possible_rows(model, rows)
    elbo = np.full(len(rows), -np.inf)
    if not is_possible.any():
        return None, elbo
    stream = Stream(seed).child("bound")
    terms = bound(model, rows[is_possible], stream=stream, reverse_variance=reverse_variance, steps=steps)
    elbo[is_possible] = -terms.per_row.numpy()
    say(context, f"log p >= {-terms.total:.4f} +- {terms.total_standard_error:.4f} nats per row, by the chain")
    return terms, elbo


def log_density_of(context: click.Context, estimator: Diffusion, rows: NDArray[np.float64], seed: int) -> LogDensity:
    """Return the log-density of every row, and say now and then how far that is."""
    from backwalk.model import log_density
    from backwalk.streams import Stream

    count = counted(context, "scored", len(rows))
    return log_density(estimator.model_, rows, stream=Stream(seed), watch=count)


def check_split(source: str, places: tuple[str, str], force: bool) -> None:
    """Raise what keeps rows of `source`, which is never written to, from being dealt into these files."""
    from backwalk.table import check_table_path

    if "-" in places or len({Path(place).resolve() for place in (source, *places)}) < 3:
        raise InvalidInput(
            f"DATA, TRAINING and UNSEEN should be three files, but got {source}, {places[0]}, {places[1]}: name others."
        )
    for place in places:
        check_table_path(place, overwrite=force)


def write_split(table: Table, places: tuple[str, str], share: float, seed: int, force: bool) -> tuple[int, int]:
    """Deal the rows of a table at random into two files, the second of which gets this share, and return their sizes.

    In each file the rows keep their order.
    """
    import numpy as np

    from backwalk.streams import Stream
    from backwalk.table import Table, write_table

    n = len(table.values)
    n_unseen = round(share * n)
    if not 0 < n_unseen < n:
        raise InvalidInput(
            f"Both files should get a row at least, but {share:g} of {n:,} rows are {n_unseen:,}: give another --share."
        )
    is_unseen = np.zeros(n, dtype=bool)
    is_unseen[Stream(seed).child("held back").permutation(n)[:n_unseen]] = True
    for place, chosen in zip(places, (~is_unseen, is_unseen), strict=True):
        write_table(place, Table(table.values[chosen], table.schema), overwrite=force)
    return n - n_unseen, n_unseen


def score_facts(density: LogDensity, terms: BoundTerms | None, *, bounded: bool) -> dict[str, Any]:
    """Return the means over the rows, nats per row, with their errors: None where there is none.

    Where they are `bounded`, the bound's `terms` are among them.

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
    if bounded:
        facts["elbo"] = None if terms is None else -terms.total
        facts["elbo_standard_error"] = None if terms is None else terms.total_standard_error
    return facts


def score_words(facts: dict[str, Any]) -> str:
    """Return the mean log-density, with its standard error and the solver's, in a line."""
    if facts["log_density"] is None:
        return "log p = -inf in every row: the fit's constant columns hold other values"
    error = "" if facts["standard_error"] is None else f" +- {facts['standard_error']:.4f}"
    words = (
        f"log p = {facts['log_density']:.4f}{error} nats per row on average, by the ODE "
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
    from backwalk.assess import assess, matched_rows, rows_to_judge
    from backwalk.report import report_record, write_report
    from backwalk.streams import Stream

    model, stream = estimator.model_, Stream(seed).child("report")
    rows, _ = rows_to_judge(unseen.table, model, "DATA")
    training_rows = None if training is None else matched_rows(training.table, model, "--training")
    say(context, f"judging by {len(rows):,} unseen rows")
    began = time.monotonic()
    fidelity = assess(
        model,
        unseen.table,
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
        print_json({"report": str(output), **report_record(fidelity, model, commands)})
    else:
        echo(fidelity.verdict)
        echo(f"report: {output.resolve()}")


def check_report(output: Path, force: bool) -> None:
    """Raise InvalidInput where a report could not be written, before anybody waits for it."""
    from backwalk.atomic_files import check_writable

    if output.suffix.lower() not in (".html", ".htm"):
        raise InvalidInput(
            f"A report's name should end in .html, but got {str(output)!r}: for its figures as JSON, add --json."
        )
    with _report_told(output):
        check_writable(output, overwrite=force)


@contextmanager
def _report_told(output: Path) -> Iterator[None]:
    """Turn what keeps a report from being written into one line that names it."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{output} cannot be written: {one_line(error)}.") from error


def check_output(output: Path, force: bool) -> None:
    """Raise ModelFileError where a model could not be saved, before anybody waits for it."""
    from backwalk.model_file import check_target

    check_target(output, overwrite=force)


def check_checkpoint(checkpoint: Path) -> None:
    """Raise CheckpointError where what stands in a checkpoint's place is another program's file."""
    from backwalk.training.checkpoint import refuse_foreign

    refuse_foreign(checkpoint)


def remove_left(checkpoint: Path, output: Path, done: Diffusion) -> None:
    """Remove the checkpoint that the fit of a saved model has left, be it now or when it was killed at this point.

    So it is older than what was saved. Another fit's, which is to replace the model, is younger, or is being written,
    and is left alone.
    """
    from backwalk.atomic_files import held_alone
    from backwalk.training.checkpoint import checkpoint_seed, checkpoint_step

    model = done.model_
    # There is none, or none that is whole; or another process is at it.
    with suppress(CheckpointError, OSError), held_alone(checkpoint):
        whose = checkpoint_seed(checkpoint), checkpoint_step(checkpoint)
        saved = max(path.stat().st_mtime_ns for path in (output, *output.glob("*")) if path.is_file())
        if whose == (model.card["seed"], model.history.n_steps) and checkpoint.stat().st_mtime_ns <= saved:
            checkpoint.unlink(missing_ok=True)
