"""`backwalk score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli import options
from backwalk.cli.console import Console
from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.formatting import listed
from backwalk.limits import REVERSE_VARIANCES, Unseen

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from backwalk.diffusion import BoundTerms, LogDensity
    from backwalk.model import DiffusionModel


SCORE_COLUMNS = ("row", "log_density", "solver_error", "standard_error", "rank", "elbo")


@click.command()
@options.model_argument
@click.argument("data")
@options.table_output_option
@click.option(
    "--given",
    multiple=True,
    metavar="NAMES",
    help="Columns that are known, with commas between: the score is that of the others, given these.",
)
@click.option(
    "--columns", multiple=True, metavar="NAMES", help="Score these columns alone, instead of all that are not given."
)
@click.option("--id", metavar="NAME", help="Copy this column of DATA to the output; the model need not have it.")
@click.option(
    "--reference",
    metavar="DATA",
    help="Add a column, rank: the share of these rows (such as the training rows) whose log-density is no higher.",
)
@click.option(
    "--bound",
    type=click.Choice(REVERSE_VARIANCES),
    help="Add a column, elbo: the chain's lower bound on log p, with this reverse variance.",
)
@options.rows_option
@options.text_options
@options.drop_missing_option
@options.unseen_option
@options.run_options
@click.pass_obj
def score(
    console: Console,
    /,
    model: Path,
    data: str,
    output: str,
    given: tuple[str, ...],
    columns: tuple[str, ...],
    id: str | None,
    reference: str | None,
    bound: str | None,
    device: str,
    rows: int | None,
    drop_missing: bool,
    unseen: Unseen,
    seed: int,
    force: bool,
    json: bool,
) -> None:
    """Write the log-density of each row of DATA.

    It is the density of a saved MODEL, in nats. The columns:

    \b
    NAME            the column named by --id, as it stands in DATA
    row             number of the row in DATA, from 0 (with --drop-missing)
    log_density     log p: copies and dates, levels one after another, then
                    the other numbers by the probability-flow ODE; -inf if
                    the model cannot make the row, such as another constant
    solver_error    error of the ODE solver
    standard_error  error of random probes (beyond 32 numbers) and of random
                    places in the cells of rounded numbers
    rank            with --reference: near 0, the row is an outlier
    elbo            with --bound: a lower bound on log p of the chain, which
                    is another model than the ODE

    Labels and other levels, and rounded numbers, are scored by their log-probability, other numbers by their density.
    Missing cells, and columns that are neither scored nor given, are integrated out. The means go to stderr, or
    with --json to stdout; the table is then written only with -o FILE. Columns of DATA that MODEL does not have are
    ignored. If DATA is a built-in density, the rows are new draws, which no fit has seen. DATA should fit
    into memory: the page "Many rows, many machines" of the documentation says how to score a larger table.
    """
    import numpy as np
    import pyarrow as pa

    from backwalk.cli.given import columns_from
    from backwalk.cli.tables import load_model, read_unseen
    from backwalk.model import check_unseen, column_numbers, log_density, rank_scores, warn_of_unseen
    from backwalk.streams import Stream
    from backwalk.table import Table, check_table_path, match_columns, read_labels, write_labelled

    if bound is not None and (given or columns):
        raise IncompatibleArguments("--bound goes with whole rows: leave out --given and --columns.")
    is_written = not (json and output == "-")
    if is_written:
        check_table_path(output, overwrite=force)
    if id is not None:
        _check_id(id, data)
    fitted = load_model(model, device, data=data).model_
    schema = fitted.schema
    known_names, asked_names = columns_from(given, schema), columns_from(columns, schema)
    known, asked = column_numbers(schema, known_names), column_numbers(schema, asked_names)
    both = sorted({*known} & {*asked})
    if both:
        labels = listed(map(schema.label, both))
        raise IncompatibleArguments(f"--given and --columns should name different columns, but both name {labels}.")
    present = (*known, *asked) if asked else range(schema.n_columns)  # columns integrated out may be absent

    def score_rows(values: NDArray[np.float64], activity: str) -> LogDensity:
        watch = console.counter(activity, len(values))
        return log_density(fitted, values, given=known, columns=asked or None, stream=Stream(seed), watch=watch)

    def matched(table: Table, name: str) -> NDArray[np.float64]:
        values = match_columns(table, schema, columns=present, name=name, unseen=unseen).values
        scored = [j for j in present if j not in known]
        warn_of_unseen(check_unseen(fitted, values, given=known, scored=scored, unseen=unseen, name=name), name)
        return values

    table, is_taken = read_unseen(console, data, rows, seed, fitted, drop_missing=drop_missing)
    values, others = matched(table, "DATA"), None
    if reference is not None:
        there, _ = read_unseen(console, reference, None, seed, fitted, drop_missing=drop_missing, name="--reference")
        others = matched(there, "--reference")
    written = dict[str, Any]()
    if id is not None:
        written[id] = read_labels(console.path(data), id).filter(pa.array(is_taken))
    if drop_missing and is_taken is not None:
        written["row"] = np.flatnonzero(is_taken)
    # The bound is computed first, because it checks its arguments.
    terms, elbo = _bound(console, fitted, values, seed, bound) if bound is not None else (None, None)
    scores = score_rows(values, "scoring")
    written |= {
        "log_density": scores.log_prob.numpy(),
        "solver_error": scores.solver_error.numpy(),
        "standard_error": scores.standard_error.numpy(),
    }
    if others is not None:
        of_others = score_rows(others, "scoring the reference").log_prob.numpy()
        written["rank"] = rank_scores(written["log_density"], of_others)
    if elbo is not None:
        written["elbo"] = elbo
    if is_written:
        write_labelled(output, pa.table(written), overwrite=force)
    means = _means(scores)
    if not json:
        console.message(_words(means))
        return
    if bound is not None:
        means["elbo"] = None if terms is None else -terms.total
        means["elbo_standard_error"] = None if terms is None else terms.total_standard_error
    console.print_json(means)


def _check_id(name: str, data: str) -> None:
    """Raise an error where a column cannot be carried from this source."""
    from backwalk.cli.tables import is_built_in

    if is_built_in(data):
        raise IncompatibleArguments(f"--id goes with a file, but {data!r} is a built-in density.")
    if data == "-":
        raise IncompatibleArguments("--id goes with a file, because standard input cannot be read twice.")
    if name in SCORE_COLUMNS:
        raise InvalidInput(f"--id should differ from the columns of scores, but got {name!r}: rename the column.")


def _bound(
    console: Console,
    model: DiffusionModel,
    values: NDArray[np.float64],
    seed: int,
    reverse_variance: str,
) -> tuple[BoundTerms | None, NDArray[np.float64]]:
    """Return the bound's terms over the rows that the model can make, None without any, and each row's ELBO."""
    import numpy as np

    from backwalk.model import bound, possible_rows
    from backwalk.streams import Stream

    is_possible = possible_rows(model, values)
    elbo = np.full(len(values), -np.inf)
    if not is_possible.any():
        return None, elbo
    stream = Stream(seed).child("bound")
    terms = bound(model, values[is_possible], stream=stream, reverse_variance=reverse_variance)
    elbo[is_possible] = -terms.per_row.numpy()
    console.message(f"log p >= {-terms.total:.4f} +- {terms.total_standard_error:.4f} nats per row, by the chain")
    return terms, elbo


def _means(scores: LogDensity) -> dict[str, Any]:
    """Return the means over the rows of finite log-density, None if there are none, in nats per row."""
    is_finite = scores.log_prob.isfinite()
    finite, n = scores.log_prob[is_finite], int(is_finite.sum())
    return {
        "rows": len(is_finite),
        "impossible_rows": len(is_finite) - n,
        "log_density": float(finite.mean()) if n else None,
        "standard_error": float(finite.std() / n**0.5) if n > 1 else None,
        "solver_error": float(scores.solver_error[is_finite].mean()) if n else None,
    }


def _words(means: dict[str, Any]) -> str:
    if means["log_density"] is None:
        return "log p = -inf in every row: the model cannot make any of them"
    error = "" if means["standard_error"] is None else f" +- {means['standard_error']:.4f}"
    n = means["impossible_rows"]
    without = f"; without {n:,} row{'s' * (n > 1)} of -inf" if n else ""
    return (
        f"log p = {means['log_density']:.4f}{error} nats per row on average, by the ODE "
        f"(solver's error {means['solver_error']:.1g}){without}"
    )
