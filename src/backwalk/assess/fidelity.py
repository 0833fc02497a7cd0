"""The record of an assessment: figures with their errors, for the report, the terminal and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

from backwalk.assess.statistics import Figure
from backwalk.assess.statistics.downstream import Utility
from backwalk.assess.topics.closeness import C2ST
from backwalk.assess.topics.columns import ColumnScores
from backwalk.assess.topics.conditionals import ConditionalScores
from backwalk.assess.topics.likelihood import LikelihoodScores
from backwalk.assess.topics.membership import MembershipScores
from backwalk.assess.topics.memorisation import MemorisationScores
from backwalk.assess.topics.posteriors import PosteriorScores
from backwalk.assess.topics.rows import RowChecks
from backwalk.assess.words import estimate_text, figure_texts, percent
from backwalk.estimates import Estimate, Rows
from backwalk.formatting import as_json, html_table
from backwalk.model import DiffusionModel, time_limit_words

VERSION = 7
_SOUND_SHARE = 0.5  # of the usual number of training steps


@dataclass(frozen=True)
class ModelScores:
    """The scores of one generative model: of the diffusion model, or of a baseline.

    A `Fidelity` has them as `model` and `baselines`.

    Parameters
    ----------
    name : str
        The name of the model.
    figures : tuple of Figure
        Statistics of generated rows beside their nulls.
    density_of : {"exact", "ode"}
        The density that is scored: "exact" for baselines, "ode" for the diffusion model, the density of its
        probability-flow ODE. It has the solver's error and, beyond 32 coordinates, the noise of random probes, which
        the standard error includes.
    negative_log_density : Estimate
        The mean of -log p over unseen rows, in nats and the user's units.
    advantage : Estimate or None
        The row-paired mean of log p minus the diffusion model's log p; None for the diffusion model itself.
    gap : Estimate or None
        The row-paired mean of the true log p minus this log p; None if the truth is not known.
    total_variation : Estimate or None
        The distance from the truth; None if it is not known, or random probes add noise to the density.
    fit_seconds : float or None
        The time of the fit; None for a model from a file.
    sample_seconds : float
        The time of 10,000 rows.
    code : str
        Python to copy.

    See Also
    --------
    Fidelity : The record of all models.

    Examples
    --------
    >>> from backwalk.assess import ModelScores
    >>> from backwalk.assess.statistics import Estimate
    >>> ModelScores("trees", (), "exact", Estimate(1.2, 0.1, 100), None, None, None, 3.0, 0.1, "").negative_log_density
    Estimate(value=1.2, standard_error=0.1, n=100)
    """

    name: str
    figures: tuple[Figure, ...]
    density_of: Literal["exact", "ode"]
    negative_log_density: Estimate
    advantage: Estimate | None
    gap: Estimate | None
    total_variation: Estimate | None
    fit_seconds: float | None
    sample_seconds: float
    code: str

    def figure(self, name: str) -> Figure:
        """Return the figure of a name.

        Parameters
        ----------
        name : str
            The name of the statistic.

        Returns
        -------
        Figure
            The figure.
        """
        return next(figure for figure in self.figures if figure.name == name)


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
    posterior : PosteriorScores or None
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
    posterior: PosteriorScores | None
    warnings: tuple[str, ...]

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
        if self.posterior is None:
            return f"{self.checks.n_unseen:,} unseen rows"
        curve = self.posterior.expected_coverage
        limit = f"that of exact posteriors by less than {percent(curve.limit)} in 95 % of cases"
        return f"{self.posterior.n_pairs:,} unseen rows: coverage off by up to {percent(curve.deviation)}, {limit}"

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
        record = {"version": VERSION}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("real", "generated"):
                record[field.name] = value.to_dict() if hasattr(value, "to_dict") else value
        return dict(as_json(record))


@dataclass(frozen=True, repr=False)
class Fidelity(Calibration):
    """How faithful a model is: answers, warnings, and the numbers behind them by topic.

    `Diffusion.assess` returns it.

    Parameters
    ----------
    answers : tuple of Answer
        Questions, and their answers in words.
    code : str
        Python to copy for the recommended model.
    checks : RowChecks
        Checks of the scored rows.
    posterior : PosteriorScores or None
        The calibration of posteriors; None without declared data.
    warnings : tuple of str
        What is wrong, by how much, and what to do.
    model : ModelScores
        The scores of the diffusion model.
    baselines : tuple of ModelScores
        Those of the baselines.
    columns : ColumnScores
        A figure for each column that varies.
    likelihood : LikelihoodScores
        Log-densities and bounds, in nats per row.
    memorisation : MemorisationScores or None
        Copies of training rows; None without training rows.
    membership : MembershipScores or None
        Whether scores tell training rows from unseen ones; None without training rows.
    conditionals : ConditionalScores or None
        The distributions of columns given others; None without a table of levels or gaps whose model takes any
        conditions.
    prediction : Utility or None
        Models of the target trained on generated and on real rows; None without a target.
    real : ndarray of shape (n, d)
        The real rows that the statistics compare, in the user's units.
    generated : ndarray of shape (m, d)
        The generated ones.
    real_rows : str
        Where the real ones come from.
    asinh_columns : tuple of str
        Columns with heavy tails, which are compared after an asinh transform. Others are in standard deviations.
    sampler : str
        The sampler in words.

    See Also
    --------
    assess : The function that makes it.
    Calibration : The record of a model with an embedding.

    Examples
    --------
    >>> from dataclasses import fields
    >>> from backwalk.assess import Fidelity
    >>> [field.name for field in fields(Fidelity)][:5]
    ['answers', 'code', 'checks', 'posterior', 'warnings']
    """

    model: ModelScores
    baselines: tuple[ModelScores, ...]
    columns: ColumnScores
    likelihood: LikelihoodScores
    memorisation: MemorisationScores | None
    membership: MembershipScores | None
    conditionals: ConditionalScores | None
    prediction: Utility | None
    real: Rows
    generated: Rows
    real_rows: str
    asinh_columns: tuple[str, ...]
    sampler: str

    @property
    def models(self) -> tuple[ModelScores, ...]:
        """The diffusion model, then the baselines."""
        return (self.model, *self.baselines)

    def _figures(self) -> str:
        accuracy, null, _ = figure_texts(self.model.figure(C2ST))
        log_density = estimate_text(self.model.negative_log_density)
        return f"{self.checks.n_unseen:,} unseen rows: C2ST {accuracy} (null {null}), -log p {log_density} nats"


def collect_warnings(
    model: DiffusionModel,
    checks: RowChecks,
    likelihood: LikelihoodScores,
    memorisation: MemorisationScores | None,
    membership: MembershipScores | None,
    columns: ColumnScores,
    conditionals: ConditionalScores | None,
    posterior: PosteriorScores | None,
) -> Iterator[str]:
    """Yield the warnings of all topics: each says what is wrong, by how much, and what to do."""
    schema = model.schema
    yield from _warnings_of_fit(model, checks)
    yield from likelihood.warnings(model.schedule)
    yield from memorisation.warnings() if memorisation is not None else ()
    yield from membership.warnings() if membership is not None else ()
    yield from columns.warnings(schema)
    yield from conditionals.warnings(schema) if conditionals is not None else ()
    yield from posterior.warnings(schema) if posterior is not None else ()


def calibration_warnings(model: DiffusionModel, checks: RowChecks, posterior: PosteriorScores | None) -> Iterator[str]:
    """Yield the warnings about rows, the fit and posteriors."""
    yield from _warnings_of_fit(model, checks)
    yield from posterior.warnings(model.schema) if posterior is not None else ()


def _warnings_of_fit(model: DiffusionModel, checks: RowChecks) -> Iterator[str]:
    yield from checks.warnings()
    n_steps, usual_steps = model.history.n_steps, model.card.get("usual_steps", 0)
    if model.card.get("stopped_by") == "time limit" and n_steps < _SOUND_SHARE * usual_steps:
        yield f"Training was {time_limit_words(n_steps, usual_steps)}. Fit again with a larger max_time."
