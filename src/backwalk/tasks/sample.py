"""Draw rows from a saved model and write them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.errors import IncompatibleArguments
from backwalk.pieces import sample_parts
from backwalk.sampling import Sampler, choose_sampler
from backwalk.table import Table, check_table_path, write_rows
from backwalk.tasks.given import both_given, conditions_from, given_from
from backwalk.tasks.models import begun, load_model
from backwalk.tasks.observer import SILENT, Observer
from backwalk.tasks.parts import PartsOptions, PartsResult, in_parts, is_folder

_USUALLY_DRAWN = 1000


@dataclass(frozen=True)
class SampleResult:
    """The output, the number of rows, the seed that gives the same rows, the sampler, and the seconds it took."""

    output: str
    rows: int
    seed: int
    sampler: str
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return vars(self).copy()


def sample(
    model: str | Path,
    output: str = "-",
    *,
    rows: int | None = None,
    given: Sequence[str] = (),
    given_file: str | Path | None = None,
    sampler: str | None = None,
    evaluations: int | None = None,
    eta: float | None = None,
    raw_headers: bool = False,
    header: Callable[[str], str] = str,
    device: str = "auto",
    seed: int | None = None,
    force: bool = False,
    parts: PartsOptions = PartsOptions(),  # noqa: B008
    observer: Observer = SILENT,
) -> SampleResult | PartsResult:
    """Draw rows from a saved model, and write each piece as soon as it is drawn.

    `given` holds conditions, such as `species=Gentoo` (`tasks.given`), and `given_file` is a table file with a row of
    values for each row to draw, in which a missing value leaves the column free. `rows` is 1,000 by default, or the
    number of rows of that file. Without a `seed`, a random one is used and reported. `header` is applied to the
    columns' names. An `output` that ends in a slash is a folder of parts, made or continued as `parts` says.
    """
    if eta is not None and sampler != "ddim":
        raise IncompatibleArguments("--eta goes with --sampler ddim: it is that solver's share of fresh noise.")
    if is_folder(output):
        if given_file is not None and given:
            raise both_given()
        schema = load_model(Path(model), device).model_.schema
        asked = Sampler(sampler, evaluations, eta or 0.0) if sampler is not None else None
        make = partial(
            sample_parts,
            model,
            output,
            rows,
            given=given_from(given, schema),
            given_file=given_file,
            sampler=asked,
            n_evaluations=None if asked else evaluations,
            seed=seed,
        )
        return in_parts(output, "sampling", make, parts, device=device, force=force, observer=observer)
    parts.refuse_for_file(output)
    check_table_path(output, overwrite=force)
    estimator, began = load_model(Path(model), device), time.monotonic()
    own, schedule, schema = estimator.model_.sampler, estimator.model_.schedule, estimator.model_.schema
    used = choose_sampler(own, schedule, sampler, evaluations, eta or 0.0)
    visited = len(used.times(schedule))
    if evaluations is not None and evaluations > visited:
        observer.message(f"--evaluations {evaluations:,} exceeds the steps of the chain: {visited:,} are used")
    chosen = secrets.randbits(32) if seed is None else seed
    if schema.columns is not None:
        schema = replace(schema, columns=tuple(map(header, schema.columns)))
    conditions = conditions_from(given, given_file, estimator.model_.schema)
    n = rows or (len(conditions.values) if isinstance(conditions, Table) else _USUALLY_DRAWN)
    pieces = estimator.sample_pieces(n, given=conditions, random_state=chosen, sampler=used)
    count = observer.counter("sampling", n)
    write_rows(
        output, begun(_counted(pieces, count)), schema, n_rows=n, escape_formulas=not raw_headers, overwrite=force
    )
    place = "" if output == "-" else f"{output}: {n:,} rows, "
    again = "" if seed is not None else f" (chosen at random; --seed {chosen} gives the same rows)"
    if place or again:
        observer.message(f"{place}seed {chosen}{again}")
    return SampleResult(output, n, chosen, used.describe(schedule), time.monotonic() - began)


def _counted(pieces: Iterator[NDArray[np.float64]], count: Callable[[int], None]) -> Iterator[NDArray[np.float64]]:
    for piece in pieces:
        yield piece
        count(len(piece))
