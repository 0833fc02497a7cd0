"""The fidelity report of a model, as the command line writes it."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

from backwalk.streams import Stream
from backwalk.web.models import ModelEntry
from backwalk.web.refusals import Refusal
from backwalk.web.tables import as_rows

N_UNSEEN = 2000  # rows that are drawn where the density is known
_ONE_AT_A_TIME = threading.Lock()  # matplotlib's settings are those of a process


def report(entry: ModelEntry, folder: Path) -> bytes:
    """Return the report as one HTML page. It is made once for each model.

    It scores new draws where the density is known, and otherwise the rows of the fit, which the page says.
    """
    if entry.data is None:
        raise Refusal(409, "A report needs rows: the model was opened without its data. `backwalk report` takes them.")
    with _ONE_AT_A_TIME:
        if entry.report is None:
            training, density = entry.data.table, entry.density
            unseen = training
            if density is not None:
                unseen = as_rows(density, density.sample_rows(0, N_UNSEEN, stream=Stream(entry.seed).child("unseen")))
            with tempfile.TemporaryDirectory(dir=folder) as own:
                path = Path(own, "report.html")
                entry.estimator.report(path, unseen, training=training, density=density, random_state=entry.seed)
                entry.report = path.read_bytes()
        return entry.report
