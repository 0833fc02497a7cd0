"""The trial before a fit with a time limit: what it measures, and the plans that follow from it."""

import pytest
import torch

from backwalk.fit import default_architecture, default_training, fit_rules, reference_step_seconds, usual_steps
from backwalk.fit import run as speed
from backwalk.fit.rules import MOST_FASTER
from backwalk.fit.run import measure_slowness, round_slowness

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("ratio", "slowness"), [(0.1, 1), (0.7, 1), (1.4, 1), (1.5, 2), (2.8, 2), (3.0, 4), (17.0, 16), (100.0, 128)]
)
def test_a_slowness_is_a_power_of_two_and_never_below_one(ratio, slowness):
    """So that fits on a usual machine get the plans that the benchmarks were made with."""
    assert round_slowness(ratio) == slowness


@pytest.mark.parametrize(("took", "slowness"), [(1.0, 1.0), (8.0, 8.0)])
def test_the_slowness_is_that_of_a_member_s_step(monkeypatch, took, slowness):
    """Steps of two members, side by side, by a clock of our own; the first, which sets up, takes an hour."""
    n, d = 1000, 2
    now, taken = [0.0], []

    def run(self):
        taken.append(self.denoiser.n_members)
        for step in range(1000):
            now[0] += 3600.0 if step == 0 else took * 2 * reference_step_seconds(n, d)
            yield step

    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(speed.Trainer, "run", run)
    assert measure_slowness(n, d, 60.0, CPU) == slowness
    assert taken == [2]
    assert now[0] - 3600.0 <= max(0.02 * 60.0, 3 * took * 2 * reference_step_seconds(n, d)) + took * 0.01


def test_a_trial_runs_and_takes_little():
    assert 0.0 < speed.step_seconds(100, 2, 1e-3) < 60.0


def test_a_gpu_is_not_tried():
    assert measure_slowness(1000, 2, 10.0, torch.device("cuda")) == 1.0


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
