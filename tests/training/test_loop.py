"""The training loop: against the notebook's written out in plain torch, and its own promises."""

import itertools
import math

import pytest
import torch
from torch import nn

from backwalk.denoiser import Residual, Textbook, build_denoiser
from backwalk.diffusion import NoiseSchedule, scales
from backwalk.errors import TrainingDiverged
from backwalk.streams import Stream
from backwalk.training import ChainLevels, LogNormalLevels, Trainer, Training, TrainingRows
from backwalk.training.batches import Batches
from backwalk.training.learner import average_power
from backwalk.training.pace import LEAST_SPACING, SPACING, next_after
from backwalk.training.validation import WORTH, Candidate, Choice, Validation

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(math.exp(-4.0), math.exp(3.0), centre=-1.0)
STREAM = Stream(7)
X_0 = STREAM.child("x_0").normal(0, 230, 2, torch.float32) * torch.tensor([1.0, 0.2])
X_VALIDATION = STREAM.child("validation").normal(0, 50, 2, torch.float32) * torch.tensor([1.0, 0.2])
PLAN = Training(max_steps=25, batch_size=64, learning_rate=0.01, hidden_rate=0.02)


def untrained(members=1, number=0):
    stream = STREAM.child("weights", number)
    return build_denoiser(Residual(8, 1, members), 2, schedule=SCHEDULE, floor=0.1, stream=stream)


def trainer(plan=PLAN, *, x_0=X_0, x_validation=None, denoiser=None, stream=STREAM, **options):
    denoiser, rows = denoiser or untrained(), TrainingRows(x_0=x_0, x_validation=x_validation)
    validation = Validation.of(rows, denoiser.log_snr_range, stream)
    return Trainer(denoiser, rows, LEVELS, plan, stream=stream, validation=validation, **options)


def weights(denoiser):
    return [parameter.detach().clone() for parameter in denoiser.parameters()]


def equal(one, other):
    return all(map(torch.equal, one, other))


