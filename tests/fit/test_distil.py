"""Students: what they are trained on, maps that are known, and what a distilled model does and what it leaves alone."""

import copy
import dataclasses
import math
import pickle
from itertools import count

import numpy as np
import pytest
import torch

from backwalk.denoiser import Residual, Textbook
from backwalk.diffusion import GaussianDenoiser, NoiseSchedule, scales
from backwalk.errors import InvalidInput, SamplingDiverged, TrainingDiverged
from backwalk.estimator import Diffusion
from backwalk.fit import default_distillation, default_pairs, default_student
from backwalk.fit import distil as distillation
from backwalk.fit.distil import distil_model, make_pairs
from backwalk.fit.oracle import oracle_model
from backwalk.model import bound, log_density, sample_rows
from backwalk.sampling import TILE_ROWS, Sampler
from backwalk.streams import Stream
from backwalk.training import Trainer, Training

STREAM = Stream(81)
DISTILLED = Sampler("distilled")
SMALL, PLAN = Residual(16, 1), Training(batch_size=512, learning_rate=0.02, hidden_rate=0.04, max_steps=300)
MEAN, COVARIANCE = torch.tensor([0.5, -1.0]).double(), torch.tensor([[1.0, 0.5], [0.5, 0.4]]).double()
EVEN = NoiseSchedule.log_snr_uniform(200, log_snr_max=9.0, log_snr_min=-6.0)
SCHEDULES = {
    "even": EVEN,
    "the notebook's": NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02),
    "zero terminal SNR": NoiseSchedule(torch.cat([EVEN.log_snr, torch.tensor([-math.inf]).double()])),
}


@pytest.fixture(autouse=True)
def _few_fresh_pairs(monkeypatch):
    monkeypatch.setattr(distillation, "N_FRESH", TILE_ROWS)


@pytest.fixture
def few_pairs(monkeypatch):
    monkeypatch.setattr("backwalk.estimator.diffusion.default_pairs", lambda _: 3000)


@pytest.fixture
def own(fitted):
    """The tiny model, for a test to put a student into."""
    return copy.copy(fitted)


def gaussian(schedule):
    rows = MEAN + STREAM.child("rows").normal(0, 300, 2) @ torch.linalg.cholesky(COVARIANCE).T
    return oracle_model(GaussianDenoiser(MEAN, COVARIANCE), rows, schedule)


def gaussian_map(x_N, schedule):
    """Return where the ODE carries x_N: along an axis of variance S, x / a - m shrinks as (S + s^2)^(1/2) does."""
    variance, axes = torch.linalg.eigh(COVARIANCE)
    signal = float(schedule.alpha_bar[-1])
    # sqrt(S / (S + s^2)) / a = sqrt(S / (a^2 S + b^2)), which holds at a = 0 too.
    shrink = (variance / (signal * variance + 1.0 - signal)).sqrt()
    return MEAN + (x_N.double() - math.sqrt(signal) * MEAN) @ axes @ torch.diag(shrink) @ axes.T


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_pairs_of_a_gaussian_and_a_student_of_them_are_the_known_linear_map(schedule):
    model = gaussian(schedule)
    x_N, x_0 = make_pairs(model, 0, TILE_ROWS, stream=STREAM.child("other"))
    expected = gaussian_map(x_N, schedule)
    assert float((x_0 - expected).abs().max()) < 0.01
    taught = distil_model(model, SMALL, PLAN, n_pairs=4096, stream=STREAM)
    untaught = distil_model(model, SMALL, dataclasses.replace(PLAN, max_steps=1), n_pairs=4096, stream=STREAM)
    for one in (taught, untaught):
        rows = torch.from_numpy(sample_rows(one, 0, TILE_ROWS, stream=STREAM.child("other"), sampler=DISTILLED))
        error = float((rows - expected).square().mean().sqrt())
        assert one.student.error == pytest.approx(error, rel=0.1, abs=2e-3)  # on other noise, by the solver's x_0
    assert taught.student.error < 0.03 < 0.3 < untaught.student.error


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_points_that_a_student_is_trained_on_are_the_x_N_of_its_pairs(schedule, monkeypatch):
    trainers = []

    class Watched(Trainer):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            trainers.append(self)

    monkeypatch.setattr(distillation, "Trainer", Watched)
    model = gaussian(schedule)
    distil_model(model, SMALL, dataclasses.replace(PLAN, max_steps=1), n_pairs=600, stream=STREAM)
    x_N, x_0 = make_pairs(model, 0, 600, stream=STREAM.child("pairs"))
    batch = trainers[0].batches.at(0)
    a, b = scales(batch.log_snr[0], batch.x_0[0])
    points = a * batch.x_0[0] + b * batch.eps[0]
    distance, which = torch.cdist(batch.x_0[0].double(), x_0.double()).min(dim=1)
    assert float(distance.max()) == 0.0
    assert len(set(which.tolist())) == 512
    torch.testing.assert_close(points, x_N[which], rtol=0, atol=1e-5)
    assert set(batch.log_snr.flatten().tolist()) == {float(schedule.log_snr[-1].float())}


