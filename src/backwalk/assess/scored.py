"""Densities of unseen rows: the ODE's, the chain's bound and those of other chains, beside the truth where it is known.

All are scored on the same rows, row by row, so that differences carry small errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from backwalk.assess.fidelity import ChainBound
from backwalk.datasets import Density
from backwalk.diffusion import BoundTerms, LogDensity, NoiseSchedule, check_schedule, moments, prior_mismatch
from backwalk.errors import InvalidInput
from backwalk.evaluation import Estimate, mean_estimate, paired_gap, random_rows, total_variation
from backwalk.evaluation.rows import Rows
from backwalk.limits import BOUND_VARIANCES
from backwalk.model import DiffusionModel, bound, log_density
from backwalk.streams import Stream
from backwalk.table import Codec

_MOST_SCORED = 2_048  # rows whose density and bounds are computed: the same for all
_MOST_EXACT_COLUMNS, _PROBES = 16, 8  # beyond, the exact divergence of the ODE takes minutes, and probes estimate it
TEXTBOOK = NoiseSchedule.linear(100)
_FEW_STEPS, _DRAWS = 50, 2  # of the chains beside the model's own: where reverse variances tell, for little time


@dataclass(frozen=True, eq=False)
class Scored:
    """The unseen rows that densities are scored on, whole numbers spread, under the model, its chains and the truth."""

    terms: BoundTerms
    bound_gap: Estimate | None
    other_chains: tuple[ChainBound, ...]
    textbook_chain: ChainBound | None
    rows: Rows
    ode: LogDensity
    log_p_true: Rows | None

    @classmethod
    def of(cls, model: DiffusionModel, unseen: Rows, codec: Codec, density: Density | None, stream: Stream) -> Scored:
        """Return the densities of up to 2,048 of the unseen rows; `codec` is that of the figures.

        Whole numbers are spread over their cells, as in the training of all that is compared. At a cell's centre a
        density that bulges there looks better than the truth; spread, none does on average.
        """
        rows, cells = random_rows(unseen, _MOST_SCORED, stream=stream.child("rows")), stream.child("cells")
        spread = model.codec.dequantise(rows, stream=cells)
        terms = bound(model, rows, stream=stream.child("bound"), cells=cells)
        truth = None if density is None else density.log_prob(spread)
        n_probes = None if codec.n_encoded <= _MOST_EXACT_COLUMNS else _PROBES
        return cls(
            terms=terms,
            bound_gap=None if truth is None else paired_gap(truth, -terms.per_row.numpy()),
            other_chains=tuple(_other_chains(model, rows, truth, stream.child("bound"), cells)),
            textbook_chain=textbook_chain(model, rows, truth, stream.child("bound"), cells),
            rows=spread,
            ode=log_density(model, rows, n_probes=n_probes, stream=stream.child("probes"), cells=cells),
            log_p_true=truth,
        )

    @property
    def log_p_model(self) -> Rows:
        """The log-density of each row by the ODE, (n,), nats."""
        return self.ode.log_prob.numpy()

    @property
    def probe_error(self) -> float:
        """The share of the probes in the standard error of the mean: 0 where the divergence is exact."""
        error = self.ode.standard_error
        return float(error.square().sum().sqrt()) / len(error)

    def gap(self, log_p: Rows) -> Estimate | None:
        """Return the mean of log p_true - log_p, nats per row, or None where the truth is not known."""
        return None if self.log_p_true is None else paired_gap(self.log_p_true, log_p)

    def distance(self, log_p: Rows) -> Estimate | None:
        """Return the total variation between the truth and the density of this log_p, or None as well."""
        return None if self.log_p_true is None else total_variation(self.log_p_true, log_p)


def _other_chains(
    model: DiffusionModel, rows: Rows, truth: Rows | None, stream: Stream, cells: Stream
) -> Iterator[ChainBound]:
    """Yield the bounds of the best few steps with every reverse variance that the model allows, on the same noise."""
    k = min(_FEW_STEPS, model.schedule.n_steps)
    ends_in_noise = bool(model.schedule.log_snr[-1].isinf())
    for kind in BOUND_VARIANCES:
        if kind == "full" and (model.codec.n_encoded > _MOST_EXACT_COLUMNS or ends_in_noise):
            continue
        terms = bound(model, rows, stream=stream, reverse_variance=kind, steps=k, n_draws=_DRAWS, cells=cells)
        yield _chain_bound(kind, k, terms, truth)


def _chain_bound(kind: str, n_steps: int, terms: BoundTerms, truth: Rows | None) -> ChainBound:
    by_row = terms.per_row.numpy()
    return ChainBound(kind, n_steps, mean_estimate(by_row), None if truth is None else paired_gap(truth, -by_row))


def textbook_chain(
    model: DiffusionModel, rows: Rows, truth: Rows | None, stream: Stream, cells: Stream
) -> ChainBound | None:
    """Return the bound of the model's own network on the textbook's schedule and variances, or None beyond its range.

    It needs no training of its own, as a denoiser knows noise levels and not steps.
    """
    try:
        check_schedule(model.denoiser, TEXTBOOK)
    except InvalidInput:
        return None
    respaced, decoder = replace(model, schedule=TEXTBOOK), float(TEXTBOOK.beta[1])
    terms = bound(
        respaced, rows, stream=stream, reverse_variance="beta", decoder_variance=decoder, n_draws=_DRAWS, cells=cells
    )
    return _chain_bound("beta", TEXTBOOK.n_steps, terms, truth)


def textbook_mismatch(model: DiffusionModel, rows: Rows) -> float:
    """Return the prior mismatch of the textbook's schedule on such rows, nats per row."""
    return prior_mismatch(*moments(torch.from_numpy(model.codec.encode(rows))), TEXTBOOK)
