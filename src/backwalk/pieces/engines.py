"""Engines: functions that have the pieces of a job made somewhere, and report each that is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.pieces.folder import Entry
from backwalk.pieces.local import local

Engine: TypeAlias = Callable[[str, Sequence[tuple[int, int]], int, Callable[[Entry], None]], None]
"""Called as engine(folder, pieces, workers, on_done), it calls `run_piece(folder, start, stop)` for each piece.

`on_done` is called in the caller's thread with the entry of each piece, in any order. Only the folder's path and
numbers travel to the workers.
"""

ENGINES = ("local", "ray")


def engine_of(name: str, address: str | None = None) -> Engine:
    """Return the engine of a name in `ENGINES`; `address` is that of a cluster."""
    if name == "ray":
        from backwalk.pieces.ray_engine import run_on_ray

        return partial(run_on_ray, address=address)
    if name != "local":
        raise InvalidInput(f"engine should be one of {', '.join(ENGINES)}, but got {name!r}.")
    if address is not None:
        raise IncompatibleArguments("--address goes with the engine of a cluster: leave it out.")
    return local
