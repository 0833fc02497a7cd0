"""Outputs in parts, each begun or continued by one call: samples."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.limits import is_whole
from backwalk.model import conditions_of
from backwalk.model_file import fingerprint
from backwalk.pieces.folder import Entry, PartsFolder
from backwalk.pieces.job import (
    LARGEST_ROW,
    PART_ROWS,
    Job,
    SamplerSettings,
    Sampling,
    Source,
    as_conditions,
    check_part_rows,
)
from backwalk.pieces.make import Parts, Rows, checked_engine, make_parts
from backwalk.sampling import Sampler, asked_sampler


def sample_parts(
    model: str | Path,
    folder: str | Path,
    n_samples: int | None = None,
    *,
    given: Mapping[str, Any] | None = None,
    sampler: Sampler | str | None = None,
    n_evaluations: int | None = None,
    seed: int | None = None,
    part_rows: int | None = None,
    rows: Rows = (0, None),
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    on_begin: Callable[[Job], object] = lambda _: None,
    on_done: Callable[[Entry], object] = lambda _: None,
) -> Parts:
    """Draw any number of rows from a saved model into a folder of Parquet files.

    They are the rows that `Diffusion.sample(n_samples, random_state=seed)` returns. The folder may hold parts of the
    same job, which are not made again: a call that was interrupted is continued by another, which takes `n_samples`,
    `seed` and `part_rows` from the folder where they are None. Several processes may work on one folder at a time.

    Parameters
    ----------
    model : str or Path
        A saved model.
    folder : str or Path
        Made if it is missing.
    n_samples : int, default=None
        Rows of the whole output; needed for a new one.
    given, sampler, n_evaluations
        See `Diffusion.sample`; `given` is a mapping with one value, range or set for each column.
    seed : int, default=None
        None is a random one for a new output.
    part_rows : int, default=None
        Rows of a part, a multiple of 2,048; 1,048,576 for a new output.
    rows, workers, engine, address, on_done
        See `make_parts`.
    device : str, default="auto"
    overwrite : bool, default=False
        Remove the parts of the job that the folder holds, and begin anew.
    on_begin : callable, default=None
        Called with the job before the first part is made.

    Returns
    -------
    Parts

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pyarrow.parquet
    >>> from backwalk import Diffusion
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(X).save(f"{place}/model")
    ...     parts = sample_parts(f"{place}/model", f"{place}/rows", 3000, seed=1, part_rows=2048)
    ...     len(parts.entries), pyarrow.parquet.read_table(f"{place}/rows").shape
    (2, (3000, 2))
    """
    checked_engine(rows, workers, engine, address)
    place, path = PartsFolder(folder), Path(model).absolute()
    checksum, own = fingerprint(path), Diffusion.load(path, device=device).model_
    chosen = asked_sampler(own.sampler, own.schedule, sampler, n_evaluations)
    work = Sampling(
        sampler=SamplerSettings(solver=chosen.solver, n_evaluations=chosen.n_evaluations, eta=chosen.eta),
        given=as_conditions(given or {}),
    )
    conditions_of(own, work.conditions(), 1)  # refuses what the model cannot take before a folder is made
    if overwrite:
        place.clear()
    n = place.job().rows if n_samples is None and place.has_job() else n_samples
    if not is_whole(n) or not 1 <= n <= LARGEST_ROW:
        raise InvalidInput(f"n_samples should be an integer >= 1 and below 10^12, but got {n!r}: say how many rows.")
    job = Job(
        model=Source(path=str(path), sha256=checksum),
        work=work,
        seed=secrets.randbits(32) if seed is None else seed,
        rows=n,
        part_rows=PART_ROWS if part_rows is None else check_part_rows(part_rows),
        columns=own.schema.names,
        device=device,
    )
    open_settings = {"seed": seed, "part_rows": part_rows}
    begun = place.begin(job, free=[name for name, value in open_settings.items() if value is None])
    on_begin(begun)
    return make_parts(folder, rows=rows, workers=workers, engine=engine, address=address, on_done=on_done)
