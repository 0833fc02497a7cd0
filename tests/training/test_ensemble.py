"""Networks one after another: when a further one begins, which are kept, and that their mean is the model."""

import math
from itertools import count

import pytest
import torch

from backwalk.denoiser import EnsembleDenoiser, Residual, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import TrainingDiverged
from backwalk.streams import Stream
from backwalk.training import EnsembleTrainer, LogNormalLevels, Training, TrainingRows
from backwalk.training.validation import Validation

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(math.exp(-4.0), math.exp(3.0), centre=-1.0)
STREAM = Stream(7)
ROWS = TrainingRows(
    x_0=STREAM.child("x_0").normal(0, 230, 2, torch.float32), x_validation=STREAM.normal(0, 50, 2, torch.float32)
)
PATIENT = Training(max_steps=1000, batch_size=16, learning_rate=0.01, patience=1)  # a look in 50 steps


def new_member(number):
    stream = STREAM.child("weights", number)
    return build_denoiser(Residual(8, 1), 2, schedule=SCHEDULE, floor=0.1, stream=stream)


def trainer(plan=PATIENT, n_members=4, rows=ROWS, **options):
    return EnsembleTrainer(new_member, rows, LEVELS, plan, n_members=n_members, stream=STREAM, **options)


def told(monkeypatch, of_members, of_means):
    """Let each network's looks, the first at step 0, and those at the means, find these losses, in turn."""
    single, means = iter(of_members), iter(of_means)

    def by_row(_, denoiser, *__):
        return torch.full((50,), next(means if denoiser.n_members > 1 else single), dtype=torch.float64)

    monkeypatch.setattr(Validation, "by_row", by_row)


LEARNS = [9.0, 5.0, 5.0]  # at steps 0, 50 and 100: patience ends it


@pytest.mark.parametrize(
    ("means", "n_members", "n_trained"),
    [
        ([4.5, 4.2, 4.1], 4, 4),  # at most four
        ([4.5, 4.4999], 3, 3),  # the third gains too little for a fourth, but it is kept
        ([5.1], 1, 2),  # a second that makes the mean worse is not kept
    ],
)
def test_networks_follow_until_one_adds_too_little(monkeypatch, means, n_members, n_trained):
    # The mean of a single network is looked at once more, after its training.
    told(monkeypatch, [*LEARNS, 5.0, *LEARNS * 3], means)
    run = trainer()
    steps = [progress.step for progress in run.run()]
    assert steps == list(range(1, 100 * n_trained + 1))
    assert run.denoiser.n_members == n_members
    assert run.stopped_by == "patience"
    history = run.history()
    assert (history.n_steps, history.chosen_step) == (100 * n_trained, 100 * n_members)
    assert list(history.validation_step) == sorted(history.validation_step)


def test_the_model_is_the_mean_of_its_networks_and_so_is_the_model_so_far():
    run = trainer(Training(max_steps=300, batch_size=16, learning_rate=0.01, patience=1), n_members=2)
    seen = [run.denoiser_so_far().n_members for _ in run.run()]
    assert seen == sorted(seen)
    assert seen[0] == 1
    denoiser = run.denoiser
    x_t, log_snr = STREAM.normal(0, 20, 2, torch.float32), torch.linspace(-5.0, 7.0, 20)
    hats = torch.stack([denoiser.member(k)(x_t, log_snr) for k in range(denoiser.n_members)])
    torch.testing.assert_close(denoiser(x_t, log_snr), hats.mean(0))


def test_nothing_follows_a_network_that_nothing_taught(monkeypatch):
    told(monkeypatch, [1.0, 5.0, 1.0], [])
    run = trainer()
    list(run.run())
    assert (run.denoiser.n_members, run.history().chosen_step, run.step) == (1, 0, 50)


@pytest.mark.parametrize("limits", [(1e-9,), (-1.0, 5.0, 1e-9), (1000.0, 1000.0, 1e-9), ()])
def test_limits_end_all_of_it(limits):
    run = trainer(Training(max_steps=60, batch_size=16, learning_rate=0.01, patience=9))
    if limits:
        run.limit(*limits)
    steps = list(run.run())
    assert len(steps) == (1 if limits else 60)
    assert steps[-1].share == 1.0
    assert run.stopped_by == ("time limit" if limits else "steps")


@pytest.mark.parametrize(("seconds_after", "n_members"), [(600.0, 1), (400.0, 2), (300.0, 3)])
def test_no_network_begins_that_leaves_no_time_for_what_follows_training(monkeypatch, seconds_after, n_members):
    told(monkeypatch, [*LEARNS, 5.0, *LEARNS * 3], [4.5, 4.2, 4.1])
    run = trainer()
    run.limit(1000.0, seconds_after)
    list(run.run())
    assert run.denoiser.n_members == n_members


@pytest.mark.parametrize("max_seconds", [350.0, 500.0])
def test_the_time_limit_is_that_of_all_networks_together(monkeypatch, max_seconds):
    clock = count()
    monkeypatch.setattr("backwalk.training.loop.time.monotonic", lambda: float(next(clock)))  # two seconds a step
    told(monkeypatch, [*LEARNS, 5.0, *range(9, -90, -1)], [4.5])
    run = trainer()
    run.limit(max_seconds)
    list(run.run())
    assert (run.denoiser.n_members, run.stopped_by) == (2, "time limit")
    assert run.seconds == pytest.approx(max_seconds, abs=10.0)


def test_without_held_out_rows_one_network_takes_all_steps():
    rows = TrainingRows(x_0=ROWS.x_0)
    run = trainer(Training(max_steps=120, batch_size=16, learning_rate=0.01, patience=1), rows=rows)
    assert len(list(run.run())) == 120
    assert (run.denoiser.n_members, run.stopped_by, run.last_gain) == (1, "steps", 0.0)
    assert run.history().chosen_step == 120


@pytest.mark.parametrize(("mean", "n_kept"), [(4.0, 3), (6.0, 1)])
def test_networks_of_before_that_no_step_reaches_are_kept_where_the_mean_is_better_with_them(monkeypatch, mean, n_kept):
    told(monkeypatch, [9.0, 5.0, 5.0], [mean])
    run = trainer(Training(max_steps=50, batch_size=16, learning_rate=0.01, patience=9), n_started=3)
    assert len(list(run.run())) == 50
    assert run.denoiser.n_members == n_kept


def test_a_later_network_that_diverges_leaves_the_others(monkeypatch):
    told(monkeypatch, [*LEARNS, 5.0, 9.0, math.nan], [])
    run = trainer()
    with pytest.raises(TrainingDiverged):
        list(run.run())
    assert run.give_up()
    assert isinstance(run.denoiser, EnsembleDenoiser)
    assert (run.denoiser.n_members, run.history().chosen_step) == (1, 100)


def test_what_the_last_third_gained_is_of_the_first_network(monkeypatch):
    told(monkeypatch, [9.0, 8.0, 7.0, 5.0, 5.0], [])
    run = trainer(Training(max_steps=150, batch_size=16, learning_rate=0.01, patience=9))
    list(run.run())
    assert run.last_gain == 2.0


def test_what_rates_gain_that_fall_to_0_does_not_count(monkeypatch):
    told(monkeypatch, [9.0, 8.0, 7.0, 6.0, 5.0, 3.0, 1.0, 1.0], [])
    run = trainer(Training(max_steps=300, batch_size=16, learning_rate=0.01, patience=9, decay="linear"))
    list(run.run())
    assert run.last_gain == 2.0  # from step 100, the last look in two thirds of the 200 steps at full rates
