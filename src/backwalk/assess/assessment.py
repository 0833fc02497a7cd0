"""From a model and unseen rows to a `Fidelity`.

The model and every baseline draw as many rows as the pairs of real sets need, and all are compared with the same pairs.
Densities are evaluated at the same unseen rows. Baselines are fitted to the training rows (`baselines/`), and their
log-densities are in the user's units, as the model's are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from threadpoolctl import threadpool_limits

from backwalk.assess import columns, copies, levels, posteriors, rows
from backwalk.assess import density as densities
from backwalk.assess.answers import answer, are_posteriors_calibrated
from backwalk.assess.baselines import Baseline, fit_baselines
from backwalk.assess.model_scores import ModelScores
from backwalk.assess.record import Calibration, Fidelity, collect_warnings
from backwalk.assess.representation import Representation
from backwalk.assess.sets import RowChecks, RowSets, check_rows, check_set_size, draw_real_pairs, rows_to_score
from backwalk.assess.statistics import Figure
from backwalk.assess.verdict import decide
from backwalk.datasets import Density
from backwalk.errors import InvalidInput
from backwalk.estimates import Rows, mean_estimate, random_rows
from backwalk.model import DiffusionModel, column_numbers, sample_rows
from backwalk.report.words import column_name
from backwalk.streams import Stream
from backwalk.threads import single_threads

_QUICK_PAIRS, QUICK_ROWS = 3, 1_000  # pairs of real sets, of fewer the errors are hardly known; unseen rows
_LOADED = "from backwalk import Diffusion{}\n\nmodel = Diffusion.load({!r})\n"
Watch = Callable[[float, str], object]
"""Called with the share of an assessment that is done, and what comes next."""
Show = Callable[[Fidelity | None], object]
"""Called with what is known so far."""
_Drawn = tuple[Rows, float]
"""Rows to compare, and the seconds that 10,000 of them take."""


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
    quick: bool = False,
    model_path: str = "model.backwalk",
    watch: Watch = lambda _share, _stage: None,
    show: Show = lambda _: None,
) -> Fidelity | Calibration:
    """Score a model on unseen rows: statistics with nulls and errors, baselines, and answers in words.

    `Diffusion.assess` calls this. Rows that the model cannot make, such as one with an unseen label, are set aside and
    counted.

    Parameters
    ----------
    model : DiffusionModel
        The fitted model, `model_` of an estimator.
    unseen : array-like or table of shape (m, d)
        At least 20 rows that the fit never saw, in the user's units.
    training : array-like or table of shape (n, d), optional
        The rows of the fit. Baselines are fitted to them, and copies of those that were trained on are looked for.
    density : Density, optional
        The true density. Real sets are then `n_pairs` pairs of fresh draws from it. Otherwise they are drawn from
        `unseen`: disjoint sets if these have 500 rows or more, random halves if not.
    target : str or int, optional
        A column. Models that predict it are trained on generated and on real rows, which `training` has to hold.
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
    quick : bool, default=False
        Whether at most 1,000 unseen rows are scored, with 3 pairs: in less time, with larger errors.
    model_path : str, default="model.backwalk"
        The model's file in the code to copy.
    watch : callable, optional
        Called with the share done and the next stage.
    show : callable, optional
        Called with None once the rows are checked, and with a `Fidelity` whenever more questions are answered; those
        that are not are None in it, and it has no answers.

    Returns
    -------
    Fidelity or Calibration
        The record; a `Calibration` of a model with an embedding, which answers for posteriors alone.

    Raises
    ------
    InvalidInput
        For too few rows, and for other columns than the model's.
    SamplingDiverged
        If the network returns NaN.

    See Also
    --------
    backwalk.Diffusion.assess : The method of the estimator.
    fit_baseline : A baseline alone.

    Notes
    -----
    A table with levels or gaps has statistics by the kinds of its columns, and scores of its predictions. Generated
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
    scored = rows_to_score(unseen, model, "unseen")
    of_fit = None if training is None else rows_to_score(training, model, "training")
    check_set_size(n_rows)
    if not isinstance(density, Density | None):
        raise InvalidInput(f"density should be a Density or None, but got {density!r}: leave it out.")
    if density is not None and density.d != d:
        raise InvalidInput(
            f"density should have the model's {d} columns, but has {density.d}: give the one the rows came from."
        )
    given_columns = posteriors.choose_given(model, None if given is None else column_numbers(model.schema, given))
    target_column = None if target is None else column_numbers(model.schema, [target])[0]

    watch(0.0, "drawing rows")
    checks, is_trained = check_rows(model, scored, of_fit)
    unseen_rows, training_rows = scored[0], None if of_fit is None else of_fit[0]
    levels.check_target(target_column, None if training_rows is None else training_rows[is_trained], unseen_rows)
    if quick:
        unseen_rows, n_pairs = random_rows(unseen_rows, QUICK_ROWS, stream=stream.child("quick")), _QUICK_PAIRS
        checks = replace(checks, n_unseen=len(unseen_rows))
    show(None)
    if model.has_embedding:
        return _calibration(model, unseen_rows, checks, given_columns, model_path, stream, watch)
    representation = Representation.of(model, unseen_rows, training_rows)
    real, pairs, origin = draw_real_pairs(unseen_rows, representation, density, n_pairs, n_rows, stream.child("real"))
    draw = partial(sample_rows, model, 0, pairs.n_generated, stream=stream.child("generated"))
    drawn = [_draw(draw, representation, stream)]
    generated = drawn[0][0]
    represented = [representation.encode(generated)]
    sets = RowSets(unseen_rows, generated, training_rows, is_trained, representation, pairs, represented[0])
    likelihood = densities.score(
        model,
        unseen_rows,
        density,
        stream.child("scored"),
        trained=sets.trained,
        most_trained=len(unseen_rows) if quick else None,
        watch=lambda share, stage: watch(0.1 + 0.4 * share, stage),
    )
    # On one thread: the operations of boosted trees are too small to share.
    with single_threads(), threadpool_limits(1):
        fitted: list[tuple[Baseline, Rows]] = []
        if baselines and training_rows is not None:
            watch(0.5, "fitting baselines")
            of_numbers = representation.is_of_numbers
            fitted = list(fit_baselines(training_rows, model, likelihood.rows, of_numbers=of_numbers, stream=stream))
        for baseline, _ in fitted:
            draw = partial(baseline.sample_rows, pairs.n_generated, stream.child("baseline", baseline.name))
            drawn.append(_draw(draw, representation, stream))
            represented.append(representation.encode(drawn[-1][0]))
        models = _score_models(model, fitted, drawn, [()] * len(drawn), likelihood, model_path)
        unknown: dict[str, Any] = dict.fromkeys(("posteriors", "rows", "columns", "levels", "copies"))
        so_far = partial(Fidelity, answers=(), code="", checks=checks, warnings=(), density=likelihood)
        show(so_far(model=models[0], baselines=models[1:], **unknown))
        watch(0.6, "columns")
        by_column = columns.score(sets, represented, model.schema)
        about = {
            "real": real,
            "real_rows": origin,
            "asinh_columns": tuple(
                column_name(model.schema, j) for j, column in enumerate(representation.codec.columns) if column.asinh
            ),
            "sampler": model.sampler.describe(model.schedule),
            "telling_pairs": by_column.telling_pairs(model.codec.varying, _numbers(model)),
        }
        by_row = rows.score(
            sets,
            represented,
            about=about,
            stream=stream.child("statistics"),
            watch=lambda share, statistic: watch(0.65 + 0.2 * share, statistic),
        )
        figures = [
            of_rows + of_columns for of_rows, of_columns in zip(by_row.figures, by_column.of_models, strict=True)
        ]
        models = _score_models(model, fitted, drawn, figures, likelihood, model_path)
        known = unknown | {"model": models[0], "baselines": models[1:], "rows": by_row, "columns": by_column}
        show(so_far(**known))
        watch(0.85, "predictions")
        predictions = levels.score(model, sets, target_column, stream.child("table"))
        show(so_far(**known | {"levels": predictions}))
        watch(0.93, "copies")
        best = max(fitted, key=lambda pair: float(pair[1].mean()))[0] if fitted else None
        given_away = copies.score(
            model, sets, likelihood, best, stream.child("copies"), n_impossible=checks.n_impossible
        )
    posterior = None
    if given_columns is not None:
        watch(0.97, "posteriors")
        posterior = posteriors.score(model, unseen_rows, given_columns, stream=stream.child("posterior"))
    watch(1.0, "done")
    recommended = models[0]
    if models[1:] and not checks.are_of_fit:
        _, recommended = decide(models[0], models[1:])
    fidelity = Fidelity(
        answers=(),
        code=recommended.code,
        checks=checks,
        posteriors=posterior,
        warnings=(),
        model=models[0],
        baselines=models[1:],
        rows=by_row,
        columns=by_column,
        density=likelihood,
        levels=predictions,
        copies=given_away,
    )
    fidelity = replace(fidelity, warnings=tuple(collect_warnings(model, fidelity)))
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
    posterior = posteriors.score(model, unseen, given, stream=stream.child("posterior"))
    watch(1.0, "done")
    names = [model.schema.names[j] for j in given]
    code = f"{_LOADED.format(', posterior', path)}theta = posterior(model, given={names}).sample((1_000,), x)"
    calibration = Calibration((), code, checks, posterior, ())
    calibration = replace(calibration, warnings=tuple(collect_warnings(model, calibration)))
    return replace(calibration, answers=(are_posteriors_calibrated(calibration),))


