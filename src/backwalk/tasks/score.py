"""Write the log-density of every row of a table under a saved model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from backwalk.diffusion import BoundTerms, LogDensity
from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.estimator import Diffusion
from backwalk.formatting import listed
from backwalk.model import bound as model_bound
from backwalk.model import column_numbers, log_density, possible_rows, rank_scores
from backwalk.pieces import score_parts
from backwalk.pieces.outputs import SCORE_COLUMNS
from backwalk.streams import Stream
from backwalk.table import Schema, check_table_path, match_columns, read_labels, widened, write_labelled
from backwalk.tasks.data import Data, is_built_in, read_data
from backwalk.tasks.given import columns_from
from backwalk.tasks.models import load_model
from backwalk.tasks.observer import SILENT, Observer
from backwalk.tasks.parts import PartsOptions, PartsResult, in_parts, is_folder

_COLUMNS = (*SCORE_COLUMNS, "rank", "elbo")


@dataclass(frozen=True, eq=False)
class ScoreResult:
    """The scores of the rows, and their means in nats per row with standard errors.

    The means are over the rows of finite log-density, and None if there are none. `impossible_rows` counts the rows
    that the model cannot make. The ELBO is None without a bound.
    """

    table: pa.Table
    rows: int
    impossible_rows: int
    log_density: float | None
    standard_error: float | None
    solver_error: float | None
    is_bounded: bool
    elbo: float | None
    elbo_standard_error: float | None

    def record(self) -> dict[str, Any]:
        """Return the means as JSON values."""
        facts = {name: value for name, value in vars(self).items() if name not in ("table", "is_bounded")}
        if not self.is_bounded:
            del facts["elbo"], facts["elbo_standard_error"]
        return facts

    def words(self) -> str:
        """Return the mean log-density, with its standard error and the solver's error, in one line."""
        if self.log_density is None:
            return "log p = -inf in every row: the model cannot make any of them"
        error = "" if self.standard_error is None else f" +- {self.standard_error:.4f}"
        words = (
            f"log p = {self.log_density:.4f}{error} nats per row on average, by the ODE "
            f"(solver's error {self.solver_error:.1g})"
        )
        n = self.impossible_rows
        return words + (f"; without {n:,} row{'s' * (n > 1)} of -inf" if n else "")


def score(
    model: str | Path,
    data: str,
    output: str | None = None,
    *,
    given: Sequence[str] = (),
    columns: Sequence[str] = (),
    id: str | None = None,
    reference: str | None = None,
    bound: str | None = None,
    steps: int | None = None,
    device: str = "auto",
    rows: int | None = None,
    drop_missing: bool = False,
    seed: int = 0,
    force: bool = False,
    parts: PartsOptions = PartsOptions(),  # noqa: B008
    observer: Observer = SILENT,
) -> ScoreResult | PartsResult:
    """Score every row of a table file, or of draws from a built-in density, and write the scores to `output`, if given.

    The score of a row is that of `columns` given the columns `given`, by default of the whole row; missing cells are
    integrated out. Written are the column named `id`, unchanged; row, the row's number in the file (with
    `drop_missing`); log_density, solver_error, standard_error; rank, the share of the rows of `reference` that score no
    higher (with a `reference`, a file or a density like `data`); elbo (with a `bound`, the name of a reverse variance).

    An `output` that ends in a slash is a folder of parts, made or continued as `parts` says: of DATA that may be a
    folder too, and without `reference` and `bound`.
    """
    if steps is not None and bound is None:
        raise IncompatibleArguments(
            "--steps goes with --bound: it is the number of steps of the chain that is bounded."
        )
    if bound is not None and (given or columns):
        raise IncompatibleArguments("--bound goes with whole rows: leave out --given and --columns.")
    if output is not None and is_folder(output):
        _refuse_in_parts(data, {"--reference": reference, "--bound": bound, "--rows": rows})
        schema = load_model(Path(model), device, data=data).model_.schema
        _asked(schema, given, columns)
        make = partial(
            score_parts,
            model,
            data,
            output,
            given=columns_from(given, schema),
            columns=columns_from(columns, schema),
            id=id,
            drop_missing=drop_missing,
            seed=seed,
        )
        return in_parts(output, "scoring", make, parts, device=device, force=force, observer=observer)
    parts.refuse_for_file(output or "standard output")
    if output is not None:
        check_table_path(output, overwrite=force)
    if id is not None:
        _check_id(id, data, output)
    estimator = load_model(Path(model), device, data=data)
    own = estimator.model_
    asked = _asked(own.schema, given, columns)

    def read(source: str, name: str, n: int | None = None) -> tuple[Data, NDArray[np.float64]]:
        found = read_data(
            source, n, seed, unseen=True, name=name, drop_missing=drop_missing, model=own, observer=observer
        )
        # Columns that are integrated out may be absent.
        present = range(own.schema.n_columns) if asked.columns is None else (*asked.given, *asked.columns)
        return found, match_columns(widened(found.table, own.schema, present), own.schema, name=name).values

    def scores(rows: NDArray[np.float64], activity: str) -> LogDensity:
        watch = observer.counter(activity, len(rows))
        return log_density(own, rows, given=asked.given, columns=asked.columns, stream=Stream(seed), watch=watch)

    found, scored = read(data, "DATA", rows)
    others = None if reference is None else read(reference, "--reference")[1]
    written = dict[str, Any]()
    if id is not None:
        written[id] = read_labels(data, id).filter(pa.array(found.is_taken))
    if drop_missing and found.is_taken is not None:
        written["row"] = np.flatnonzero(found.is_taken)
    # The bound is computed first, because it checks its arguments.
    terms, elbo = None, None
    if bound is not None:
        terms, elbo = _bound(estimator, scored, seed, bound, steps, observer)
    density = scores(scored, "scoring")
    written |= {
        "log_density": density.log_prob.numpy(),
        "solver_error": density.solver_error.numpy(),
        "standard_error": density.standard_error.numpy(),
    }
    if others is not None:
        of_others = scores(others, "scoring the reference").log_prob.numpy()
        written["rank"] = rank_scores(written["log_density"], of_others)
    if elbo is not None:
        written["elbo"] = elbo
    table = pa.table(written)
    if output is not None:
        write_labelled(output, table, overwrite=force)
    return _result(table, density, terms, is_bounded=bound is not None)


