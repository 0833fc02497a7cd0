"""The answers for somebody who decides: is the model good enough, for what, what does it reveal, and what to do next?

Each answer is one function of the figures, and ANSWERS holds them in their order. A difference counts where it matters
(`sign_that_matters`), and what a warning says is against a use counts too, so that no answer contradicts the verdict,
the warnings or a number in bold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backwalk.assess.fidelity import Answer, Calibration, Fidelity
from backwalk.assess.statistics import Figure, sign_that_matters
from backwalk.assess.topics.closeness import (
    ASSOCIATIONS,
    C2ST,
    C2ST_NEAREST,
    CORRELATIONS,
    COVERAGE,
    DESCRIPTIONS,
    ENERGY,
    WASSERSTEIN,
    WORST_COLUMN,
)
from backwalk.assess.topics.membership import AREA_MARGIN
from backwalk.assess.topics.memorisation import RARE_MARGIN, SHARE_MARGIN, MemorisationScores
from backwalk.assess.verdict import best_of, compare_densities, decide
from backwalk.assess.words import column_name, figure_texts, percent, signed, with_error
from backwalk.formatting import listed
from backwalk.model import DiffusionModel
from backwalk.table.codec_rules import stated_rules

_SINGLE, _TOGETHER, _ROWS, _RARE = (
    "single columns",
    "how columns go together",
    "whole rows in the place of real ones",
    "rare kinds of rows",
)
_FIGURES = {
    _SINGLE: (WORST_COLUMN,),
    _TOGETHER: (CORRELATIONS, ASSOCIATIONS),
    _ROWS: (C2ST, C2ST_NEAREST, ENERGY, WASSERSTEIN),
    _RARE: (COVERAGE,),
}
_WARNED = "see the warnings"
_UTILITY_MARGIN = 0.01  # of the loss of a model that was trained on generated rows


@dataclass(frozen=True)
class Use:
    """A use of the model, the figures that decide about it, and what speaks against it: "" for nothing."""

    purpose: str
    figures: str
    against: str


def answer(fidelity: Fidelity, model: DiffusionModel) -> Iterator[Answer]:
    """Yield the answers that the figures give; those that they cannot give are left out."""
    for of in ANSWERS:
        found = of(fidelity, model)
        if found is not None:
            yield found


def is_good_enough(fidelity: Fidelity, model: DiffusionModel) -> Answer:
    """Say how far generated rows are from real ones."""
    question, checks = "Is it good enough?", fidelity.checks
    if checks.are_of_fit:
        share = f"{checks.share_of_fit:.0%}"
        words = f"Not known: {share} of the scored rows are training rows, and a model that repeats them looks perfect."
        return Answer(question, words)
    against = {use.purpose for use in find_uses(fidelity, model) if use.against}
    grade = "Yes" if not against else "No" if {_SINGLE, _ROWS} <= against else "For some uses"
    accuracy, null, _ = figure_texts(fidelity.model.figure(C2ST))
    words = (
        f"{grade}, as far as {checks.n_unseen:,} unseen rows show. A classifier tells its rows from real rows "
        f"in {accuracy} of cases, and two sets of real rows apart in {null}; guessing gives 50 %."
    )
    return Answer(question, words)


def are_posteriors_calibrated(calibration: Calibration) -> Answer:
    """Say how far the coverage of posteriors is from that of exact ones."""
    question, scores = "Are its posteriors calibrated?", calibration.posterior
    if scores is None or calibration.checks.are_of_fit:
        return Answer(question, "Not known: too few unseen rows were given.")
    curve = scores.expected_coverage
    grade = "No" if any("not calibrated" in warning for warning in calibration.warnings) else "Yes"
    words = (
        f"{grade}, as far as {scores.n_pairs} unseen rows show. The expected coverage of regions of highest density "
        f"deviates by up to {percent(curve.deviation)} from their level; that of exact posteriors by less than "
        f"{percent(curve.limit)} in 95 % of cases."
    )
    return Answer(question, words)


def what_it_is_for(fidelity: Fidelity, model: DiffusionModel) -> Answer | None:
    """Name what the model may be used for and what not, with the figures that decide."""
    if fidelity.checks.are_of_fit:
        return None
    uses = list(find_uses(fidelity, model))
    good = _joined([f"{use.purpose} ({use.figures})" for use in uses if not use.against])
    bad = _joined([f"{use.purpose} ({use.against})" for use in uses if use.against])
    words = [f"For {good}." if good else "For nothing yet.", *([f"Not for {bad}."] if bad else [])]
    return Answer("For what?", " ".join(words))


def what_rules_hold(fidelity: Fidelity, model: DiffusionModel) -> Answer | None:
    """Say which rules between columns each new row obeys, and how many unseen rows do not."""
    rules, broken = stated_rules(model.codec, model.schema.names), fidelity.checks.impossible.rules
    if not rules:
        return None
    n = fidelity.checks.n_unseen + fidelity.checks.n_impossible
    words = f"Yes: every new row obeys {listed(rules)}. "
    if broken:
        words += f"Unseen rows do not always: {listed(broken)} of {n:,} rows."
    else:
        words += f"So do all {n:,} unseen rows."
    return Answer("Do rules between columns hold?", words)


def what_it_reveals(fidelity: Fidelity, _: DiffusionModel) -> Answer:
    """Say whether the model repeats training rows, and whether these can be recognised."""
    question = "Does it give its training rows away?"
    memorisation, membership = fidelity.memorisation, fidelity.membership
    if memorisation is None or membership is None:
        return Answer(question, "Not known: the training rows were not given.")
    if fidelity.checks.is_other_training:
        return Answer(question, "Not known: the training rows that were given are not the rows of the fit.")
    area = membership.strongest.area
    copies = _copies(memorisation)
    told_apart = with_error(area.value, area.standard_error, percent=True)
    words = (
        f"{f'It repeats training rows: {copies}' if copies else f'No copies were found: {_nearest(memorisation)}'}. "
        f"Whoever has the model can tell a training row from another in {told_apart} of cases (50 % is nothing"
    )
    if sign_that_matters(area.value - 0.5, area.standard_error, AREA_MARGIN) <= 0:
        words += f", and these rows could have shown {100 * membership.smallest_area:.1f} %"
    return Answer(question, f"{words}).")


def what_to_do(fidelity: Fidelity, model: DiffusionModel) -> Answer:
    """Say which model to use and why, and what would make it better."""
    question, checks = "What to do next?", fidelity.checks
    if checks.are_of_fit:
        return Answer(question, "Score rows that the fit never saw.")
    words = []
    if fidelity.baselines:
        verdict, chosen = decide(fidelity.model, fidelity.baselines)
        words.append(verdict)
        if chosen.name.startswith("KernelDensity"):
            words.append("A kernel density holds its training rows: give it to nobody who may not have them.")
    elif checks.n_training is None:
        words.append(
            "Give the training rows (--training FILE, or training=X): simpler models are then fitted for comparison, "
            "and copies of these rows are looked for."
        )
    remembers = [topic for topic in (fidelity.memorisation, fidelity.membership) if topic is not None]
    if any(any(topic.warnings()) for topic in remembers):
        words.append("Before you give the model away, fit it to more rows, in fewer steps or with a smaller network.")
    elif any(use.against for use in find_uses(fidelity, model)):
        later_was_worse = model.history.chosen_step != model.history.n_steps
        takes = "more rows" if later_was_worse else "more training (max_steps, max_time) or more rows"
        words.append(f"A better fit takes {takes}.")
    elif not words:
        words.append("Use the model.")
    return Answer(question, " ".join(words))


ANSWERS: tuple[Callable[[Fidelity, DiffusionModel], Answer | None], ...] = (
    is_good_enough,
    what_it_is_for,
    what_rules_hold,
    what_it_reveals,
    what_to_do,
)
"""The answers in their order, as functions; a further one is one more function here."""


def find_uses(fidelity: Fidelity, model: DiffusionModel) -> Iterator[Use]:
    """Yield the uses about which there are figures."""
    schema, by_name = model.schema, {figure.name: figure for figure in fidelity.model.figures}
    associations = fidelity.columns.associations
    n_pairs = 0 if associations is None else int(associations.matters.sum()) // 2
    also = {
        _SINGLE: _WARNED if any(fidelity.columns.warnings(schema)) else "",
        _TOGETHER: f"associations of {n_pairs} pair{'s' * (n_pairs > 1)} of columns" if n_pairs else "",
    }
    for purpose, names in _FIGURES.items():
        figures = [by_name[name] for name in names if name in by_name]
        worse = [f"{figure.name}: {signed(figure_texts(figure)[2])}" for figure in figures if _is_worse(figure)]
        against = worse[0] if worse else also.get(purpose, "")
        if figures:
            yield Use(purpose, figures[0].name, against)
    if fidelity.memorisation is not None and _copies(fidelity.memorisation):
        yield Use("rows that are new", "", "see the next answer")
    if fidelity.baselines:
        best = best_of(fidelity.baselines)
        worse = [case.name for case in compare_densities(fidelity.model, best) if case.favours > 0]
        yield Use("probabilities of rows", "Log-density", f"{worse[0]}: {best.name} is better" if worse else "")
    if fidelity.conditionals is not None and fidelity.conditionals.levels:
        unsure = any(fidelity.conditionals.warnings(schema))
        yield Use("probabilities of levels", "Calibration error", _WARNED if unsure else "")
    if fidelity.prediction is not None:
        scores, name = fidelity.prediction, column_name(schema, fidelity.prediction.target)
        excess = scores.excess
        is_worse = sign_that_matters(excess.value, excess.standard_error, _UTILITY_MARGIN) > 0
        loss = f"loss: {signed(with_error(excess.value, excess.standard_error))}"
        yield Use(f"training models that predict {name}", "Loss on unseen rows", loss if is_worse else "")
    if fidelity.posterior is not None:
        given = listed(column_name(schema, j) for j in fidelity.posterior.given)
        unsure = any(fidelity.posterior.warnings(schema))
        yield Use(f"posteriors given {given}", "Rank statistics", _WARNED if unsure else "")


def _is_worse(figure: Figure) -> bool:
    """Return whether generated rows are farther from real rows than other real rows are."""
    worse = -figure.difference if figure.name == COVERAGE else figure.difference
    margin = DESCRIPTIONS[figure.name].margin
    return sign_that_matters(worse, figure.difference_standard_error, margin, n_pairs=figure.n_pairs) > 0


def _copies(scores: MemorisationScores) -> str:
    """Return the figure that shows copies of training rows beyond chance; "" for none."""
    share, rare = scores.nearest_row_share, scores.rare_copies
    if sign_that_matters(share.value - 0.5, share.standard_error, SHARE_MARGIN) > 0:
        return _nearest(scores)
    if rare is None or sign_that_matters(rare.excess.value, rare.excess.standard_error, RARE_MARGIN) <= 0:
        return ""
    excess = with_error(rare.excess.value, rare.excess.standard_error, percent=True)
    return f"{excess} more generated rows have a rare combination of training rows than one of unseen rows"


def _nearest(scores: MemorisationScores) -> str:
    share = with_error(scores.nearest_row_share.value, scores.nearest_row_share.standard_error, percent=True)
    return f"{share} of generated rows lie nearer to a training row than to an unseen row, and 50 % without copying"


def _joined(texts: Sequence[str]) -> str:
    """Return texts with commas between, and "and" before the last."""
    *first, last = texts or [""]
    return f"{', '.join(first)} and {last}" if first else last