def _draw(draw: Callable[[], Rows], representation: Representation, stream: Stream) -> _Drawn:
    """Return rows to compare, with the gaps of training rows, and the seconds that 10,000 of them take."""
    started = time.perf_counter()
    drawn = draw()
    seconds = 10_000 * (time.perf_counter() - started) / len(drawn)
    return representation.with_gaps(drawn, stream.child("gaps")), seconds


def _numbers(model: DiffusionModel) -> list[int]:
    """Return the columns of numbers that vary, with atoms or without."""
    with_levels = {block.column for block in model.codec.blocks if block.is_category}
    return [j for j in model.codec.varying if j not in with_levels]


def _score_models(
    model: DiffusionModel,
    fitted: Sequence[tuple[Baseline, Rows]],
    drawn: Sequence[_Drawn],
    figures: Sequence[tuple[Figure, ...]],
    likelihood: densities.DensityScores,
    path: str,
) -> tuple[ModelScores, ...]:
    """Return the scores of the model and of the baselines, which come with their log-densities."""
    hint = "  # a pyarrow Table: X_new.to_pandas() is a DataFrame" if model.schema.kind == "pyarrow" else ""
    log_p = likelihood.log_p_model
    ours = ModelScores(
        name="Diffusion model",
        figures=figures[0],
        density_of="ode",
        negative_log_density=mean_estimate(-log_p),
        advantage=None,
        gap=likelihood.gap(log_p),
        fit_seconds=model.fit_seconds,
        sample_seconds=drawn[0][1],
        code=f"{_LOADED.format('', path)}X_new = model.sample(10_000){hint}",
    )
    others = [
        ModelScores(
            name=baseline.name,
            figures=of_baseline,
            density_of="exact",
            negative_log_density=mean_estimate(-theirs),
            advantage=mean_estimate(theirs - log_p),
            gap=likelihood.gap(theirs),
            fit_seconds=baseline.fitted.fit_seconds,
            sample_seconds=seconds,
            code=baseline.code(path),
        )
        for (baseline, theirs), (_, seconds), of_baseline in zip(fitted, drawn[1:], figures[1:], strict=True)
    ]
    return (ours, *others)
