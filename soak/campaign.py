"""What a campaign is, and how one is run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Outcomes = Iterator[str]  # one a case: empty where it held, else what went wrong
KEPT_FAILURES = 20


@dataclass(frozen=True)
class Campaign:
    """A row of the page: what is done to the library, what must hold, and how often it is tried.

    `run(n, seed, folder)` yields at least n outcomes, unless there are no more cases (`all_there_are`); `full` and
    `short` are the n of the two sizes. Fewer are a failure. Where the machine does not allow it at all, it raises
    `Skipped`.
    """

    area: str
    fault: str
    holds: str
    run: Callable[[int, int, Path], Outcomes]
    full: int
    short: int
    all_there_are: bool = False

    @property
    def name(self) -> str:
        """The name on the command line."""
        return f"{self.run.__module__.rpartition('.')[2]}.{self.run.__name__}"


class Skipped(Exception):
    """A campaign that this machine does not allow; the message says why."""


@dataclass(frozen=True)
class Result:
    """What came of a campaign; `skipped` is why it was not run, or not to its end."""

    name: str
    cases: int
    failures: int
    seconds: float
    first_failures: tuple[str, ...]
    skipped: str = ""


def run(campaign: Campaign, n: int, seed: int) -> Result:
    """Run a campaign in a folder of its own."""
    began, cases, failures, skipped = time.monotonic(), 0, [], ""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        try:
            for outcome in campaign.run(n, seed, Path(folder)):
                cases += 1
                if outcome:
                    failures.append(outcome)
        except Skipped as reason:
            skipped = str(reason)
    if not skipped and (cases == 0 or (cases < n and not campaign.all_there_are)):
        failures.append(f"there should be {n} cases, but there were {cases}")
    seconds = round(time.monotonic() - began, 1)
    return Result(campaign.name, cases, len(failures), seconds, tuple(failures[:KEPT_FAILURES]), skipped)


def outcome_of(case: Callable[[], object]) -> str:
    """Return what went wrong in a case that says so by an exception, or the empty text."""
    try:
        case()
    except Exception as error:
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = place.tb_lineno if place is not None else 0
        return f"{type(error).__name__} at line {line}: {' '.join(str(error).split())[:300]}"
    return ""
