"""Score a saved model on unseen rows, and write the report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import backwalk.assess as assessment
import backwalk.report as page
from backwalk.assess import Fidelity
from backwalk.model import DiffusionModel
from backwalk.streams import Stream
from backwalk.tasks.data import read_data, read_training
from backwalk.tasks.given import columns_from
from backwalk.tasks.models import check_report_target, load_model, report_errors
from backwalk.tasks.observer import SILENT, Observer


@dataclass(frozen=True, eq=False)
class ReportResult:
    """The page's path, and the assessment, the model and the command lines that it shows."""

    path: Path
    fidelity: Fidelity
    model: DiffusionModel
    commands: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return every figure of the page as JSON values."""
        return {"report": str(self.path), **page.report_record(self.fidelity, self.model, self.commands)}

    def summary(self) -> dict[str, Any]:
        """Return the verdict, the warnings, and each model's figures as name, value and null: JSON values."""
        figures = {
            scores.name: {
                "negative_log_density": scores.negative_log_density.value,
                "fit_seconds": scores.fit_seconds,
                **{figure.name: {"value": figure.value, "null": figure.null} for figure in scores.figures},
            }
            for scores in self.fidelity.models
        }
        return {"verdict": self.fidelity.verdict, "warnings": list(self.fidelity.warnings), "figures": figures}


def report(
    model: str | Path,
    data: str,
    output: str | Path,
    *,
    training: str | None = None,
    target: str | None = None,
    given: Sequence[str] = (),
    device: str = "auto",
    rows: int | None = None,
    drop_missing: bool = False,
    seed: int = 0,
    force: bool = False,
    commands: Sequence[str] = (),
    observer: Observer = SILENT,
) -> ReportResult:
    """Score a saved model on rows that its fit did not see, and write a report to `output`, an .html file.

    With the rows of the fit as `training`, baselines are fitted to them and copies of them are counted. `target` names
    a column that models trained on generated rows predict, and `given` columns of data, of which the posterior of the
    others is scored: names, each alone or several with commas between. `commands` are the command lines that the page
    shows.
    """
    path, stream = Path(output), Stream(seed).child("report")
    check_report_target(path, force)
    own = load_model(Path(model), device, data=data).model_
    fit_rows = None
    if training is not None:
        fit_rows = read_training(training, own, drop_missing=drop_missing, observer=observer).table
        assessment.matched_rows(fit_rows, own, "--training")
    unseen = read_data(data, rows, seed, unseen=True, drop_missing=drop_missing, model=own, observer=observer)
    scored, _ = assessment.rows_to_score(unseen.table, own, "DATA")
    observer.message(f"scoring {len(scored):,} unseen rows")
    began = time.monotonic()
    fidelity = assessment.assess(
        own,
        unseen.table,
        training=fit_rows,
        density=unseen.density,
        target=target,
        given=columns_from(given, own.schema) or None,
        stream=stream.child("assess"),
        model_path=str(model),
        watch=partial(observer.progress, "scoring"),
    )
    observer.message(f"scored in {time.monotonic() - began:.1f} s")
    with report_errors(path):
        page.write_report(
            path,
            fidelity,
            own,
            stream=stream.child("pictures"),
            commands=list(commands),
            overwrite=force,
        )
    return ReportResult(path, fidelity, own, tuple(commands))
