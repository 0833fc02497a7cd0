"""What stands around training: the time that is left for it, what memory's end is called, and where warnings point."""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from backwalk.denoiser import Residual
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput, PriorMismatchWarning, RepeatedValueWarning, ShortTrainingWarning
from backwalk.estimator import Diffusion
from backwalk.fit import check_settings, choose_columns, reference_step_seconds, speed
from backwalk.fit.plan import plan_fit
from backwalk.streams import Stream
from backwalk.table import as_table
from backwalk.training import Trainer, loop
from backwalk.training.checkpoint import checkpoint_facts
from backwalk.training.validation import Validation


def tiny(**settings):
    given = {"n_steps": 10, "max_steps": 3, "denoiser": Residual(8, 1), "random_state": 0, "verbose": False}
    return Diffusion(**{**given, **settings})


@pytest.fixture
def slow(monkeypatch):
    """A machine on which a training step takes 16 times as long as on the reference machine."""
    monkeypatch.setattr(speed, "step_seconds", lambda n, d, _: 16.0 * reference_step_seconds(n, d))


def clocked(monkeypatch, step_seconds):
    """Let training steps take so many seconds by its own clock, and nothing else."""
    now = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: now[0])
    update = Trainer.take_step

    def slow_update(self, *given):
        now[0] += step_seconds
        return update(self, *given)

    monkeypatch.setattr(Trainer, "take_step", slow_update)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [89, 201])
