"""Fit two moons, draw rows and write a report, in one call."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backwalk.errors import InvalidInput
from backwalk.tasks.fit import fit
from backwalk.tasks.models import check_report_target
from backwalk.tasks.observer import SILENT, Observer
from backwalk.tasks.report import ReportResult, report
from backwalk.tasks.sample import sample

_ROWS = 10_000


@dataclass(frozen=True, eq=False)
class DemoResult:
    """The three files, and the report's result."""

    model: Path
    samples: Path
    report: ReportResult

    def record(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        files = {"model": str(self.model), "samples": str(self.samples), "report": str(self.report.path)}
        return {**files, **self.report.summary(), "commands": list(self.report.commands)}


def demo(
    output: str | Path = "out/demo",
    *,
    ddpm: bool = False,
    epochs: int | None = None,
    max_steps: int | None = None,
    max_time: float | None = None,
    device: str = "auto",
    seed: int = 0,
    force: bool = False,
    observer: Observer = SILENT,
) -> DemoResult:
    """Fit two moons, draw rows and write a report, all into the folder `output`.

    The report lists the three commands that do the same.
    """
    folder = Path(output)
    if folder.exists() and not force:
        raise InvalidInput(f"{folder} exists already: name another folder with -o, or overwrite it with --force.")
    model, samples, page = folder / "two_moons.backwalk", folder / "samples.csv", folder / "report.html"
    training = {"ddpm": ddpm, "epochs": epochs, "max_steps": max_steps, "max_time": max_time}
    common: dict[str, Any] = {"device": device, "seed": seed, "force": force, "observer": observer}
    observer.message("two moons: 10,000 points with noise 0.05")
    fit("two_moons", model, **training, **common)  # type: ignore[arg-type]
    check_report_target(page, force)
    sample(model, str(samples), rows=_ROWS, **common)
    options = f"--seed {seed}{'' if device == 'auto' else f' --device {device}'}"
    commands = [
        f"backwalk fit two_moons {options}{_written(training)} -o {_quoted(model)}",
        f"backwalk sample {_quoted(model)} -n {_ROWS} {options} -o {_quoted(samples)}",
        f"backwalk report {_quoted(model)} two_moons --training two_moons {options} -o {_quoted(page)}",
    ]
    judged = report(model, "two_moons", page, training="two_moons", commands=commands, **common)
    return DemoResult(model, samples, judged)


def _written(options: dict[str, Any]) -> str:
    """Return the options that differ from their defaults as a command line has them."""
    given = ((f"--{name.replace('_', '-')}", value) for name, value in options.items() if value)
    return "".join(f" {flag}" if value is True else f" {flag} {value}" for flag, value in given)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
