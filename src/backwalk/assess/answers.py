"""The answers for somebody who decides: is the model good enough, for what, what does it reveal, and what to do next?

Each answer is one function of the figures, and ANSWERS holds them in their order. A difference counts where it matters
(`sign_that_matters`), and what a warning says is against a use counts too, so that no answer contradicts the verdict,
the warnings or a number in bold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from backwalk.assess.columns import SINGLE, TOGETHER
from backwalk.assess.density import density_favours
from backwalk.assess.record import Answer, Calibration, Fidelity
from backwalk.assess.rows import C2ST
from backwalk.assess.verdict import best_of, decide
from backwalk.formatting import listed
from backwalk.model import DiffusionModel
from backwalk.report.words import column_name, percent, signed, with_error
from backwalk.table import Copy

_WARNED = "see the warnings"


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
    lead = fidelity.model.figure(C2ST)
    grade = "Yes" if not against else "No" if {SINGLE, lead.purpose} <= against else "For some uses"
    accuracy, null, _ = lead.texts()
    words = (
        f"{grade}, as far as {checks.n_unseen:,} unseen rows show. A classifier tells its rows from real rows "
        f"in {accuracy} of cases, and two sets of real rows apart in {null}; guessing gives 50 %."
    )
    return Answer(question, words)


def are_posteriors_calibrated(calibration: Calibration) -> Answer:
    """Say how far the coverage of posteriors is from that of exact ones."""
    question, scores = "Are its posteriors calibrated?", calibration.posteriors
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
    stated = () if model.codec.rules is None else model.codec.rules.stated(model.schema.names)
    rules, broken = [str(rule) for rule in stated if not isinstance(rule, Copy)], fidelity.checks.impossible.rules
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
    question, copies = "Does it reveal its training rows?", fidelity.copies
    if copies is None:
        return Answer(question, "Not known: the training rows were not given.")
    if fidelity.checks.is_other_training:
        return Answer(question, "Not known: the training rows that were given are not the rows of the fit.")
    area = copies.strongest.area
    told_apart = with_error(area.value, area.standard_error, percent=True)
    words = (
        f"{'It repeats training rows' if copies.repeats else 'No copies were found'}: {copies.nearest_text()}. "
        f"Whoever has the model can tell a training row from another in {told_apart} of cases (50 % is nothing"
    )
    if not copies.can_tell:
        words += f", and these rows could have shown {100 * copies.smallest_area:.1f} %"
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
    if fidelity.copies is not None and any(fidelity.copies.warnings(model.schema)):
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
    schema, columns, figures = model.schema, fidelity.columns, fidelity.model.figures
    n_pairs = 0 if columns.associations is None else int(columns.associations.matters.sum()) // 2
    also = {
        SINGLE: _WARNED if columns.failed() else "",
        TOGETHER: f"associations of {n_pairs} pair{'s' * (n_pairs > 1)} of columns" if n_pairs else "",
    }
    for purpose in dict.fromkeys(figure.purpose for figure in figures):
        of_purpose = [figure for figure in figures if figure.purpose == purpose]
        worse = [f"{figure.name}: {signed(figure.texts()[2])}" for figure in of_purpose if figure.matters > 0]
        yield Use(purpose, of_purpose[0].name, worse[0] if worse else also.get(purpose, ""))
    if fidelity.copies is not None and fidelity.copies.repeats:
        yield Use("rows that are new", "", "see the next answer")
    if fidelity.baselines:
        best = best_of(fidelity.baselines)
        worse_density = f"Log-density: {best.name} is better" if density_favours(best) > 0 else ""
        yield Use("probabilities of rows", "Log-density", worse_density)
    if fidelity.levels is not None and fidelity.levels.levels:
        unsure = any(level.fails for level in fidelity.levels.levels)
        yield Use("probabilities of levels", "Calibration error", _WARNED if unsure else "")
    taught = None if fidelity.levels is None else fidelity.levels.utility
    if taught is not None:
        loss = f"loss: {signed(with_error(taught.excess.value, taught.excess.standard_error))}"
        purpose = f"training models that predict {column_name(schema, taught.target)}"
        yield Use(purpose, "Loss on unseen rows", loss if taught.is_worse else "")
    if fidelity.posteriors is not None:
        given = listed(column_name(schema, j) for j in fidelity.posteriors.given)
        unsure = any(fidelity.posteriors.warnings(schema))
        yield Use(f"posteriors given {given}", "Rank statistics", _WARNED if unsure else "")


def _joined(texts: Sequence[str]) -> str:
    """Return texts with commas between, and "and" before the last."""
    *first, last = texts or [""]
    return f"{', '.join(first)} and {last}" if first else last
