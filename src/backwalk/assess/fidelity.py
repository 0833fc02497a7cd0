"""The record of an assessment: plain numbers with their errors, which a report draws and JSON carries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from backwalk.diffusion import BoundTerms
from backwalk.evaluation import Estimate, Figure
from backwalk.formatting import as_json

VERSION = 1


@dataclass(frozen=True)
class Contender:
    """One generative model: its figures, its nats per row, what it costs, and the code that makes it.

    `negative_log_density` is the mean of -log p over unseen rows, in the user's units. `density_of` says what that is:
    "exact" for baselines; for the diffusion model "ode", the density of its probability-flow ODE up to a solver error
    and, beyond 16 columns, the noise of random probes, which its standard error contains. `advantage` is the row-paired
    mean of log p minus the diffusion model's, positive where this contender gives unseen rows more density (None for
    the diffusion model itself). `gap` is the row-paired excess over the truth, and `total_variation` the distance from
    it, where the truth is known (and the density without noise). Seconds are of this machine, those of the diffusion
    model's fit, which its card tells, of the one that fitted it; those of sampling are for 10,000 rows.
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
    """The bound of one chain of the model, which `reverse_variance` and `n_steps` name: nats per row, from above.

    `gap` is its row-paired excess over the truth, where that is known.
    """

    reverse_variance: str
    n_steps: int
    bound: Estimate
    gap: Estimate | None


@dataclass(frozen=True)
class LevelGain:
    """What the network remembers at one noise level: |eps - eps_theta|^2 on unseen rows minus that on training rows.

    Both at step `t` of the chain and with the same noise; summed over columns, about 0 without memorisation.
    `noise_level` is s = SNR_t^(-1/2), in encoded units.
    """

    t: int
    noise_level: float
    gain: Estimate


@dataclass(frozen=True)
class Fidelity:
    """How faithful a model is: the verdict, the warnings, and every number behind them.

    `real_rows` says where the real sets come from. Statistics are of columns in standard deviations, those of
    `asinh_columns`, which have heavy tails, bent by asinh before. `columns` holds the model's Kolmogorov-Smirnov figure
    per column. `bound` is the chain's, `bound_gap` its row-paired excess over the truth where that is known, as is
    `entropy`; `other_chains` are the bounds of shorter ones, the paper's variances among them; `textbook_mismatch`
    is the prior mismatch that the course notebook's schedule would have on the judged rows, in the model's units, a
    lower bound on what it costs, and `textbook_chain` the bound of that schedule with sigma^2 = beta and the model's
    own network (None where that does not reach so far). `ode_solver_error` is the mean over rows of the ODE's error,
    and `ode_probe_error` the share of random probes in the standard error of its mean. All in nats per row, and all on
    the same unseen rows.

    `nearest_row_share` is the share of generated rows whose nearest real row was trained on (1/2 without memorisation),
    `training_gain` the bound on unseen rows minus that on training rows, of a chain of 50 steps, and
    `training_gain_by_level` the same of L_simple, level by level; all None where no training rows were given. Rows of
    the fit that only chose its weights (`n_training` does not count them) are left out of these, where the rows given
    are those that the model's card tells of. `n_impossible` unseen rows, which `n_unseen` does not count, were left
    out, as the model cannot make them: their constant columns hold other values than the fit's. `are_others` says that
    no judged row was found among the training rows, and that they are not the fit's table.
    """

    verdict: str
    code: str
    warnings: tuple[str, ...]
    model: Contender
    baselines: tuple[Contender, ...]
    columns: tuple[Figure, ...]
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
    n_unseen: int
    n_impossible: int
    are_others: bool
    n_training: int | None
    real_rows: str
    asinh_columns: tuple[str, ...]
    sampler: str

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """The model, then the baselines."""
        return (self.model, *self.baselines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON values; a number that is not finite becomes None."""
        record: dict[str, Any] = as_json({"version": VERSION} | asdict(self))
        record["bound"]["n_rows"] = self.bound.n_rows
        record["bound"]["total"] = as_json(self.bound.total)
        record["bound"]["total_standard_error"] = as_json(self.bound.total_standard_error)
        del record["bound"]["per_row"]
        return record