def test_a_student_begins_with_the_first_member_where_the_sizes_are_the_same(own, monkeypatch):
    states = []

    class Begun(Trainer):
        def __init__(self, denoiser, *arguments, **options):
            states.append({name: tensor.clone() for name, tensor in denoiser.state_dict().items()})
            super().__init__(denoiser, *arguments, **options)

    monkeypatch.setattr(distillation, "Trainer", Begun)
    teacher, plan = own.model_.denoiser.state_dict(), dataclasses.replace(PLAN, max_steps=1)
    for sizes in (Residual(16, 1), Residual(15, 1), Residual(16, 2)):
        distil_model(own.model_, sizes, plan, n_pairs=100, stream=STREAM)
    assert all(torch.equal(states[0][name], teacher[name][:1]) for name in teacher)
    for state in states[1:]:
        assert not bool(state["network.leave.weight"].any())


def test_rows_of_a_student_depend_on_seed_and_number_alone(own, few_pairs, n_threads):
    own.distil(max_steps=3, random_state=0)
    whole = sample_rows(own.model_, 0, 2500, stream=STREAM, sampler=DISTILLED)
    for start, stop in ((0, 10), (1000, 1100), (2000, 2500)):
        part = sample_rows(own.model_, start, stop, stream=STREAM, sampler=DISTILLED)
        np.testing.assert_array_equal(part, whole[start:stop])
    long, short = (own.sample(n, sampler="distilled", random_state=1) for n in (1500, 7))
    np.testing.assert_array_equal(short, long[:7])
    np.testing.assert_array_equal(short, own.sample(7, sampler="distilled", n_evaluations=1, random_state=1))
    assert not np.array_equal(short, own.sample(7, sampler="distilled", random_state=2))
    assert (long[:, 1] == 7.25).all()


@pytest.mark.slow
def test_a_student_is_a_function_of_its_seed(own, few_pairs):
    before, students = torch.get_num_threads(), []
    for threads, seed in ((1, 0), (2, 0), (1, 1)):
        torch.set_num_threads(threads)
        students.append(own.distil(max_steps=5, random_state=seed).model_.student)
    torch.set_num_threads(before)
    states = [student.denoiser.state_dict() for student in students]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert students[0].error == students[1].error != students[2].error
    assert not torch.equal(states[0]["network.enter.weight"], states[2]["network.enter.weight"])


def test_all_else_is_the_model_s(own, fitted, rows, few_pairs):
    seen = []
    own.callbacks = [seen.append]
    parameters = own.get_params()
    assert own.distil(max_steps=3, random_state=0) is own
    assert own.get_params() == parameters
    assert [(progress.step, progress.max_steps) for progress in seen] == [(k, 3) for k in (1, 2, 3)]
    one, other = own.model_, fitted.model_
    assert other.student is None
    assert one.denoiser is other.denoiser
    assert one.sampler == other.sampler
    np.testing.assert_array_equal(own.sample(5, random_state=0), fitted.sample(5, random_state=0))
    densities = [log_density(model, rows[:5], n_intervals=2).log_prob for model in (one, other)]
    assert torch.equal(*densities)
    assert len({bound(model, rows[:5], stream=STREAM, steps=3).total for model in (one, other)}) == 1
    np.testing.assert_array_equal(own.to_latent(rows[:2]), fitted.to_latent(rows[:2]))
    assert "student: Residual(width=16, n_blocks=1, n_members=1), with a root mean square error of" in repr(one)
    assert "student" not in repr(other)


def test_the_steps_of_a_few_evaluations_are_fitted_once_students_or_not(own, few_pairs, monkeypatch):
    expected = own.sample(4, random_state=0, n_evaluations=4)
    monkeypatch.setattr("backwalk.model.draw.fit_times", lambda *_, **__: 1 / 0)
    own.distil(max_steps=2, random_state=0)
    np.testing.assert_array_equal(own.sample(4, random_state=0, n_evaluations=4), expected)


