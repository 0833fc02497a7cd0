"""Density: how likely are unseen rows, by the model's probability-flow ODE, by simpler models, and by the truth?

All are evaluated at the same rows, so that differences are taken row by row and have small errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backwalk.assess.model_scores import ModelScores
from backwalk.assess.statistics.nulls import sign_that_matters
from backwalk.datasets import Density
from backwalk.estimates import Estimate, Rows, log_ratio, mean_estimate, random_rows
from backwalk.model import (
    MOST_EXACT_COLUMNS,
    DiffusionModel,
    blur_words,
    log_density,
    log_prob_of_rows,
    mismatch_warning,
)
from backwalk.report.blocks import Cell, Row, Section, Table, Text
from backwalk.report.words import column_name, estimate_text, seconds, signed, significant, with_error
from backwalk.streams import Stream

if TYPE_CHECKING:
    from backwalk.assess.record import Fidelity

_MARGIN = 0.01  # nats per row: the densities of a typical row differ by 1 %
_MOST_ROWS = 2_048
_MOST_ROWS_OF_INTEGERS = 512  # each is scored at several places
_N_PROBES = 8  # of a divergence beyond MOST_EXACT_COLUMNS coordinates


@dataclass(frozen=True, eq=False)
class DensityScores:
    """Densities of the scored `rows`, (n, d), nats per row.

    `log_p_model` is the log-density of each row by the ODE, (n,), and `log_p_true` the truth, if it is known.
    `trained` are rows that were trained on, (k, d), and `log_p_trained` the log-density of each; None if not given.
    `ode_solver_error` is the mean error of the ODE's solver, and `ode_probe_error` the part of random probes and places
    in the standard error of the mean log-density: 0 where the density is exact.

    `entropy` is that of the true density, if it is known. `prior_mismatch` is the part of the bound's prior term that
    all rows lose together, and `mismatch_words` what it means, if it matters.
    """

    rows: Rows
    log_p_model: Rows
    log_p_true: Rows | None
    trained: Rows | None
    log_p_trained: Rows | None
    ode_solver_error: float
    ode_probe_error: float
    prior_mismatch: float
    mismatch_words: str | None
    entropy: float | None
    entropy_standard_error: float | None

    def gap(self, log_p: Rows) -> Estimate | None:
        """Return the mean of log p_true - log p, nats per row, or None where the truth is not known."""
        return None if self.log_p_true is None else mean_estimate(-log_ratio(self.log_p_true, log_p))

    def warnings(self, schema: Any) -> Iterator[str]:  # noqa: ARG002 - every question takes it
        """Yield the warning about a chain that does not end in noise."""
        if self.mismatch_words is not None:
            yield self.mismatch_words[:1].upper() + self.mismatch_words[1:]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but values of single rows."""
        names = ("ode_solver_error", "ode_probe_error", "prior_mismatch", "entropy", "entropy_standard_error")
        return {"n_rows": len(self.rows), **{name: getattr(self, name) for name in names}}

    def section(self, model: DiffusionModel, fidelity: Fidelity) -> Section:
        """Show the log-densities of unseen rows, and the times to fit and to draw."""
        head = ["Model", "−log p of unseen rows, nats per row", "Log-density minus the diffusion model's, nats per row"]
        if self.entropy is not None:
            head.append("Gap to the truth, nats per row")
        head += ["Time to fit", "Time to draw 10,000 rows"]
        table = Table(head, [self._row(scores) for scores in fidelity.models])
        return Section("How likely are unseen rows?", [table, *(Text(note, note=True) for note in self._notes(model))])

    def _row(self, scores: ModelScores) -> Row:
        cells = [
            Cell(estimate_text(scores.negative_log_density)),
            Cell(signed(estimate_text(scores.advantage)), matters=density_favours(scores) != 0),
        ]
        if self.entropy is not None:
            cells.append(Cell(estimate_text(scores.gap)))
        cells.append(Cell("–" if scores.fit_seconds is None else seconds(scores.fit_seconds)))
        explanation = "exact density" if scores.density_of == "exact" else "density of its probability-flow ODE"
        return Row(scores.name, [*cells, Cell(seconds(scores.sample_seconds))], explanation)

    def _notes(self, model: DiffusionModel) -> Iterator[str]:
        schema = model.schema
        names = [column_name(schema, j) for j in range(schema.n_columns)]
        integers = [name for name, column in zip(names, model.codec.columns, strict=True) if column.is_integer]
        yield (
            "−log p is measured in nats: one nat less makes a row 2.7 times as likely. All models score the same "
            f"{len(self.rows):,} unseen rows, and differences are taken row by row. Differences in bold matter: they "
            f"are larger than two standard errors and than {_MARGIN:g}."
        )
        if self.entropy is not None:
            error = self.entropy_standard_error
            entropy = with_error(self.entropy, error) if error else f"{self.entropy:.4f}"
            yield (
                f"The entropy of the true density, {entropy} nats, is the least possible −log p on average; the gap is "
                "the difference from it, row by row."
            )
        noise = f"The error of its solver is {significant(self.ode_solver_error, 2)} nats"
        if self.ode_probe_error:
            noise += f", and random probes add {significant(self.ode_probe_error, 2)} to the standard error"
        yield f"The density of the ODE is that of rows with a little noise, {blur_words(model, names)}. {noise}."
        if model.codec.blocks:
            yield "Levels and atoms are scored by probability, numbers by density: p is the product of both."
        if integers:
            yield (
                f"Integers ({', '.join(integers)}) are scored by their probability: the density, integrated over the "
                "cell of each integer."
            )


