"""The bound of a model term by term, and the ladder of figures: entropy, ODE, bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk.formatting import as_json
from backwalk.model import bound, log_density, sample_rows
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry
from backwalk.web.pictures import fitted_rows
from backwalk.web.requests import BoundRequest


def bound_terms(entry: ModelEntry, request: BoundRequest) -> dict[str, Any]:
    """Return the bound on the same rows as the ODE's negative log-density, beside the entropy where it is known.

    Rows are new draws where the density is known, otherwise rows of the fit, or the model's own.
    """
    model = entry.model
    values, whose = _rows(entry, request)
    terms = bound(model, values, stream=Stream(request.seed).child("bound"))
    ode = log_density(model, values)
    nats = -ode.log_prob.numpy()
    ladder = []
    if entry.density is not None:
        entropy, error = entry.density.entropy, entry.density.entropy_standard_error
        ladder.append({"name": "entropy", "value": entropy, "error": error})
    ladder += [
        {
            "name": "ode",
            "value": float(nats.mean()),
            "error": float(nats.std(ddof=1) / math.sqrt(len(nats))),
            "solver_error": float(ode.solver_error.mean()),
        },
        {"name": "bound", "value": terms.total, "error": terms.total_standard_error},
    ]
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
        "ladder": ladder,
    }
    return as_json(record)  # type: ignore[no-any-return]


def _rows(entry: ModelEntry, request: BoundRequest) -> tuple[NDArray[np.float64], str]:
    """Return rows to score, and whose they are."""
    stream = Stream(request.seed)
    if entry.density is not None:
        return entry.density.sample_rows(0, request.n, stream=stream.child("unseen")), "new draws"
    if entry.data is not None:
        rows = fitted_rows(entry)
        order = stream.child("rows").permutation(len(rows))[: request.n]
        return rows[order], "rows of the fit"
    return sample_rows(entry.model, 0, request.n, stream=stream.child("own")), "the model's own rows"
