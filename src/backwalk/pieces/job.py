"""A job: the description of a whole output that is made in parts, as a record of plain JSON values.

A job says what each row is, so that any process on any host can make any part of it. Its `id` is a hash of everything
that decides the values; paths and the device are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from backwalk.errors import InvalidInput
from backwalk.limits import is_whole
from backwalk.sampling import TILE_ROWS, Sampler
from backwalk.table import BLOCK_ROWS, FileOfRows

PART_ROWS: Final = 512 * TILE_ROWS
"""The rows of a part, by default: 1,048,576."""

LARGEST_ROW: Final = 10**12 - 1  # names of parts have 12 digits, so that they sort

_Count = Annotated[int, Field(ge=1, le=LARGEST_ROW)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A frozen record whose JSON is checked when it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Source(Record):
    """A file that a job reads: its path, and the SHA-256 that its content has."""

    path: str
    sha256: _Hash


class Range(Record):
    """A condition on a column: a range with both ends, of which None is open."""

    low: str | None
    high: str | None


class Among(Record):
    """A condition on a column: the values that are allowed."""

    among: tuple[str, ...]


class SamplerSettings(Record):
    """A sampler, as `backwalk.Sampler`."""

    solver: str
    n_evaluations: int | None
    eta: float

    def sampler(self) -> Sampler:
        """Return the sampler."""
        return Sampler(self.solver, self.n_evaluations, self.eta)


class Sampling(Record):
    """Rows drawn from the model, under conditions in the terms of text files."""

    kind: Literal["sample"] = "sample"
    sampler: SamplerSettings
    given: dict[str, str | Range | Among] = {}

    def conditions(self) -> dict[str, Any]:
        """Return the conditions as `Diffusion.sample` takes them."""
        return {name: _condition(value) for name, value in self.given.items()}


class Scoring(Record):
    """Log-densities of the data's rows: see `Diffusion.log_density`, and the command `score` for `id`."""

    kind: Literal["score"] = "score"
    given: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    id: str | None = None
    drop_missing: bool = False


class Imputing(Record):
    """The data's rows with their gaps filled, by a draw, by `n_draws` numbered draws, or by a statistic."""

    kind: Literal["impute"] = "impute"
    n_draws: Annotated[int, Field(ge=1)] | None = None
    statistic: Literal["mean", "median"] | None = None


class Job(Record):
    """What all parts of an output have in common: see the module's docstring.

    `rows` is the number of rows of the whole output, which of `data`, the files that are scored, filled, or hold given
    values, are all. Each part but the last has `part_rows`, a multiple of the rows that are computed together
    (`rows_together`): a row then has the same bits in parts of any size.
    """

    format: Literal["backwalk-job"] = "backwalk-job"
    version: Literal[1] = 1
    model: Source
    work: Annotated[Sampling | Scoring | Imputing, Field(discriminator="kind")]
    data: tuple[FileOfRows, ...] = ()
    seed: Annotated[int, Field(ge=0)]
    rows: _Count
    part_rows: Annotated[int, Field(multiple_of=TILE_ROWS, ge=TILE_ROWS)]
    columns: tuple[str, ...]
    device: str = "auto"

    @property
    def id(self) -> str:
        """The SHA-256 of all that decides the values."""
        text = json.dumps(_deciding(self.model_dump(mode="json")), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def ranges(self, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
        """Return the (start, stop) of all parts that begin at rows start..stop-1, by default of all parts."""
        first = -(-start // self.part_rows) * self.part_rows
        last = self.rows if stop is None else min(stop, self.rows)
        return [(begin, min(begin + self.part_rows, self.rows)) for begin in range(first, last, self.part_rows)]


def differences(one: Job, other: Job) -> Iterator[str]:
    """Yield the names of what differs between two jobs and decides values, such as "seed" or "work.sampler"."""
    yield from _differences(_deciding(one.model_dump(mode="json")), _deciding(other.model_dump(mode="json")))


def rows_together(kind: str) -> int:
    """Return how many rows are computed together in the work of a kind, of which those of a part are a multiple."""
    return TILE_ROWS if kind == "sample" else BLOCK_ROWS


def check_part_rows(part_rows: Any, together: int) -> int:
    """Return a number of rows of a part. Raises InvalidInput unless it is a multiple of those computed `together`."""
    if not is_whole(part_rows) or part_rows < 1 or part_rows % together:
        near = max(round(part_rows / together), 1) * together if is_whole(part_rows) else PART_ROWS
        raise InvalidInput(
            f"Rows of a part should be a multiple of {together:,}, but got {part_rows!r}: {near:,} is one."
        )
    return int(part_rows)


def as_conditions(given: Mapping[str, Any]) -> dict[str, str | Range | Among]:
    """Return conditions as a job holds them: values, pairs (low, high) and sets, in the terms of text files."""
    conditions = dict[str, str | Range | Among]()
    for name, value in given.items():
        if isinstance(value, tuple):
            low, high = (None if end is None else str(end) for end in value)
            conditions[name] = Range(low=low, high=high)
        elif isinstance(value, (set, frozenset)):
            conditions[name] = Among(among=tuple(sorted(map(str, value))))
        else:
            conditions[name] = str(value)
    return conditions


def _condition(value: str | Range | Among) -> Any:
    if isinstance(value, Range):
        return value.low, value.high
    return frozenset(value.among) if isinstance(value, Among) else value


def _deciding(job: dict[str, Any]) -> dict[str, Any]:
    """Return what decides values in a job's JSON: not where and when files were found, nor the device."""
    free = ("path", "modified")
    model, *data = (
        {key: value for key, value in file.items() if key not in free} for file in (job["model"], *job["data"])
    )
    return {**{key: value for key, value in job.items() if key != "device"}, "model": model, "data": data}


def _differences(one: Any, other: Any, name: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from _differences(one.get(key), other.get(key), f"{name}.{key}" if name else key)
    elif one != other:
        yield name
