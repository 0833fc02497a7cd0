"""The sections of scores: statistics of rows beside their nulls, nats and seconds, and memorisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from backwalk.assess import Fidelity, ModelScores
from backwalk.assess.statistics import Figure, sign_that_matters
from backwalk.assess.topics.closeness import C2ST, DESCRIPTIONS
from backwalk.assess.topics.likelihood import LOG_DENSITY_MARGIN
from backwalk.assess.verdict import LOG_DENSITY, TOTAL_VARIATION, compare_densities
from backwalk.assess.words import estimate_text, figure_texts, in_percent, percent, seconds, signed, with_error
from backwalk.model import blur_words
from backwalk.report import figures
from backwalk.report.sections import Bullets, Cell, Context, Pictures, Row, Section, Table, Text, picture

_DENSITIES: Mapping[str, str] = MappingProxyType(
    {"exact": "exact density", "ode": "density of its probability-flow ODE"}
)


def entropy_text(fidelity: Fidelity) -> str:
    """Return the entropy of the true density, with its error where it was estimated."""
    if fidelity.likelihood.entropy is None:
        return ""
    error = fidelity.likelihood.entropy_standard_error
    return with_error(fidelity.likelihood.entropy, error) if error else f"{fidelity.likelihood.entropy:.4f}"


def tiles(fidelity: Fidelity) -> Iterator[tuple[str, str, str]]:
    """Yield the numbers at the top of the page: a name, the value, and a note."""
    bound = fidelity.likelihood.bound
    value, null, _ = figure_texts(fidelity.model.figure(C2ST))
    yield "A classifier recognises generated rows in", value, f"of cases; for two sets of real rows: {null}"
    own, of_ode = fidelity.model, _DENSITIES[fidelity.model.density_of]
    yield "−log p of an unseen row", estimate_text(own.negative_log_density), f"nats, {of_ode}; smaller is better"
    yield (
        "Bound of the chain",
        with_error(bound.total, bound.total_standard_error),
        "nats per row; −log p is at most this",
    )
    if own.gap is not None:
        yield "Gap to the truth", estimate_text(own.gap), f"nats per row, {of_ode}; 0 is best"


def statistics_section(context: Context) -> Section:
    """Show the statistics of generated rows beside those of real rows, for the model and the baselines."""
    fidelity = context.fidelity
    whose = "scored" if fidelity.checks.n_training is None else "training"
    unit = f"Distances are in standard deviations of the {whose} rows"
    if fidelity.columns.kinds:
        unit += "; two levels of a category are 1 apart, and missing cells have their column's mean"
    if fidelity.asinh_columns:
        unit += f", after an asinh transform of columns with heavy tails ({', '.join(fidelity.asinh_columns)})"
    blocks = [
        Text(
            "Two sets of real rows also differ, by chance. So the first column holds each statistic for real rows "
            f"against other real rows ({fidelity.real_rows}); below each value stands its difference from that. ± is "
            "one standard error. A difference in bold matters: it is larger than chance explains (two standard errors, "
            "by Student's t) and larger than the margin in the last column."
        ),
        Table(
            ("Statistic", "Real against real", *(scores.name for scores in fidelity.models), "Margin"),
            [_statistic_row(figure, fidelity) for figure in fidelity.model.figures],
        ),
        Text(f"{unit}.", note=True),
    ]
    return Section("How close are generated rows to real rows?", blocks)


def density_section(context: Context) -> Section:
    """Show the log-densities of unseen rows, and the times to fit and to draw."""
    fidelity = context.fidelity
    known = fidelity.likelihood.entropy is not None
    n = fidelity.model.negative_log_density.n
    integers = [context.name(j) for j, column in enumerate(context.model.codec.columns) if column.axis.integers]
    notes = [
        f"−log p is measured in nats: one nat less makes a row 2.7 times as likely. All models score the same {n:,} "
        "unseen rows, and differences are taken row by row. Differences in bold matter: they are larger than two "
        f"standard errors and than {LOG_DENSITY_MARGIN:g}."
    ]
    if known:
        notes.append(
            f"The entropy of the true density, {entropy_text(fidelity)} nats, is the least possible −log p on average."
        )
    names = [context.name(j) for j in range(context.model.schema.n_columns)]
    notes.append(f"The density of the ODE is that of rows with a little noise, {blur_words(context.model, names)}.")
    if context.model.codec.blocks:
        notes.append(
            "Levels and atoms are scored by their probability, numbers by their density: p is the product of both."
        )
    if integers:
        notes.append(
            f"Integers ({', '.join(integers)}) are scored by their probability: the density, integrated over the cell "
            "of each integer."
        )
    head = ["Model", "−log p of unseen rows, nats per row", "Log-density minus the diffusion model's, nats per row"]
    if known:
        head += ["Gap to the truth, nats per row", "Largest error in the probability of any event (total variation)"]
    rows = [_density_row(scores, fidelity) for scores in fidelity.models]
    return Section(
        "How likely are unseen rows?",
        [Table([*head, "Time to fit", "Time to draw 10,000 rows"], rows), *(Text(note, note=True) for note in notes)],
    )


def memorisation_section(context: Context) -> Section | None:
    """Show whether the model copies its training rows, if these were given."""
    scores = context.fidelity.memorisation
    if scores is None:
        return None
    share, gain, levels, rare = (
        scores.nearest_row_share,
        scores.training_gain,
        scores.gain_by_level,
        scores.rare_copies,
    )
    lines = [
        f"{with_error(share.value, share.standard_error, percent=True)} of generated rows lie nearer to a training "
        "row than to any of equally many unseen rows. Without copying, 50 % would; more than that means copies.",
        f"Unseen rows cost {estimate_text(gain)} nats per row more than training rows (the bound of a chain of 50 "
        "steps, with the same noise). Without memorisation the difference is 0.",
    ]
    if rare is not None and rare.n_rare:
        lines.append(
            f"{percent(rare.of_training)} of generated rows have a combination of levels that one training row alone "
            f"holds, {percent(rare.of_unseen)} one that one of equally many unseen rows alone holds: a difference of "
            f"{with_error(rare.excess.value, rare.excess.standard_error, percent=True)}. Without copying it is 0."
        )
    blocks: list[Bullets | Pictures] = [Bullets(lines)]
    if levels is not None:
        figure = figures.plot_gain_by_level(
            [level.noise_level for level in levels], [(level.gain.value, level.gain.standard_error) for level in levels]
        )
        caption = "|ε − ε_θ|² on unseen rows minus that on training rows, at each noise level, with the same noise."
        blocks.append(Pictures([picture(figure, "L_simple, unseen minus training rows", "levels", caption)]))
    return Section("Does it copy training rows?", blocks)


def _statistic_row(own: Figure, fidelity: Fidelity) -> Row:
    cells = [Cell(figure_texts(own)[1])]
    for scores in fidelity.models:
        figure = scores.figure(own.name)
        value, _, difference = figure_texts(figure)
        margin = DESCRIPTIONS[figure.name].margin
        matters = sign_that_matters(figure.difference, figure.difference_standard_error, margin, n_pairs=figure.n_pairs)
        cells.append(Cell(value, signed(difference), bool(matters)))
    margin = DESCRIPTIONS[own.name].margin
    cells.append(Cell(f"{100 * margin:g} %" if in_percent(own) else f"{margin:g}"))
    return Row(own.name, cells, DESCRIPTIONS[own.name].explanation)


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
    return Row(scores.name, [*cells, Cell(seconds(scores.sample_seconds))], _DENSITIES[scores.density_of])
