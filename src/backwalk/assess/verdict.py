"""The headline: which model to use, in words, from the figures and their errors alone.

Two things are asked of the model and of the best simple baseline: the log-density of unseen rows, and how well a
classifier tells generated rows from real ones. A difference counts when it exceeds two standard errors (of few pairs,
as many as Student's t asks for) and is large enough to matter. Where no difference counts, the simpler and faster model
is advised: that is what a friend would say.
"""

from __future__ import annotations

from backwalk.assess.fidelity import Contender
from backwalk.assess.statistics import C2ST
from backwalk.assess.words import seconds, with_error
from backwalk.evaluation import Estimate
from backwalk.t_quantile import student_quantile

NATS_THAT_MATTER = 0.01
ACCURACY_THAT_MATTERS = 0.003


def verdict(
    model: Contender, baselines: tuple[Contender, ...], entropy: float | None, *, could_have_more: bool = False
) -> tuple[str, Contender]:
    """Return the verdict in words, and the contender that it advises.

    `could_have_more`: there would be baselines, had the rows of the fit been given.
    """
    if not baselines:
        how = ": for that, give the rows of the fit (--training FILE, or training=X)" if could_have_more else ""
        hint = f"No baseline was fitted beside it{how}."
        return f"{_against_real(model, 'The diffusion model')} {hint}", model
    rival = max(baselines, key=lambda baseline: baseline.advantage.value if baseline.advantage else 0.0)
    assert rival.advantage is not None
    nats = _sign(rival.advantage, NATS_THAT_MATTER)  # +1: for the rival
    pairs = model.figure(C2ST).n_pairs
    rows = _sign(_classifier_difference(model, rival), ACCURACY_THAT_MATTERS, student_quantile(pairs - 1))
    difference = with_error(rival.advantage.value, rival.advantage.standard_error)
    amount = with_error(abs(rival.advantage.value), rival.advantage.standard_error)
    if nats == 0 and rows == 0:
        chosen = rival
        words = (
            f"Use {rival.name}: no difference that matters from the diffusion model can be shown, neither in nats (its "
            f"log-density less the diffusion model's: {difference} per row) nor by a classifier{_speed(model, rival)}."
        )
    elif nats >= 0 and rows >= 0:
        chosen = rival
        gains = [f"it gives unseen rows {amount} nats per row more density than the diffusion model"] * (nats > 0)
        gains += ["its rows are harder to tell from real ones"] * (rows > 0)
        words = f"Use {rival.name}: {' and '.join(gains)}{_speed(model, rival)}."
    elif nats <= 0 and rows <= 0:
        chosen = model
        gains = [f"it gives unseen rows {amount} nats per row more density than {rival.name}, the best baseline,"] * (
            nats < 0
        )
        gains += [f"its rows are harder to tell from real ones than those of {rival.name}"] * (rows < 0)
        words = f"Use the diffusion model: {' and '.join(gains).rstrip(',')}."
    elif rows < 0:
        chosen = model
        words = (
            f"To draw rows, use the diffusion model: they are harder to tell from real ones than those of "
            f"{rival.name}. To score rows, use {rival.name}: it gives unseen rows {amount} nats per row more density "
            "than the diffusion model."
        )
    else:
        chosen = rival
        words = (
            f"To draw rows, use {rival.name}: they are harder to tell from real ones{_speed(model, rival)}. To score "
            f"rows, use the diffusion model: it gives unseen rows {amount} nats per row more density."
        )
    subject = "The diffusion model" if chosen is model else chosen.name
    return f"{words} {_against_real(chosen, subject)}{_below_truth(chosen, entropy)}", chosen


def _against_real(contender: Contender, subject: str) -> str:
    figure = contender.figure(C2ST)
    found = with_error(figure.value, figure.standard_error, percent=True)
    null = with_error(figure.null, figure.null_standard_error, percent=True)
    return f"{subject} against real rows: a classifier is right in {found} of cases; between two real sets, in {null}."


def _below_truth(contender: Contender, entropy: float | None) -> str:
    if entropy is None or contender.gap is None:
        return ""
    gap = with_error(contender.gap.value, contender.gap.standard_error)
    return f" Its gap to the true log-density, 0 at best, is {gap} nats per row."


def _classifier_difference(model: Contender, rival: Contender) -> Estimate:
    ours, theirs = model.figure(C2ST), rival.figure(C2ST)
    # Both nulls are the same number, and cancel; what the pairs have in common is not subtracted: on the wide side.
    error = (ours.standard_error**2 + theirs.standard_error**2) ** 0.5
    return Estimate(ours.value - theirs.value, error, ours.n_rows * ours.n_pairs)


def _sign(difference: Estimate, least: float, errors: float = 2.0) -> int:
    counts = abs(difference.value) > max(least, errors * difference.standard_error)
    return int(counts) * (1 if difference.value > 0 else -1)


def _speed(model: Contender, rival: Contender) -> str:
    if model.fit_seconds is None or rival.fit_seconds is None or model.fit_seconds < 1.5 * rival.fit_seconds:
        return ""
    times = model.fit_seconds / max(rival.fit_seconds, 1e-3)
    ratio = f"{times:.1f}" if times < 3 else f"{times:,.0f}"
    return f", and it is fitted {ratio} times faster ({seconds(rival.fit_seconds)})"
