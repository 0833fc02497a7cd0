"""Outputs in parts, each begun or continued by one call: samples, scores and filled tables."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from backwalk.errors import InvalidInput
from backwalk.estimator import Diffusion
from backwalk.formatting import listed
from backwalk.limits import Unseen, is_whole
from backwalk.model import UnseenCells, check_policy, column_numbers
from backwalk.model_file import fingerprint
from backwalk.pieces.engines import Parts, Rows, Watch, choose_engine, make_parts
from backwalk.pieces.folder import LARGEST_ROW, Job, PartsFolder
from backwalk.pieces.work import NUMBER, Imputing, Sampling, Scoring, Work, as_conditions
from backwalk.sampling import TILE_ROWS, Sampler, choose_sampler
from backwalk.table import FileOfRows, StrPath, TextOptions, TextPath, files_of_rows, names_in, table_files
from backwalk.table.schema import shown

PART_ROWS = 512 * TILE_ROWS
"""The rows of a part, by default: 1,048,576."""

SCORE_COLUMNS = ("row", "log_density", "solver_error", "standard_error")


class Making(TypedDict, total=False):
    """How an output in parts is made: arguments of `sample_parts`, `score_parts` and `impute_parts`.

    All of them may be left out.

    Attributes
    ----------
    part_rows : int, default=None
        Rows of a part, a multiple of 2,048 for samples and of 65,536 for others. None is that of the folder, and
        1,048,576 for a new output.
    rows : tuple of int, default=(0, None)
        Make the parts that begin at rows start..stop-1 alone; None is the end. Ranges that follow each other make each
        part once.
    workers : int, default=1
        Processes; one is this process. Others are spawned: a script should guard its main part by
        `if __name__ == "__main__":`.
    engine : {"local", "ray"}, default="local"
        Where the parts are made: on this machine, or on Ray (`pip install "backwalk[ray]"`).
    address : str, default=None
        Of the Ray cluster, as "host:port" or "auto"; None starts Ray on this machine and stops it at the end.
    watch : callable, default=None
        Called after each part with the activity, such as "sampling", the share that is done, and words.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the network runs.
    overwrite : bool, default=False
        Remove the parts that the folder holds, and begin anew.

    See Also
    --------
    verify : Checks the parts.

    Examples
    --------
    >>> from backwalk.pieces import Making
    >>> how = Making(workers=8, part_rows=131_072)  # sample_parts("model.backwalk", "rows", 10**9, **how)
    >>> how["workers"]
    8
    """

    part_rows: int | None
    rows: Rows
    workers: int
    engine: str
    address: str | None
    watch: Watch
    device: str
    overwrite: bool


def sample_parts(
    model: str | Path,
    folder: str | Path,
    n_samples: int | None = None,
    *,
    given: Mapping[str, Any] | None = None,
    given_file: StrPath | None = None,
    sampler: Sampler | str | None = None,
    n_evaluations: int | None = None,
    unseen: Unseen = "nearest",
    seed: int | None = None,
    **making: Unpack[Making],
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
        Rows of the whole output; needed for a new one without `given_file`.
    given : mapping, default=None
        One value, range or set for each column, see `Diffusion.sample`.
    given_file : str or Path, default=None
        A Parquet or text file with a row of values for each row to draw.
    sampler : Sampler or str, default=None
        See `Diffusion.sample`.
    n_evaluations : int, default=None
        See `Diffusion.sample`.
    unseen : {"nearest", "error"}, default="nearest"
        See `Diffusion`. One warning counts the cells of all parts.
    seed : int, default=None
        None is a random one for a new output.
    **making
        See `Making`.

    Returns
    -------
    Parts
        The parts that were asked for.

    Raises
    ------
    InvalidInput
        An argument cannot be used, or workers keep ending.
    ModelFileError
        The model cannot be read, or has changed since the job was begun.
    TableFileError
        The folder holds another job or other files, or a file cannot be read or written.

    See Also
    --------
    verify : Checks the parts.
    Diffusion.sample : Draws rows into memory.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pyarrow.parquet
    >>> from backwalk import Diffusion
    >>> from backwalk.pieces import sample_parts
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(X).save(f"{place}/model")
    ...     parts = sample_parts(f"{place}/model", f"{place}/rows", 3000, seed=1, part_rows=2048)
    ...     len(parts.parts), pyarrow.parquet.read_table(f"{place}/rows").shape
    (2, (3000, 2))
    """
    if given and given_file is not None:
        raise InvalidInput("given and given_file should not both be given: add the values to the file.")
    output = _Output(model, folder, Sampling, unseen, **making)
    chosen = choose_sampler(output.model.sampler, output.model.schedule, sampler, n_evaluations)
    work = Sampling(sampler=chosen, given=as_conditions(given or {}), unseen=unseen)
    data = () if given_file is None else output.files(given_file)
    n_given = sum(file.rows for file in data)
    n = n_samples
    if n is None:
        n = n_given or (output.before.rows if output.before else None)
    if data and n != n_given:
        raise InvalidInput(
            f"{given_file} should have a row for each of {n:,} rows to draw, but has {n_given:,}: draw as many."
        )
    return output.make(work, n, data, seed)


