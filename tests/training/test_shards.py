"""Pieces of a step, members and shards: together they are the whole, on any number of threads and with autograd off."""

import pytest
import torch

from backwalk.denoiser import Residual, build_denoiser
from backwalk.diffusion import NoiseSchedule, scales
from backwalk.streams import Stream
from backwalk.threads import without_lock
from backwalk.training import LogNormalLevels, Trainer, Training, learner
from backwalk.training.learner import Learner, Learners, Mover, moved

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(0.02, 20.0, centre=-1.0)
STREAM = Stream(9)
X_0 = STREAM.child("x_0").normal(0, 1300, 2, torch.float32)
PLAN = Training(max_steps=4, batch_size=1300, learning_rate=0.01, hidden_rate=0.02)  # shards of 512, 512 and 276 rows


@pytest.fixture(autouse=True)
def own_setting():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rough(width=16, n_blocks=1, members=2):
    """A denoiser none of whose weights is 0."""
    weights = STREAM.child("weights")
    denoiser = build_denoiser(Residual(width, n_blocks, members), 2, schedule=SCHEDULE, floor=0.1, stream=weights)
    with torch.no_grad():
        for i, parameter in enumerate(denoiser.parameters()):
            parameter.add_(0.1 * weights.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    return denoiser


def trainer(members=2):
    return Trainer(rough(members=members), X_0, LEVELS, PLAN, stream=STREAM, x_validation=X_0[:50])


def trained(n_threads, members):
    torch.set_num_threads(n_threads)
    run = trainer(members)
    losses = [progress.loss for progress in run.run()]
    return losses, run.history().validation_loss, [parameter.detach() for parameter in run.denoiser.parameters()]


@pytest.mark.parametrize("shard_rows", [100, 512, 1300, 5000])
@pytest.mark.parametrize("alone", [False, True])
def test_gradients_of_the_shards_add_up_to_those_of_the_batch(monkeypatch, shard_rows, alone):
    monkeypatch.setattr(learner, "MOST_ROWS_ALONE" if alone else "SHARD_ROWS", shard_rows)
    denoiser, batch = rough(), trainer()._batches.at(0)
    a, b = scales(batch.log_snr.unsqueeze(-1), batch.x_0)
    error = batch.x_0 - denoiser.by_member(a * batch.x_0 + b * batch.eps, batch.log_snr)
    expected = (LEVELS.weight(batch.log_snr) * error.square().sum(-1)).mean(-1).sum()
    expected_gradients = torch.autograd.grad(expected, list(denoiser.parameters()))
    loss, gradients = Learner(denoiser, PLAN, alone=alone).gradients(batch)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradients, list(expected_gradients), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [16, 80])  # of matrices that one thread moves, and two
def test_members_learn_as_they_would_together(width):
    together, apart = rough(width, 3), rough(width, 3)
    whole, learners, batches = Learner(together, PLAN, alone=False), Learners(apart, PLAN), trainer()._batches
    for number in range(3):
        loss = whole.step(batches.at(number), 0.5, number)
        torch.testing.assert_close(learners.step(batches, 0.5, number), loss)
    torch.testing.assert_close(list(apart.parameters()), list(together.parameters()))
    of_members = [torch.cat(pair) for pair in zip(*map(iter, halved(learners.averages)), strict=True)]
    torch.testing.assert_close(of_members, whole.averages)
    assert not torch.equal(apart.network.leave.weight, rough(width, 3).network.leave.weight)


def halved(tensors):
    return tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]


def test_torchscript_moves_what_python_moves():
    """It leaves out a change in place that it takes for one of a new tensor: once all that Muon moves stood still."""
    gradients = [0.1 * parameter.detach() for parameter in rough().parameters()]
    ends = []
    for take in (moved, without_lock(moved)):
        parameters = [parameter.detach() for parameter in rough().parameters()]
        mover = Mover(parameters, [2, 4], [i for i in range(len(parameters)) if i not in (2, 4)], PLAN)
        for number in range(3):
            take([gradients[i] for i in mover._places], *mover.at(0.5, number))
        assert not any(torch.equal(*pair) for pair in zip(parameters, rough().parameters(), strict=True))
        ends.append([*parameters, *(average for _, average in mover.averages())])
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize("members", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_bits(members):
    losses, validation, weights = trained(1, members)
    for n_threads in (2, 3):
        other_losses, other_validation, other_weights = trained(n_threads, members)
        assert other_losses == losses
        assert other_validation == validation
        assert all(map(torch.equal, other_weights, weights))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_needs_no_leave_for_gradients(n_threads):
    expected = trained(n_threads, 2)[0]
    with torch.no_grad():
        assert trained(n_threads, 2)[0] == expected
