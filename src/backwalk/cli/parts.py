"""Outputs in a folder of parts: what the commands `sample`, `score` and `impute` share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backwalk.cli.output import Console
from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.pieces import Job, Part, Parts


@dataclass(frozen=True)
class PartsOptions:
    """How an output in parts is made; None is what the folder or the engine has.

    `range` is the text START:STOP, rows of the whole output of which this call makes the parts that begin there.
    """

    range: str | None = None
    part_rows: int | None = None
    workers: int | None = None
    engine: str | None = None
    address: str | None = None

    def refuse_for_file(self, output: str) -> None:
        """Raise IncompatibleArguments if an option is given, as for an output that is one file."""
        for name, value in vars(self).items():
            if value is not None:
                raise IncompatibleArguments(
                    f"--{name.replace('_', '-')} goes with a folder of parts, but {output!r} is one file: let -o end "
                    "in a slash."
                )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `backwalk.pieces.make_parts` and the functions that call it."""
        return {
            "rows": (0, None) if self.range is None else _range(self.range),
            "workers": self.workers or 1,
            "engine": self.engine or "local",
            "address": self.address,
        }


def is_folder(output: str) -> bool:
    """Return whether an output is a folder of parts: a name that ends in a slash, or a folder that is there."""
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def make_in_parts(
    output: str,
    activity: str,
    make: Callable[..., Parts],
    options: PartsOptions,
    *,
    device: str,
    force: bool,
    console: Console,
) -> dict[str, Any]:
    """Call `make` with the options, report its progress, and return the record of the command.

    `parts` are those that this call was to make, of which `parts_found` were there before. `complete` says whether the
    whole output is there now, with the checksum `values` of all rows.
    """
    if force and options.range is not None:
        raise IncompatibleArguments("--force and --range should not both be given: others may write to the folder.")
    began, counters, n_counted = time.monotonic(), list[Callable[[int], None]](), 0

    def looked(n_rows: int) -> None:  # rows of text files, which are read once before; their number is not known then
        nonlocal n_counted
        n_counted += n_rows
        console.progress("counting rows", 0.0, f"{n_counted:,} rows")

    def begun(job: Job) -> None:
        start, stop = options.arguments()["rows"]
        counters.append(console.counter(activity, sum(b - a for a, b in job.ranges(start, stop)) or 1))

    def done(part: Part) -> None:
        counters[0](part.stop - part.start)

    parts = make(
        **options.arguments(),
        part_rows=options.part_rows,
        device=device,
        overwrite=force,
        on_look=looked,
        on_begin=begun,
        on_done=done,
    )
    job, n = parts.job, len(parts.parts)
    there = f", of which {parts.n_found:,} {'was' if parts.n_found == 1 else 'were'} there" if parts.n_found else ""
    rest = "" if parts.manifest else "; other parts are missing"
    console.message(f"{output}: {n:,} part{'s' * (n != 1)} of {job.rows:,} rows{there}, seed {job.seed}{rest}")
    return {
        "output": output,
        "kind": job.work.kind,
        "rows": job.rows,
        "seed": job.seed,
        "parts": n,
        "parts_found": parts.n_found,
        "complete": parts.manifest is not None,
        "values": None if parts.manifest is None else parts.manifest.values,
        "seconds": time.monotonic() - began,
    }


def _range(text: str) -> tuple[int, int | None]:
    """Return the rows of a text START:STOP, either of which may be left out."""
    first, colon, last = text.partition(":")
    try:
        start, stop = int(first or 0), int(last) if last else None
    except ValueError:
        colon = ""
    if not colon:
        raise InvalidInput(f"--range should be START:STOP in numbers of rows, but got {text!r}: give 0:1000000.")
    return start, stop
