"""The report's tables: from the records of `assess` and the model to rows of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backwalk.assess import Contender, Fidelity
from backwalk.assess.statistics import C2ST
from backwalk.assess.words import column_name, seconds, significant, with_error
from backwalk.diffusion import evenly_spaced
from backwalk.evaluation import Estimate, Figure
from backwalk.evaluation.rows import Rows
from backwalk.model import DiffusionModel
from backwalk.report.words import DENSITIES, EXPLANATIONS, VARIANCES
from backwalk.t_quantile import student_quantile
from backwalk.table import Schema

Row = dict[str, Any]

_ALL_STEPS = 120  # a schedule of no more is tabulated whole
_SOME_STEPS = 20


@dataclass(frozen=True)
class NatsPoint:
    """One model of the network: its −log p or the bound on it, and the row-paired excess over the truth, if known."""

    name: str
    explanation: str
    nats: Estimate
    gap: Estimate | None


def tiles(fidelity: Fidelity) -> list[Row]:
    """Return the few numbers that stand at the top of the page."""
    figure, own = fidelity.model.figure(C2ST), fidelity.model.negative_log_density
    bound = fidelity.bound
    found: list[Row] = [
        {
            "name": "A classifier is right in",
            "value": with_error(figure.value, figure.standard_error, percent=True),
            "note": f"real against real: {with_error(figure.null, figure.null_standard_error, percent=True)}",
        },
        {
            "name": "−log p of an unseen row",
            "value": with_error(own.value, own.standard_error),
            "note": f"nats; {DENSITIES[fidelity.model.density_of]}",
        },
        {
            "name": "The chain's bound",
            "value": with_error(bound.total, bound.total_standard_error),
            "note": "nats per row, from above",
        },
    ]
    if fidelity.model.gap is not None:
        gap = fidelity.model.gap
        found.append(
            {
                "name": "Gap to the truth",
                "value": with_error(gap.value, gap.standard_error),
                "note": f"nats per row; {DENSITIES[fidelity.model.density_of]}",
            }
        )
    return found


def figure_rows(fidelity: Fidelity) -> list[Row]:
    """Return a row per statistic: its null, and each contender's value with the difference from the null."""
    rows: list[Row] = []
    for figure in fidelity.model.figures:
        percent = figure.unit in ("accuracy", "share of real rows")
        cells = [_figure_cell(contender.figure(figure.name), percent) for contender in fidelity.contenders]
        rows.append(
            {
                "name": figure.name,
                "explanation": EXPLANATIONS[figure.name],
                "null": with_error(figure.null, figure.null_standard_error, percent=percent),
                "cells": cells,
            }
        )
    return rows


def nats_rows(fidelity: Fidelity) -> list[Row]:
    """Return a row per contender: its log-density beside the others', and what it costs."""
    return [
        {
            "name": contender.name,
            "explanation": DENSITIES[contender.density_of],
            "cells": _nats_cells(contender, truth_known=fidelity.entropy is not None),
        }
        for contender in fidelity.contenders
    ]


def bound_rows(fidelity: Fidelity) -> list[Row]:
    """Return a row a model that the network stands for: the ODE's density, the chain's bound, and shorter chains'."""
    return [
        {
            "name": point.name,
            "explanation": point.explanation,
            "cells": [_estimate(some) for some in (point.nats, point.gap) if some is not None],
        }
        for point in nats_points(fidelity)
    ]


def nats_points(fidelity: Fidelity) -> list[NatsPoint]:
    """Return every model that the network stands for, with its nats and its excess over the truth."""
    own, terms = fidelity.model, fidelity.bound
    note = f"−log p itself; solver error {significant(fidelity.ode_solver_error, 2)} nats"
    if fidelity.ode_probe_error:
        note += f"; of the error, {significant(fidelity.ode_probe_error, 2)} is the probes'"
    whole = Estimate(terms.total, terms.total_standard_error, terms.n_rows)
    points = [
        NatsPoint("Probability-flow ODE", note, own.negative_log_density, own.gap),
        NatsPoint("The model's chain", f"{len(terms.transitions) - 1:,} steps", whole, fidelity.bound_gap),
    ]
    for chain in fidelity.other_chains:
        name, note = VARIANCES[chain.reverse_variance]
        note = f"{chain.n_steps:,} steps, the best of the chain's for fitted σ²; {note}"
        points.append(NatsPoint(name, note, chain.bound, chain.gap))
    if fidelity.textbook_chain is not None:
        textbook = fidelity.textbook_chain
        note = f"{textbook.n_steps} steps, β from 0.001 to 0.02, σ² = β; with this model's network"
        points.append(NatsPoint("The course notebook's chain", note, textbook.bound, textbook.gap))
    return points


