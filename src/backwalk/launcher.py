"""The environment of a worker, as torchrun sets it. Reading it needs no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from backwalk.errors import InvalidInput

_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # which torch's `env://` reads


@dataclass(frozen=True)
class Launched:
    """The number of this worker, `rank`, among `size` workers."""

    rank: int
    size: int


def launched() -> Launched | None:
    """Return this worker's place if torchrun, or a launcher like it, started several workers; else None.

    Raises InvalidInput where the environment is no worker's.
    """
    if any(name not in os.environ for name in _NAMES):
        return None
    rank, size = os.environ["RANK"], os.environ["WORLD_SIZE"]
    if not (rank.isdecimal() and size.isdecimal() and int(rank) < int(size)):
        raise InvalidInput(
            f"RANK and WORLD_SIZE should number a worker, but are {rank!r} and {size!r}: start workers by torchrun, or "
            "unset them."
        )
    return Launched(int(rank), int(size)) if int(size) > 1 else None
