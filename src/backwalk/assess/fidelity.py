"""The record of an assessment: figures with their errors, for the report, the terminal and JSON."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from backwalk.assess.posterior_scores import PosteriorScores
from backwalk.assess.statistics import Estimate, Figure
from backwalk.assess.table_fidelity import TableScores
from backwalk.diffusion import BoundTerms
from backwalk.estimates import Rows
from backwalk.formatting import as_json

VERSION = 4


@dataclass(frozen=True)
class ModelScores:
    """The scores of one generative model: of the diffusion model, or of a baseline.

    `negative_log_density` is the mean of -log p over unseen rows, in the user's units. `density_of` names the density:
    "exact" for baselines; "ode" for the diffusion model, the density of its probability-flow ODE up to the solver's
    error and, beyond 32 coordinates, the noise of random probes, which the standard error includes. `advantage` is the
    row-paired mean of log p minus the diffusion model's log p (None for the diffusion model itself). If the truth is
    known, `gap` is the row-paired mean of the true log p minus this log p, and `total_variation` the distance from the
    truth (None if random probes add noise to the density). `fit_seconds` of the diffusion model come from its card,
    other seconds were measured here; `sample_seconds` are for 10,000 rows. `code` is Python to copy.
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
        """Return the figure of this name."""
        return next(figure for figure in self.figures if figure.name == name)


@dataclass(frozen=True)
class ChainBound:
    """The bound of one chain, of `n_steps` steps with the variances `reverse_variance`: nats per row.

    `gap` is the row-paired mean of bound + true log p, where the truth is known.
    """

    reverse_variance: str
    n_steps: int
    bound: Estimate
    gap: Estimate | None


@dataclass(frozen=True)
class LevelGain:
    """Memorisation at one noise level: |eps - eps_theta|^2 on unseen rows minus that on training rows.

    Both at step `t` of the chain and with the same noise; summed over coordinates, about 0 without memorisation.
    `noise_level` is s = SNR_t^(-1/2), in encoded units.
    """

    t: int
    noise_level: float
    gain: Estimate


@dataclass(frozen=True)
class RowChecks:
    """Checks of the scored rows, and of the rows given as training rows.

    `n_unseen` rows were scored; `n_impossible` more hold values that the model cannot make, and were left out.
    `is_of_fit` says that the scored rows are the table of the fit. `copied_share` is the share of scored rows that are
    training rows, minus the share of training rows that equal other training rows. Of the `n_given` training rows
    `n_training` were trained on, and the others were held out to choose the weights (both are None without training
    rows). `is_other_training` says that the given training rows are not the table of the fit. `repeated` names columns
    in which a third of the rows or more hold the same number, with that number and its share.
    """

    n_unseen: int
    n_impossible: int = 0
    is_of_fit: bool = False
    copied_share: float = 0.0
    n_training: int | None = None
    n_given: int | None = None
    is_other_training: bool = False
    repeated: tuple[str, ...] = ()

    @property
    def share_of_fit(self) -> float:
        """The share of the scored rows that are rows of the fit."""
        return 1.0 if self.is_of_fit else self.copied_share


@dataclass(frozen=True, eq=False)
class ComparedRows:
    """The rows that the statistics compare, in the user's units: real rows (n, d) and generated rows (m, d)."""

    real: Rows
    generated: Rows


@dataclass(frozen=True)
class Fidelity:
    """How faithful a model is: the verdict, the warnings, and the numbers behind them.

    `code` is Python to copy for the recommended model. `real_rows` says where the real sets come from, and `rows` holds
    them. Statistics are of columns in standard deviations, those of `asinh_columns`, which have heavy tails, after an
    asinh transform. `columns` holds the model's figure for each column, and `table` the further scores of a table with
    levels or gaps (None for complete tables of numbers). `posterior` is the calibration of some columns given others,
    if these were declared.

    All of the following are in nats per row, at the same unseen rows. `bound` is that of the model's chain; if the true
    density is known, `bound_gap` is its row-paired excess over the true -log p, and `entropy` the true entropy.
    `other_chains` are the bounds of shorter chains with each reverse variance. `textbook_mismatch` is the prior
    mismatch of the course notebook's schedule on the scored rows, a lower bound on its cost, and `textbook_chain` the
    bound of that schedule with sigma^2 = beta and the model's own network (None if the network is not valid at its
    noise levels). `ode_solver_error` is the mean error of the ODE's solver, and `ode_probe_error` the part of random
    probes and places in the standard error of the mean log-density.

    `nearest_row_share` is the share of generated rows whose nearest real row was trained on (1/2 without memorisation),
    `training_gain` the bound on unseen rows minus that on training rows, for a chain of 50 steps, and
    `training_gain_by_level` the same difference of L_simple at several noise levels. Without training rows all are
    None.
    """

    verdict: str
    code: str
    warnings: tuple[str, ...]
    model: ModelScores
    baselines: tuple[ModelScores, ...]
    columns: tuple[Figure, ...]
    table: TableScores | None
    posterior: PosteriorScores | None
    bound: BoundTerms
    bound_gap: Estimate | None
    other_chains: tuple[ChainBound, ...]
    textbook_chain: ChainBound | None
    ode_solver_error: float
    ode_probe_error: float
    entropy: float | None
    entropy_standard_error: float | None
    prior_term: Estimate
    prior_mismatch: float
    textbook_mismatch: float
    nearest_row_share: Estimate | None
    training_gain: Estimate | None
    training_gain_by_level: tuple[LevelGain, ...] | None
    checks: RowChecks
    rows: ComparedRows
    real_rows: str
    asinh_columns: tuple[str, ...]
    sampler: str

    @property
    def models(self) -> tuple[ModelScores, ...]:
        """The diffusion model, then the baselines."""
        return (self.model, *self.baselines)

    def lines(self) -> list[str]:
        """Return the verdict and the warnings as lines of text, for a terminal.

        >>> print("\\n".join(fidelity.lines()))  # doctest: +SKIP
        """
        if not self.warnings:
            return [self.verdict]
        return [self.verdict, "Before you use it:", *(f"- {warning}" for warning in self.warnings)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the rows as plain JSON values; a number that is not finite becomes None."""
        kept = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("rows", "bound")}
        bound = {
            name: getattr(self.bound, name)
            for name in (*(field.name for field in fields(self.bound)), "n_rows", "total", "total_standard_error")
            if name != "per_row"
        }
        if self.table is not None:
            kept["table"] = self.table.to_dict()
        record: dict[str, Any] = as_json({"version": VERSION, **kept, "bound": bound})
        return record
