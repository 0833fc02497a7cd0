"""The section of the bound: term by term, and beside the densities and bounds of other models of the same network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backwalk.assess.words import estimate_text, minus, significant, with_error
from backwalk.diffusion import BoundTerms
from backwalk.estimates import Estimate, Rows
from backwalk.report.blocks import Context, Heading, Picture, Pictures, Row, Section, Table, Text
from backwalk.report.sections.likelihood import entropy_text
from backwalk.report.sections.schedule import finish_over_steps
from backwalk.report.style import BLUE, GREEN, INK, ORANGE, RED, axes_or_new, finish, literal, panels, styled

_MOST_WITH_ERRORS = 60  # steps
_FAR = 4.0  # times the spread of the other values: a value beyond is drawn at the edge of the axis


def bound_section(context: Context) -> Section:
    """Show the bound term by term, and the densities and bounds of other models with the same network."""
    likelihood = context.fidelity.likelihood
    terms, entropy = likelihood.bound, likelihood.entropy
    words = (
        f"The −log p of an unseen row under the chain is at most {with_error(terms.total, terms.total_standard_error)} "
        f"nats on average ({terms.n_rows:,} rows). This bound adds what is lost at the start (prior), in the steps 2 "
        f"to {context.model.schedule.n_steps:,} (transitions) and in the last step to clean data (reconstruction; "
        "negative where data are concentrated)."
    )
    if likelihood.bound_gap is not None:
        words += f" It lies {estimate_text(likelihood.bound_gap)} nats above the −log p of the true density."
    cases = list(_network_models(context))
    rows = [
        Row.of(name, estimate_text(nats), *([] if entropy is None else [estimate_text(gap)]), explanation=explanation)
        for name, explanation, nats, gap in cases
    ]
    head = ["Model", "−log p of unseen rows, or its bound, nats per row"]
    if entropy is not None:
        rows.insert(0, Row.of("The truth", entropy_text(context.fidelity), "0", explanation="its entropy"))
        head.append("Gap to the truth")
    names = [name for name, *_ in cases]
    truth = None if entropy is None else (entropy, likelihood.entropy_standard_error or 0.0)
    nats = plot_nats(names, [(nats.value, nats.standard_error) for _, _, nats, _ in cases], truth=truth)
    pictures = [Picture.of(nats, "The ODE's -log p and the chains' bounds, with errors, beside the entropy")]
    gaps = [(gap.value, gap.standard_error) for *_, gap in cases if gap is not None]
    if gaps:
        figure = plot_nats(names, gaps, truth=(0.0, 0.0), truth_name="the truth", title="Gap to the truth")
        pictures.append(Picture.of(figure, "The gap of each to the truth, with errors"))
    of_terms = [
        Picture.of(plot_bound_parts(terms, entropy=entropy), "The parts of the bound"),
        Picture.of(plot_transitions(terms), "The transition terms against t"),
    ]
    on_models = (
        "The same network gives a density by its ODE, and a bound for any chain, with any steps and any reverse "
        f"variance. All are evaluated at the same {terms.n_rows:,} unseen rows, and gaps are taken row by row."
    )
    blocks = [
        Text(words),
        Pictures(of_terms),
        Heading("One network, several models"),
        Text(on_models),
        Pictures(pictures),
        Table(head, rows),
    ]
    return Section("The bound, term by term", blocks)


def _network_models(context: Context) -> Iterator[tuple[str, str, Estimate, Estimate | None]]:
    """Yield the models of the network: a name, an explanation, −log p or its bound, and the gap to the truth."""
    scores, likelihood = context.fidelity.model, context.fidelity.likelihood
    terms = likelihood.bound
    note = f"−log p itself; error of the solver {significant(likelihood.ode_solver_error, 2)} nats"
    if likelihood.ode_probe_error:
        error = significant(likelihood.ode_probe_error, 2)
        note += f", part of random probes and places in the standard error {error}"
    yield "Probability-flow ODE", note, scores.negative_log_density, scores.gap
    whole = Estimate(terms.total, terms.total_standard_error, terms.n_rows)
    yield "The model's chain", f"{len(terms.transitions) - 1:,} steps", whole, likelihood.bound_gap


@styled()
def plot_bound(terms: BoundTerms, *, entropy: float | None = None) -> Figure:
    """Draw the parts of the bound as they add up to the total, and the transition terms step by step.

    `entropy`, in nats, is drawn beside the total: no model can lie below it on average.
    """
    figure, axes = panels(2, width=4.9, height=3.5, ratios=[1.0, 1.35])
    plot_bound_parts(terms, entropy=entropy, ax=axes[0])
    plot_transitions(terms, ax=axes[1])
    return figure


@styled()
def plot_bound_parts(terms: BoundTerms, *, entropy: float | None = None, ax: Axes | None = None) -> Figure:
    """Draw prior, transitions and reconstruction as they add up to the bound, into `ax` or a new figure.

    Each part starts where the previous one ends, and the last bar is their sum.
    """
    ax = axes_or_new(ax, height=3.5)
    transitions = float(terms.transitions.sum())
    parts = [("prior", terms.prior, ORANGE), ("transitions", transitions, BLUE)]
    parts += [("reconstruction", terms.reconstruction, GREEN), ("bound", terms.total, INK)]
    base, tops = 0.0, [0.0, terms.total]
    for k, (_, height, color) in enumerate(parts):
        start = 0.0 if k == 3 else base
        ax.bar(k, height, 0.62, bottom=start, color=color, alpha=0.55 if k == 3 else 1.0)
        base = start + height
        tops.append(base)
        if k < 3:
            ax.plot([k - 0.31, k + 1.31], [base, base], color=INK, linewidth=0.7)
        ax.annotate(
            minus(f"{height:.3f}"),
            (k, max(start, base)),
            xytext=(0, 3 if k < 3 else 10),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
        )
    ax.errorbar(3, terms.total, yerr=2 * terms.total_standard_error, color=INK, capsize=4, linewidth=1.6)
    if entropy is not None:
        ax.plot([2.5, 3.5], [entropy, entropy], color=RED, linewidth=2.4, label=f"entropy, {entropy:.3f}")
        ax.legend(loc="upper right")
    ax.axhline(0.0, color=INK, linewidth=0.8)
    ax.set_xticks(range(4), [name for name, _, _ in parts])
    room = 0.16 * (max(tops) - min(tops))
    ax.set_ylim(min(tops) - (room if min(tops) < 0 else 0.0), max(tops) + room)
    ax.set_ylabel("nats per row")
    return finish(ax, "The parts of the bound")


@styled()
def plot_transitions(terms: BoundTerms, *, ax: Axes | None = None) -> Figure:
    """Draw the transition terms L_{t-1} against t."""
    ax = axes_or_new(ax, height=3.5)
    values, errors = terms.transitions[2:].numpy(), terms.transitions_standard_error[2:].numpy()
    t = np.arange(2, len(values) + 2)
    ax.stairs(values, np.arange(1.5, len(values) + 2), fill=True, color=BLUE, alpha=0.85, linewidth=0)
    if len(values) <= _MOST_WITH_ERRORS:
        ax.errorbar(t, values, yerr=2 * errors, fmt="none", ecolor=INK, elinewidth=0.9)
    ax.set_ylim(bottom=0.0 if (values >= 0.0).all() else None)
    ax.set_ylabel("nats per row")
    return finish_over_steps(ax, "Transitions, step by step")


@styled()
def plot_nats(
    names: Sequence[str],
    nats: Sequence[tuple[float, float]],
    *,
    truth: tuple[float, float] | None = None,
    truth_name: str = "entropy",
    title: str = "−log p, or its bound",
    ax: Axes | None = None,
) -> Figure:
    """Draw nats per row, one name below the other, as points with bars of two standard errors, beside the truth.

    `nats` holds a value and its standard error for each name, and so does `truth`, which is drawn as a line: the
    entropy, or 0 for gaps. Gaps have a scale that is linear up to 0.01 and logarithmic beyond. On a linear scale,
    values far above all others are arrows at its right end. The values stand on the right; infinite ones are left out.
    """
    shown = [(name, *pair) for name, pair in zip(names, nats, strict=True) if np.isfinite(pair[0])]
    ax = axes_or_new(ax, width=5.6, height=1.55 + 0.3 * len(shown))
    places = np.arange(len(shown))[::-1]
    values, errors = (np.array([point[i] for point in shown]) for i in (1, 2))
    errors = np.where(np.isfinite(errors), errors, 0.0)
    is_gap = truth is not None and truth[0] == 0.0
    far = np.zeros(len(shown), dtype=bool) if is_gap else _far_off(values, [] if truth is None else [truth[0]])
    ax.errorbar(
        values[~far], places[~far], xerr=2 * errors[~far], fmt="o", color=BLUE, markersize=5, capsize=3, linewidth=1.4
    )
    unit = "nats per row, ± two standard errors"
    if far.any():
        edge = ax.get_xlim()[1]
        ax.plot(np.full(far.sum(), edge), places[far], ">", color=BLUE, markersize=7, clip_on=False)
        ax.set_xlim(right=edge)
        unit = f"{unit}; ▸ beyond this axis"
    if truth is not None:
        _draw_truth(ax, *truth, truth_name, top=len(shown) - 0.4)
    ax.set_yticks(places, [literal(name) for name, _, _ in shown])
    ax.set_ylim(-0.6, len(shown) - (0.4 if truth is None else 0.0))
    if is_gap:
        ax.set_xscale("symlog", linthresh=0.01)
        ax.set_xlim(min([-0.005, *(values - 2.5 * errors)]), 1.8 * max([0.01, *(values + 2 * errors)]))
    numbers = ax.secondary_yaxis("right")
    numbers.set_yticks(places, [minus(f"{value:.3f}") for value in values])
    numbers.tick_params(length=0, pad=8)
    numbers.spines["right"].set_visible(False)
    ax.set_xlabel(unit)
    return finish(ax, title, grid="x")


def _draw_truth(ax: Axes, value: float, error: float, name: str, *, top: float) -> None:
    """Draw a true value as a line with two standard errors, and its name at the height `top`."""
    ax.axvspan(value - 2 * error, value + 2 * error, color=RED, alpha=0.25, linewidth=0)
    ax.axvline(value, color=RED, linewidth=1.6)
    left, right = ax.get_xlim()
    is_left = value < 0.5 * (left + right)
    ax.annotate(
        literal(f"{name}, {minus(f'{value:.3f}')}" if value else name),
        (value, top),
        xytext=(5 if is_left else -5, 0),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="center",
        fontsize=9,
        color=INK,
    )


def _far_off(values: Rows, others: list[float]) -> np.ndarray:
    """Return which values lie so far above the others that a common linear axis would hide the others' differences."""
    ordered = np.sort(np.concatenate([values, others]))
    for k in range(max(3, len(ordered) // 2), len(ordered)):
        if ordered[k] - ordered[0] > _FAR * (ordered[k - 1] - ordered[0]) > 0.0:
            return np.asarray(values >= ordered[k])
    return np.zeros(len(values), dtype=bool)
