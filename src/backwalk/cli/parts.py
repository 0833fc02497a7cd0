"""Outputs in a folder of parts: what the commands `sample`, `score` and `impute` share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backwalk.cli.console import Console
from backwalk.errors import IncompatibleArguments, InvalidInput
from backwalk.pieces import Parts


def is_folder(output: str) -> bool:
    """Return whether an output is a folder of parts: a name that ends in a slash, or a folder that is there."""
    return output.endswith(("/", os.sep)) or Path(output).is_dir()


def refuse_parts(output: str, parts: Mapping[str, Any]) -> None:
    """Raise IncompatibleArguments if an option of folders is given for an output that is one file."""
    for name, value in parts.items():
        if value is not None:
            raise IncompatibleArguments(
                f"--{name.replace('_', '-')} goes with a folder of parts, but {output!r} is one file: let -o end in a "
                "slash."
            )


def write_parts(
    console: Console,
    make: Callable[..., Parts],
    model: Path,
    folder: str,
    asked: Mapping[str, Any],
    parts: Mapping[str, Any],
    *,
    device: str,
    force: bool,
    json: bool,
) -> None:
    """Call a function that makes an output in parts with what is `asked`, and report what it made.

    `parts` are the options `parts_options`. In the JSON record, `parts` are those that this call was to make, of which
    `parts_found` were there before. `complete` says whether the whole output is there now, with the checksum `values`
    of all rows.
    """
    if force and parts["range"] is not None:
        raise IncompatibleArguments("--force and --range should not both be given: others may write to the folder.")
    rows = (0, None) if parts["range"] is None else _range(parts["range"])
    console.advice = lambda: f"; whole parts stay in {folder}: the same command makes the others"
    began = time.monotonic()
    made = make(
        model,
        folder=folder,
        **asked,
        part_rows=parts["part_rows"],
        rows=rows,
        workers=parts["workers"] or 1,
        engine=parts["engine"] or "local",
        address=parts["address"],
        device=device,
        overwrite=force,
        watch=console.progress,
    )
    job, n = made.job, len(made.parts)
    there = f", of which {made.n_found:,} {'was' if made.n_found == 1 else 'were'} there" if made.n_found else ""
    rest = "" if made.manifest else "; other parts are missing"
    console.message(f"{folder}: {n:,} part{'s' * (n != 1)} of {job.rows:,} rows{there}, seed {job.seed}{rest}")
    if json:
        console.print_json(
            {
                "output": folder,
                "kind": job.work.kind,
                "rows": job.rows,
                "seed": job.seed,
                "parts": n,
                "parts_found": made.n_found,
                "complete": made.manifest is not None,
                "values": None if made.manifest is None else made.manifest.values,
                "seconds": time.monotonic() - began,
            }
        )


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
