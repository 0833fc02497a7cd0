"""From a model and unseen rows to a `Fidelity`.

The model and every baseline draw as many rows as the pairs of real sets need, and all are compared with the same pairs.
Densities are evaluated at the same unseen rows (`topics/likelihood.py`). Baselines are fitted to the training rows
(`baselines/`), and their log-densities are in the user's units, as the model's are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backwalk.assess.answers import answer, are_posteriors_calibrated
from backwalk.assess.baselines import Baseline, fit_baselines
from backwalk.assess.fidelity import Calibration, Fidelity, ModelScores, calibration_warnings, collect_warnings
from backwalk.assess.representation import Representation, kinds_of
from backwalk.assess.statistics.downstream import utility
from backwalk.assess.topics.closeness import score_closeness
from backwalk.assess.topics.columns import score_columns
from backwalk.assess.topics.conditionals import score_conditionals
from backwalk.assess.topics.likelihood import LikelihoodScores, score_likelihood
from backwalk.assess.topics.membership import score_membership
from backwalk.assess.topics.memorisation import score_memorisation
from backwalk.assess.topics.posteriors import choose_given, score_posteriors
from backwalk.assess.topics.rows import (
    RowChecks,
    RowSets,
    check_rows,
    check_set_size,
    draw_real_pairs,
    matched_rows,
    rows_to_score,
)
from backwalk.assess.verdict import decide
from backwalk.assess.words import column_name
from backwalk.datasets import Density
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows, mean_estimate
from backwalk.model import DiffusionModel, column_numbers, refuse_impossible, sample_rows
from backwalk.streams import Stream
from backwalk.threads import single_threads

_LOADED = "from backwalk import Diffusion{}\n\nmodel = Diffusion.load({!r})\n"
Watch = Callable[[float, str], object]
"""Called with the share of an assessment that is done, and what comes next."""


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
) -> Fidelity | Calibration:
    """Score a model on unseen rows: statistics with nulls and errors, baselines, and answers in words.

    `Diffusion.assess` calls this. Unseen rows that the model cannot make are left out and counted.

    Parameters
    ----------
    model : DiffusionModel
        The fitted model, `model_` of an estimator.
    unseen : array-like or table of shape (m, d)
        At least 20 rows that the fit never saw, in the user's units.
    training : array-like or table of shape (n, d), optional
        The rows of the fit. Baselines are fitted to them, copies of them are counted, and those that were trained on
        are tested against unseen rows.
    density : Density, optional
        The true density. Real sets are then `n_pairs` pairs of fresh draws from it. Otherwise they are drawn from
        `unseen`: disjoint sets if these have 500 rows or more, random halves if not.
    target : str or int, optional
        A column. Models that predict it are trained on generated and on real rows.
    given : sequence of str or int, optional
        Columns of data, of which the posterior of all others, the parameters, is scored: by default the only set of
        columns that the model was fitted to be given.
    stream : Stream
        The random numbers.
    n_pairs : int, default=8
        The number of pairs of real sets.
    n_rows : int, optional
        The number of rows in each set drawn from `density`: 10,000 by default.
    baselines : bool, default=True
        Whether baselines are fitted.
    model_path : str, default="model.backwalk"
        The model's file in the code to copy.
    watch : callable, optional
        Called with the share done and the next stage.

    Returns
    -------
    Fidelity or Calibration
        The record; a `Calibration` of a model with an embedding, which answers for posteriors alone.

    Raises
    ------
    InvalidInput
        For too few rows, for other columns than the model's, and for training rows that it cannot make.
    SamplingDiverged
        If the network returns NaN.

    See Also
    --------
    backwalk.Diffusion.assess : The method of the estimator.
    fit_baseline : A baseline alone.

    Notes
    -----
    A table with levels or gaps has statistics by the kinds of its columns, and scores of its conditionals. Generated
    rows are compared with the gaps of random training rows, unless the model generates gaps itself.

    Examples
    --------
    >>> from backwalk import Diffusion
    >>> from backwalk.assess import assess
    >>> from backwalk.datasets import two_moons
    >>> from backwalk.streams import Stream
    >>> X = two_moons().sample(100, random_state=0)
    >>> model = Diffusion(n_steps=20, max_steps=20, random_state=0, verbose=False).fit(X)
    >>> fidelity = assess(model.model_, two_moons().sample(40, random_state=1), n_pairs=2, stream=Stream(0))
    >>> fidelity.model.figure("C2ST, boosting").n_pairs
    2
    """
    if not isinstance(model, DiffusionModel):
        raise InvalidInput(f"model should be a fitted model, but got {type(model).__name__}: give model.model_.")
    d = model.schema.n_columns
    rows, impossible = rows_to_score(unseen, model, "unseen")
    training_rows = None if training is None else matched_rows(training, model, "training")
    check_set_size(n_rows)
    if density is not None and density.d != d:
        raise InvalidInput(
            f"density should have the model's {d} columns, but has {density.d}: give the one the rows came from."
        )
    if training_rows is not None:
        refuse_impossible(model, training_rows, "training")
    given_columns = choose_given(model, None if given is None else column_numbers(model.schema, given))
    target_column = None if target is None else column_numbers(model.schema, [target])[0]

    watch(0.0, "drawing rows")
    checks, is_trained = check_rows(model, rows, impossible, training_rows)
    if model.has_embedding:
        return _calibration(model, rows, checks, given_columns, model_path, stream, watch)
    representation = Representation.of(model, rows, training_rows)
    real, pairs, origin = draw_real_pairs(rows, representation, density, n_pairs, n_rows, stream.child("real"))
    draw = partial(sample_rows, model, 0, pairs.n_generated, stream=stream.child("generated"))
    generated, sample_seconds = _draw(draw, representation, stream)
    sets = RowSets(rows, generated, training_rows, is_trained, representation, pairs, representation.encode(generated))
    likelihood = score_likelihood(
        model,
        rows,
        density,
        stream.child("scored"),
        trained=sets.trained,
        watch=lambda share, stage: watch(0.1 + 0.4 * share, stage),
    )
    watch(0.5, "memorisation")
    memorisation = score_memorisation(model, sets, stream)
    # On one thread: the operations of boosted trees are too small to share.
    with single_threads(), threadpool_limits(1):
        scored_baselines: list[tuple[Baseline, NDArray[np.float64]]] = []
        if baselines and training_rows is not None:
            watch(0.6, "fitting baselines")
            of_numbers = representation.is_of_numbers
            scored_baselines = list(
                fit_baselines(training_rows, model, likelihood.rows, of_numbers=of_numbers, stream=stream)
            )
        best = max(scored_baselines, key=lambda scored: float(scored[1].mean()))[0] if scored_baselines else None
        membership = score_membership(
            model,
            likelihood,
            best,
            stream.child("membership"),
            share_impossible=checks.n_impossible / checks.n_unseen,
        )
        models = _score_models(model, sets, sample_seconds, scored_baselines, likelihood, model_path, stream, watch)
        watch(0.9, "columns")
        columns = score_columns(sets, model.schema, is_other_training=checks.is_other_training)
        watch(0.95, "conditionals")
        conditionals, prediction = None, None
        if not representation.is_of_numbers:
            conditionals = score_conditionals(model, sets, target_column, stream.child("table"))
            if target_column is not None and sets.trained is not None:
                of_utility, kinds = stream.child("table", "utility"), kinds_of(model.codec)
                prediction = utility(generated, sets.trained, rows, kinds, target_column, stream=of_utility)
    posterior = None
    if given_columns is not None:
        watch(0.98, "posteriors")
        posterior = score_posteriors(model, rows, given_columns, stream=stream.child("posterior"))
    watch(1.0, "done")
    recommended = models[0]
    if models[1:] and not checks.are_of_fit:
        _, recommended = decide(models[0], models[1:])
    codec_columns = enumerate(representation.codec.columns)
    fidelity = Fidelity(
        answers=(),
        code=recommended.code,
        model=models[0],
        baselines=models[1:],
        checks=checks,
        columns=columns,
        likelihood=likelihood,
        memorisation=memorisation,
        membership=membership,
        conditionals=conditionals,
        prediction=prediction,
        posterior=posterior,
        warnings=tuple(
            collect_warnings(model, checks, likelihood, memorisation, membership, columns, conditionals, posterior)
        ),
        real=real,
        generated=generated,
        real_rows=origin,
        asinh_columns=tuple(column_name(model.schema, j) for j, column in codec_columns if column.asinh),
        sampler=model.sampler.describe(model.schedule),
    )
    return replace(fidelity, answers=tuple(answer(fidelity, model)))


def _calibration(
    model: DiffusionModel,
    unseen: Rows,
    checks: RowChecks,
    given: Sequence[int] | None,
    path: str,
    stream: Stream,
    watch: Watch,
) -> Calibration:
    """Score the posteriors of a model that answers for these alone."""
    assert given is not None  # the embedding's columns, by default
    watch(0.1, "posteriors")
    posterior = score_posteriors(model, unseen, given, stream=stream.child("posterior"))
    watch(1.0, "done")
    names = [model.schema.names[j] for j in given]
    calibration = Calibration(
        answers=(),
        code=f"{_LOADED.format(', posterior', path)}theta = posterior(model, given={names}).sample((1_000,), x)",
        checks=checks,
        posterior=posterior,
        warnings=tuple(calibration_warnings(model, checks, posterior)),
    )
    return replace(calibration, answers=(are_posteriors_calibrated(calibration),))


def _draw(draw: Callable[[], Rows], representation: Representation, stream: Stream) -> tuple[Rows, float]:
    """Return rows to compare, with the gaps of training rows, and the seconds that 10,000 of them take."""
    started = time.perf_counter()
    rows = draw()
    seconds = 10_000 * (time.perf_counter() - started) / len(rows)
    return representation.with_gaps(rows, stream.child("gaps")), seconds


def _score_models(
    model: DiffusionModel,
    sets: RowSets,
    sample_seconds: float,
    scored_baselines: Sequence[tuple[Baseline, NDArray[np.float64]]],
    likelihood: LikelihoodScores,
    path: str,
    stream: Stream,
    watch: Watch,
) -> tuple[ModelScores, ...]:
    """Score the model and the baselines, which come with their log-densities, against the same pairs of real rows."""
    representation, pairs = sets.representation, sets.pairs
    drawn = []
    for baseline, _ in scored_baselines:
        draw = partial(baseline.sample_rows, pairs.n_generated, stream.child("baseline", baseline.name))
        drawn.append(_draw(draw, representation, stream))
    figures = score_closeness(
        representation,
        pairs,
        [sets.represented, *(representation.encode(rows) for rows, _ in drawn)],
        stream=stream.child("statistics"),
        watch=lambda share, statistic: watch(0.7 + 0.2 * share, statistic),
    )
    hint = "  # a pyarrow Table: X_new.to_pandas() is a DataFrame" if model.schema.kind == "pyarrow" else ""
    ours = ModelScores(
        name="Diffusion model",
        figures=figures[0],
        density_of="ode",
        negative_log_density=mean_estimate(-likelihood.log_p_model),
        advantage=None,
        gap=likelihood.gap(likelihood.log_p_model),
        # The noise of probes would make each |1 - p_model / p| too large.
        total_variation=None if likelihood.ode_probe_error else likelihood.total_variation(likelihood.log_p_model),
        fit_seconds=model.fit_seconds,
        sample_seconds=sample_seconds,
        code=f"{_LOADED.format('', path)}X_new = model.sample(10_000){hint}",
    )
    others = [
        ModelScores(
            name=baseline.name,
            figures=of_baseline,
            density_of="exact",
            negative_log_density=mean_estimate(-log_p),
            advantage=mean_estimate(log_p - likelihood.log_p_model),
            gap=likelihood.gap(log_p),
            total_variation=likelihood.total_variation(log_p),
            fit_seconds=baseline.fitted.fit_seconds,
            sample_seconds=seconds,
            code=baseline.code(path),
        )
        for (baseline, log_p), (_, seconds), of_baseline in zip(scored_baselines, drawn, figures[1:], strict=True)
    ]
    return (ours, *others)
