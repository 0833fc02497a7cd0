"""The bound of a model term by term, and the ladder of figures: entropy, ODE, bound."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.formatting import as_json
from backwalk.model import bound, log_density, sample_rows
from backwalk.streams import Stream
from backwalk.table import as_table, match_columns
from backwalk.web.models import ModelEntry
from backwalk.web.pictures import fitted_rows
from backwalk.web.requests import BoundRequest
from backwalk.web.tables import as_rows

Array = NDArray[np.float64]


def bound_terms(entry: ModelEntry, request: BoundRequest) -> dict[str, Any]:
    """Return the bound on the same rows as the ODE's negative log-density, beside the entropy where it is known.

    Rows are new draws where the density is known, otherwise rows of the fit, or the model's own.
    """
    model = entry.model
    values, truth, whose = _rows(entry, request)
    terms = bound(model, values, stream=Stream(request.seed).child("bound"))
    ode = log_density(model, values)
    ladder = _ladder(entry, truth, {"ode": -ode.log_prob.numpy(), "bound": terms.per_row.numpy()})
    ladder["ode"]["solver_error"] = float(ode.solver_error.mean())
    record = {
        "n": len(values),
        "seed": request.seed,
        "rows": whose,
        "unit": "nats per row",
        "terms": [
            {"t": t, "value": float(terms.transitions[t]), "error": float(terms.transitions_standard_error[t])}
            for t in range(2, model.schedule.n_steps + 1)
        ],
        "prior": terms.prior,
        "prior_error": terms.prior_standard_error,
        "prior_mismatch": model.prior_mismatch,
        "reconstruction": terms.reconstruction,
        "reconstruction_error": terms.reconstruction_standard_error,
        "levels": terms.levels,
        "levels_error": terms.levels_standard_error,
        "bound": terms.total,
        "bound_error": terms.total_standard_error,
        "ladder": [{"name": name, **step} for name, step in ladder.items()],
        "is_paired": entry.density is not None,
    }
    return as_json(record)  # type: ignore[no-any-return]


def _ladder(entry: ModelEntry, truth: Array | None, by_row: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Return figures with their errors, from the least; `by_row` are nats, (n,), of each row, and `truth` is its ln p.

    Where the density is known, a figure is the entropy plus the mean of its difference to -ln p of the same row: rows
    that are likely or not under both then cancel, and the error is several times smaller.
    """
    if entry.density is None or truth is None:
        return {name: _mean(nats) for name, nats in by_row.items()}
    entropy, error = entry.density.entropy, entry.density.entropy_standard_error
    ladder = {"entropy": {"value": entropy, "error": error}}
    for name, nats in by_row.items():
        above = _mean(nats + truth)
        ladder[name] = {"value": entropy + above["value"], "error": math.hypot(above["error"], error)}
    return ladder


def _mean(nats: Array) -> dict[str, float]:
    return {"value": float(nats.mean()), "error": float(nats.std(ddof=1) / math.sqrt(len(nats)))}


def _rows(entry: ModelEntry, request: BoundRequest) -> tuple[Array, Array | None, str]:
    """Return rows to score, their true log-density, if it is known, and whose they are."""
    stream = Stream(request.seed)
    if entry.density is not None:
        drawn = entry.density.sample_rows(0, request.n, stream=stream.child("unseen"))
        # The model's codes of labels may have another order than the density's.
        values = match_columns(as_table(as_rows(entry.density, drawn)), entry.model.schema).values
        return values, entry.density.log_prob(drawn), "new draws"
    if entry.data is not None:
        rows = fitted_rows(entry)
        order = stream.child("rows").permutation(len(rows))[: request.n]
        return rows[order], None, "rows of the fit"
    return sample_rows(entry.model, 0, request.n, stream=stream.child("own")), None, "the model's own rows"
