"""The verdict: which model to use, in words, from the figures and their errors.

The model is compared with its best baseline, the one with the highest log-density of unseen rows. The statistics of
generated rows decide which of the two to draw rows from, the densities which of the two to score rows with. Of the
statistics the first whose difference matters decides, and the verdict names those that disagree. If no difference
matters, the verdict recommends the baseline, as it is the simpler and faster model.
"""

from __future__ import annotations

from collections.abc import Sequence

from backwalk.assess.density import density_favours
from backwalk.assess.model_scores import ModelScores
from backwalk.assess.rows import C2ST
from backwalk.assess.statistics import Figure
from backwalk.report.words import seconds, with_error


def best_of(baselines: Sequence[ModelScores]) -> ModelScores:
    """Return the baseline with the highest log-density of unseen rows."""
    return max(baselines, key=lambda baseline: baseline.advantage.value if baseline.advantage else 0.0)


def decide(model: ModelScores, baselines: Sequence[ModelScores]) -> tuple[str, ModelScores]:
    """Return which of the model and its baselines, at least one, to use and why, in words; and the recommended one."""
    best = best_of(baselines)
    # 1 favours the baseline, -1 the model.
    signs = {figure: figure.against(best.figure(figure.name)) for figure in model.figures}
    by_rows, by_density = next(filter(None, signs.values()), 0), density_favours(best)
    names = {1: best.name, -1: "the diffusion model"}
    faster = _speed(model, best)
    of_density = _density_reason(best, names[-by_density]) if by_density else ""
    of_rows = _row_reason(signs, best, by_rows, names[-by_rows]) if by_rows else ""
    if by_rows * by_density < 0:
        chosen = best if by_rows > 0 else model
        words = f"To draw rows, use {names[by_rows]}: {of_rows}{faster if by_rows > 0 else ''}. "
        words += f"To score rows, use {names[by_density]}: {of_density}."
    elif by_rows or by_density:
        winner = by_rows or by_density
        chosen = best if winner > 0 else model
        reasons = ", and ".join(reason for reason in (of_density, of_rows) if reason)
        words = f"Use {names[winner]}: {reasons}{faster if winner > 0 else ''}."
    else:
        chosen = best
        words = (
            f"Use {best.name}, the simpler model: no statistic in this report shows a difference that matters between "
            f"it and the diffusion model{faster}."
        )
    against = [
        f"{figure.name} ({_values(figure, best, -by_rows)})" for figure, sign in signs.items() if sign * by_rows < 0
    ]
    if against:
        words += f" Against this: {', '.join(against)}."
    return words, chosen


def _density_reason(best: ModelScores, loser: str) -> str:
    assert best.advantage is not None
    amount = with_error(abs(best.advantage.value), best.advantage.standard_error)
    return f"it gives unseen rows {amount} nats per row more log-density than {loser}"


def _row_reason(signs: dict[Figure, int], best: ModelScores, winner: int, loser: str) -> str:
    """Return why the winner's rows are better: a clause that begins with "its"."""
    lead, *others = [figure for figure, sign in signs.items() if sign == winner]
    if lead.name == C2ST:
        clause = f"its rows are harder to tell from real rows than those of {loser}"
    else:
        clause = f"its rows are closer to real rows than those of {loser}"
        clause += f" ({_lowered(lead.name)} {_values(lead, best, winner)})"
    if others:
        clause += f" (also better by: {', '.join(_lowered(other.name) for other in others)})"
    return clause


def _values(figure: Figure, best: ModelScores, winner: int) -> str:
    """Return a figure of the model and of the baseline as text, the winner's first."""
    pair = figure.texts()[0], best.figure(figure.name).texts()[0]
    return " against ".join(pair[::-1] if winner > 0 else pair)


def _lowered(name: str) -> str:
    return name if name.startswith("C2ST") else name[:1].lower() + name[1:]


def _speed(model: ModelScores, baseline: ModelScores) -> str:
    if model.fit_seconds is None or baseline.fit_seconds is None or model.fit_seconds < 1.5 * baseline.fit_seconds:
        return ""
    times = model.fit_seconds / max(baseline.fit_seconds, 1e-3)
    ratio = f"{times:.1f}" if times < 3 else f"{times:,.0f}"
    return f"; it is fitted {ratio} times faster ({seconds(baseline.fit_seconds)})"