@dataclass(frozen=True)
class _Asked:
    """Numbers of the columns that are known, and of those in question; None is all others."""

    given: list[int]
    columns: list[int] | None


def _asked(schema: Schema, given: Sequence[str], columns: Sequence[str]) -> _Asked:
    known, asked = (column_numbers(schema, columns_from(texts, schema)) for texts in (given, columns))
    both = sorted({*known} & {*asked})
    if both:
        raise IncompatibleArguments(
            f"--given and --columns should name different columns, but both name {listed(map(schema.label, both))}."
        )
    return _Asked(known, asked or None)


def _refuse_in_parts(data: str, options: dict[str, Any]) -> None:
    """Raise IncompatibleArguments for what goes with one output file alone."""
    for name, value in options.items():
        if value is not None:
            raise IncompatibleArguments(f"{name} goes with one file as -o, but it is a folder of parts: leave it out.")
    if data == "-" or is_built_in(data):
        raise IncompatibleArguments(f"A folder of parts goes with a file or a folder as DATA, but got {data!r}.")


def _check_id(name: str, data: str, output: str | None) -> None:
    """Raise an error where a column cannot be carried from this source to this output."""
    if is_built_in(data):
        raise IncompatibleArguments(f"--id goes with a file, but {data!r} is a built-in density.")
    if data == "-":
        raise IncompatibleArguments("--id goes with a file, because standard input cannot be read twice.")
    if name in _COLUMNS:
        raise InvalidInput(f"--id should differ from the columns of scores, but got {name!r}: rename the column.")
    if output is not None and output.lower().endswith(".npy"):
        raise IncompatibleArguments("--id goes with a text or Parquet file as -o: an array has no column names.")


def _bound(
    estimator: Diffusion,
    rows: NDArray[np.float64],
    seed: int,
    reverse_variance: str,
    steps: int | None,
    observer: Observer,
) -> tuple[BoundTerms | None, NDArray[np.float64]]:
    """Return the bound's terms over the rows that the model can make, None without any, and each row's ELBO."""
    model = estimator.model_
    is_possible = possible_rows(model, rows)
    elbo = np.full(len(rows), -np.inf)
    if not is_possible.any():
        return None, elbo
    stream = Stream(seed).child("bound")
    terms = model_bound(model, rows[is_possible], stream=stream, reverse_variance=reverse_variance, steps=steps)
    elbo[is_possible] = -terms.per_row.numpy()
    observer.message(f"log p >= {-terms.total:.4f} +- {terms.total_standard_error:.4f} nats per row, by the chain")
    return terms, elbo


def _result(table: pa.Table, density: LogDensity, terms: BoundTerms | None, *, is_bounded: bool) -> ScoreResult:
    finite = density.log_prob.isfinite()
    possible, n = density.log_prob[finite], int(finite.sum())
    return ScoreResult(
        table=table,
        rows=len(finite),
        impossible_rows=len(finite) - n,
        log_density=float(possible.mean()) if n else None,
        standard_error=float(possible.std() / n**0.5) if n > 1 else None,
        solver_error=float(density.solver_error[finite].mean()) if n else None,
        is_bounded=is_bounded,
        elbo=None if terms is None else -terms.total,
        elbo_standard_error=None if terms is None else terms.total_standard_error,
    )
