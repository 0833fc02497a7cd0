"""The trial before a fit with a time limit: what it measures, and the plans that follow from it."""

import itertools

import pytest

from backwalk.estimator import Diffusion
from backwalk.fit import (
    check_settings,
    default_architecture,
    default_training,
    fit_rules,
    reference_step_seconds,
    speed,
    usual_steps,
)
from backwalk.fit.rules import MOST_FASTER

TIMED = check_settings(Diffusion(max_time=60.0).get_params(deep=False))


@pytest.mark.parametrize(
    ("ratio", "slowness"), [(0.1, 1), (0.7, 1), (1.4, 1), (1.5, 2), (2.8, 2), (3.0, 4), (17.0, 16), (100.0, 128)]
)
def test_a_slowness_is_a_power_of_two_and_never_below_one(monkeypatch, ratio, slowness):
    """So that fits on a usual machine get the plans that the benchmarks were made with."""
    monkeypatch.setattr(speed, "step_seconds", lambda n, d, _: ratio * reference_step_seconds(n, d))
    assert speed.slowness_here(TIMED, None, 1000, 2) == slowness
    assert speed.slowness_here(check_settings(Diffusion().get_params(deep=False)), None, 1000, 2) == 1.0


def test_a_step_s_time_is_that_of_a_member_and_the_first_step_does_not_count(monkeypatch):
    now, taken = [0.0], []

    def run(self):
        taken.append(self.denoiser.n_members)
        for step in range(1000):
            now[0] += 3600.0 if step == 0 else 0.5
            yield step

    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(speed.Trainer, "run", run)
    assert speed.step_seconds(1000, 2, 60.0) == 0.25
    assert taken == [2]
    assert now[0] - 3600.0 <= 3 * 0.5


def test_a_trial_runs_and_takes_little():
    assert 0.0 < speed.step_seconds(100, 2, 1e-3) < 60.0


# 7 s before; a look at 4 of 64 levels takes 1 s, and so what comes afterwards 16.
@pytest.mark.parametrize(("n_steps", "outside"), [(1000, 9.0 + 16.0), (8, 9.0 + 2.0), (3, 9.0 + 1.0)])
def test_what_comes_before_and_after_training_is_counted(monkeypatch, n_steps, outside):
    """Found by review: a short chain, which is measured at all of its steps, kept back six times what it took."""
    clock, asked = itertools.count(7.0), []
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert speed.seconds_outside_training(0.0, asked.append, n_steps) == outside
    assert asked == [2, 4]


@pytest.mark.parametrize("slowness", [1.0, 2.0, 8.0, 64.0, 1024.0])
@pytest.mark.parametrize("d", [2, 5, 30])
@pytest.mark.parametrize("n", [100, 1000, 10_000, 100_000])
def test_members_share_no_fewer_steps_than_a_sound_run_takes(n, d, slowness):
    """16 networks of 89 steps were a nat worse than 4 of 400."""
    for seconds in (0.5, 2.0, 5.0, 15.0, 60.0, 600.0):
        members = default_architecture(n, d, seconds, slowness=slowness).n_members
        steps = default_training(n, d, max_time=seconds, slowness=slowness).max_steps / MOST_FASTER
        assert members == 1 or steps >= fit_rules(d).sound_steps - 1, (seconds, members, steps)
        assert members * steps <= seconds / (slowness * reference_step_seconds(n, d)) + members


def test_a_slow_machine_s_plan_is_that_of_as_much_less_time():
    for n, d in ((300, 2), (10_000, 2), (300, 12), (20_000, 8)):
        for seconds in (4.0, 32.0, 256.0):
            slow = (
                default_architecture(n, d, seconds, slowness=4.0),
                default_training(n, d, max_time=seconds, slowness=4.0),
            )
            fast = default_architecture(n, d, seconds / 4), default_training(n, d, max_time=seconds / 4)
            assert slow == fast


def test_the_least_usual_steps_are_those_of_few_rows():
    assert usual_steps(2, 2) == fit_rules(2).least_steps == 800
    assert usual_steps(2, 8) == fit_rules(8).least_steps == 400
