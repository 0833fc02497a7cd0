"""What stands around training: how it is stopped, what memory's end is called, and where warnings point."""

import numpy as np
import pandas as pd
import pytest

from backwalk.denoiser import Residual
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput, PriorMismatchWarning, RepeatedValueWarning, ShortTrainingWarning
from backwalk.estimator import Diffusion
from backwalk.training import Trainer


def tiny(**settings):
    given = {"n_steps": 10, "max_steps": 3, "denoiser": Residual(8, 1), "validation_fraction": 0.0}
    return Diffusion(**{**given, "random_state": 0, "verbose": False, **settings})


def test_a_time_limit_changes_nothing_but_when_training_stops(rows):
    free, ample = tiny(max_steps=8).fit(rows), tiny(max_steps=8, max_time=1000.0).fit(rows)
    assert ample.model_.card["stopped_by"] == "steps"
    assert ample.history_ == free.history_
    with pytest.warns(ShortTrainingWarning) as caught:
        short = tiny(max_steps=None, max_time=1e-3).fit(rows)
    assert [warning.filename for warning in caught] == [__file__] * 2
    stopped, took = (str(warning.message) for warning in caught)
    assert "stopped by the time limit after 1 steps" in stopped
    assert "not 0.001: reading and preparing the rows took" in took
    assert short.model_.card["stopped_by"] == "time limit"
    assert "stopped by the time limit after" in repr(short.model_)


def test_ctrl_c_ends_training_with_a_model_that_another_fit_continues(rows):
    def interrupt(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    model = tiny(max_steps=9, callbacks=[interrupt])
    with pytest.warns(ShortTrainingWarning, match="interrupted at step 5"):
        model.fit(rows)
    assert (model.history_.n_steps, model.model_.card["stopped_by"]) == (5, "callback")
    before = model.score_samples(rows[:5])
    model.set_params(callbacks=[], warm_start=True, max_steps=1).fit(rows)
    np.testing.assert_allclose(model.score_samples(rows[:5]), before, atol=2.0)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: x")])
def test_memory_s_end_is_told_in_our_words(monkeypatch, rows, error):
    def run(trainer):
        raise error
        yield

    monkeypatch.setattr(Trainer, "run", run)
    with pytest.raises(InvalidInput, match=r"more memory .* fewer rows"):
        tiny().fit(rows)


def test_errors_of_a_callback_are_let_through(rows):
    def fail(progress):
        raise MemoryError

    with pytest.raises(MemoryError):
        tiny(callbacks=[fail]).fit(rows)


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


@pytest.mark.slow
def test_a_warm_start_is_the_model_before_where_no_step_moves_it():
    """On rows whose finest scale differs: weights are for the floor that they were made for."""
    rng = np.random.default_rng(0)

    def rows(noise):
        x = rng.normal(size=900)
        return pd.DataFrame({"kind": rng.choice(["a", "b", "c"], 900), "x": x, "y": x + noise * rng.normal(size=900)})

    frame = rows(0.05)
    model = tiny(warm_start=True, max_steps=30, scale=False, validation_fraction=0.0).fit(frame)
    floor, before = model.model_.denoiser.floor, model.score_samples(frame[:20])
    wider = pd.concat([frame, rows(0.4)], ignore_index=True)
    still = model.set_params(max_steps=1).fit(wider)
    assert still.model_.denoiser.floor == floor
    assert np.abs(still.score_samples(frame[:20]) - before).max() < 0.3
