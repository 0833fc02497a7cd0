"""The section of log-densities."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from backwalk.assess import Fidelity, ModelScores
from backwalk.assess.topics.likelihood import LOG_DENSITY_MARGIN
from backwalk.assess.verdict import LOG_DENSITY, TOTAL_VARIATION, compare_densities
from backwalk.assess.words import estimate_text, seconds, signed, with_error
from backwalk.model import blur_words
from backwalk.report.blocks import Cell, Context, Row, Section, Table, Text

DENSITIES: Mapping[str, str] = MappingProxyType(
    {"exact": "exact density", "ode": "density of its probability-flow ODE"}
)


def likelihood_section(context: Context) -> Section:
    """Show the log-densities of unseen rows, and the times to fit and to draw."""
    fidelity, model = context.fidelity, context.model
    is_known = fidelity.likelihood.entropy is not None
    n = fidelity.model.negative_log_density.n
    integers = [context.name(j) for j, column in enumerate(model.codec.columns) if column.is_integer]
    notes = [
        f"−log p is measured in nats: one nat less makes a row 2.7 times as likely. All models score the same {n:,} "
        "unseen rows, and differences are taken row by row. Differences in bold matter: they are larger than two "
        f"standard errors and than {LOG_DENSITY_MARGIN:g}."
    ]
    if is_known:
        notes.append(
            f"The entropy of the true density, {entropy_text(fidelity)} nats, is the least possible −log p on average."
        )
    names = [context.name(j) for j in range(model.schema.n_columns)]
    notes.append(f"The density of the ODE is that of rows with a little noise, {blur_words(model, names)}.")
    if model.codec.blocks:
        notes.append(
            "Levels and atoms are scored by their probability, numbers by their density: p is the product of both."
        )
    if integers:
        notes.append(
            f"Integers ({', '.join(integers)}) are scored by their probability: the density, integrated over the cell "
            "of each integer."
        )
    head = ["Model", "−log p of unseen rows, nats per row", "Log-density minus the diffusion model's, nats per row"]
    if is_known:
        head += ["Gap to the truth, nats per row", "Largest error in the probability of any event (total variation)"]
    head += ["Time to fit", "Time to draw 10,000 rows"]
    table = Table(head, [_density_row(scores, fidelity) for scores in fidelity.models])
    return Section("How likely are unseen rows?", [table, *(Text(note, note=True) for note in notes)])


def entropy_text(fidelity: Fidelity) -> str:
    """Return the entropy of the true density, with its error where it was estimated."""
    entropy, error = fidelity.likelihood.entropy, fidelity.likelihood.entropy_standard_error
    if entropy is None:
        return ""
    return with_error(entropy, error) if error else f"{entropy:.4f}"


def _density_row(scores: ModelScores, fidelity: Fidelity) -> Row:
    matters = set()
    if scores is not fidelity.model:
        matters = {case.name for case in compare_densities(fidelity.model, scores) if case.favours}
    cells = [
        Cell(estimate_text(scores.negative_log_density)),
        Cell(signed(estimate_text(scores.advantage)), matters=LOG_DENSITY in matters),
    ]
    if fidelity.likelihood.entropy is not None:
        cells.append(Cell(estimate_text(scores.gap)))
        cells.append(Cell(estimate_text(scores.total_variation), matters=TOTAL_VARIATION in matters))
    cells.append(Cell("–" if scores.fit_seconds is None else seconds(scores.fit_seconds)))
    return Row(scores.name, [*cells, Cell(seconds(scores.sample_seconds))], DENSITIES[scores.density_of])
