"""The fidelity report: one HTML file that needs nothing else, and the same figures as JSON.

This room only arranges: the numbers are `assess`'s, the pictures `figures`'. Whatever comes from a user (column
names, settings, commands) goes through the template's escaping, and through XML's in pictures, so that markup in it
stays text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike

from backwalk.assess import Fidelity
from backwalk.assess.words import column_name
from backwalk.atomic_files import whole_file
from backwalk.evaluation.rows import Rows
from backwalk.model import DiffusionModel, blur_words, sample_rows
from backwalk.report import figures
from backwalk.report.axes import Bend
from backwalk.report.frames import ChainFrames, chain_frames
from backwalk.report.row_figures import some_rows
from backwalk.report.style import GENERATED, REAL, svg
from backwalk.report.tables import (
    bound_rows,
    card_rows,
    column_rows,
    figure_rows,
    memory_lines,
    nats_points,
    nats_rows,
    schedule_rows,
    tiles,
)
from backwalk.report.words import bound_words, dataset_words, entropy_words, loss_words, prior_words
from backwalk.streams import Stream
from backwalk.table import Codec, Schema

_MOST_COLUMNS = 50  # in the table of columns
_MOST_MARGINALS = 6
_GENERATED_ROWS = 5_000
_STRIP = 6  # frames in the row that stands in where no script runs


def render_report(
    fidelity: Fidelity,
    model: DiffusionModel,
    *,
    data: ArrayLike,
    generated: ArrayLike,
    frames: ChainFrames,
    commands: Sequence[str] = (),
    title: str | None = None,
) -> str:
    """Return the report as one HTML page, which loads nothing from anywhere.

    `data` are the training rows, or the unseen ones where those are not given, (n, d), and `generated` rows of the
    model, (m, d), both in the user's units; `frames` come from `chain_frames`; `commands` are the lines that made all
    this; `title` defaults to the card's description.
    """
    draw = _Pictures(
        model.schema, model.codec, np.asarray(data, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    )
    varying = model.codec.varying  # as those of the figures: see `assess`
    shown = varying[:_MOST_COLUMNS]
    return _ENVIRONMENT.get_template("report.html.j2").render(
        fidelity=fidelity,
        title=title or _capitalised(str(model.card.get("description", "diffusion model"))),
        tiles=tiles(fidelity),
        dataset=dataset_words(draw.data, fidelity, varying),
        clouds=list(draw.clouds(fidelity, varying)),
        marginals=list(draw.marginals(fidelity, varying)),
        columns=column_rows(draw.data, draw.generated, fidelity, model.schema, shown),
        columns_left_out=len(varying) - len(shown),
        figures=figure_rows(fidelity),
        nats=nats_rows(fidelity),
        memory=memory_lines(fidelity),
        levels=list(draw.levels(fidelity)),
        blur=blur_words(model),
        whole=[column_name(model.schema, j) for j, column in enumerate(model.codec.columns) if column.axis.integers],
        entropy=entropy_words(fidelity),
        training=loss_words(model.history),
        loss=list(draw.loss(model)),
        n_steps=model.schedule.n_steps,
        schedule=list(draw.schedule(model)),
        schedule_rows=schedule_rows(model),
        prior=prior_words(fidelity, model.schedule),
        bound=list(draw.bound(fidelity)),
        nats_figures=list(draw.nats(fidelity)),
        bound_rows=bound_rows(fidelity),
        bound_words=bound_words(fidelity, model.schedule),
        frames=frames.for_page(),
        n_frames=len(frames.t),
        drawn=frames.labels,
        one_column=len(varying) == 1,
        scaled=model.codec.is_scaled,
        strips=list(draw.strips(frames)),
        card=card_rows(model),
        commands=list(commands),
    )


def write_report(
    path: str | Path,
    fidelity: Fidelity,
    model: DiffusionModel,
    *,
    data: ArrayLike,
    stream: Stream,
    commands: Sequence[str] = (),
    title: str | None = None,
    json_path: str | Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page of `render_report`, and its numbers as JSON where `json_path` is given: each whole, or not at all.

    `data` are as for `render_report`. The rows and frames that the page shows are drawn here, from
    the stream. Raises OSError where a file cannot be written, FileExistsError where it exists and `overwrite` is False.
    """
    rows = np.asarray(data, dtype=np.float64)
    generated = sample_rows(model, 0, _GENERATED_ROWS, stream=stream.child("generated"))
    drawn = None
    if model.codec.n_encoded > 1:
        i, j = figures.farthest_pair([figure.difference for figure in fidelity.columns])
        drawn = model.codec.varying[i], model.codec.varying[j]
    page = render_report(
        fidelity,
        model,
        data=rows,
        generated=generated,
        frames=chain_frames(model, rows, stream.child("frames"), columns=drawn),
        commands=commands,
        title=title,
    )
    with whole_file(path, overwrite=overwrite) as file:
        file.write(page.encode())
    if json_path is not None:
        record = report_record(fidelity, model, commands)
        with whole_file(json_path, overwrite=overwrite) as file:
            file.write(json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False).encode())


