"""`Diffusion` in scikit-learn's manner: its contract, its refusals, and what goes in comes out."""

import copy
import math
import warnings
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator

from backwalk.denoiser import Residual, Textbook
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import (
    DegenerateRowsWarning,
    InvalidInput,
    PriorMismatchWarning,
    RepeatedValueWarning,
    SamplingDiverged,
    TrainingDiverged,
    UnseenValuesWarning,
)
from backwalk.estimator import Diffusion, DiffusionImputer
from backwalk.fit import trained_rows
from backwalk.fit.settings import choose_device
from backwalk.model import bound, log_density, sample_rows
from backwalk.model.latent import to_latent
from backwalk.sampling import Sampler
from backwalk.streams import Stream
from backwalk.table import Number
from backwalk.training import Trainer, Training

SMALL = Residual(8, 1)
# A single step of training, as the checks fit dozens of times and judge no fit by its quality.
CHECKED = Diffusion(n_steps=2, max_steps=1, denoiser=SMALL, validation_fraction=0.0, random_state=0, verbose=False)
NOT_RUN = {"check_array_api_input": "runs only where SCIPY_ARRAY_API is set in the environment"}


def tiny(**settings):
    return Diffusion(
        **{
            "n_steps": 10,
            "max_steps": 3,
            "denoiser": SMALL,
            "validation_fraction": 0.0,
            "random_state": 0,
            "verbose": False,
            **settings,
        }
    )


def sklearn_checks():
    for estimator, check in estimator_checks_generator(CHECKED):
        name = check.func.__name__
        if name not in NOT_RUN:
            yield pytest.param(estimator, check, id=name)


@pytest.fixture
def rough_scores(monkeypatch):
    """Scores by a coarse ODE grid, for tests that ask for hundreds of them and not whether they are right."""
    asked = []

    def rough(model, values, *, n_intervals=16, **options):
        asked.append(n_intervals)
        return log_density(model, values, n_intervals=2, **options)

    monkeypatch.setattr("backwalk.estimator.scores.log_density", rough)
    return asked


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::backwalk.errors.DegenerateRowsWarning")
@pytest.mark.filterwarnings("ignore::backwalk.errors.RepeatedValueWarning")
@pytest.mark.parametrize(("estimator", "check"), list(sklearn_checks()))
def test_scikit_learn_s_checks(rough_scores, estimator, check):
    check(estimator)


def test_scikit_learn_knows_what_rows_may_hold_and_what_it_may_route():
    for estimator in (Diffusion(), DiffusionImputer()):
        tags = get_tags(estimator).input_tags
        assert (tags.categorical, tags.string, tags.allow_nan, tags.sparse) == (True, True, True, False)
    with config_context(enable_metadata_routing=True):
        assert list(Diffusion().set_fit_request(sample_weight=True).get_metadata_routing().fit.requests) == [
            "sample_weight"
        ]


def test_columns_are_named_or_numbered():
    rows = np.random.default_rng(0).uniform(size=(50, 2))
    within = Number(bounds=(0.0, 1.0))
    numbered, named = (tiny(columns={key: within}).fit(rows) for key in (1, "x2"))
    assert numbered.codec_ == named.codec_
    assert numbered.model_.card["parameters"] == named.model_.card["parameters"]
    with pytest.raises(InvalidInput, match="numbers from 0, but got 2"):
        tiny(columns={2: within}).fit(rows)


