"""How likely unseen rows are: the density of the ODE, the bounds of the model's chain the truth.

All are evaluated at the same rows, so that differences are taken row by row and have small errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from backwalk.assess.statistics import paired_gap, total_variation
from backwalk.datasets import Density
from backwalk.diffusion import BoundTerms, NoiseSchedule
from backwalk.estimates import Estimate, Rows, random_rows
from backwalk.model import (
    MOST_EXACT_COLUMNS,
    DiffusionModel,
    bound,
    log_density,
    log_prob_of_rows,
    mismatch_warning,
)
from backwalk.streams import Stream

LOG_DENSITY_MARGIN = 0.01  # nats per row: the densities of a typical row differ by 1 %
TOTAL_VARIATION_MARGIN = 0.01  # some event's probability is wrong by one percentage point more
_MOST_ROWS = 2_048
_MOST_ROWS_OF_INTEGERS = 512  # each is scored at several places
_N_PROBES = 8  # of a divergence beyond MOST_EXACT_COLUMNS coordinates


@dataclass(frozen=True, eq=False)
class LikelihoodScores:
    """Densities and bounds of the scored `rows`, (n, d), nats per row.

    `log_p_model` is the log-density of each row by the ODE, (n,), and `log_p_true` the truth, if it is known.
    `trained` are rows that were trained on, (k, d), and `log_p_trained` the log-density of each; None if not given.
    `ode_solver_error` is the mean error of the ODE's solver, and `ode_probe_error` the part of random probes and places
    in the standard error of the mean log-density: 0 where the density is exact.

    `bound` is that of the model's chain; if the true density is known, `bound_gap` is its row-paired excess over the
    true -log p, and `entropy` the true entropy. `prior_term` is the bound's first term, and `prior_mismatch` the
    part of it that all rows lose together.
    """

    rows: Rows
    log_p_model: Rows
    log_p_true: Rows | None
    trained: Rows | None
    log_p_trained: Rows | None
    ode_solver_error: float
    ode_probe_error: float
    bound: BoundTerms
    bound_gap: Estimate | None
    prior_term: Estimate
    prior_mismatch: float
    entropy: float | None
    entropy_standard_error: float | None

    def gap(self, log_p: Rows) -> Estimate | None:
        """Return the mean of log p_true - log p, nats per row, or None where the truth is not known."""
        return None if self.log_p_true is None else paired_gap(self.log_p_true, log_p)

    def total_variation(self, log_p: Rows) -> Estimate | None:
        """Return the total variation between the truth and the density of this log_p, or None without the truth."""
        return None if self.log_p_true is None else total_variation(self.log_p_true, log_p)

    def warnings(self, schedule: NoiseSchedule) -> Iterator[str]:
        """Yield the warning about a chain that does not end in noise."""
        mismatch = mismatch_warning(self.prior_mismatch, schedule)
        if mismatch is not None:
            yield mismatch[:1].upper() + mismatch[1:]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but values of single rows."""
        left_out = ("rows", "log_p_model", "log_p_true", "trained", "log_p_trained", "bound")
        of_bound = (*(field.name for field in fields(self.bound)), "n_rows", "total", "total_standard_error")
        return {
            **{field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out},
            "bound": {name: getattr(self.bound, name) for name in of_bound if name != "per_row"},
        }


def score_likelihood(
    model: DiffusionModel,
    unseen: Rows,
    density: Density | None,
    stream: Stream,
    *,
    trained: Rows | None = None,
    watch: Callable[[float, str], object] = lambda _share, _stage: None,
) -> LikelihoodScores:
    """Evaluate the densities of up to 2,048 of the unseen rows, and the model's of as many rows of `trained`.

    Rows of integers, up to 512, are scored by their log-probabilities, and by bounds on these. `watch` is called with
    the share done and the next stage.
    """
    most = _MOST_ROWS_OF_INTEGERS if model.codec.n_uniforms else _MOST_ROWS
    rows, draws = random_rows(unseen, most, stream=stream.child("rows")), stream.child("probes")
    of_fit = None if trained is None else random_rows(trained, most, stream=stream.child("trained"))
    n_scored = len(rows) + (0 if of_fit is None else len(of_fit))
    watch(0.0, "the bound of the chain")
    terms = bound(model, rows, stream=stream.child("bound"))
    truth = (
        None if density is None else log_prob_of_rows(density.log_prob, model.codec.without_rules, rows, stream=draws)
    )
    n_done = 0

    def count(n: int) -> None:
        nonlocal n_done
        n_done += n
        watch(0.5 + 0.5 * n_done / n_scored, "log-densities")

    count(0)
    n_probes = None if model.codec.n_encoded <= MOST_EXACT_COLUMNS else _N_PROBES
    ode = log_density(model, rows, n_probes=n_probes, stream=draws, watch=count)
    of_trained = None if of_fit is None else log_density(model, of_fit, n_probes=n_probes, stream=draws, watch=count)
    return LikelihoodScores(
        rows=rows,
        log_p_model=ode.log_prob.numpy(),
        log_p_true=truth,
        trained=of_fit,
        log_p_trained=None if of_trained is None else of_trained.log_prob.numpy(),
        ode_solver_error=float(ode.solver_error.mean()),
        ode_probe_error=float(ode.standard_error.square().sum().sqrt()) / len(rows),
        bound=terms,
        bound_gap=None if truth is None else paired_gap(truth, -terms.per_row.numpy()),
        prior_term=Estimate(terms.prior, terms.prior_standard_error, terms.n_rows),
        prior_mismatch=model.prior_mismatch,
        entropy=None if density is None else density.entropy,
        entropy_standard_error=None if density is None else density.entropy_standard_error,
    )
