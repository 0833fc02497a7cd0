"""The record of an assessment: figures with their errors, for the report, the terminal and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from backwalk.assess.columns import ColumnScores
from backwalk.assess.copies import CopyScores
from backwalk.assess.density import DensityScores
from backwalk.assess.levels import PredictionScores
from backwalk.assess.model_scores import ModelScores
from backwalk.assess.posteriors import PosteriorScores
from backwalk.assess.rows import C2ST, RowScores
from backwalk.assess.sets import RowChecks
from backwalk.formatting import as_json, html_table
from backwalk.model import DiffusionModel, short_training
from backwalk.report.words import estimate_text, percent
from backwalk.table import Schema

VERSION = 8


@dataclass(frozen=True)
class Answer:
    """A question of somebody who decides, and the answer of the figures."""

    question: str
    text: str


@dataclass(frozen=True, repr=False)
class Calibration:
    """Whether a model's posteriors given declared data are calibrated: answers, warnings and numbers.

    `Diffusion.assess` returns it for a model with an embedding.

    Parameters
    ----------
    answers : tuple of Answer
        Questions, and their answers in words.
    code : str
        Python to copy for the recommended model.
    checks : RowChecks
        Checks of the scored rows.
    posteriors : PosteriorScores or None
        The calibration of posteriors; None without declared data.
    warnings : tuple of str
        What is wrong, by how much, and what to do.

    See Also
    --------
    Fidelity : The record of a model without an embedding.
    assess : The function that makes it.

    Examples
    --------
    >>> from backwalk.assess import Calibration, Fidelity
    >>> issubclass(Fidelity, Calibration)
    True
    """

    answers: tuple[Answer, ...]
    code: str
    checks: RowChecks
    posteriors: PosteriorScores | None
    warnings: tuple[str, ...]

    @property
    def questions(self) -> tuple[Any, ...]:
        """The questions that have scores, each with `warnings` and a `section`, in the order of the page."""
        return () if self.posteriors is None else (self.posteriors,)

    def lines(self) -> list[str]:
        """Return the answers and the warnings as lines of text, for a terminal.

        Returns
        -------
        list of str
            The lines.
        """
        answers = [f"{answer.question} {answer.text}" for answer in self.answers]
        return [*answers, *(["Before you use it:"] if self.warnings else []), *(f"- {each}" for each in self.warnings)]

    def __repr__(self) -> str:
        """Return the leading figures and the number of warnings; `lines` has the answers."""
        n = len(self.warnings)
        return f"{type(self).__name__}({self._figures()}; {n} warning{'' if n == 1 else 's'})"

    def _figures(self) -> str:
        """Return the leading figures in a few words."""
        if self.posteriors is None:
            return f"{self.checks.n_unseen:,} unseen rows"
        curve = self.posteriors.expected_coverage
        limit = f"that of exact posteriors by less than {percent(curve.limit)} in 95 % of cases"
        return f"{self.posteriors.n_pairs:,} unseen rows: coverage off by up to {percent(curve.deviation)}, {limit}"

    def _repr_html_(self) -> str:
        """Return the answers and the warnings as a table, for notebooks."""
        rows = [(answer.question, answer.text) for answer in self.answers]
        warnings = [("Before you use it:" if i == 0 else "", text) for i, text in enumerate(self.warnings)]
        return html_table(f"{type(self).__name__}: {self._figures()}", [], [*rows, *warnings])

    def to_dict(self) -> dict[str, Any]:
        """Return everything but rows as JSON values.

        Returns
        -------
        dict
            The record. A number that is not finite becomes None.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: value.to_dict() if hasattr(value, "to_dict") else value for name, value in values.items()}
        return dict(as_json({"version": VERSION, **plain}))


@dataclass(frozen=True, repr=False)
class Fidelity(Calibration):
    """How faithful a model is: answers, warnings, and the numbers behind them by question.

    `Diffusion.assess` returns it.

    Parameters
    ----------
    answers : tuple of Answer
        Questions, and their answers in words.
    code : str
        Python to copy for the recommended model.
    checks : RowChecks
        Checks of the scored rows.
    posteriors : PosteriorScores or None
        The calibration of posteriors; None without declared data.
    warnings : tuple of str
        What is wrong, by how much, and what to do.
    model : ModelScores
        The scores of the diffusion model.
    baselines : tuple of ModelScores
        Those of the baselines.
    rows : RowScores
        The rows that are compared, `real` and `generated`, and where they come from.
    columns : ColumnScores
        A figure for each column that varies, and the associations of pairs.
    density : DensityScores
        Log-densities, in nats per row.
    levels : PredictionScores or None
        The predictions of columns given others; None without a table of levels or gaps whose model takes any
        conditions, and without a target.
    copies : CopyScores or None
        What the model gives away of its training rows; None without these.

    See Also
    --------
    assess : The function that makes it.
    Calibration : The record of a model with an embedding.

    Examples
    --------
    >>> from dataclasses import fields
    >>> from backwalk.assess import Fidelity
    >>> [field.name for field in fields(Fidelity)][:5]
    ['answers', 'code', 'checks', 'posteriors', 'warnings']
    """

    model: ModelScores
    baselines: tuple[ModelScores, ...]
    rows: RowScores
    columns: ColumnScores
    density: DensityScores
    levels: PredictionScores | None
    copies: CopyScores | None

    @property
    def models(self) -> tuple[ModelScores, ...]:
        """The diffusion model, then the baselines."""
        return (self.model, *self.baselines)

    @property
    def questions(self) -> tuple[Any, ...]:
        """The questions that have scores, each with `warnings` and a `section`, in the order of the page."""
        scored = (self.rows, self.columns, self.density, self.levels, self.copies, self.posteriors)
        return tuple(question for question in scored if question is not None)

    def _figures(self) -> str:
        accuracy, null, _ = self.model.figure(C2ST).texts()
        log_density = estimate_text(self.model.negative_log_density)
        return f"{self.checks.n_unseen:,} unseen rows: C2ST {accuracy} (null {null}), -log p {log_density} nats"


def collect_warnings(model: DiffusionModel, record: Calibration) -> Iterator[str]:
    """Yield the warnings about rows, the fit and all questions: what is wrong, by how much, and what to do."""
    schema: Schema = model.schema
    yield from record.checks.warnings()
    card = model.card
    if short := short_training(model.history.n_steps, card.get("stopped_by", ""), card.get("last_gain", 0.0)):
        yield f"Training was {short}. Fit again with a larger max_time."
    for question in record.questions:
        yield from question.warnings(schema)
