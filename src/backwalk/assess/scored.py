"""Densities of unseen rows: by the ODE, by the bounds of the model's chain and of other chains, and the true density.

All are evaluated at the same rows, so that differences are taken row by row and have small errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from backwalk.assess.fidelity import ChainBound
from backwalk.assess.statistics import Estimate, mean_estimate, paired_gap, random_rows, total_variation
from backwalk.datasets import Density
from backwalk.diffusion import BoundTerms, LogDensity, NoiseSchedule, check_schedule, moments, prior_mismatch
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows
from backwalk.limits import BOUND_VARIANCES
from backwalk.model import MOST_EXACT_COLUMNS, DiffusionModel, bound, log_density, log_prob_of_rows, of_numbers
from backwalk.streams import Stream

_MOST_ROWS = 2_048
_MOST_ROWS_OF_INTEGERS = 512  # each is scored at several places
_N_PROBES = 8  # of a divergence beyond MOST_EXACT_COLUMNS coordinates
_MOST_FULL_COORDINATES = 16  # beyond, the bound with full covariances takes minutes
TEXTBOOK = NoiseSchedule.linear(100)
_FEW_STEPS, _N_DRAWS = 50, 2  # of the other chains: in few steps the reverse variances make a difference


@dataclass(frozen=True, eq=False)
class Scored:
    """Densities of the same unseen rows: of the model, of its chains, and the truth if it is known."""

    terms: BoundTerms
    bound_gap: Estimate | None
    other_chains: tuple[ChainBound, ...]
    textbook_chain: ChainBound | None
    rows: Rows
    ode: LogDensity
    log_p_true: Rows | None

    @classmethod
    def of(
        cls,
        model: DiffusionModel,
        unseen: Rows,
        density: Density | None,
        stream: Stream,
        *,
        watch: Callable[[float, str], object] = lambda _share, _stage: None,
    ) -> Scored:
        """Evaluate the densities of up to 2,048 of the unseen rows.

        Rows of integers, up to 512, are scored by their log-probabilities (`model.integers`), and by bounds on these.
        `watch` is called with the share done and the next stage.
        """
        most = _MOST_ROWS_OF_INTEGERS if model.codec.n_uniforms else _MOST_ROWS
        rows, draws = random_rows(unseen, most, stream=stream.child("rows")), stream.child("probes")
        watch(0.0, "the bound of the chain")
        terms = bound(model, rows, stream=stream.child("bound"))
        truth = None if density is None else log_prob_of_rows(density.log_prob, model.codec, rows, stream=draws)
        watch(0.2, "the bounds of other chains")
        other_chains = tuple(_other_chains(model, rows, truth, stream.child("bound")))
        textbook = textbook_chain(model, rows, truth, stream.child("bound"))
        done = 0

        def count(n: int) -> None:
            nonlocal done
            done += n
            watch(0.5 + 0.5 * done / len(rows), "log-densities")

        count(0)
        n_probes = None if model.codec.n_encoded <= MOST_EXACT_COLUMNS else _N_PROBES
        return cls(
            terms=terms,
            bound_gap=None if truth is None else paired_gap(truth, -terms.per_row.numpy()),
            other_chains=other_chains,
            textbook_chain=textbook,
            rows=rows,
            ode=log_density(model, rows, n_probes=n_probes, stream=draws, watch=count),
            log_p_true=truth,
        )

    @property
    def log_p_model(self) -> Rows:
        """The log-density of each row by the ODE, (n,), nats."""
        return self.ode.log_prob.numpy()

    @property
    def probe_error(self) -> float:
        """The part of random probes and places in the standard error of the mean: 0 where the density is exact."""
        error = self.ode.standard_error
        return float(error.square().sum().sqrt()) / len(error)

    def gap(self, log_p: Rows) -> Estimate | None:
        """Return the mean of log p_true - log_p, nats per row, or None where the truth is not known."""
        return None if self.log_p_true is None else paired_gap(self.log_p_true, log_p)

    def distance(self, log_p: Rows) -> Estimate | None:
        """Return the total variation between the truth and the density of this log_p, or None without the truth."""
        return None if self.log_p_true is None else total_variation(self.log_p_true, log_p)


def _other_chains(model: DiffusionModel, rows: Rows, truth: Rows | None, stream: Stream) -> Iterator[ChainBound]:
    """Yield the bounds of the best 50 steps with every reverse variance that the model allows, with the same noise."""
    k = min(_FEW_STEPS, model.schedule.n_steps)
    ends_in_noise = bool(model.schedule.log_snr[-1].isinf())
    for kind in BOUND_VARIANCES:
        if kind == "full" and (model.codec.n_encoded > _MOST_FULL_COORDINATES or ends_in_noise):
            continue
        terms = bound(model, rows, stream=stream, reverse_variance=kind, steps=k, n_draws=_N_DRAWS)
        yield _chain_bound(kind, k, terms, truth)


def _chain_bound(kind: str, n_steps: int, terms: BoundTerms, truth: Rows | None) -> ChainBound:
    by_row = terms.per_row.numpy()
    return ChainBound(kind, n_steps, mean_estimate(by_row), None if truth is None else paired_gap(truth, -by_row))


def textbook_chain(model: DiffusionModel, rows: Rows, truth: Rows | None, stream: Stream) -> ChainBound | None:
    """Return the bound of the model's network with the textbook's schedule and variances.

    A denoiser depends on noise levels and not on steps, so that another schedule needs no training. Returns None if
    the schedule's levels are beyond the network's range.
    """
    try:
        check_schedule(model.denoiser, TEXTBOOK)
    except InvalidInput:
        return None
    respaced, decoder = replace(model, schedule=TEXTBOOK), float(TEXTBOOK.beta[1])
    terms = bound(respaced, rows, stream=stream, reverse_variance="beta", decoder_variance=decoder, n_draws=_N_DRAWS)
    return _chain_bound("beta", TEXTBOOK.n_steps, terms, truth)


def textbook_mismatch(model: DiffusionModel, rows: Rows) -> float:
    """Return the prior mismatch of the textbook's schedule on these rows, nats per row; of a table, of its numbers."""
    z = torch.from_numpy(model.codec.encode(rows))
    if model.codec.blocks or bool(z.isnan().any()):
        z = of_numbers(model.denoiser, model.codec, z.to(model.denoiser.device))[1].cpu()
    return prior_mismatch(*moments(z), TEXTBOOK)
