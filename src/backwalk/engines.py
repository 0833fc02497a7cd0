"""A sample as another library's lazy object: Ray Data's `Dataset`, Dask's `DataFrame`.

A task draws a range of rows, which is a function of the model's file, the seed and the rows' numbers. So it can run
anywhere, and again after a loss. Workers read the model from its file and keep it. Retries, writing and the cluster
are the library's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from backwalk.errors import InvalidInput, ModelFileError
from backwalk.estimator import Diffusion
from backwalk.limits import is_whole
from backwalk.model_file import fingerprint
from backwalk.table import from_values

if TYPE_CHECKING:
    import dask.dataframe
    import pandas as pd
    import ray.data

ROWS_OF_A_TASK = 2**17  # some 20 seconds of a core for 8 numbers, against milliseconds of an engine for a task


def ray_dataset(
    model: str | Path,
    n_samples: int,
    *,
    random_state: int,
    given: Mapping[Any, Any] | None = None,
    rows_of_a_task: int = ROWS_OF_A_TASK,
) -> ray.data.Dataset:
    """Return a sample as a lazy dataset of Ray Data.

    Its rows are those of `Diffusion.sample`, in any order unless Ray is asked to preserve it. Labels are texts. Begin a
    session of Ray first, with its token authentication on, as one that begins by itself has none.

    Parameters
    ----------
    model : str or Path
        A saved model, which all hosts read at this path.
    n_samples : int
        Number of rows.
    random_state : int
        Seed of the sample.
    given : mapping, default=None
        One value, range or set for each of some columns, for all rows: see `Diffusion.sample`.
    rows_of_a_task : int, default=131072
        Rows that are drawn at a time, and again if a worker is lost.

    Returns
    -------
    ray.data.Dataset
        What follows, such as `write_parquet`, is Ray's.

    Raises
    ------
    ImportError
        Ray is not installed.
    InvalidInput
        A ValueError: the rows cannot be drawn, which is seen at once.
    ModelFileError
        The model cannot be read, or, in a worker, has changed.

    See Also
    --------
    dask_dataframe : The same for Dask.

    Examples
    --------
    >>> from backwalk.engines import ray_dataset
    >>> rows = ray_dataset("model.backwalk", 10**9, random_state=7)  # doctest: +SKIP
    >>> rows.write_parquet("s3://bucket/rows")  # doctest: +SKIP
    """
    try:
        import ray.data
    except ImportError as error:
        raise ImportError('ray_dataset needs Ray, which is not installed: pip install "backwalk[ray]".') from error
    draw = _checked(model, n_samples, random_state, given, rows_of_a_task)

    def draw_task(ids: pa.Table) -> pa.Table:  # one id a batch, as those of larger batches need not follow each other
        start = ids["id"][0].as_py() * rows_of_a_task
        return draw(start, min(start + rows_of_a_task, n_samples))

    n_tasks = -(-n_samples // rows_of_a_task)
    tasks = ray.data.range(n_tasks, override_num_blocks=n_tasks)
    return tasks.map_batches(draw_task, batch_size=1, batch_format="pyarrow")


def dask_dataframe(
    model: str | Path,
    n_samples: int,
    *,
    random_state: int,
    given: Mapping[Any, Any] | None = None,
    rows_of_a_task: int = ROWS_OF_A_TASK,
) -> dask.dataframe.DataFrame:
    """Return a sample as a lazy DataFrame of Dask.

    Its rows are those of `Diffusion.sample`, and its index has their numbers. Columns have types of Arrow, and labels
    are texts.

    Parameters
    ----------
    model : str or Path
        A saved model, which all hosts read at this path.
    n_samples : int
        Number of rows.
    random_state : int
        Seed of the sample.
    given : mapping, default=None
        See `ray_dataset`.
    rows_of_a_task : int, default=131072
        Rows of a partition.

    Returns
    -------
    dask.dataframe.DataFrame
        What follows, such as `to_parquet`, is Dask's.

    Raises
    ------
    ImportError
        Dask is not installed.
    InvalidInput
        A ValueError: the rows cannot be drawn, which is seen at once.
    ModelFileError
        The model cannot be read, or, in a worker, has changed.

    See Also
    --------
    ray_dataset : The same for Ray.

    Examples
    --------
    >>> from backwalk.engines import dask_dataframe
    >>> rows = dask_dataframe("model.backwalk", 10**9, random_state=7)  # doctest: +SKIP
    >>> rows.to_parquet("rows")  # doctest: +SKIP
    """
    try:
        import dask.dataframe
    except ImportError as error:
        raise ImportError('dask_dataframe needs Dask, which is not installed: pip install "backwalk[dask]".') from error
    draw = partial(_frame, _checked(model, n_samples, random_state, given, rows_of_a_task))
    starts = list(range(0, n_samples, rows_of_a_task))
    stops = [*starts[1:], n_samples]
    return dask.dataframe.from_map(draw, starts, stops, meta=draw(0, 1), divisions=(*starts, n_samples - 1))


def _checked(
    model: str | Path, n_samples: int, seed: int, given: Mapping[Any, Any] | None, rows_of_a_task: int
) -> partial[pa.Table]:
    """Return the function that draws the rows start..stop-1, of which it has drawn the first one."""
    for name, value in {"n_samples": n_samples, "rows_of_a_task": rows_of_a_task}.items():
        if not is_whole(value) or value < 1:
            raise InvalidInput(f"{name} should be an integer >= 1, but got {value!r}: ask for 1 at least.")
    path = str(Path(model).absolute())
    draw = partial(_draw, path, fingerprint(path), seed, given)
    draw(0, 1)
    return draw


def _draw(path: str, sha256: str, seed: int, given: Mapping[Any, Any] | None, start: int, stop: int) -> pa.Table:
    model = _loaded(path, sha256)
    rows = np.concatenate(list(model.sample_pieces(rows=(start, stop), given=given, random_state=seed)))
    return from_values(rows, model.model_.schema.as_arrow())


@lru_cache(maxsize=1)
def _loaded(path: str, sha256: str) -> Diffusion:
    """Return the model that a worker keeps."""
    if fingerprint(path) != sha256:
        raise ModelFileError(f"{path} has changed since its sample was begun: begin again.")
    return Diffusion.load(path, device="cpu")


def _frame(draw: partial[pa.Table], start: int, stop: int) -> pd.DataFrame:
    """Return rows as a partition, whose index has their numbers."""
    import pandas as pd

    return draw(start, stop).to_pandas(types_mapper=pd.ArrowDtype).set_axis(pd.RangeIndex(start, stop, name="row"))
