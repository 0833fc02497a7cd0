"""From a model and unseen rows to a `Fidelity`.

Every contender generates as many rows as the pairs of real sets need, and all meet the same pairs. Densities are scored
on the same unseen rows, row by row, so that differences carry small errors. Baselines are fitted to the training rows
(`rivals.py`), and their log-densities are given in the user's units, as the model's are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from backwalk.assess.battery import Judge, battery, column_figures
from backwalk.assess.cautions import cautions
from backwalk.assess.fidelity import ChainBound, Contender, Fidelity, LevelGain
from backwalk.assess.rivals import Rival, fitted_rivals
from backwalk.assess.verdict import verdict
from backwalk.assess.words import column_name
from backwalk.card import trained_rows
from backwalk.datasets import Density
from backwalk.diffusion import (
    BoundTerms,
    LogDensity,
    NoiseSchedule,
    check_schedule,
    evenly_spaced,
    prior_mismatch,
    simple_loss,
    variational_bound,
)
from backwalk.errors import InvalidInput
from backwalk.evaluation import (
    Estimate,
    Figure,
    RealPairs,
    disjoint_pairs,
    mean_estimate,
    nearest_row_share,
    paired_gap,
    random_rows,
    resampled_pairs,
    total_variation,
)
from backwalk.evaluation.rows import as_rows
from backwalk.model import (
    BOUND_VARIANCES,
    DiffusionModel,
    bound,
    encode_for_scoring,
    log_density,
    reverse_variances,
    sample_rows,
)
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Codec, Table

Rows = NDArray[np.float64]

_FEWEST_UNSEEN = 20  # below, no classifier and no error can be had
_FEWEST_IN_A_SET = 500  # of disjoint sets; otherwise, halves of all unseen rows say more
_MOST_IN_A_SET = 10_000
_MOST_SCORED = 2_048  # rows whose density and bounds are computed: the same for all
_MOST_EXACT_COLUMNS, _PROBES = 16, 8  # beyond, the exact divergence of the ODE takes minutes, and probes estimate it
_STEPS_TO_SEE_GAIN, _MOST_TO_SEE_GAIN = 50, 5_000
_LEVELS_TO_SEE_GAIN, _DRAWS_TO_SEE_GAIN = 8, 4
_TEXTBOOK = NoiseSchedule.linear(100)
_FEW_STEPS, _DRAWS = 50, 2  # of the chains beside the model's own: where reverse variances tell, for little time
_LOAD = 'from backwalk import Diffusion\n\nmodel = Diffusion.load("model.backwalk")\nX_new = model.sample(10_000)'


def assess(
    model: DiffusionModel,
    unseen: ArrayLike,
    *,
    training: ArrayLike | None = None,
    density: Density | None = None,
    stream: Stream,
    n_pairs: int = 8,
    n_rows: int | None = None,
    baselines: bool = True,
) -> Fidelity:
    """Return every figure of a model beside its null, with errors, baselines beside it, and a verdict in words.

    `unseen` is (m, d), in the user's units: rows that the fit never saw, at least 20. `training` is (n, d), what the
    fit saw: baselines are fitted to it and copies of it looked for; without it there are neither. With a `density`, the
    real sets are `n_pairs` pairs of `n_rows` (10,000 by default) fresh draws from it, and gaps to its log-density are
    known. Without, they are cut from `unseen`: disjoint sets where these have 500 rows or more, otherwise random
    halves. Two moons take some 15 seconds on two free cores.

    Raises InvalidInput for too few rows, or rows of another width than the model's.
    """
    d = model.schema.n_columns
    unseen_rows = as_rows(unseen, "unseen", d=d, at_least=_FEWEST_UNSEEN)
    training_rows = None if training is None else as_rows(training, "training", d=d, at_least=_FEWEST_UNSEEN)
    if density is not None and density.d != d:
        raise InvalidInput(
            f"density should have the model's {d} columns, but has {density.d}: give the one the rows came from."
        )
    codec = Codec.fit(Table(unseen_rows if training_rows is None else training_rows, model.schema))
    pairs, real_rows = _real_pairs(unseen_rows, codec, density, n_pairs, n_rows, stream.child("real"))
    started = time.perf_counter()
    rows = sample_rows(model, 0, pairs.n_generated, stream=stream.child("generated"))
    sample_seconds = _per_10_000(time.perf_counter() - started, len(rows))
    with _one_thread():
        sample = _Sample(codec.encode(rows), sample_seconds)
        return _judged(model, unseen_rows, training_rows, density, codec, pairs, real_rows, sample, baselines, stream)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the libraries to one thread.

    The work is in small pieces, for which waiting for a second thread costs more than it brings, and many times more on
    a busy machine.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True, eq=False)
class _Sample:
    """Rows of the model in one scale, and the seconds that 10,000 of them took."""

    encoded: Rows
    seconds: float


def _judged(
    model: DiffusionModel,
    unseen: Rows,
    training: Rows | None,
    density: Density | None,
    codec: Codec,
    pairs: RealPairs,
    real_rows: str,
    sample: _Sample,
    baselines: bool,
    stream: Stream,
) -> Fidelity:
    judges = [Judge.ready(statistic, pairs) for statistic in battery(codec.n_encoded, stream=stream.child("battery"))]
    figures = tuple(judge.judge(sample.encoded) for judge in judges)
    scored = _Scored.of(model, unseen, codec, density, stream.child("scored"))
    trained = None if training is None else training[trained_rows(model.card, training)]
    gain = levels = None
    if trained is not None:
        pair = _as_many(trained, unseen, stream.child("gain"))
        gain = _training_gain(model, *pair, stream.child("gain"))
        levels = tuple(_gain_by_level(model, *pair, stream.child("levels")))
    ours = _own(model, figures, scored, sample.seconds)
    rivals: tuple[Contender, ...] = ()
    if baselines and training is not None:
        found = fitted_rivals(Table(training, model.schema), codec, scored.rows, stream)
        rivals = tuple(_contender(rival, codec, judges, pairs, scored, stream) for rival in found)
    entropy = None if density is None else density.entropy
    words, advised = verdict(ours, rivals, entropy)
    columns = column_figures(pairs, sample.encoded, [column_name(model.schema, j) for j in codec.encoded_columns])
    share = None
    if trained is not None:
        some = sample.encoded[:_MOST_IN_A_SET]
        share = nearest_row_share(some, codec.encode(trained), codec.encode(unseen), stream=stream.child("nearest"))
    return Fidelity(
        verdict=words,
        code=advised.code,
        warnings=tuple(cautions(model.schedule, model.prior_mismatch, columns, share, gain, len(unseen))),
        model=ours,
        baselines=rivals,
        columns=columns,
        bound=scored.terms,
        bound_gap=scored.bound_gap,
        other_chains=scored.other_chains,
        textbook_chain=scored.textbook_chain,
        ode_solver_error=float(scored.ode.solver_error.mean()),
        ode_probe_error=scored.probe_error,
        entropy=entropy,
        entropy_standard_error=None if density is None else density.entropy_standard_error,
        prior_term=Estimate(scored.terms.prior, scored.terms.prior_standard_error, scored.terms.n_rows),
        prior_mismatch=model.prior_mismatch,
        textbook_mismatch=_textbook_mismatch(model, unseen),
        nearest_row_share=share,
        training_gain=gain,
        training_gain_by_level=levels,
        n_unseen=len(unseen),
        n_training=None if trained is None else len(trained),
        real_rows=real_rows,
        bent_columns=tuple(column_name(model.schema, j) for j in codec.heavy_tailed_columns),
        sampler=model.sampler.describe(model.schedule),
    )


@dataclass(frozen=True, eq=False)
class _Scored:
    """The unseen rows that densities are scored on, under the model and under the truth."""

    terms: BoundTerms
    bound_gap: Estimate | None
    other_chains: tuple[ChainBound, ...]
    textbook_chain: ChainBound | None
    rows: Rows
    ode: LogDensity
    log_p_true: Rows | None

    @classmethod
    def of(cls, model: DiffusionModel, unseen: Rows, codec: Codec, density: Density | None, stream: Stream) -> _Scored:
        rows = random_rows(unseen, _MOST_SCORED, stream=stream.child("rows"))
        terms = bound(model, rows, stream=stream.child("bound"))
        truth = None if density is None else density.log_prob(rows)
        n_probes = None if codec.n_encoded <= _MOST_EXACT_COLUMNS else _PROBES
        return cls(
            terms=terms,
            bound_gap=None if truth is None else paired_gap(truth, -terms.per_row.numpy()),
            other_chains=tuple(_other_chains(model, rows, truth, stream.child("bound"))),
            textbook_chain=_textbook_chain(model, rows, truth, stream.child("bound")),
            rows=rows,
            ode=log_density(model, rows, n_probes=n_probes, stream=stream.child("probes")),
            log_p_true=truth,
        )

    @property
    def log_p_model(self) -> Rows:
        return self.ode.log_prob.numpy()

    @property
    def probe_error(self) -> float:
        """The share of the probes in the standard error of the mean: 0 where the divergence is exact."""
        error = self.ode.standard_error
        return float(error.square().sum().sqrt()) / len(error)

    def gap(self, log_p: Rows) -> Estimate | None:
        return None if self.log_p_true is None else paired_gap(self.log_p_true, log_p)

    def distance(self, log_p: Rows) -> Estimate | None:
        return None if self.log_p_true is None else total_variation(self.log_p_true, log_p)


def _real_pairs(
    unseen: Rows, codec: Codec, density: Density | None, n_pairs: int, n_rows: int | None, stream: Stream
) -> tuple[RealPairs, str]:
    most = _MOST_IN_A_SET if n_rows is None else n_rows
    if density is not None:
        draws = codec.encode(density.sample_rows(0, 2 * n_pairs * most, stream=stream.child("draws")))
        pairs = disjoint_pairs(draws, n_pairs, stream=stream)
        return pairs, f"{n_pairs} pairs of {pairs.n_rows:,} fresh draws from the true density"
    if len(unseen) >= 2 * n_pairs * min(most, _FEWEST_IN_A_SET):
        kept = codec.encode(random_rows(unseen, 2 * n_pairs * most, stream=stream.child("kept")))
        pairs = disjoint_pairs(kept, n_pairs, stream=stream)
        return pairs, f"{n_pairs} pairs of {pairs.n_rows:,} unseen rows, none of them used twice"
    kept = codec.encode(random_rows(unseen, 2 * most, stream=stream.child("kept")))
    pairs = resampled_pairs(kept, n_pairs, stream=stream)
    return pairs, f"{n_pairs} random splits of the unseen rows into halves of {pairs.n_rows:,}"


def _other_chains(model: DiffusionModel, rows: Rows, truth: Rows | None, stream: Stream) -> Iterator[ChainBound]:
    """Yield the bounds of the best few steps with every reverse variance that the model allows, on the same noise."""
    k = min(_FEW_STEPS, model.schedule.n_steps)
    ends_in_noise = bool(model.schedule.log_snr[-1].isinf())
    for kind in BOUND_VARIANCES:
        if kind == "full" and (model.codec.n_encoded > _MOST_EXACT_COLUMNS or ends_in_noise):
            continue
        by_row = bound(model, rows, stream=stream, reverse_variance=kind, steps=k, n_draws=_DRAWS).per_row.numpy()
        yield ChainBound(kind, k, mean_estimate(by_row), None if truth is None else paired_gap(truth, -by_row))


def _textbook_chain(model: DiffusionModel, rows: Rows, truth: Rows | None, stream: Stream) -> ChainBound | None:
    """Return the bound of the model's own network on the textbook's schedule and variances, or None beyond its range.

    It needs no training of its own, as a denoiser knows noise levels and not steps.
    """
    try:
        check_schedule(model.denoiser, _TEXTBOOK)
    except InvalidInput:
        return None
    respaced, decoder = replace(model, schedule=_TEXTBOOK), float(_TEXTBOOK.beta[1])
    terms = bound(respaced, rows, stream=stream, reverse_variance="beta", decoder_variance=decoder, n_draws=_DRAWS)
    by_row = terms.per_row.numpy()
    gap = None if truth is None else paired_gap(truth, -by_row)
    return ChainBound("beta", _TEXTBOOK.n_steps, mean_estimate(by_row), gap)


def _textbook_mismatch(model: DiffusionModel, rows: Rows) -> float:
    z = model.codec.encode(rows)
    mean, covariance = z.mean(axis=0), np.atleast_2d(np.cov(z, rowvar=False, bias=True))
    return prior_mismatch(torch.from_numpy(mean), torch.from_numpy(covariance), _TEXTBOOK)


def _own(model: DiffusionModel, figures: tuple[Figure, ...], scored: _Scored, sample_seconds: float) -> Contender:
    fit_seconds = model.card.get("fit_seconds")
    return Contender(
        name="Diffusion model",
        figures=figures,
        density_of="ode",
        negative_log_density=mean_estimate(-scored.log_p_model),
        advantage=None,
        gap=scored.gap(scored.log_p_model),
        # Each |1 - p_model / p| would be too large by the noise of the probes.
        total_variation=scored.distance(scored.log_p_model) if scored.probe_error == 0.0 else None,
        fit_seconds=None if fit_seconds is None else float(fit_seconds),
        sample_seconds=sample_seconds,
        code=_LOAD,
    )


def _contender(
    rival: Rival, codec: Codec, judges: list[Judge], pairs: RealPairs, scored: _Scored, stream: Stream
) -> Contender:
    baseline = rival.baseline
    started = time.perf_counter()
    drawn = rival.sample(pairs.n_generated, stream.child("rival", baseline.name))
    sample_seconds = _per_10_000(time.perf_counter() - started, len(drawn))
    log_p = rival.log_p
    return Contender(
        name=baseline.name,
        figures=tuple(judge.judge(codec.encode(drawn)) for judge in judges),
        density_of="exact",
        negative_log_density=mean_estimate(-log_p),
        advantage=mean_estimate(log_p - scored.log_p_model),
        gap=scored.gap(log_p),
        total_variation=scored.distance(log_p),
        fit_seconds=baseline.fit_seconds,
        sample_seconds=sample_seconds,
        code=rival.code,
    )


def _as_many(trained: Rows, unseen: Rows, stream: Stream) -> tuple[Rows, Rows]:
    """Return equally many rows of each at random, row i of the one to meet the noise of row i of the other."""
    n = min(len(trained), len(unseen), _MOST_TO_SEE_GAIN)
    return random_rows(trained, n, stream=stream.child("training")), random_rows(
        unseen, n, stream=stream.child("unseen")
    )


def _training_gain(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Estimate:
    """Return the bound on unseen rows minus that on as many training rows, with the same noise.

    A chain of 50 of the steps serves: it sees what the network remembers for a fraction of the time. The error is that
    of the differences of rows that share their noise.
    """
    times = Sampler("ancestral", _STEPS_TO_SEE_GAIN).times(model.schedule)
    schedule, sigma_sq = model.schedule.respace(times), reverse_variances(model, times)
    on_trained, on_unseen = (
        variational_bound(
            model.denoiser, encode_for_scoring(model, rows), schedule, sigma_sq, stream=stream.child("noise")
        ).per_row.numpy()
        for rows in (trained, unseen)
    )
    return mean_estimate(on_unseen - on_trained)


def _gain_by_level(model: DiffusionModel, trained: Rows, unseen: Rows, stream: Stream) -> Iterator[LevelGain]:
    """Yield, from little noise to much, L_simple on unseen rows minus that on training rows, with the same noise."""
    schedule, d = model.schedule, model.codec.n_encoded
    z = [encode_for_scoring(model, rows) for rows in (trained, unseen)]
    for t in sorted({1, *evenly_spaced(schedule.n_steps, min(_LEVELS_TO_SEE_GAIN, schedule.n_steps))}):
        gain = np.zeros(len(trained))
        for draw in range(_DRAWS_TO_SEE_GAIN):
            eps = stream.child(t, draw).normal(0, len(trained), d, z[0].dtype).to(z[0].device)
            with torch.no_grad():
                on_trained, on_unseen = (simple_loss(model.denoiser, x, t, eps, schedule).double().cpu() for x in z)
            gain += (on_unseen - on_trained).numpy() / _DRAWS_TO_SEE_GAIN
        yield LevelGain(t, float(schedule.noise_level[t]), mean_estimate(gain))


def _per_10_000(elapsed: float, n: int) -> float:
    return elapsed * 10_000 / n
