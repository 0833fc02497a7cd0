"""The rows of a part of a sample."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from backwalk.model import DiffusionModel, conditional_pieces, conditions_of
from backwalk.pieces.job import Job
from backwalk.streams import Stream
from backwalk.table import from_values


def sampled_tiles(job: Job, model: DiffusionModel, start: int, stop: int) -> Iterator[pa.Table]:
    """Yield rows start..stop-1 in tiles: those that `Diffusion.sample` draws with the job's seed."""
    given = conditions_of(model, job.work.conditions(), stop - start)
    stream, schema = Stream(job.seed).child("sample"), model.schema.as_arrow()
    drawn = conditional_pieces(model, start, stop, given, stream=stream, sampler=job.work.sampler.sampler())
    for values in drawn:
        yield from_values(values, schema)
