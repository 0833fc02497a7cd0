"""From a model and unseen rows to a `Fidelity`.

The model and every baseline draw as many rows as the pairs of real sets need, and all are compared with the same pairs.
Densities are evaluated at the same unseen rows (`scored.py`). Baselines are fitted to the training rows
(`baselines.py`), and their log-densities are in the user's units, as the model's are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backwalk.assess.baselines.fitted import fitted_baselines
from backwalk.assess.baselines.tables import baseline_code, fitted_table_baselines
from backwalk.assess.fidelity import ComparedRows, Fidelity, ModelScores
from backwalk.assess.memorisation import equally_many, gain_by_level, training_gain
from backwalk.assess.posterior_scores import given_columns, posterior_scores
from backwalk.assess.rows import MOST_IN_A_SET, check_set_size, matched_rows, real_pairs, row_checks, rows_to_score
from backwalk.assess.scored import Scored, textbook_mismatch
from backwalk.assess.statistics import Estimate, Figure, mean_estimate, nearest_row_share
from backwalk.assess.table_scores import table_scores
from backwalk.assess.topics.closeness import PairedStatistic, column_figures, statistics_of
from backwalk.assess.verdict import verdict
from backwalk.assess.views import View
from backwalk.assess.warnings import warnings_of
from backwalk.assess.words import column_name
from backwalk.datasets import Density
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows
from backwalk.model import DiffusionModel, column_numbers, refuse_impossible, sample_rows
from backwalk.streams import Stream
from backwalk.table import Table
from backwalk.threads import Map, single_threads

Watch = Callable[[float, str], object]
"""Called with the share of an assessment that is done, and what comes next."""


class _Baseline(NamedTuple):
    """A fitted baseline, its log-density of the scored rows, (n,), and the code that makes it."""

    name: str
    fit_seconds: float
    log_p: Rows
    timed_sample: Callable[[int, Stream], tuple[Rows, float]]
    code: str


def assess(
    model: DiffusionModel,
    unseen: Any,
    *,
    training: Any = None,
    density: Density | None = None,
    target: str | int | None = None,
    given: Sequence[str | int] | None = None,
    stream: Stream,
    n_pairs: int = 8,
    n_rows: int | None = None,
    baselines: bool = True,
    model_path: str = "model.backwalk",
    watch: Watch = lambda _share, _stage: None,
) -> Fidelity:
    """Score a model on unseen rows: statistics with nulls and errors, baselines, and a verdict in words.

    `unseen` is (m, d), an array or a table in the user's units: at least 20 rows that the fit never saw. `training` is
    (n, d), the rows of the fit: baselines are fitted to them, and copies of them are counted; without them there are no
    baselines. With a `density`, the real sets are `n_pairs` pairs of `n_rows` (10,000 by default, at least 10) fresh
    draws from it, and its log-density is the truth. Otherwise they are drawn from `unseen`: disjoint sets if these have
    500 rows or more, random halves if not. `model_path` appears in the code to copy. `watch` is called with the share
    done and the next stage.

    A table with levels or gaps has statistics by the kinds of its columns, and scores of its conditionals (`table`).
    With a `target`, the name or the number of a column, models that predict it are trained on generated and on real
    rows. Generated rows are compared with the gaps of random training rows, unless the model generates gaps itself.
    `given` names columns of data, of which the posterior of all others, the parameters, is scored (`posterior`): by
    default the only set of columns that the model was fitted to be given.

    Unseen rows that the model cannot make are left out and counted. Raises InvalidInput for too few rows, for other
    columns than the model's, and for training rows that it cannot make; SamplingDiverged if the network returns NaN.
    """
    if not isinstance(model, DiffusionModel):
        raise InvalidInput(f"model should be a fitted model, but got {type(model).__name__}: give model.model_.")
    d = model.schema.n_columns
    rows, n_impossible = rows_to_score(unseen, model, "unseen")
    training_rows = None if training is None else matched_rows(training, model, "training")
    check_set_size(n_rows)
    if density is not None and density.d != d:
        raise InvalidInput(
            f"density should have the model's {d} columns, but has {density.d}: give the one the rows came from."
        )
    if training_rows is not None:
        refuse_impossible(model, training_rows, "training")

    data = given_columns(model, None if given is None else column_numbers(model.schema, given))
    place = None if target is None else column_numbers(model.schema, [target])[0]

    watch(0.0, "drawing rows")
    checks, trained = row_checks(model, rows, n_impossible, training_rows)
    view = _view_of(model, rows, training_rows)
    codec = view.codec
    real, pairs, origin = real_pairs(rows, view, density, n_pairs, n_rows, stream.child("real"))
    started = time.perf_counter()
    generated = sample_rows(model, 0, pairs.n_generated, stream=stream.child("generated"))
    sample_seconds = _per_10_000(time.perf_counter() - started, len(generated))
    generated = view.with_gaps(generated, stream.child("gaps"))
    scored = Scored.of(
        model, rows, density, stream.child("scored"), watch=lambda share, stage: watch(0.1 + 0.4 * share, stage)
    )
    watch(0.5, "memorisation")
    alike, gain = None, None
    if training_rows is not None and trained is not None:
        alike = _equally_many(model, view, training_rows, trained, rows, stream)
        gain = training_gain(model, *alike, stream.child("gain"))
    # The rest consists of small operations, for which a second thread costs more than it saves.
    with single_threads() as parallel_map, threadpool_limits(1):
        levels = (
            None
            if alike is None or not view.is_of_numbers
            else tuple(gain_by_level(model, *alike, stream.child("levels")))
        )
        watch(0.6, "real rows against real rows")
        some = statistics_of(view, stream=stream.child("statistics"))
        paired = [PairedStatistic.of(statistic, pairs, parallel_map) for statistic in some]
        watch(0.7, "generated rows against real rows")
        z = view.rows(generated)
        columns = column_figures(pairs, z, view, [column_name(model.schema, j) for j in codec.varying])
        share = None
        if training_rows is not None:
            sets = z[:MOST_IN_A_SET], view.rows(training_rows[trained]), view.rows(rows)
            share = nearest_row_share(*(x[:, view.coordinates] for x in sets), stream=stream.child("nearest"))
        ours = _model_scores(model, _figures(paired, z, parallel_map), scored, sample_seconds, model_path)
        others: list[ModelScores] = []
        if baselines and training_rows is not None:
            watch(0.8, "fitting baselines")
            found = list(_fitted(model, view, training_rows, scored.rows, model_path, stream))
            for k, fitted in enumerate(found):
                name = fitted.name
                watch(0.85 + 0.1 * k / len(found), f"rows of {name} against real rows")
                drawn, seconds = fitted.timed_sample(pairs.n_generated, stream.child("baseline", name))
                figures = _figures(paired, view.rows(view.with_gaps(drawn, stream.child("gaps"))), parallel_map)
                others.append(_baseline_scores(fitted, figures, scored, _per_10_000(seconds, len(drawn))))
        watch(0.95, "conditionals")
        table = None
        if not view.is_of_numbers:
            table = table_scores(
                model, view, pairs, z, generated, rows, training_rows, trained, place, stream=stream.child("table")
            )
    of_parameters = None
    if data is not None:
        watch(0.98, "posteriors")
        of_parameters = posterior_scores(model, rows, data, stream=stream.child("posterior"))
    watch(1.0, "done")
    words, recommended = verdict(
        ours, tuple(others), share_of_fit=checks.share_of_fit, training_given=training_rows is not None
    )
    return Fidelity(
        verdict=words,
        code=recommended.code,
        warnings=tuple(warnings_of(model, columns, share, gain, checks, table, of_parameters)),
        model=ours,
        baselines=tuple(others),
        columns=columns,
        table=table,
        posterior=of_parameters,
        bound=scored.terms,
        bound_gap=scored.bound_gap,
        other_chains=scored.other_chains,
        textbook_chain=scored.textbook_chain,
        ode_solver_error=float(scored.ode.solver_error.mean()),
        ode_probe_error=scored.probe_error,
        entropy=None if density is None else density.entropy,
        entropy_standard_error=None if density is None else density.entropy_standard_error,
        prior_term=Estimate(scored.terms.prior, scored.terms.prior_standard_error, scored.terms.n_rows),
        prior_mismatch=model.prior_mismatch,
        textbook_mismatch=textbook_mismatch(model, scored.rows),
        nearest_row_share=share,
        training_gain=gain,
        training_gain_by_level=levels,
        checks=checks,
        rows=ComparedRows(real, generated),
        real_rows=origin,
        asinh_columns=tuple(
            column_name(model.schema, j) for j, column in enumerate(codec.columns) if column.axis.asinh
        ),
        sampler=model.sampler.describe(model.schedule),
    )


def _equally_many(
    model: DiffusionModel, view: View, training: Rows, trained: NDArray[np.bool_], unseen: Rows, stream: Stream
) -> tuple[Rows, Rows]:
    """Return equally many training and unseen rows; integers of tables of numbers at the same places in their cells."""
    places = stream.child("gain", "dequantisation")
    of_fit, others = equally_many(training[trained], unseen, stream.child("gain"))
    if not view.is_of_numbers:
        return of_fit, others  # their bound dequantises them
    return model.codec.dequantise(of_fit, stream=places), model.codec.dequantise(others, stream=places)


def _view_of(model: DiffusionModel, unseen: Rows, training: Rows | None) -> View:
    scales = unseen if training is None else training
    if model.codec.blocks or np.isnan(unseen).any() or np.isnan(scales).any():
        return View.of_table(model.codec, scales)
    return View(model.codec.refitted(Table(scales, model.schema)))


def _fitted(
    model: DiffusionModel, view: View, training: Rows, scored: Rows, path: str, stream: Stream
) -> Iterator[_Baseline]:
    """Yield the baselines for the kind of table, with their log-densities of the `scored` rows."""
    if view.is_of_numbers:
        for fitted in fitted_baselines(Table(training, model.schema), view.codec, scored, stream):
            own = fitted.baseline
            yield _Baseline(own.name, own.fit_seconds, fitted.log_p, fitted.timed_sample, fitted.code)
        return
    for kind, of_table in fitted_table_baselines(training, model, stream):
        log_p = of_table.log_density(scored, stream=stream.child("places"))
        mixed = of_table.baseline
        yield _Baseline(mixed.name, mixed.fit_seconds, log_p, of_table.timed_sample, baseline_code(kind, path))


def _figures(paired: list[PairedStatistic], seen: Rows, parallel_map: Map) -> tuple[Figure, ...]:
    return tuple(statistic.figure(seen, parallel_map) for statistic in paired)


def _model_scores(
    model: DiffusionModel, figures: tuple[Figure, ...], scored: Scored, sample_seconds: float, path: str
) -> ModelScores:
    fit_seconds = model.card.get("fit_seconds")
    hint = "  # a pyarrow Table: X_new.to_pandas() is a DataFrame" if model.schema.kind == "pyarrow" else ""
    return ModelScores(
        name="Diffusion model",
        figures=figures,
        density_of="ode",
        negative_log_density=mean_estimate(-scored.log_p_model),
        advantage=None,
        gap=scored.gap(scored.log_p_model),
        # The noise of probes would make each |1 - p_model / p| too large.
        total_variation=scored.distance(scored.log_p_model) if scored.probe_error == 0.0 else None,
        fit_seconds=None if fit_seconds is None else float(fit_seconds),
        sample_seconds=sample_seconds,
        code=f"from backwalk import Diffusion\n\nmodel = Diffusion.load({path!r})\nX_new = model.sample(10_000){hint}",
    )


def _baseline_scores(
    fitted: _Baseline, figures: tuple[Figure, ...], scored: Scored, sample_seconds: float
) -> ModelScores:
    log_p = fitted.log_p
    return ModelScores(
        name=fitted.name,
        figures=figures,
        density_of="exact",
        negative_log_density=mean_estimate(-log_p),
        advantage=mean_estimate(log_p - scored.log_p_model),
        gap=scored.gap(log_p),
        total_variation=scored.distance(log_p),
        fit_seconds=fitted.fit_seconds,
        sample_seconds=sample_seconds,
        code=fitted.code,
    )


def _per_10_000(elapsed: float, n: int) -> float:
    return elapsed * 10_000 / n
