"""The verdict: which model to use, in words, from the figures and their errors.

The model is compared with its best baseline, the one with the highest log-density of unseen rows. The statistics of
generated rows decide which of the two to draw rows from, the densities which of the two to score rows with. In each
group the first statistic whose difference matters (`sign_that_matters`) decides, and the verdict names those that
disagree. If no difference matters, the verdict recommends the baseline, as it is the simpler and faster model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backwalk.assess.fidelity import ModelScores
from backwalk.assess.statistics import Figure, sign_that_matters
from backwalk.assess.topics.closeness import C2ST, COVERAGE, DESCRIPTIONS
from backwalk.assess.topics.likelihood import LOG_DENSITY_MARGIN, TOTAL_VARIATION_MARGIN
from backwalk.assess.words import estimate_text, figure_texts, seconds, with_error
from backwalk.estimates import Estimate

LOG_DENSITY, TOTAL_VARIATION = "Log-density", "Total variation"


@dataclass(frozen=True)
class Comparison:
    """A statistic of the model and of a baseline, and which of the two it favours.

    `favours` is 1 for the baseline, -1 for the model, and 0 if the difference does not matter.
    """

    name: str
    model: str
    baseline: str
    favours: int

    def values(self, winner: int) -> str:
        """Return both values as text, the winner's first."""
        pair = (self.baseline, self.model) if winner > 0 else (self.model, self.baseline)
        return " against ".join(pair)


def compare_rows(model: ModelScores, baseline: ModelScores) -> Iterator[Comparison]:
    """Compare the rows of a model with those of a baseline, by every statistic, the leading one first.

    Both have the same nulls, which cancel. The standard error is too wide, as it treats the two values as independent
    although both are computed against the same real rows.
    """
    order = list(DESCRIPTIONS)
    for ours in sorted(model.figures, key=lambda figure: order.index(figure.name)):
        name, theirs = ours.name, baseline.figure(ours.name)
        worse = ours.value - theirs.value if name != COVERAGE else theirs.value - ours.value
        sign = sign_that_matters(worse, _error(ours, theirs), DESCRIPTIONS[name].margin, n_pairs=ours.n_pairs)
        yield Comparison(name, figure_texts(ours)[0], figure_texts(theirs)[0], sign)


def compare_densities(model: ModelScores, baseline: ModelScores) -> Iterator[Comparison]:
    """Compare the log-densities of a model and a baseline, and their total variations where they are known."""
    advantage = baseline.advantage
    assert advantage is not None
    yield Comparison(
        LOG_DENSITY,
        estimate_text(model.negative_log_density),
        estimate_text(baseline.negative_log_density),
        sign_that_matters(advantage.value, advantage.standard_error, LOG_DENSITY_MARGIN),
    )
    ours, theirs = model.total_variation, baseline.total_variation
    if ours is not None and theirs is not None:
        sign = sign_that_matters(ours.value - theirs.value, _error(ours, theirs), TOTAL_VARIATION_MARGIN)
        yield Comparison(TOTAL_VARIATION, estimate_text(ours), estimate_text(theirs), sign)


def best_of(baselines: Sequence[ModelScores]) -> ModelScores:
    """Return the baseline with the highest log-density of unseen rows."""
    return max(baselines, key=lambda baseline: baseline.advantage.value if baseline.advantage else 0.0)


def decide(model: ModelScores, baselines: Sequence[ModelScores]) -> tuple[str, ModelScores]:
    """Return which of the model and its baselines, at least one, to use and why, in words; and the recommended one."""
    best = best_of(baselines)
    rows, densities = list(compare_rows(model, best)), list(compare_densities(model, best))
    by_rows, by_densities = _decided(rows), _decided(densities)
    names = {1: best.name, -1: "the diffusion model"}
    speed = _speed(model, best)
    if by_rows * by_densities < 0:
        chosen = best if by_rows > 0 else model
        words = (
            f"To draw rows, use {names[by_rows]}: {_reasons(rows, by_rows, best)}{speed if by_rows > 0 else ''}. "
            f"To score rows, use {names[by_densities]}: {_reasons(densities, by_densities, best)}."
        )
    elif by_rows or by_densities:
        winner = by_rows or by_densities
        chosen = best if winner > 0 else model
        reasons = [_reasons(group, winner, best) for group, by in ((densities, by_densities), (rows, by_rows)) if by]
        words = f"Use {names[winner]}: {', and '.join(reasons)}{speed if winner > 0 else ''}."
    else:
        chosen = best
        words = (
            f"Use {best.name}, the simpler model: no statistic in this report shows a difference that matters between "
            f"it and the diffusion model{speed}."
        )
    against = [
        f"{case.name} ({case.values(-by)})"
        for group, by in ((rows, by_rows), (densities, by_densities))
        if by
        for case in group
        if case.favours == -by
    ]
    if against:
        words += f" Against this: {', '.join(against)}."
    return words, chosen


def _error(ours: Figure | Estimate, theirs: Figure | Estimate) -> float:
    return math.hypot(ours.standard_error, theirs.standard_error)


def _decided(group: Sequence[Comparison]) -> int:
    return next((comparison.favours for comparison in group if comparison.favours), 0)


def _reasons(group: Sequence[Comparison], winner: int, best: ModelScores) -> str:
    """Return why the winner is better by the statistics of a group: a clause that begins with "it" or "its"."""
    lead, *others = [comparison for comparison in group if comparison.favours == winner]
    loser = "the diffusion model" if winner > 0 else best.name
    if lead.name == LOG_DENSITY:
        assert best.advantage is not None
        amount = with_error(abs(best.advantage.value), best.advantage.standard_error)
        clause = f"it gives unseen rows {amount} nats per row more log-density than {loser}"
    elif lead.name == C2ST:
        clause = f"its rows are harder to tell from real rows than those of {loser}"
    elif lead.name == TOTAL_VARIATION:
        clause = (
            f"its probabilities are closer to the true ones than those of {loser} ({_lowered(lead.name)} "
            f"{lead.values(winner)})"
        )
    else:
        clause = f"its rows are closer to real rows than those of {loser} ({_lowered(lead.name)} {lead.values(winner)})"
    if others:
        clause += f" (also better by: {', '.join(_lowered(other.name) for other in others)})"
    return clause


def _lowered(name: str) -> str:
    return name if name.startswith("C2ST") else name[:1].lower() + name[1:]


def _speed(model: ModelScores, baseline: ModelScores) -> str:
    if model.fit_seconds is None or baseline.fit_seconds is None or model.fit_seconds < 1.5 * baseline.fit_seconds:
        return ""
    times = model.fit_seconds / max(baseline.fit_seconds, 1e-3)
    ratio = f"{times:.1f}" if times < 3 else f"{times:,.0f}"
    return f"; it is fitted {ratio} times faster ({seconds(baseline.fit_seconds)})"