def test_a_fit_that_the_time_limit_cuts_short_says_so_and_warns_where_it_is_far_too_short(monkeypatch, rows, steps):
    """Found by an attack: on a busy machine 15 s became 16 networks of 89 steps, a nat worse than 4 of 400."""
    monkeypatch.setattr(speed, "step_seconds", lambda n, d, _: reference_step_seconds(n, d))
    X = np.random.default_rng(0).normal(size=(100, 5))
    clocked(monkeypatch, 1000.0 / steps)
    model = Diffusion(n_steps=10, max_time=1000.0, denoiser=Residual(8, 1), random_state=0, verbose=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    card = model.model_.card
    assert (card["stopped_by"], card["usual_steps"]) == ("time limit", 400)
    assert card["steps_taken"] == model.history_.n_steps <= steps
    words = f"stopped by the time limit after {card['steps_taken']} of about 400 steps"
    assert words in repr(model.model_)
    told = [warning for warning in caught if warning.category is ShortTrainingWarning]
    assert len(told) == (steps < 200)
    assert all(words in str(warning.message) and warning.filename == __file__ for warning in told)


def test_a_fit_that_takes_its_steps_is_stopped_by_them(rows):
    card = tiny(max_time=1000.0).fit(rows).model_.card
    assert (card["stopped_by"], card["usual_steps"], card["steps_taken"]) == ("steps", 3, 3)


@pytest.mark.slow
def test_a_small_table_ends_when_it_overfits_unless_its_length_is_given(monkeypatch):
    frame = pd.DataFrame({"class": ["a", "b"] * 30, "size": np.random.default_rng(0).normal(size=60)})
    losses = itertools.chain([9999.0], itertools.count())  # of the first weights, and of later ones
    monkeypatch.setattr(Validation, "by_row", lambda *_: torch.full((6,), float(next(losses)), dtype=torch.float64))
    model = Diffusion(n_steps=10, denoiser=Residual(4, 1), random_state=0, verbose=False)
    card = model.fit(frame).model_.card
    assert (card["stopped_by"], card["usual_steps"], card["steps_taken"]) == ("overfitting", 1200, 360)
    assert (model.history_.n_steps, model.history_.chosen_step) == (360, 60)
    card = model.set_params(max_steps=40).fit(frame).model_.card
    assert (card["stopped_by"], card["steps_taken"]) == ("steps", 40)


@pytest.mark.parametrize(("n_held_out", "usual_steps", "patience"), [(0, 400, None), (4, 400, None), (5, 1200, 5)])
def test_few_held_out_rows_give_no_patience(n_held_out, usual_steps, patience):
    frame = pd.DataFrame({"class": ["a", "b"] * 20, "size": np.random.default_rng(0).normal(size=40)})
    given = check_settings(Diffusion(validation_fraction=n_held_out / 40).get_params(deep=False))
    chosen = choose_columns(as_table(frame), given)
    plan = plan_fit(chosen, chosen.codec.encode(chosen.table.values), given, stream=Stream(0))
    assert (plan.training.max_steps, plan.training.patience) == (usual_steps, patience)


def test_a_slow_machine_trains_fewer_networks(slow):
    """Rows and time for which the reference machine trains 16."""
    X = np.random.default_rng(0).normal(size=(100, 5))
    given = check_settings(Diffusion(max_time=15.0).get_params(deep=False))
    assert speed.slowness_here(given, None, *X.shape) == 16.0
    chosen = choose_columns(as_table(X), given)
    plans = [plan_fit(chosen, X, given, stream=Stream(0), slowness=slowness) for slowness in (1.0, 16.0)]
    assert [plan.architecture.n_members for plan in plans] == [16, 1]


def test_a_resumed_fit_keeps_the_speed_that_was_measured_when_it_began(monkeypatch, rows, tmp_path):
    """Else it would plan other networks than those in the checkpoint."""

    class Stop(Exception):
        pass

    def stop(progress):
        raise Stop

    ratios = iter([4.0, 1.0])
    monkeypatch.setattr(speed, "step_seconds", lambda n, d, _: next(ratios) * reference_step_seconds(n, d))
    given = {"n_steps": 10, "max_time": 5.0, "random_state": 0, "verbose": False}
    with pytest.raises(Stop):
        Diffusion(**given, callbacks=[stop]).fit(rows, checkpoint=tmp_path / "c")
    assert checkpoint_facts(tmp_path / "c").slowness == 4.0
    with pytest.raises(Stop):
        Diffusion(**given, callbacks=[stop]).fit(rows, checkpoint=tmp_path / "c", resume=True)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")])
def test_memory_s_end_is_told_in_our_words(monkeypatch, rows, error):
    def run(trainer):
        raise error
        yield

    monkeypatch.setattr(Trainer, "run", run)
    with pytest.raises(InvalidInput, match=r"more memory .* fewer rows"):
        tiny().fit(rows)


def test_other_errors_are_let_through_and_so_are_all_of_a_callback_s(monkeypatch, rows):
    """Found by review: a callback's MemoryError was called the fit's."""

    def fail(progress):
        raise MemoryError

    with pytest.raises(MemoryError):
        tiny(callbacks=[fail]).fit(rows)

    def run(trainer):
        raise RuntimeError("shapes differ")
        yield

    monkeypatch.setattr(Trainer, "run", run)
    with pytest.raises(RuntimeError, match="shapes differ"):
        tiny().fit(rows)


def test_warnings_point_at_the_caller_of_fit(rows):
    schedule = NoiseSchedule.linear(100, beta_min=1e-3, beta_max=0.02)
    with pytest.warns(PriorMismatchWarning) as caught:
        tiny(schedule=schedule, n_steps=None).fit(rows)
    assert [warning.filename for warning in caught] == [__file__]
    repeated = np.column_stack([np.where(np.arange(300) % 2 == 0, 0.0, rows[:, 0]), rows[:, 2]])
    with pytest.warns(RepeatedValueWarning) as caught:
        tiny().fit(repeated)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_warm_start_takes_the_same_columns_and_levels_alone():
    """Found by review: weights of other labels were taken in silence, as the sizes were the same."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": rng.choice(["a", "b"], 120), "x": rng.normal(size=120)})
    model = tiny(warm_start=True).fit(frame)
    for other, words in (
        (frame.replace({"kind": {"a": "c"}}), r"'a' in column 'kind'.*'c' in"),
        (frame.rename(columns={"x": "y"}), r"'kind', 'x'.*'kind', 'y'"),
        (frame.assign(x=np.round(frame["x"] > 0)), r"no levels in column 'x'.*(0, 1|False, True) in"),
    ):
        with pytest.raises(InvalidInput, match=f"warm_start.*{words}"):
            model.fit(other)
    assert model.fit(frame.sample(frac=0.5, random_state=0)).model_.history.n_steps > 0