@pytest.mark.slow
def test_ddpm_is_the_notebook_s_model_and_says_what_it_costs():
    X, _ = make_moons(10_000, noise=0.05, random_state=10)
    model = Diffusion.ddpm(n_epochs=1, random_state=0)
    with pytest.warns(PriorMismatchWarning, match=r"alpha_bar_N = 0\.3475 .* at least 0\.080 nats per row"):
        model.fit(X)
    assert float(model.schedule_.alpha_bar[100]) == pytest.approx(0.3475, abs=5e-5)
    assert model.model_.prior_mismatch == pytest.approx(0.080, abs=1e-3)
    assert model.codec_.encode(X[:5]) == pytest.approx(X[:5], rel=1e-15)
    assert model.model_.architecture == Textbook(100, 4)
    assert model.model_.sampler == Sampler("ancestral")
    torch.testing.assert_close(model.model_.sigma_sq, model.schedule_.beta)
    assert model.model_.card["n_rows"] == 10_000
    assert (model.history_.n_steps, model.history_.step) == (10, (0,))
    assert model.model_.card["n_parameters"] == 3 * 100 + 100 + 3 * (100 * 100 + 100) + 100 * 2 + 2


@pytest.mark.slow
def test_the_model_learns_what_it_is_shown():
    """Data a third as wide across as along: the samples' covariance and the score both tell."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2)) @ np.array([[2.0, 1.0], [0.0, 0.4]]) + [10.0, -3.0]
    model = Diffusion(n_steps=100, max_steps=400, denoiser=Residual(16, 1), random_state=0, verbose=False).fit(X)
    samples = model.sample(4096, random_state=1, n_evaluations=25)
    np.testing.assert_allclose(samples.mean(0), [10.0, -3.0], atol=0.15)
    np.testing.assert_allclose(np.cov(samples.T), np.cov(X.T), atol=0.3)
    covariance = np.cov(X.T)
    entropy = 0.5 * np.linalg.slogdet(2 * math.pi * math.e * covariance)[1]
    assert -model.score(X[:1024]) == pytest.approx(entropy, abs=0.1)
    assert model.bound(X[:300], random_state=0).total == pytest.approx(entropy, abs=0.3)


def test_equal_seeds_give_equal_models_and_rows(rows, fitted):
    one, other, third = (tiny(random_state=seed).fit(rows) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.sample(7, random_state=5), other.sample(7, random_state=5))
    assert not np.array_equal(one.sample(7, random_state=5), third.sample(7, random_state=5))
    np.testing.assert_array_equal(fitted.sample(100, random_state=2), fitted.sample(1000, random_state=2)[:100])
    assert not np.array_equal(fitted.sample(3, random_state=2), fitted.sample(3, random_state=3))
    assert not np.array_equal(fitted.sample(3), fitted.sample(3))
    bounds = [fitted.bound(rows[:9], random_state=seed).total for seed in (0, 0, 1)]
    assert bounds[0] == bounds[1] != bounds[2]


def test_global_random_states_are_neither_read_nor_set(rows):
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    before, torch_before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    first = tiny().fit(rows).sample(5, random_state=0)
    for one, other in zip(before, np.random.get_state(), strict=True):  # noqa: NPY002
        np.testing.assert_array_equal(one, other)
    assert torch.equal(torch_before, torch.get_rng_state())
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, tiny().fit(rows).sample(5, random_state=0))


def test_the_rows_and_settings_of_a_fit_are_not_changed(rows):
    X = rows.copy()
    model = tiny(n_steps=np.int64(5), max_steps=np.int64(2), validation_fraction=0.3)
    before = dict(model.get_params())
    model.fit(X)
    np.testing.assert_array_equal(X, rows)
    assert model.get_params() == before
    assert (model.schedule_.n_steps, model.history_.n_steps) == (5, 2)
    assert (model.model_.card["n_rows"], model.model_.card["n_validation_rows"]) == (210, 90)


X_TABLE = np.column_stack([np.linspace(-1, 5, 60), np.arange(60) % 7, np.full(60, 3)])
NAMES = ["length", "count", "fixed"]


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_tables_go_out_as_they_came_in(kind):
    data = {"length": X_TABLE[:, 0].astype(np.float32), "count": X_TABLE[:, 1].astype(np.int16), "fixed": X_TABLE[:, 2]}
    table = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[kind](data)
    model = tiny().fit(table)
    assert list(model.feature_names_in_) == NAMES
    assert model.n_features_in_ == 3
    samples = model.sample(20, random_state=0)
    assert type(samples) is type(table)
    names = samples.column_names if kind == "pyarrow" else list(samples.columns)
    assert names == NAMES
    types = [getattr(table[name], "type", getattr(table[name], "dtype", None)) for name in NAMES]
    assert [getattr(samples[name], "type", getattr(samples[name], "dtype", None)) for name in NAMES] == types
    assert (np.asarray(samples["fixed"]) == 3.0).all()
    swapped = table.select(NAMES[::-1]) if kind != "pandas" else table[NAMES[::-1]]
    one, other = (model.log_density(rows[:2], n_intervals=2).log_prob for rows in (swapped, table))
    np.testing.assert_array_equal(one, other)


def test_the_kinds_of_columns_and_the_rules_are_attributes_of_a_fitted_model(tmp_path):
    start = np.arange(60) % 31
    table = pd.DataFrame({"start": start, "end": start + np.arange(60) % 7, "who": list("ab") * 30, "fixed": 3})
    kinds = {"start": "integer", "end": "integer", "who": "levels", "fixed": "constant"}
    model = tiny(columns={"start": "integer", "end": "integer"}, rules=["start <= end"]).fit(table)
    model.save(tmp_path / "model")
    for each in (model, Diffusion.load(tmp_path / "model")):
        assert (each.columns_, each.rules_) == (kinds, ["start <= end"])
    again = tiny(columns={0: "integer"}, rules=None).fit(table[["start", "end"]].to_numpy(dtype=float))
    assert (again.columns_, again.rules_) == ({0: "integer", 1: "number"}, [])


def test_arrays_go_out_as_they_came_in(rows):
    for dtype in (np.float32, np.float64):
        assert tiny().fit(rows.astype(dtype)).sample(3).dtype == dtype
    assert tiny().fit(np.arange(20)[:, None]).sample(3).dtype == np.float64
    named = tiny().fit(pd.DataFrame(rows, columns=list("abc")))
    assert not hasattr(named.fit(rows), "feature_names_in_")


def test_constant_columns_come_back_exactly_and_nothing_else_is_possible(fitted, rows):
    assert (fitted.sample(50)[:, 1] == 7.25).all()
    other = rows[:3].copy()
    other[1, 1] += 1e-9
    with pytest.warns(UnseenValuesWarning, match=r"-inf in column 1 \(1 cell\)"):
        np.testing.assert_array_equal(np.isfinite(fitted.score_samples(other)), [True, False, True])
    with pytest.raises(
        InvalidInput,
        match=r"X should hold .* but got 7.250000001 at row 1 .* column 1, which is constant, 7.25: drop",
    ):
        fitted.bound(other)
    assert log_density(fitted.model_, other).log_prob.isfinite().tolist() == [True, False, True]
    for of_model in (bound, to_latent):  # by themselves too, and not the estimator alone
        with pytest.raises(InvalidInput, match="values that the model can make"):
            of_model(fitted.model_, other, **({"stream": Stream(0)} if of_model is bound else {}))
    other[2, 1] = 8.0
    with pytest.raises(InvalidInput, match=r"at row 1 .* and 1 more row differs: drop"):
        fitted.bound(other)


BAD_ROWS = {
    "infinite": (np.array([[0.0, np.inf], [1.0, 2.0], [1.0, 1.0]]), "inf at row 0, column 1"),
    "no rows": (np.empty((0, 2)), "0 sample"),
    "no columns": (np.empty((5, 0)), "0 feature"),
    "one row": (np.array([[1.0, 2.0]]), "2 rows"),
    "1-D": (np.arange(5.0), "Expected 2D array"),
    "3-D": (np.zeros((2, 2, 2)), "dim 3"),
    "all constant": (np.ones((9, 2)), "should vary"),
    "complex": (np.ones((9, 2)) * 1j, "Complex"),
    "None": (None, "numbers"),
}
BAD_SETTINGS = {
    "n_steps": [1, True, "10"],
    "schedule": [100, NoiseSchedule.log_snr_uniform(10**6 + 1, log_snr_max=9.0, log_snr_min=-9.0)],
    "denoiser": [64],
    "training": [10, Training(8, 0.1, n_epochs=2**19, levels="chain")],
    "reverse_variance": ["learned"],
    "sampler": [5, "euler"],
    "max_steps": [0, 1.5],
    "max_time": [0, math.nan, "1 min"],
    "validation_fraction": [0.6, math.nan],
    "device": ["abacus", None],
    "random_state": [-1],
    "callbacks": [print],
    "scale": ["yes", np.ones(2)],
    "verbose": ["no"],
    "warm_start": [None],
    "conditions": [[[0, 1, 2]]],
}


def never(progress):
    raise AssertionError("training began")


@pytest.mark.parametrize(("X", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows_are_refused_before_training(X, message):
    with pytest.raises(ValueError, match=message):
        tiny(callbacks=[never]).fit(X)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD_SETTINGS.items() for value in values]
)
def test_bad_settings_are_refused_before_training(rows, name, value):
    model = tiny(callbacks=[never]).set_params(**{name: value})
    if name in ("schedule", "training"):
        model.set_params(n_steps=None, max_steps=None)
    with pytest.raises(InvalidInput, match="solver" if isinstance(value, str) and value == "euler" else name):
        model.fit(rows)


def test_settings_that_contradict_each_other_are_refused(rows):
    plan = Training(max_steps=1, batch_size=8, learning_rate=0.1)
    for both in ({"training": plan}, {"schedule": NoiseSchedule.linear(9)}):
        with pytest.raises(InvalidInput, match="should be None where"):
            tiny(callbacks=[never], **both).fit(rows)


@pytest.mark.parametrize("method", ["score_samples", "score", "bound"])
def test_rows_that_do_not_fit_the_model_are_refused(fitted, rows, method):
    for X, message in (
        (rows[:, :2], "2 features, but Diffusion is expecting 3"),
        (rows[0], "Expected 2D"),
        (np.full((2, 3), np.nan), "NaN at row 0"),
        (np.full((2, 3), "x"), "numbers"),
        (np.array([[1e300, 7.25, 0.0]]), "row 0"),
    ):
        with pytest.raises(ValueError, match=message):
            getattr(fitted, method)(X)


@pytest.mark.parametrize("n", [0, 1.5, True, "3", 10**13, 10**30])
def test_only_a_number_of_rows_that_memory_holds_can_be_drawn(fitted, n):
    is_large = isinstance(n, int) and n > 1
    message = r"Samples should fit into memory, .* rows of 3 columns take .* GiB" if is_large else "n_samples should be"
    with pytest.raises(InvalidInput, match=message):
        fitted.sample(n)


def test_samplers_are_chosen_by_name_by_number_or_whole(fitted):
    for options in ({"sampler": "ddim"}, {"sampler": Sampler("ddim", 3)}, {"n_evaluations": 5}, {"n_evaluations": 25}):
        assert np.isfinite(fitted.sample(2, random_state=0, **options)).all()
    np.testing.assert_array_equal(
        fitted.sample(2, random_state=0, n_evaluations=np.int64(5)),
        fitted.sample(2, random_state=0, sampler=Sampler("multistep", 5)),
    )
    for options in (
        {"sampler": "euler"},
        {"sampler": Sampler(), "n_evaluations": 5},
        {"n_evaluations": 0},
        {"n_evaluations": "9"},
    ):
        with pytest.raises(InvalidInput):
            fitted.sample(2, **options)


def test_nothing_can_be_asked_before_fit(rows):
    for ask in (Diffusion().sample, lambda: Diffusion().score_samples(rows), lambda: Diffusion().save("never")):
        with pytest.raises(NotFittedError):
            ask()


def test_callbacks_are_told_every_step(rows):
    told = []
    tiny(callbacks=[told.append]).fit(rows)
    assert [(progress.step, progress.max_steps) for progress in told] == [(1, 3), (2, 3), (3, 3)]


def test_warm_start_goes_on_where_the_fit_before_ended(rows):
    plan = Training(max_steps=1, batch_size=64, learning_rate=1e-9, ema_width=None)
    cold, warm = (tiny(training=plan, max_steps=None, warm_start=warm) for warm in (False, True))
    for model in (cold, warm):
        model.set_params(training=Training(max_steps=30, batch_size=64, learning_rate=0.01)).fit(rows)
    trained = [parameter.detach().clone() for parameter in warm.denoiser_.parameters()]
    for model in (cold, warm):
        model.set_params(training=plan).fit(rows)
    far = [
        max(
            float((now.detach() - then).abs().max())
            for now, then in zip(model.denoiser_.parameters(), trained, strict=True)
        )
        for model in (cold, warm)
    ]
    assert far[1] < 1e-6 < far[0]
    with pytest.raises(InvalidInput, match=r"warm_start.*same network"):
        warm.set_params(denoiser=Residual(9, 1), callbacks=[never]).fit(rows)


@pytest.mark.parametrize(
    ("log_snr", "message"),
    [
        (np.linspace(90.0, -6.0, 10).tolist(), "a log-SNR of at most 28"),  # float32 loses its noise
        ([-20.0, -math.inf], "a noise level below 1000"),
        ([-math.inf], "a noise level below 1000"),
    ],
)
def test_a_schedule_without_noise_or_without_signal_is_refused(rows, log_snr, message):
    schedule = NoiseSchedule(torch.tensor([math.inf, *log_snr], dtype=torch.float64))
    with pytest.raises(InvalidInput, match=f"schedule should begin at {message}"):
        tiny(schedule=schedule, n_steps=None, callbacks=[never]).fit(rows)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (1e-4, r"first step, .* smallest is 0.0001: set scale=True"),
        (1e3, r"mean square of at most 50, .* the largest is \d.*: set scale=True"),
    ],
)
def test_very_small_and_large_numbers_have_to_be_scaled(rows, size, message):
    X = size * rows / rows.std(axis=0).clip(min=1e-9)
    assert np.isfinite(tiny().fit(X).sample(3, random_state=0)).all()
    with pytest.raises(InvalidInput, match=message):
        tiny(scale=False, callbacks=[never]).fit(X)


@pytest.mark.parametrize(("n", "fraction"), [(2, None), (3, 0.5), (19, None), (20, 0.5)])
def test_few_rows_are_enough(n, fraction):
    X = np.random.default_rng(n).normal(size=(n, 2))
    with pytest.warns(DegenerateRowsWarning, match=f"{n} rows") if n < 20 else nullcontext():
        model = tiny(validation_fraction=fraction).fit(X)
    assert np.isfinite(model.sample(3, random_state=0)).all()
    assert model.model_.card["n_rows"] + model.model_.card["n_validation_rows"] == n


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_units_do_not_matter(scale):
    X = np.random.default_rng(0).normal(size=(50, 2))
    plain, scaled = (tiny().fit(factor * X) for factor in (1.0, scale))
    np.testing.assert_allclose(scaled.sample(9, random_state=0) / scale, plain.sample(9, random_state=0), rtol=1e-4)


def test_duplicate_and_rounded_rows_are_no_trouble():
    for X in (np.repeat([[0.0, 1.0], [1.0, 0.0]], 30, axis=0), np.arange(60).reshape(30, 2) // 20.0, np.eye(5)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RepeatedValueWarning)
            warnings.simplefilter("ignore", DegenerateRowsWarning)
            assert np.isfinite(tiny().fit(X).sample(3, random_state=0)).all()


def test_a_good_fit_warns_of_nothing(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny().fit(rows).sample(1)


def bits(model):
    return [parameter.detach().numpy().tobytes() for parameter in model.denoiser_.parameters()]


@pytest.mark.slow
def test_a_callback_has_the_model_so_far_and_does_not_change_the_fit(rows):
    models = []
    watched = tiny(max_steps=9, callbacks=[lambda progress: models.append(progress.model())]).fit(rows)
    whole = tiny(max_steps=9).fit(rows)
    assert bits(watched) == bits(whole)
    assert len({next(model.denoiser.parameters()).detach().numpy().tobytes() for model in models}) == 9
    draws = [sample_rows(model, 0, 5, stream=Stream(0).child("sample")) for model in models]
    last = whole.model_.history.chosen_step - 1
    np.testing.assert_allclose(draws[last], whole.sample(5, random_state=0), rtol=1e-4, atol=1e-4)


def test_the_plan_of_a_fit_can_be_changed_and_given_back(rows, tmp_path):
    model = tiny().fit(rows)
    assert bits(tiny(max_steps=None, training=model.training_).fit(rows)) == bits(model)
    changed = tiny(max_steps=None, training=replace(model.training_, learning_rate=0.003)).fit(rows)
    assert changed.training_.learning_rate == 0.003
    model.save(tmp_path / "m")
    assert Diffusion.load(tmp_path / "m").training_ == model.training_


def test_a_warm_start_keeps_apart_the_rows_that_were_apart(rows):
    first = tiny(max_steps=4, random_state=0).fit(rows)
    again = clone_of(first).set_params(random_state=1).fit(rows)
    assert (again.model_.card["seed"], again.model_.card["split_seed"]) == (1, 0)
    assert (trained_rows(again.model_.card, rows) == trained_rows(first.model_.card, rows)).all()
    on_others = clone_of(first).set_params(random_state=1).fit(rows + 0.01)
    assert on_others.model_.card["split_seed"] == 1


def clone_of(model):
    """A copy that is fitted as well, and goes on from there."""
    return copy.copy(model).set_params(warm_start=True)


def test_after_a_divergence_the_estimator_has_the_last_good_weights(rows, monkeypatch):
    update = Trainer.take_step
    monkeypatch.setattr(
        Trainer, "take_step", lambda self, *given: update(self, *given) * (math.nan if self.step == 52 else 1)
    )
    model = tiny(max_steps=60)
    with pytest.raises(TrainingDiverged, match="chosen weights, of step 50"):
        model.fit(rows)
    assert np.isfinite(model.sample(20, random_state=0)).all()
    assert model.history_.chosen_step == 50


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_samples_that_are_not_finite_are_an_error(rows, value):
    model = tiny().fit(rows)
    with torch.no_grad():
        model.denoiser_.network.leave.bias.fill_(value)
    with pytest.raises(SamplingDiverged, match=r"row 0 \(rows count from 0\) is not: take more evaluations"):
        model.sample(3, random_state=0)
    for ask in (
        lambda: model.from_latent(np.zeros((2, 2))),
        lambda: model.to_latent(rows[:2]),
    ):
        with pytest.raises(SamplingDiverged, match=r"does not for row 0 \(rows count from 0\): fit again"):
            ask()
    if math.isnan(value):
        for ask in (model.score_samples, model.bound):
            with pytest.raises(SamplingDiverged, match=r"should be numbers, but row 0 .* has none: fit again"):
                ask(rows[:2])


def test_a_density_in_other_units_is_less_by_their_logarithm(rows):
    varying = rows[:, [0, 2]]
    one, other = (tiny().fit(c * varying).score_samples(c * varying[:5]) for c in (1.0, 4.0))  # no bit is lost by 4
    np.testing.assert_allclose(other, one - 2.0 * math.log(4.0), rtol=0, atol=1e-9)


def test_a_gpu_that_torch_cannot_use_is_not_chosen(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.zeros", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no kernel image")))
    assert choose_device("auto") == "cpu"
    with pytest.raises(InvalidInput, match="one that torch finds here"):
        choose_device("cuda")


@pytest.mark.parametrize("d", [3, 12])
def test_a_row_scores_the_same_bits_wherever_it_stands(d):
    rows = np.random.default_rng(0).normal(size=(460, d)) @ np.random.default_rng(1).normal(size=(d, d))
    model = tiny(denoiser=Residual(40, 2)).fit(rows[:50])
    whole = model.log_density(rows, n_intervals=2).log_prob
    for start in (1, 37, 300):
        part = model.log_density(rows[start:], n_intervals=2).log_prob
        assert part.numpy().tobytes() == whole[start:].numpy().tobytes()


@pytest.mark.slow
def test_rows_count_by_their_weights():
    """Labels whose rows have three times the weight of others take three times the share; scaled weights are equal."""
    frame = pd.DataFrame({"kind": ["a", "b"] * 40, "x": np.random.default_rng(0).normal(size=80)})
    weights = np.where(frame["kind"] == "a", 3.0, 1.0)
    model, scaled = (tiny().fit(frame, sample_weight=by * weights) for by in (1.0, 100.0))
    np.testing.assert_allclose(model.codec_.columns[0].frequencies, [0.75, 0.25])
    p = model.conditional(frame.head(1), "kind", given=[]).probabilities[0]
    np.testing.assert_allclose(p, [0.75, 0.25], atol=0.05)
    np.testing.assert_array_equal(model.sample(5, random_state=0), scaled.sample(5, random_state=0))
    assert not np.array_equal(model.sample(5, random_state=0)["x"], tiny().fit(frame).sample(5, random_state=0)["x"])


@pytest.mark.slow
def test_rows_of_weight_0_are_left_out():
    """Even where only they have a level."""
    frame = pd.DataFrame({"kind": ["a", "b"] * 40 + ["c"], "x": np.random.default_rng(0).normal(size=81)})
    model = tiny().fit(frame, sample_weight=np.append(np.full(80, 2.0), 0.0))
    assert len(model.codec_.columns[0].values) == 2
    expected = tiny().fit(frame.head(80), sample_weight=np.ones(80))
    pd.testing.assert_frame_equal(model.sample(5, random_state=0), expected.sample(5, random_state=0))


@pytest.mark.parametrize("weights", [[1.0] * 3, [-1.0, *[1.0] * 299], [0.0] * 300, [np.nan, *[1.0] * 299], ["a"] * 300])
def test_weights_that_cannot_be_used_are_refused(rows, weights):
    with pytest.raises(InvalidInput, match="sample_weight"):
        tiny().fit(rows, sample_weight=weights)


def test_a_fit_of_files_shows_its_columns_before_training_and_can_be_ended_there(tmp_path):
    path, seen = tmp_path / "rows.csv", []
    pd.DataFrame({"a": [0.5, 1.5, None] * 40, "b": range(120), "name": [f"row {i}" for i in range(120)]}).to_csv(
        path, index=False
    )
    model = Diffusion(max_steps=2, denoiser=Residual(8, 1), random_state=0, verbose=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a caller that is shown the columns warns of them itself
        model.fit(path, drop=["b"], drop_missing=True, on_columns=seen.append)
    (chosen,) = seen
    assert (chosen.table.schema.names, list(chosen.set_aside)) == (("a",), ["name"])
    assert (chosen.n_rows, chosen.n_read, list(chosen.left_out)) == (80, 120, ["b"])

    def stop(_):
        raise KeyError("enough")

    with pytest.raises(KeyError):
        clone(model).fit(path, on_columns=stop)
    with pytest.raises(InvalidInput, match="drop and drop_missing go with files"):
        model.fit([[1.0], [2.0]], drop=["x1"])


@pytest.mark.parametrize(
    ("parameters", "options", "word"),
    [
        ({"device": "abacus"}, {}, "device"),
        ({"random_state": -1}, {}, "random_state"),
        ({}, {"drop": "id"}, "drop"),
        ({}, {"drop": None}, "drop"),
    ],
)
def test_what_cannot_be_used_is_said_before_a_file_is_read(parameters, options, word):
    with pytest.raises(InvalidInput, match=word):
        Diffusion(verbose=False, **parameters).fit("no such file.csv", **options)