def column_rows(data: Rows, generated: Rows, fidelity: Fidelity, schema: Schema, columns: Sequence[int]) -> list[Row]:
    """Return a row per column: its data and its generated values in numbers."""
    rows: list[Row] = []
    for j, figure in zip(columns, fidelity.columns[: len(columns)], strict=True):
        x, y = data[:, j], generated[:, j]
        numbers = [significant(float(v)) for of in (x, y) for v in (of.mean(), of.std(), of.min(), of.max())]
        beyond = with_error(figure.difference, figure.difference_standard_error)
        rows.append({"name": column_name(schema, j), "cells": [*numbers, beyond]})
    return rows


def memory_lines(fidelity: Fidelity) -> list[str]:
    """Return what is known about copies of training rows; nothing where the training rows were not given."""
    lines = []
    if fidelity.nearest_row_share is not None:
        share = fidelity.nearest_row_share
        lines.append(
            f"{with_error(share.value, share.standard_error, percent=True)} of generated rows lie nearer to a training "
            f"row than to any of equally many unseen rows. Without any copying it would be "
            f"{with_error(0.5, 0.5 / share.n**0.5, percent=True)} by the luck of the draw; the ± beside the share also "
            "counts which real rows happened to be at hand."
        )
    if fidelity.training_gain is not None:
        gain = fidelity.training_gain
        lines.append(
            f"Unseen rows cost {with_error(gain.value, gain.standard_error)} nats per row more than training rows (the "
            "bound of a chain of 50 steps, the same noise for both). 0 is a model that has learnt the density and not "
            "the rows."
        )
    return lines


def schedule_rows(model: DiffusionModel) -> list[list[Any]]:
    """Return t, beta, alpha, alpha_bar, sigma_sq and log-SNR: of every step, or of about 20 where there are many."""
    schedule, n = model.schedule, model.schedule.n_steps
    times = range(1, n + 1) if n <= _ALL_STEPS else [1, *evenly_spaced(n, _SOME_STEPS)]
    arrays = (schedule.beta, schedule.alpha, schedule.alpha_bar, model.sigma_sq.double(), schedule.log_snr)
    return [[t, *(significant(float(array[t])) for array in arrays)] for t in times]


def card_rows(model: DiffusionModel) -> list[tuple[str, str]]:
    """Return the model card, nested settings flattened.

    Where the clock ended the training, the plan's greatest number of steps is left out, which says nothing.
    """
    by_clock = model.card.get("parameters", {}).get("max_time") is not None
    return [row for row in _flattened(model.card, "") if not (by_clock and row[0] == "training: max steps")]


def _flattened(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, {"settings": "", "versions": "version of "}.get(key, f"{prefix}{key}: "))
        else:
            yield f"{prefix}{key}".replace("_", " "), "–" if value is None else str(value)


def _figure_cell(figure: Figure, percent: bool) -> Row:
    difference = with_error(figure.difference, figure.difference_standard_error, percent=percent)
    sign = "+" if figure.difference > 0 else ""
    return {
        "value": with_error(figure.value, figure.standard_error, percent=percent),
        "difference": sign + difference,
        "shown": abs(figure.difference) > student_quantile(figure.n_pairs - 1) * figure.difference_standard_error,
    }


def _nats_cells(contender: Contender, *, truth_known: bool) -> list[str]:
    cells = [_estimate(contender.negative_log_density), _estimate(contender.advantage, signed=True)]
    if truth_known:
        cells += [_estimate(contender.gap), _estimate(contender.total_variation)]
    fit = "–" if contender.fit_seconds is None else seconds(contender.fit_seconds)
    return [*cells, fit, seconds(contender.sample_seconds)]


def _estimate(estimate: Estimate | None, *, signed: bool = False) -> str:
    if estimate is None:
        return "–"
    sign = "+" if signed and estimate.value > 0 else ""
    return sign + with_error(estimate.value, estimate.standard_error)