def density_favours(baseline: ModelScores) -> int:
    """Return 1 if a baseline gives unseen rows more density by a difference that matters, -1 if less, otherwise 0."""
    advantage = baseline.advantage
    return 0 if advantage is None else sign_that_matters(advantage.value, advantage.standard_error, _MARGIN)


def score(
    model: DiffusionModel,
    unseen: Rows,
    density: Density | None,
    stream: Stream,
    *,
    trained: Rows | None = None,
    most_trained: int | None = None,
    watch: Callable[[float, str], object] = lambda _share, _stage: None,
) -> DensityScores:
    """Evaluate the densities of up to 2,048 of the unseen rows, and the model's of up to 2,048 rows of `trained`.

    Rows of integers, up to 512, are scored by their log-probabilities. At most `most_trained` of those of `trained` are
    scored. `watch` is called with the share done and the next stage.
    """
    most = _MOST_ROWS_OF_INTEGERS if model.codec.n_uniforms else _MOST_ROWS
    rows, draws = random_rows(unseen, most, stream=stream.child("rows")), stream.child("probes")
    most = most if most_trained is None else min(most, most_trained)
    of_fit = None if trained is None else random_rows(trained, most, stream=stream.child("trained"))
    n_scored = len(rows) + (0 if of_fit is None else len(of_fit))
    truth = (
        None if density is None else log_prob_of_rows(density.log_prob, model.codec.without_rules, rows, stream=draws)
    )
    n_done = 0

    def count(n: int) -> None:
        nonlocal n_done
        n_done += n
        watch(n_done / n_scored, "log-densities")

    count(0)
    n_probes = None if model.codec.n_encoded <= MOST_EXACT_COLUMNS else _N_PROBES
    ode = log_density(model, rows, n_probes=n_probes, stream=draws, watch=count)
    of_trained = None if of_fit is None else log_density(model, of_fit, n_probes=n_probes, stream=draws, watch=count)
    return DensityScores(
        rows=rows,
        log_p_model=ode.log_prob.numpy(),
        log_p_true=truth,
        trained=of_fit,
        log_p_trained=None if of_trained is None else of_trained.log_prob.numpy(),
        ode_solver_error=float(ode.solver_error.mean()),
        ode_probe_error=float(ode.standard_error.square().sum().sqrt()) / len(rows),
        prior_mismatch=model.prior_mismatch,
        mismatch_words=mismatch_warning(model.prior_mismatch, model.schedule),
        entropy=None if density is None else density.entropy,
        entropy_standard_error=None if density is None else density.entropy_standard_error,
    )
