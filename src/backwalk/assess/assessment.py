"""From a model and unseen rows to a `Fidelity`.

Every contender generates as many rows as the pairs of real sets need, and all meet the same pairs. Densities are scored
on the same unseen rows (`scored.py`). Baselines are fitted to the training rows (`rivals.py`), and their log-densities
are given in the user's units, as the model's are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backwalk.assess.baselines import Rival, fitted_rivals
from backwalk.assess.fidelity import Contender, Fidelity
from backwalk.assess.memorisation import as_many, gain_by_level, training_gain
from backwalk.assess.scored import Scored, textbook_mismatch
from backwalk.assess.statistics import Judge, battery, column_figures
from backwalk.assess.verdict import verdict
from backwalk.assess.warnings import cautions
from backwalk.assess.words import column_name
from backwalk.datasets import Density
from backwalk.errors import InvalidInput
from backwalk.evaluation import (
    Estimate,
    Figure,
    RealPairs,
    disjoint_pairs,
    mean_estimate,
    nearest_row_share,
    random_rows,
    resampled_pairs,
)
from backwalk.evaluation.rows import Rows, as_rows
from backwalk.fitting import cells_of_the_fit, is_of_the_fit, trained_rows
from backwalk.limits import is_whole
from backwalk.model import DiffusionModel, possible_rows, refuse_impossible, sample_rows
from backwalk.streams import Stream
from backwalk.table import Codec, Table, as_table, complete, match_columns
from backwalk.threads import single_threads

_FEWEST_UNSEEN = 20  # below, no classifier and no error can be had
_FEWEST_IN_A_SET = 500  # of disjoint sets; otherwise, halves of all unseen rows say more
_MOST_IN_A_SET = 10_000


def assess(
    model: DiffusionModel,
    unseen: Any,
    *,
    training: Any = None,
    density: Density | None = None,
    stream: Stream,
    n_pairs: int = 8,
    n_rows: int | None = None,
    baselines: bool = True,
    model_path: str = "model.backwalk",
) -> Fidelity:
    """Return every figure of a model beside its null, with errors, baselines beside it, and a verdict in words.

    `unseen` is (m, d), in the user's units, an array or a table: rows that the fit never saw, at least 20. `training`
    is (n, d), what the fit saw: baselines are fitted to it and copies of it looked for; without it there are neither.
    With a `density`, the real sets are `n_pairs` pairs of `n_rows` (10,000 by default, 10 at least) fresh draws from
    it, and gaps to its log-density are known. Without, they are cut from `unseen`: disjoint sets where these have 500
    rows or more, otherwise random halves. `model_path` is what the code to copy loads. Two moons take some 15 seconds
    on two free cores.

    Unseen rows that the model cannot make, as their constant columns hold other values than the fitted ones, are left
    out, and told. Raises InvalidInput for too few rows, for other columns than the model's, and for training rows that
    it cannot make; SamplingDiverged where the network's answers are no numbers.
    """
    if not isinstance(model, DiffusionModel):
        raise InvalidInput(f"model should be a fitted model, but got {type(model).__name__}: give model.model_.")
    d = model.schema.n_columns
    unseen_rows, n_impossible = rows_to_judge(unseen, model, "unseen")
    training_rows = None if training is None else matched_rows(training, model, "training")
    if n_rows is not None and not (is_whole(n_rows) and n_rows >= _FEWEST_UNSEEN // 2):
        raise InvalidInput(
            f"n_rows should be an integer >= {_FEWEST_UNSEEN // 2}, as classifiers want, but got {n_rows!r}: give "
            "more, or None."
        )
    if density is not None and density.d != d:
        raise InvalidInput(
            f"density should have the model's {d} columns, but has {density.d}: give the one the rows came from."
        )
    if training_rows is not None:
        refuse_impossible(model, training_rows, "training")
    codec = _judging_codec(model, unseen_rows if training_rows is None else training_rows)
    pairs, real_rows = _real_pairs(unseen_rows, codec, density, n_pairs, n_rows, stream.child("real"))
    started = time.perf_counter()
    rows = sample_rows(model, 0, pairs.n_generated, stream=stream.child("generated"))
    sample_seconds = _per_10_000(time.perf_counter() - started, len(rows))
    sample = _Sample(codec.encode(rows), sample_seconds)
    # What goes through the network in pieces does so on all threads.
    scored = Scored.of(model, unseen_rows, codec, density, stream.child("scored"))
    trained, alike = None, None
    if training_rows is not None:
        chosen = trained_rows(model.card, training_rows)
        trained, alike = training_rows[chosen], _alike(model, training_rows, chosen, unseen_rows, stream)
    gain = None if alike is None else training_gain(model, *alike, stream.child("gain"))
    case = _Case(
        model=model,
        unseen=unseen_rows,
        n_impossible=n_impossible,
        training=training_rows,
        trained=trained,
        alike=alike,
        density=density,
        codec=codec,
        pairs=pairs,
        real_rows=real_rows,
        sample=sample,
        scored=scored,
        gain=gain,
    )
    # The rest is in small pieces, for which waiting for a second thread costs more than it brings, and many times more
    # on a busy machine.
    with single_threads(), threadpool_limits(1):
        return _judged(case, baselines=baselines, stream=stream, load=_load_words(model, model_path))


def matched_rows(x: Any, model: DiffusionModel, name: str) -> Rows:
    """Return the rows of an array or a table with the model's columns, found by name where there are names.

    Raises InvalidInput, in which they are called `name`, for other columns and for fewer than 20 rows.
    """
    table = match_columns(complete(as_table(x, name=name), name=name), model.schema, name=name)
    return as_rows(table.values, name, at_least=_FEWEST_UNSEEN)


def rows_to_judge(x: Any, model: DiffusionModel, name: str) -> tuple[Rows, int]:
    """Return those of `matched_rows` that the model can make, and the number of the others.

    Raises InvalidInput, as `refuse_impossible` does, where fewer than 20 are left.
    """
    rows = matched_rows(x, model, name)
    possible = possible_rows(model, rows)
    if possible.sum() < _FEWEST_UNSEEN:
        refuse_impossible(model, rows, name)
    return rows[possible], int((~possible).sum())


def _load_words(model: DiffusionModel, path: str) -> str:
    """Return the lines that load a model and draw from it."""
    of_kind = "  # a pyarrow Table: X_new.to_pandas() is a DataFrame" if model.schema.kind == "pyarrow" else ""
    return f"from backwalk import Diffusion\n\nmodel = Diffusion.load({path!r})\nX_new = model.sample(10_000){of_kind}"


def _alike(
    model: DiffusionModel, training: Rows, chosen: NDArray[np.bool_], unseen: Rows, stream: Stream
) -> tuple[Rows, Rows]:
    """Return equally many rows that were trained on and that were not, whole numbers spread, the former as in the fit.

    `chosen`, (n,), says which of `training` were trained on. Memory may be finer than a cell.
    """
    trained = model.codec.dequantise(training, stream=cells_of_the_fit(model.card))[chosen]
    others = model.codec.dequantise(unseen, stream=stream.child("gain", "cells"))
    return as_many(trained, others, stream.child("gain"))


def _judging_codec(model: DiffusionModel, rows: Rows) -> Codec:
    """Return the scale of the statistics: that of these rows, in the very columns that vary for the model."""
    return model.codec.refitted(Table(rows, model.schema))


@dataclass(frozen=True, eq=False)
class _Sample:
    """Rows of the model in one scale, and the seconds that 10,000 of them took."""

    encoded: Rows
    seconds: float


@dataclass(frozen=True, eq=False)
class _Case:
    """A model, what it is judged by, and the scale and the pairs in which that is done.

    `trained` are the rows of `training` that were trained on, and `alike` as many of these as of the unseen rows, whole
    numbers spread. `n_impossible` more unseen rows were left out, as the model cannot make them.
    """

    model: DiffusionModel
    unseen: Rows
    n_impossible: int
    training: Rows | None
    trained: Rows | None
    alike: tuple[Rows, Rows] | None
    density: Density | None
    codec: Codec
    pairs: RealPairs
    real_rows: str
    sample: _Sample
    scored: Scored
    gain: Estimate | None


def _judged(case: _Case, *, baselines: bool, stream: Stream, load: str) -> Fidelity:
    model, unseen, training, codec, pairs = case.model, case.unseen, case.training, case.codec, case.pairs
    sample, scored, trained, gain = case.sample, case.scored, case.trained, case.gain
    judges = [Judge.ready(statistic, pairs) for statistic in battery(codec.n_encoded, stream=stream.child("battery"))]
    figures = tuple(judge.judge(sample.encoded) for judge in judges)
    levels = None if case.alike is None else tuple(gain_by_level(model, *case.alike, stream.child("levels")))
    ours = _own(model, figures, scored, sample.seconds, load)
    seen = is_of_the_fit(model.card, unseen)
    overlap = 0.0 if training is None else _overlap(unseen, training)
    rivals: tuple[Contender, ...] = ()
    if baselines and training is not None:
        found = fitted_rivals(Table(training, model.schema), codec, scored.rows, stream)
        rivals = tuple(_contender(rival, codec, judges, pairs, scored, stream) for rival in found)
    density = case.density
    entropy = None if density is None else density.entropy
    words, advised = verdict(ours, rivals, entropy, could_have_more=training is None)
    columns = column_figures(pairs, sample.encoded, codec, [column_name(model.schema, j) for j in codec.varying])
    share = None
    if trained is not None:
        some = sample.encoded[:_MOST_IN_A_SET]
        share = nearest_row_share(some, codec.encode(trained), codec.encode(unseen), stream=stream.child("nearest"))
    return Fidelity(
        verdict=words,
        code=advised.code,
        warnings=tuple(
            cautions(
                model.schedule,
                model.prior_mismatch,
                columns,
                share,
                gain,
                len(unseen),
                seen=seen,
                overlap=overlap,
                other_training=training is not None and _is_another_table(model, training),
                repeated=_repeated(model, unseen),
                n_impossible=case.n_impossible,
            )
        ),
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
        textbook_mismatch=textbook_mismatch(model, scored.rows),
        nearest_row_share=share,
        training_gain=gain,
        training_gain_by_level=levels,
        n_unseen=len(unseen),
        n_impossible=case.n_impossible,
        are_others=not seen and overlap == 0.0,
        n_training=None if trained is None else len(trained),
        real_rows=case.real_rows,
        asinh_columns=tuple(
            column_name(model.schema, j) for j, column in enumerate(codec.columns) if column.axis.asinh
        ),
        sampler=model.sampler.describe(model.schedule),
    )


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


def _overlap(unseen: Rows, training: Rows) -> float:
    """Return the share of the unseen rows that stand among the training rows."""
    found = set(map(bytes, unseen)).intersection(map(bytes, training))
    return float(np.mean([bytes(row) in found for row in unseen]))


def _repeated(model: DiffusionModel, rows: Rows) -> list[str]:
    columns = model.codec.repeated_values(rows, float(model.schedule.noise_level[1]))
    return [f"{column_name(model.schema, j)} ({number:g} in {share:.0%})" for j, (number, share) in columns.items()]


def _is_another_table(model: DiffusionModel, training: Rows) -> bool:
    return "data_sha256" in model.card and not is_of_the_fit(model.card, training)


def _own(
    model: DiffusionModel, figures: tuple[Figure, ...], scored: Scored, sample_seconds: float, load: str
) -> Contender:
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
        code=load,
    )


def _contender(
    rival: Rival, codec: Codec, judges: list[Judge], pairs: RealPairs, scored: Scored, stream: Stream
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


def _per_10_000(elapsed: float, n: int) -> float:
    return elapsed * 10_000 / n
