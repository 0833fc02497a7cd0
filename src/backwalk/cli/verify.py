"""`backwalk verify`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from backwalk.cli.console import Console
from backwalk.cli.options import engine_options, reply_options
from backwalk.formatting import listed

if TYPE_CHECKING:
    from backwalk.pieces import Faults, Verified


@click.command()
@click.argument("folder")
@click.option("--repair", is_flag=True, help="Make missing and bad parts again, and remove stray ones.")
@engine_options
@reply_options
@click.pass_obj
def verify(
    console: Console,
    folder: str,
    repair: bool,
    workers: int | None,
    engine: str | None,
    address: str | None,
    json: bool,
) -> int:
    """Check the parts of an output in FOLDER.

    FOLDER is one that `sample`, `score` or `impute` wrote. Each part is compared with its record, which was written
    beside it; a part that is missing, damaged or of another output is named, and the exit status is then 1. With
    --repair such parts are made again from the same model and data. They have the same bits on the same kind of
    processor; whether they do is said.
    """
    from backwalk.pieces import verify as verify_parts

    began = time.monotonic()
    verified = verify_parts(
        folder,
        repair=repair,
        workers=workers or 1,
        engine=engine or "local",
        address=address,
        watch=console.progress,
    )
    if json:
        console.print_json(_record(folder, verified, time.monotonic() - began))
    else:
        for line in _lines(folder, verified):
            console.message(line)
    return 1 if verified.left else 0


def _record(folder: str, verified: Verified, seconds: float) -> dict[str, Any]:
    """Return what was found and made as JSON values."""
    is_whole = not verified.left
    return {
        "folder": folder,
        "whole": is_whole,
        "rows": verified.job.rows,
        "parts": len(verified.job.ranges()),
        "found": _faults_record(verified.faults),
        "left": _faults_record(verified.left),
        "restored": list(verified.restored),
        "changed": list(verified.changed),
        "made": list(verified.made),
        "processors": verified.processors,
        "values": None if verified.manifest is None or not is_whole else verified.manifest.values,
        "seconds": seconds,
    }


def _faults_record(faults: Faults) -> dict[str, Any]:
    parts = [{"start": start, "stop": stop, "fault": fault} for (start, stop), fault in faults.parts.items()]
    return {"parts": parts, "strays": list(faults.strays), "others": list(faults.others)}


def _lines(folder: str, verified: Verified) -> Iterator[str]:
    """Yield what was found and made in words."""
    for fault in ("missing", "damaged", "foreign"):
        parts = [f"rows {start:,} to {stop:,}" for (start, stop), its in verified.faults.parts.items() if its == fault]
        if parts:
            yield f"{fault}: {_counted(len(parts))}, {listed(parts)}"
    if verified.faults.strays:
        yield f"no parts of this output: {listed(verified.faults.strays)}"
    if verified.faults.others:
        yield f"other files, which readers of the folder meet too: {listed(verified.faults.others)}; move them away"
    if verified.restored:
        yield f"made {_counted(len(verified.restored))} again, with the values that were there before"
    if verified.made:
        yield f"made {_counted(len(verified.made))}"
    if verified.changed:
        yield (
            f"made {_counted(len(verified.changed))} again, with other values than before: the processor or the "
            "version of torch differs"
        )
    if len(verified.processors) > 1:
        kinds = "; ".join(f"{kind}: {_counted(k)}" for kind, k in verified.processors.items())
        yield f"parts were made on different kinds of processors, each of which gives its own bits ({kinds})"
    left = ", but not all is well" if verified.left else ""
    yield f"{folder}: {_counted(len(verified.job.ranges()))} of {verified.job.rows:,} rows{left}"


def _counted(n: int) -> str:
    return f"{n:,} part{'s' * (n != 1)}"