def plain_notebook_loop(network, schedule, n_epochs, batch_size, stream):
    """The course notebook's loop as anyone would write it, fed with the draws of the trainer's streams."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-3, 0.02, 100, dtype=torch.float64), 0)
    first_losses, step = [], 0
    for epoch in range(n_epochs):
        order = stream.child("order", epoch).permutation(len(X_0))
        for batch in range(len(X_0) // batch_size):
            x_0 = X_0[order[batch * batch_size : (batch + 1) * batch_size]]
            draws = stream.child("steps", step // 16)  # of sixteen steps together
            place = step % 16
            t = (draws.child("level").uniform(place, place + 1, batch_size)[0] * 100).long() + 1
            eps = draws.child("eps").normal(place * batch_size, (place + 1) * batch_size, 2, torch.float32)
            kept = alpha_bar[t - 1].float()[:, None]
            x_t = kept.sqrt() * x_0 + (1 - kept).sqrt() * eps
            loss = (network(torch.cat([x_t, t[:, None] / 100], dim=1)) - eps).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if batch == 0:
                first_losses.append(float(loss.detach()))
            step += 1
    return first_losses


def test_ddpm_training_is_the_notebook_s_loop():
    schedule = NoiseSchedule.linear(100)
    denoiser = build_denoiser(Textbook(20, 2), 2, schedule=schedule, floor=0.0, stream=STREAM.child("weights"))
    modules = []
    for layer in denoiser.network.layers:
        linear = nn.Linear(*layer.weight.shape[1:])
        linear.load_state_dict({"weight": layer.weight[0].T, "bias": layer.bias[0, 0]})
        modules += [linear, nn.Tanh()]
    plain = nn.Sequential(*modules[:-1])
    expected = plain_notebook_loop(plain, schedule, 9, 100, STREAM)
    plan = Training(n_epochs=9, batch_size=100, learning_rate=1e-3, ema_width=None, decay=None, levels="chain")
    trained = Trainer(denoiser, TrainingRows(x_0=X_0), ChainLevels(schedule), plan, stream=STREAM)
    assert len(list(trained.run())) == 18
    history = trained.history()
    assert history.step == tuple(range(0, 18, 2))
    assert history.loss == pytest.approx(expected, rel=1e-4)
    assert (history.loss_name, history.n_steps, history.chosen_step) == ("L_simple", 18, 18)
    for ours, theirs in zip(denoiser.network.layers, plain[::2], strict=True):
        torch.testing.assert_close(ours.weight[0].T, theirs.weight, rtol=1e-3, atol=2e-5)


def test_training_repeats_bit_for_bit_and_resumes_where_it_was_left():
    one, other = trainer(x_validation=X_VALIDATION), trainer(x_validation=X_VALIDATION)
    list(one.run())
    list(itertools.islice(other.run(), 9))
    list(other.run())
    assert equal(weights(one.denoiser), weights(other.denoiser))
    assert one.history().loss == other.history().loss
    assert one.history().validation_loss == other.history().validation_loss
    another = trainer(x_validation=X_VALIDATION, stream=Stream(8))
    list(another.run())
    assert not equal(weights(one.denoiser), weights(another.denoiser))


@pytest.mark.parametrize("batch_size", [30, 230, 1000])
def test_an_epoch_shows_every_row_equally_often(batch_size):
    seen = []
    plan = Training(n_epochs=1, batch_size=batch_size, learning_rate=1e-3)
    rows = TrainingRows(x_0=torch.arange(230.0)[:, None].expand(-1, 2))
    batches = Batches(rows, LEVELS, plan, STREAM)
    for step in range(plan.steps_for(230)):
        seen.append(batches.at(step).x_0[..., 0])
    rows = torch.cat(seen, dim=1).long()
    assert rows.shape == (1, max(batch_size, 230 // batch_size * batch_size))
    counts = torch.bincount(rows[0], minlength=230)
    assert int(counts.max() - counts.min()) <= 1


def test_the_loss_told_is_the_mean_over_rows():
    run = trainer()
    batch = Batches(TrainingRows(x_0=X_0), LEVELS, PLAN, STREAM).at(0)
    a, b = scales(batch.log_snr.unsqueeze(-1), batch.x_0)
    error = batch.x_0 - run.denoiser.by_member(a * batch.x_0 + b * batch.eps, batch.log_snr)
    expected = (LEVELS.weight(batch.log_snr) * error.square().sum(-1)).mean()
    assert next(run.run()).loss == pytest.approx(expected.item(), rel=1e-4)


def test_validations_become_rarer_along_a_run():
    step, n_validations = 0, 0
    while step < 20_000:
        later = next_after(step, SPACING, LEAST_SPACING)
        assert later - step == max(LEAST_SPACING, int(step * SPACING))
        step, n_validations = later, n_validations + 1
    assert n_validations < 100


def test_a_run_that_its_time_stops_has_the_last_weights_among_the_candidates():
    run = trainer(x_validation=X_VALIDATION, max_seconds=1e-9)
    told = list(run.run())
    assert [progress.step for progress in told] == [1]  # at least one step
    assert (told[-1].share, told[-1].validation_loss is not None, run.stopped_by) == (1.0, True, "time limit")


def test_what_is_validated_are_the_averaged_weights():
    run = trainer(Training(max_steps=20, batch_size=16, learning_rate=0.01, ema_width=0.25), x_validation=X_VALIDATION)
    list(run.run())
    history = run.history()
    assert history.chosen_step == 20  # so that the average is what the denoiser now holds
    again = run.validation.by_row(run.denoiser)
    assert history.validation_loss[-1] == pytest.approx(float(again.mean()), rel=1e-6)


def told_losses(monkeypatch, losses, at_first=99.0):
    """Let the look at first, and those after steps, find these losses, one after the other, and the last for ever."""
    left, rows = [at_first, *losses], torch.ones(len(X_VALIDATION), dtype=torch.float64)
    monkeypatch.setattr(Validation, "by_row", lambda *_: rows * (left.pop(0) if left[1:] else left[0]))


PATIENT = Training(max_steps=400, batch_size=16, learning_rate=0.01, patience=3)  # a look in 50 steps


@pytest.mark.parametrize(
    ("losses", "steps", "chosen"),
    [
        ([5.0, 4.0, 4.0, 3.0, 4.0, 4.0, 4.0, 9.0], 350, 200),  # a better one starts the count anew
        ([3.0, 4.0, 4.0, 3.0, 4.0, 1.0], 200, 200),  # one that is as good does not, but is kept
        ([30.0 - look for look in range(25)], 400, 400),
    ],
)
def test_a_patient_run_ends_when_its_loss_no_longer_falls_and_keeps_its_best_weights(
    monkeypatch, losses, steps, chosen
):
    told_losses(monkeypatch, losses)
    run = trainer(PATIENT, x_validation=X_VALIDATION)
    told = list(run.run())
    assert (told[-1].step, told[-1].share, run.history().chosen_step) == (steps, 1.0, chosen)
    assert run.done
    assert run.has_learnt == (steps < 400)
    assert run.stopped_by == ("patience" if steps < 400 else "steps")


@pytest.mark.parametrize(
    ("max_steps", "first_fall", "last_step", "stopped_by"),
    [(1000, 250, 375, "patience"), (300, 200, 300, "steps"), (90, 60, 90, "steps")],
)
def test_linear_rates_are_full_until_patience_is_over_or_two_thirds_of_the_steps_and_fall_to_0(
    monkeypatch, max_steps, first_fall, last_step, stopped_by
):
    told_losses(monkeypatch, [5.0, 4.0])  # patience is over at step 250
    plan = Training(max_steps=max_steps, batch_size=16, learning_rate=0.01, patience=3, decay="linear")
    run = trainer(plan, x_validation=X_VALIDATION)
    left = [run.left for _ in run.run()]
    assert (len(left), run.stopped_by) == (last_step, stopped_by)
    assert set(left[: first_fall - 1]) == {1.0}
    falls = left[first_fall - 1 :]
    assert falls == pytest.approx([1.0 - k / (len(falls) - 1) for k in range(len(falls))], abs=0.05)
    assert falls[-1] == 0.0
    assert falls == sorted(falls, reverse=True)


def test_gains_too_small_to_matter_count_once_they_add_up():
    choice = Choice()
    losses = [3.0, *(3.0 - 0.4 * WORTH * look for look in range(1, 5))]
    for step, loss in enumerate(losses):
        choice.consider(Candidate(step, torch.full((4,), loss, dtype=torch.float64), []))
    assert choice.n_idle == 1  # after a gain of 1.2


@pytest.mark.parametrize("size", [1e30, math.nan])
def test_a_loss_that_is_not_finite_stops_training(size):
    with pytest.raises(TrainingDiverged, match="loss should stay finite"):
        list(trainer(x_0=size * X_0).run())


def scripted(monkeypatch, by_call):
    """Let the looks after steps find these losses of rows; that at first is bad."""
    calls = iter([by_call[0] + 99.0, *by_call])
    monkeypatch.setattr(Validation, "by_row", lambda *_: next(calls))


@pytest.mark.parametrize(("at_first", "chosen"), [(1.0, 0), (3.0, 50)])
def test_the_first_weights_are_kept_where_training_makes_them_worse(monkeypatch, at_first, chosen):
    told_losses(monkeypatch, [2.0, 4.0], at_first)
    first = weights(untrained())
    run = trainer(PATIENT, x_validation=X_VALIDATION)
    list(run.run())
    history = run.history()
    assert (history.validation_step[:2], history.validation_loss[:2]) == ((0, 50), (at_first, 2.0))
    assert history.chosen_step == chosen
    assert equal(weights(run.denoiser), first) == (chosen == 0)


def test_trained_weights_have_to_be_as_good_as_the_first():
    """By the mean, as the first are the simplest: half a standard error in favour of newer ones is for trained ones."""
    noise = torch.linspace(-1.0, 1.0, 100, dtype=torch.float64)
    of_mean = float(noise.std()) / 10.0
    choice, kept = Choice(), []
    for step, (of_rows, lead) in enumerate([(0.0, 0.0), (1.0, 0.4), (1.0, 0.1), (1.0, -0.2), (-1.0, 0.2)]):
        choice.consider(Candidate(step, of_rows * noise + lead * of_mean, []))
        kept.append(choice.chosen.step)
    assert kept == [0, 0, 0, 3, 4]


@pytest.mark.slow
def test_the_best_linear_denoiser_is_kept_for_few_rows_of_a_gaussian():
    """The start is exact, and all that 40 rows teach is their own noise: later weights are kept by chance alone."""
    kept = list[int]()
    for seed in range(4):
        rows = STREAM.child("gaussian", seed).normal(0, 440, 2).float()
        denoiser = build_denoiser(Residual(64, 2, 1), 2, schedule=SCHEDULE, floor=0.1, stream=STREAM.child("w", seed))
        plan = Training(max_steps=100, batch_size=64, learning_rate=0.01)
        run = trainer(plan, x_0=rows[:40], x_validation=rows[40:], denoiser=denoiser)
        list(run.run())
        kept.append(run.history().chosen_step)
    assert kept.count(0) >= 3


@pytest.mark.parametrize("spread", [1.0, 10.0])
@pytest.mark.parametrize(("worse_by", "chosen"), [(0.0, 60), (0.05, 60), (-0.5, 60), (0.1, 50), (0.5, 50)])
def test_earlier_weights_are_kept_where_better_by_half_a_standard_error(monkeypatch, worse_by, chosen, spread):
    """50 rows whose paired difference has a standard error of 0.14, however much the rows themselves spread."""
    row = STREAM.child("rows").normal(0, 50, 2)
    before = 5.0 + spread * row[:, 0]
    after = before + (row[:, 1] - row[:, 1].mean()) + worse_by
    scripted(monkeypatch, [before, after])
    run = trainer(Training(max_steps=60, batch_size=16, learning_rate=0.01, ema_width=None), x_validation=X_VALIDATION)
    at = {progress.step: weights(run.denoiser) for progress in run.run()}
    assert run.history().chosen_step == chosen
    assert equal(weights(run.denoiser), at[chosen])


def test_the_average_that_is_kept_is_the_weighted_mean_of_the_weights_after_each_step():
    run = trainer(Training(max_steps=20, batch_size=16, learning_rate=0.01, ema_width=0.1))
    after_each = [weights(run.denoiser) for _ in run.run()]
    assert run.history().validation_loss == ()
    place = torch.arange(21) / 20
    shares = (place ** (average_power(0.1) + 1)).diff()
    for kept, *taken in zip(run.denoiser.parameters(), *after_each, strict=True):
        torch.testing.assert_close(kept.detach(), torch.einsum("s,s...->...", shares, torch.stack(taken)))


def test_validation_is_the_bound_s_diffusion_part():
    """For x_0_hat = a x_t it is (1/2) integral of (1 - ab)^2 |x_0|^2 SNR + ab (1 - ab) d SNR over ln SNR.

    False-alarm rate 1e-8.
    """
    low, high = SCHEDULE.log_snr[-1], SCHEDULE.log_snr[1]
    log_snr = torch.linspace(float(low), float(high), 20_001, dtype=torch.float64)
    alpha_bar, snr, x_0 = torch.sigmoid(log_snr), log_snr.exp(), X_0.double()
    expected = 0.5 * torch.trapezoid(
        snr * ((1 - alpha_bar).square() * x_0.square().sum(1).mean() + alpha_bar * (1 - alpha_bar) * 2), log_snr
    )
    by_row = Validation(untrained().log_snr_range, X_0, STREAM).by_row(untrained())
    assert by_row.shape == (230,)
    assert abs(float(by_row.mean() - expected)) < 5.73 * float(by_row.std()) / math.sqrt(230)


def test_held_out_rows_count_by_their_weights():
    """Found by review: sample_weight counted in training and not in the choice of the weights."""
    weight = torch.linspace(0.0, 2.0, len(X_0), dtype=torch.float64)
    span = untrained().log_snr_range
    plain, weighed = (Validation(span, X_0, STREAM, row_weight=w).by_row(untrained()) for w in (None, weight))
    torch.testing.assert_close(weighed, weight * plain)


def test_a_row_s_validation_is_its_own():
    """The spread over rows decides what chance is: a mean over noisy points of other rows would hide it."""
    moved = X_0.clone()
    moved[7] += 5.0
    span = untrained().log_snr_range
    one, other = (Validation(span, rows, STREAM).by_row(untrained()) for rows in (X_0, moved))
    assert torch.equal(one != other, torch.arange(230) == 7)
