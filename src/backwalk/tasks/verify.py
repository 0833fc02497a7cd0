"""Check an output in parts, and make bad parts again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from backwalk.formatting import listed
from backwalk.pieces import Faults, Part, PartsFolder, Verified
from backwalk.pieces import verify as checked
from backwalk.tasks.observer import SILENT, Observer


@dataclass(frozen=True)
class VerifyResult:
    """What was found in a folder of parts: see `backwalk.pieces.Verified`. `whole` says that nothing is wrong now."""

    folder: str
    verified: Verified
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether every part is there and sound, and nothing else is."""
        return not self.verified.left

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        found = self.verified
        return {
            "folder": self.folder,
            "whole": self.whole,
            "rows": found.job.rows,
            "parts": len(found.job.ranges()),
            "found": _as_json(found.faults),
            "left": _as_json(found.left),
            "restored": list(found.restored),
            "changed": list(found.changed),
            "made": list(found.made),
            "processors": found.processors,
            "values": None if found.manifest is None or not self.whole else found.manifest.values,
            "seconds": self.seconds,
        }

    def lines(self) -> Iterator[str]:
        """Yield the result in words."""
        found, n = self.verified, len(self.verified.job.ranges())
        yield from _words(found.faults)
        if found.restored:
            yield f"made {_counted(len(found.restored))} again, with the values that were there before"
        if found.made:
            yield f"made {_counted(len(found.made))}"
        if found.changed:
            yield (
                f"made {_counted(len(found.changed))} again, with other values than before: the processor or the "
                "version of torch differs"
            )
        if len(found.processors) > 1:
            kinds = "; ".join(f"{kind}: {_counted(k)}" for kind, k in found.processors.items())
            yield f"parts were made on different kinds of processors, each of which gives its own bits ({kinds})"
        left = "" if self.whole else ", but not all is well"
        yield f"{self.folder}: {_counted(n)} of {found.job.rows:,} rows{left}"


def verify(
    folder: str,
    *,
    repair: bool = False,
    workers: int | None = None,
    engine: str | None = None,
    address: str | None = None,
    observer: Observer = SILENT,
) -> VerifyResult:
    """Check every part in a folder, and with `repair` make bad ones again and remove stray ones."""
    began = time.monotonic()
    count = observer.counter("verifying", PartsFolder(folder).job().rows)
    n_bad = 0

    def mended(part: Part) -> None:
        nonlocal n_bad
        n_bad += part.stop - part.start
        observer.progress("repairing", 0.0, f"{n_bad:,} rows")

    found = checked(
        folder,
        repair=repair,
        workers=workers or 1,
        engine=engine or "local",
        address=address,
        on_checked=lambda start, stop: count(stop - start),
        on_done=mended,
    )
    return VerifyResult(folder, found, time.monotonic() - began)


def _words(faults: Faults) -> Iterator[str]:
    for fault in ("missing", "damaged", "foreign"):
        names = [f"rows {start:,} to {stop:,}" for (start, stop), own in faults.parts.items() if own == fault]
        if names:
            yield f"{fault}: {_counted(len(names))}, {listed(names)}"
    if faults.strays:
        yield f"no parts of this output: {listed(faults.strays)}"
    if faults.others:
        yield f"other files, which readers of the folder meet too: {listed(faults.others)}; move them away"


def _counted(n: int) -> str:
    return f"{n:,} part{'s' * (n != 1)}"


def _as_json(faults: Faults) -> dict[str, Any]:
    parts = [{"start": start, "stop": stop, "fault": fault} for (start, stop), fault in faults.parts.items()]
    return {"parts": parts, "strays": list(faults.strays), "others": list(faults.others)}
