"""How close the rows of a sampler are to real rows: statistics beside their nulls, those of other real rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from backwalk.assess.representation import Representation
from backwalk.assess.statistics import RealPairs, compare, disjoint_pairs
from backwalk.assess.topics.closeness import C2ST_NEAREST, WASSERSTEIN, choose_measures
from backwalk.formatting import as_json
from backwalk.model import sample_rows
from backwalk.streams import Stream
from backwalk.web.models import ModelEntry, choose_sampler_for
from backwalk.web.requests import QualityRequest
from backwalk.web.security import Refusal

N_PAIRS, N_ROWS = 4, 1000  # pairs of sets of real rows, and the rows of a set
_LEAST_ROWS = 25  # of a set
_NAMES = {C2ST_NEAREST: "c2st", WASSERSTEIN: "distance"}


def compute_quality(entry: ModelEntry, request: QualityRequest) -> dict[str, Any]:
    """Return C2ST and sliced distance of a sampler's rows, with their nulls and standard errors.

    Real rows are new draws where the density is known, and otherwise rows of the fit. The generated rows are the first
    ones of `sample` with the same seed.
    """
    model, stream = entry.model_for(request.reverse_variance), Stream(request.seed).child("quality")
    real = _real_rows(entry, stream)
    representation, pairs = real.representation, real.pairs
    drawn = sample_rows(
        model,
        0,
        pairs.n_generated,
        stream=Stream(request.seed).child("sample"),
        sampler=choose_sampler_for(model, request),
    )
    generated = representation.encode(representation.with_gaps(drawn, stream.child("gaps")))
    figures = {}
    for measure in choose_measures(representation, stream=stream.child("measures")):
        name = _NAMES.get(measure.name)
        if name in request.figures:
            if name not in real.nulls:
                real.nulls[name] = [measure.of(a, b) for a, b in pairs.pairs]
            figure = compare(measure.of, pairs, generated, name=measure.name, nulls=real.nulls[name])
            figures[name] = {
                "value": figure.value,
                "error": figure.standard_error,
                "null": figure.null,
                "null_error": figure.null_standard_error,
            }
    record = {"rows": real.origin, "n_rows": pairs.n_rows, "n_pairs": N_PAIRS, "figures": figures}
    return as_json(record)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Real:
    """Pairs of sets of represented real rows, where they come from, and the nulls of statistics by name."""

    representation: Representation
    pairs: RealPairs
    origin: str
    nulls: dict[str, list[float]] = field(default_factory=dict)


@lru_cache(maxsize=4)
def _real_rows(entry: ModelEntry, stream: Stream) -> _Real:
    """Return real rows for a model's statistics. Raises Refusal where there are none, or too few."""
    if entry.data is None:
        raise Refusal(409, "Distances need real rows: the model was opened without its data.")
    if entry.density is not None and not entry.model.codec.blocks:
        rows, origin = entry.density.sample_rows(0, 2 * N_PAIRS * N_ROWS, stream=stream.child("real")), "new draws"
    else:
        rows, origin = entry.fitted_rows(), "rows of the fit"
    rows = rows[stream.child("order").permutation(len(rows))[: 2 * N_PAIRS * N_ROWS]]
    least = 2 * N_PAIRS * _LEAST_ROWS
    if len(rows) < least:
        raise Refusal(409, f"Distances need at least {least} real rows, but there are {len(rows)}.")
    representation = Representation.of(entry.model, rows, entry.fitted_rows())
    pairs = disjoint_pairs(representation.encode(rows), N_PAIRS, stream=stream.child("pairs"))
    return _Real(representation, pairs, origin)