def score_parts(
    model: str | Path,
    data: StrPath,
    folder: str | Path,
    *,
    given: Sequence[str] = (),
    columns: Sequence[str] = (),
    id: str | None = None,
    drop_missing: bool = False,
    unseen: Unseen = "nearest",
    seed: int = 0,
    **making: Unpack[Making],
) -> Parts:
    """Write the log-density of each row of a table of any size into a folder of Parquet files.

    Only the rows of a part are read to make it. See `sample_parts` for how an output is continued.

    Parameters
    ----------
    model : str or Path
        A saved model.
    data : str or Path
        A Parquet or text file, a folder of such files, or a pattern such as `data/*.parquet`.
    folder : str or Path
        Made if it is missing.
    given, columns : sequence of str
        See `Diffusion.log_density`.
    id : str, default=None
        A column of the data that is copied to the output.
    drop_missing : bool, default=False
        Leave out rows with missing values; the column `row` then has the numbers of the others.
    unseen : {"nearest", "error"}, default="nearest"
        See `sample_parts`.
    seed : int, default=0
        Decides the noise of those log-densities that are estimated.
    **making
        See `Making`.

    Returns
    -------
    Parts
        The parts that were asked for.

    Raises
    ------
    InvalidInput
        An argument or a row cannot be used, or workers keep ending.
    ModelFileError
        The model cannot be read, or has changed since the job was begun.
    TableFileError
        The folder holds another job or other files, a file cannot be read or written, or the data have changed.

    See Also
    --------
    verify : Checks the parts.
    Diffusion.log_density : Log-densities in memory, with their errors.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> from backwalk import Diffusion
    >>> from backwalk.pieces import score_parts
    >>> rows = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=["a", "b"])
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(rows).save(f"{place}/model")
    ...     rows[:5].to_parquet(f"{place}/new.parquet")
    ...     parts = score_parts(f"{place}/model", f"{place}/new.parquet", f"{place}/scores")
    ...     list(pd.read_parquet(f"{place}/scores"))
    ['log_density', 'solver_error', 'standard_error']
    """
    if id in SCORE_COLUMNS:
        raise InvalidInput(f"id should differ from the columns of scores, but got {id!r}: rename the column.")
    output = _Output(model, folder, Scoring, unseen, **making)
    known, asked = (column_numbers(output.model.schema, names) for names in (given, columns))
    both = sorted({*known} & {*asked})
    if both:
        label = listed(map(output.model.schema.label, both))
        raise InvalidInput(f"given and columns should name different columns, but both name {label}: choose one.")
    files = output.files(data)
    if id is not None and id not in names_in(files[0]):
        raise InvalidInput(
            f"id should be a column of {data}, but there is no {shown(id)}: there are "
            f"{listed(map(shown, names_in(files[0])))}."
        )
    work = Scoring(given=tuple(given), columns=tuple(columns), id=id, drop_missing=drop_missing, unseen=unseen)
    return output.make(work, sum(file.rows for file in files), files, seed)


def impute_parts(
    model: str | Path,
    data: StrPath,
    folder: str | Path,
    *,
    n_draws: int | None = None,
    statistic: Literal["mean", "median"] | None = None,
    unseen: Unseen = "nearest",
    seed: int = 0,
    **making: Unpack[Making],
) -> Parts:
    """Write a table of any size with its gaps filled into a folder of Parquet files.

    Observed cells, and columns that the model does not have, are written as they stand; texts of text files stay texts
    in the latter. Only the rows of a part are read to make it. See `sample_parts` for how an output is continued.

    Parameters
    ----------
    model : str or Path
        A saved model.
    data : str or Path
        A Parquet or text file, a folder of such files, or a pattern such as `data/*.parquet`.
    folder : str or Path
        Made if it is missing.
    n_draws : int, default=None
        Write this number of completed copies of the rows of each part, numbered in a first column, imputation.
    statistic : {"mean", "median"}, default=None
        See `Diffusion.impute`.
    unseen : {"nearest", "error"}, default="nearest"
        See `sample_parts`.
    seed : int, default=0
        Decides the draws.
    **making
        See `Making`.

    Returns
    -------
    Parts
        The parts that were asked for.

    Raises
    ------
    InvalidInput
        An argument or a row cannot be used, or workers keep ending.
    ModelFileError
        The model cannot be read, or has changed since the job was begun.
    TableFileError
        The folder holds another job or other files, a file cannot be read or written, or the data have changed.

    See Also
    --------
    verify : Checks the parts.
    Diffusion.impute : Fills the gaps of a table in memory.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import pandas as pd
    >>> from backwalk import Diffusion
    >>> from backwalk.pieces import impute_parts
    >>> rows = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 2)), columns=["a", "b"])
    >>> rows.loc[::5, "b"] = np.nan
    >>> with tempfile.TemporaryDirectory() as place:
    ...     Diffusion(max_steps=20, random_state=0, verbose=False).fit(rows).save(f"{place}/model")
    ...     rows.to_parquet(f"{place}/gaps.parquet")
    ...     parts = impute_parts(f"{place}/model", f"{place}/gaps.parquet", f"{place}/filled")
    ...     int(pd.read_parquet(f"{place}/filled").isna().sum().sum())
    0
    """
    if n_draws is not None and statistic is not None:
        raise InvalidInput("n_draws and statistic should not both be given: an estimate is one table.")
    output = _Output(model, folder, Imputing, unseen, **making)
    files = output.files(data)
    if n_draws is not None and NUMBER in names_in(files[0]):
        raise InvalidInput(f"Draws are numbered in a column {NUMBER!r}, but {data} has one: rename it.")
    work = Imputing(n_draws=n_draws, statistic=statistic, unseen=unseen)
    return output.make(work, sum(file.rows for file in files), files, seed)


