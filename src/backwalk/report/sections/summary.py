"""The numbers at the top of the page, below the verdict."""

from __future__ import annotations

from collections.abc import Iterator

from backwalk.assess import Fidelity
from backwalk.assess.topics.closeness import C2ST
from backwalk.assess.words import estimate_text, figure_texts, with_error
from backwalk.report.sections.likelihood import DENSITIES


def tiles(fidelity: Fidelity) -> Iterator[tuple[str, str, str]]:
    """Yield the numbers at the top of the page: a name, the value, and a note."""
    bound, scores = fidelity.likelihood.bound, fidelity.model
    value, null, _ = figure_texts(scores.figure(C2ST))
    of_ode = DENSITIES[scores.density_of]
    yield "A classifier recognises generated rows in", value, f"of cases; for two sets of real rows: {null}"
    yield "−log p of an unseen row", estimate_text(scores.negative_log_density), f"nats, {of_ode}; smaller is better"
    total = with_error(bound.total, bound.total_standard_error)
    yield "Bound of the chain", total, "nats per row; −log p is at most this"
    if scores.gap is not None:
        yield "Gap to the truth", estimate_text(scores.gap), f"nats per row, {of_ode}; 0 is best"