def report_record(fidelity: Fidelity, model: DiffusionModel, commands: Sequence[str] = ()) -> dict[str, Any]:
    """Return what the page says as plain JSON values: the fidelity, the model card and the commands."""
    return {**fidelity.to_dict(), "card": dict(model.card), "commands": list(commands)}


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _unbroken(text: str) -> str:
    """Return text in which a number stays on one line with its error and its unit."""
    return text.replace(" ± ", "\u00a0±\u00a0").replace(" %", "\u00a0%")


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader("backwalk.report"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
)
_ENVIRONMENT.filters["thousands"] = "{:,}".format
_ENVIRONMENT.filters["unbroken"] = _unbroken


@dataclass(frozen=True, eq=False)
class _Pictures:
    """The page's pictures, each an SVG element with a name for those who cannot see it."""

    schema: Schema
    codec: Codec
    data: Rows
    generated: Rows

    def bend(self, column: int) -> Bend | None:
        """Return how a column's axis is bent: not at all, unless it has heavy tails."""
        return self.codec.columns[column].axis.asinh

    def clouds(self, fidelity: Fidelity, columns: Sequence[int]) -> Iterator[Markup]:
        """Yield data and generated rows in turn, for each telling pair of columns."""
        if len(columns) < 2:
            return
        n = min(len(self.data), len(self.generated))
        # Whole numbers on a lattice would hide each other.
        x, y = (
            self.codec.dequantise(some_rows(rows, n), stream=Stream(0).child("clouds", k))[:, columns]
            for k, rows in enumerate((self.data, self.generated))
        )
        distance = np.array([figure.difference for figure in fidelity.columns])
        encoded = self.codec.encode(self.data), self.codec.encode(self.generated)
        for i, j in figures.telling_pairs(*encoded, distance, n_pairs=2 if len(columns) > 2 else 1):
            bends = self.bend(columns[i]), self.bend(columns[j])
            limits = figures.limits_of(x[:, [i, j]], y[:, [i, j]], bends=bends)
            names = (column_name(self.schema, columns[i]), column_name(self.schema, columns[j]))
            for rows, color, title in ((x, REAL, "Data"), (y, GENERATED, "Generated")):
                figure = figures.plot_points(
                    rows[:, [i, j]], title=title, labels=names, limits=limits, color=color, bends=bends
                )
                label = f"{title}: {names[1]} against {names[0]}"
                yield _element(figure, label, f"{title} {i} {j}")

    def marginals(self, fidelity: Fidelity, columns: Sequence[int]) -> Iterator[Markup]:
        """Yield the histograms of the columns that are farthest off, in the table's order."""
        worst = sorted(range(len(columns)), key=lambda k: -fidelity.columns[k].difference)[:_MOST_MARGINALS]
        for k in sorted(worst):
            name = column_name(self.schema, columns[k])
            x, y = self.data[:, columns[k]], self.generated[:, columns[k]]
            whole = self.codec.columns[columns[k]].axis.integers
            figure = figures.plot_marginal(x, y, label=name, bend=self.bend(columns[k]), whole=whole)
            yield _element(figure, f"Histograms of {name}, data and generated", f"marginal {k}")

    def loss(self, model: DiffusionModel) -> Iterator[Markup]:
        """Yield the training loss and, where rows were kept apart, the validation loss."""
        history = model.history
        if history.step:
            figure = figures.plot_training_loss(history.step, history.loss, loss_name=history.loss_name)
            yield _element(figure, "Training loss against step", "loss")
        if history.validation_step:
            figure = figures.plot_validation_loss(
                history.validation_step, history.validation_loss, chosen_step=history.chosen_step
            )
            yield _element(figure, "Validation loss against step", "validation")

    def schedule(self, model: DiffusionModel) -> Iterator[Markup]:
        """Yield the schedule's three pictures."""
        schedule = model.schedule
        yield _element(figures.plot_signal(schedule), "alpha and alpha_bar against t", "signal")
        yield _element(figures.plot_noise(schedule, model.sigma_sq), "beta and sigma squared against t", "noise")
        yield _element(figures.plot_log_snr(schedule), "log-SNR against t", "log-snr")

    def bound(self, fidelity: Fidelity) -> Iterator[Markup]:
        """Yield the bound's parts, and its transitions step by step."""
        parts = figures.plot_bound_parts(fidelity.bound, entropy=fidelity.entropy)
        yield _element(parts, "The parts of the bound", "parts")
        yield _element(figures.plot_transitions(fidelity.bound), "The transition terms against t", "transitions")

    def nats(self, fidelity: Fidelity) -> Iterator[Markup]:
        """Yield the ODE's −log p and the chains' bounds beside the entropy, and their gaps to the truth."""
        points = nats_points(fidelity)
        names = [point.name for point in points]
        entropy = None
        if fidelity.entropy is not None:
            entropy = (fidelity.entropy, fidelity.entropy_standard_error or 0.0)
        figure = figures.plot_nats(
            names, [(point.nats.value, point.nats.standard_error) for point in points], truth=entropy
        )
        yield _element(figure, "The ODE's -log p and the chains' bounds, with errors, beside the entropy", "nats")
        gaps = [point.gap for point in points if point.gap is not None]
        if gaps:
            pairs = [(gap.value, gap.standard_error) for gap in gaps]
            title = "Gap to the truth, row by row"
            figure = figures.plot_nats(names, pairs, truth=(0.0, 0.0), truth_name="the truth", title=title)
            yield _element(figure, "The gap of each to the truth, with errors", "gaps")

    def levels(self, fidelity: Fidelity) -> Iterator[Markup]:
        """Yield what is remembered, level by level, where the training rows are known."""
        if fidelity.training_gain_by_level is not None:
            levels = [level.noise_level for level in fidelity.training_gain_by_level]
            gains = [(level.gain.value, level.gain.standard_error) for level in fidelity.training_gain_by_level]
            yield _element(figures.plot_gain_by_level(levels, gains), "L_simple, unseen minus training rows", "levels")

    def strips(self, frames: ChainFrames) -> Iterator[tuple[str, Markup]]:
        """Yield a name and a few frames of the chain in a row, forward and then backward."""
        kept = [round(i) for i in np.linspace(0, len(frames.t) - 1, min(_STRIP, len(frames.t)))]
        limits = figures.limits_of(frames.forward.reshape(-1, 2), frames.backward.reshape(-1, 2))
        for name, clouds, color in (
            ("Forward", frames.forward, REAL),
            ("Backward", frames.backward, GENERATED),
        ):
            captions = [f"t = {frames.t[k]:.0f}" for k in kept]
            figure = figures.plot_chain([clouds[k] for k in kept], captions=captions, color=color, limits=limits)
            yield name, _element(figure, f"{name}: the chain from data to noise", f"strip {name}")


def _element(figure: Any, label: str, salt: str) -> Markup:
    return Markup(svg(figure, label=label, salt=salt))