class _Output:
    """An output that is begun or continued. `before` is the job that its folder holds, unless it is begun anew."""

    def __init__(
        self,
        model: str | Path,
        folder: str | Path,
        kind: type[Work],
        unseen: Unseen,
        *,
        part_rows: int | None = None,
        rows: Rows = (0, None),
        workers: int = 1,
        engine: str = "local",
        address: str | None = None,
        watch: Watch = lambda *_: None,
        device: str = "auto",
        overwrite: bool = False,
    ) -> None:
        choose_engine(rows, workers, engine, address)  # so that its errors come first
        check_policy(unseen)
        if part_rows is not None:
            _check_part_rows(part_rows, kind.rows_together)
        self._engine: dict[str, Any] = {
            "rows": rows,
            "workers": workers,
            "engine": engine,
            "address": address,
            "watch": watch,
        }
        self._place, self._part_rows, self._device, self._overwrite = PartsFolder(folder), part_rows, device, overwrite
        self._path = Path(model).absolute()
        self._sha256 = fingerprint(self._path)
        self.model = Diffusion.load(self._path, device=device).model_
        self.before = self._place.job() if self._place.has_job() and not overwrite else None

    def files(self, data: StrPath) -> tuple[FileOfRows, ...]:
        """Return the files of a table; those of the job that is continued are not read again, unless modified."""
        files, watch, n_counted = table_files(data), self._engine["watch"], 0
        if self.before:
            known = [(Path(file.path), file.bytes, file.modified) for file in self.before.data]
            is_same = known == [(file.path.absolute(), file.n_bytes, file.modified) for file in files]
            if is_same and all(map(_answers, (file.text for file in self.before.data), (file.text for file in files))):
                return self.before.data

        def count(n_rows: int) -> None:  # of text files, whose number of rows is not known before
            nonlocal n_counted
            n_counted += n_rows
            watch("counting rows", 0.0, f"{n_counted:,} rows")

        return files_of_rows([TextPath(file.path, **asdict(file.text)) for file in files], count)

    def make(self, work: Work, n: int | None, data: tuple[FileOfRows, ...], seed: int | None) -> Parts:
        """Begin or continue the job of some work, and make the parts that are asked for."""
        if not is_whole(n) or not 1 <= n <= LARGEST_ROW:
            raise InvalidInput(
                f"The number of rows should be an integer >= 1 and below 10^12, but got {n!r}: say how many."
            )
        job = Job(
            model=str(self._path),
            model_sha256=self._sha256,
            work=work,
            data=data,
            seed=secrets.randbits(32) if seed is None else seed,
            rows=n,
            part_rows=self._part_rows or (self.before.part_rows if self.before else PART_ROWS),
            device=self._device,
        )
        if self.before is None:
            # Errors come before a folder is made, or cleared.
            next(work.tables(self.model, data, job.seed, 0, 1, UnseenCells()))
        if self._overwrite:
            self._place.clear()
        self._place.begin(job, free=["seed"] * (seed is None) + ["part_rows"] * (self._part_rows is None))
        return make_parts(self._place.path, **self._engine)


def _answers(before: TextOptions, asked: TextOptions) -> bool:
    """Return whether the options that are asked for are those of a text that was looked at before."""
    options = asdict(before)
    return all(value in (None, (), options[option]) for option, value in asdict(asked).items())


def _check_part_rows(part_rows: Any, together: int) -> None:
    """Raise InvalidInput unless a number of rows of a part is a multiple of those that are computed `together`."""
    if not is_whole(part_rows) or part_rows < 1 or part_rows % together:
        near = max(round(part_rows / together), 1) * together if is_whole(part_rows) else PART_ROWS
        raise InvalidInput(
            f"Rows of a part should be a multiple of {together:,}, but got {part_rows!r}: {near:,} is one."
        )