def test_a_student_can_be_the_model_s_own_sampler_and_goes_with_the_next_fit(rows, few_pairs):
    settings = {"n_steps": 20, "max_steps": 3, "denoiser": SMALL, "random_state": 0, "verbose": False}
    model = Diffusion(sampler=DISTILLED, **settings).fit(rows)
    with pytest.raises(InvalidInput, match="needs a student"):
        model.sample(2)
    model.distil(max_steps=3, random_state=0)
    expected = model.sample(4, random_state=0, sampler="distilled")
    for options in ({}, {"n_evaluations": 1}):
        np.testing.assert_array_equal(model.sample(4, random_state=0, **options), expected)
    with pytest.raises(InvalidInput, match="n_evaluations should be at most 1"):
        model.sample(4, n_evaluations=5)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.sample(4, random_state=0), expected)
    assert model.set_params(warm_start=True).fit(rows).model_.student is None


def test_the_notebook_s_kind_of_model_can_be_distilled(rows, few_pairs):
    model = Diffusion(schedule=EVEN, denoiser=Textbook(8, 2), max_steps=3, random_state=0).fit(rows)
    student = model.distil(max_steps=3, random_state=0).model_.student
    assert student.architecture == default_student(2, None) == Residual(48, 3, 1)
    assert np.isfinite(model.sample(5, sampler="distilled", random_state=0)).all()


def test_refused(fitted, rows):
    with pytest.raises(InvalidInput, match=r"needs a student, but the model has none: call distil\(\)"):
        fitted.sample(2, sampler="distilled")
    for options in ({"max_time": 0}, {"max_time": math.nan}, {"max_time": "1"}, {"max_steps": 0}, {"max_steps": 1.5}):
        with pytest.raises(InvalidInput, match=f"{next(iter(options))} should be"):
            fitted.distil(**options)
    with pytest.raises(InvalidInput, match="random_state should be"):
        fitted.distil(random_state=-1)
    with pytest.raises(ValueError, match="not fitted"):
        Diffusion().distil()


@pytest.mark.slow
def test_a_model_whose_student_fails_is_as_it_was(own, fitted, few_pairs, monkeypatch):
    monkeypatch.setattr(
        "backwalk.estimator.diffusion.default_distillation", lambda *_: Training(512, 1.0, 50, hidden_rate=1.0)
    )
    own.callbacks = [lambda _: 1 / 0]
    with pytest.raises(ZeroDivisionError):
        own.distil(random_state=0)
    assert own.model_ is fitted.model_
    broken = copy.deepcopy(fitted.model_.denoiser)
    with torch.no_grad():
        broken.network.leave.bias.fill_(math.nan)
    own.callbacks, own.model_ = [], dataclasses.replace(fitted.model_, denoiser=broken)
    failing = own.model_
    with pytest.raises(SamplingDiverged, match="Pairs should be finite"):
        own.distil(random_state=0)
    assert own.model_ is failing
    own.model_ = fitted.model_

    def diverges(self):
        raise TrainingDiverged("so it goes")
        yield

    monkeypatch.setattr(Trainer, "run", diverges)
    with pytest.raises(TrainingDiverged):
        own.distil(random_state=0)
    assert own.model_ is fitted.model_
    assert own.model_.student is None


@pytest.mark.slow
def test_pairs_are_made_for_at_most_a_third_of_the_time(own, monkeypatch):
    """By a clock of its own: it goes on by a second at every look, and pairs are looked after piece by piece."""
    made, budgets = [], []

    def watched(model, start, stop, **options):
        made.append((start, stop))
        return make_pairs(model, start, stop, **options)

    class Hurried(Trainer):
        def __init__(self, *arguments, **options):
            budgets.append((options["max_time"], options["time_outside_training"]))
            super().__init__(*arguments, **{**options, "max_time": None})

    monkeypatch.setattr(distillation, "make_pairs", watched)
    monkeypatch.setattr(distillation, "Trainer", Hurried)
    clock = count()
    with monkeypatch.context() as patch:
        patch.setattr(distillation.time, "perf_counter", lambda: float(next(clock)))
        distil_model(
            own.model_, SMALL, dataclasses.replace(PLAN, max_steps=1), n_pairs=10**9, stream=STREAM, max_time=6.0
        )
    assert made == [(0, 2048), (0, 4096), (4096, 12288), (12288, 28672), (0, 2048)]
    assert budgets == [(6.0, 4.0)]  # of which the trainer takes a half at least


def test_the_defaults_are_bounded_and_go_by_the_clock_where_there_is_one():
    assert default_student(5, Residual(70, 2, 4)) == Residual(70, 2, 1)
    assert default_student(5, Textbook()).n_members == 1
    assert [default_pairs(d) for d in (2, 8, 10**4, 10**9)] == [200_000, 200_000, 3355, 1]
    assert default_distillation(2, Residual()).max_steps == 3000
    assert (
        default_distillation(2, Residual(), 7).max_steps == default_distillation(2, Residual(), 7, 9.0).max_steps == 7
    )
    assert default_distillation(2, Residual(), None, 30.0).max_steps == 30_000
