"""Pieces of a step, members and shards: together they are the whole, on any number of threads and with autograd off."""

from dataclasses import replace

import pytest
import torch

from backwalk.denoiser import Residual, Textbook, build_denoiser
from backwalk.diffusion import NoiseSchedule, scales
from backwalk.streams import Stream
from backwalk.threads import scripted
from backwalk.training import LogNormalLevels, Trainer, Training, learner
from backwalk.training.ensemble_learner import EnsembleLearner
from backwalk.training.learner import Learner
from backwalk.training.optimizer import Optimizer, Rotation, update
from backwalk.training.shards import Dealing
from tests.denoiser import tables

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(0.02, 20.0, centre=-1.0)
CPU = torch.device("cpu")
STREAM = Stream(9)
X_0 = STREAM.child("x_0").normal(0, 1300, 2, torch.float32)
PLAN = Training(max_steps=4, batch_size=1300, learning_rate=0.01, hidden_rate=0.02)  # two shards of 650 rows


pytestmark = pytest.mark.usefixtures("own_setting")


@pytest.mark.parametrize(("decay", "kept"), [(True, 0.99), (False, 0.999)])
def test_adam_remembers_squares_for_as_long_as_the_plan_says(decay, kept):
    adam = Optimizer([torch.zeros(3)], [], [0], Rotation(1, 1), replace(PLAN, decay=decay))
    adam.take([torch.full((3,), 2.0)], adam.at(1.0, 0))
    (squares,) = adam.moving()["adam.mean_square"]
    torch.testing.assert_close(squares, torch.full((3,), 4.0 * (1.0 - kept)))


def rough(width=16, n_blocks=1, members=2):
    """A denoiser none of whose weights is 0."""
    weights = STREAM.child("weights")
    denoiser = build_denoiser(Residual(width, n_blocks, members), 2, schedule=SCHEDULE, floor=0.1, stream=weights)
    with torch.no_grad():
        for i, parameter in enumerate(denoiser.parameters()):
            parameter.add_(0.1 * weights.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    return denoiser


def test_half_the_rate_is_half_the_step_of_every_weight():
    """Whoever lowers the rate along a run relies on it, for Muon's matrices as for Adam's."""
    batch, moves = trainer()._batches.at(0), []
    for rate in (0.5, 0.25):
        moving = Learner(rough(), PLAN, cut=True)
        moving.step(batch, rate, 0)
        moves.append([new - old for new, old in zip(moving.parameters, rough().parameters(), strict=True)])
    assert all(bool(move.any()) for move in moves[0])
    torch.testing.assert_close([2.0 * move for move in moves[1]], moves[0], rtol=1e-3, atol=1e-6)


def trainer(denoiser=None, plan=PLAN):
    return Trainer(denoiser or rough(), X_0, LEVELS, plan, stream=STREAM, x_validation=X_0[:50])


def trained(n_threads, plan=PLAN, **sizes):
    torch.set_num_threads(n_threads)
    run = trainer(rough(**sizes), plan)
    losses = [progress.loss for progress in run.run()]
    return losses, run.history().validation_loss, [parameter.detach() for parameter in run.denoiser.parameters()]


@pytest.mark.parametrize("shard_rows", [100, 512, 1300, 5000])
@pytest.mark.parametrize("cut", [False, True])
def test_gradients_of_the_shards_add_up_to_those_of_the_batch(monkeypatch, shard_rows, cut):
    monkeypatch.setattr(learner, "SHARD_ROWS" if cut else "UNCUT_ROWS", shard_rows)
    denoiser, batch = rough(), trainer()._batches.at(0)
    a, b = scales(batch.log_snr.unsqueeze(-1), batch.x_0)
    error = batch.x_0 - denoiser.by_member(a * batch.x_0 + b * batch.eps, batch.log_snr)
    expected = (LEVELS.weight(batch.log_snr) * error.square().sum(-1)).mean(-1).sum()
    expected_gradients = torch.autograd.grad(expected, list(denoiser.parameters()))
    loss, gradients = Learner(denoiser, PLAN, cut=cut).gradients(batch)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradients, list(expected_gradients), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "n_blocks"), [(16, 2), (80, 1), (80, 2), (80, 4)])  # from 65 on matrices are dealt
def test_members_learn_apart_as_they_do_together(width, n_blocks):
    together, apart, plan = rough(width, n_blocks), rough(width, n_blocks), replace(PLAN, input_ridge=0.1)
    whole, learners, batches = Learner(together, plan, cut=True), EnsembleLearner(apart, plan), trainer()._batches
    for number in range(4):
        loss = whole.step(batches.at(number), 0.5, number)
        learners.step(batches, 0.5, number)
        torch.testing.assert_close(learners.loss(), loss)
    torch.testing.assert_close(list(apart.parameters()), list(together.parameters()))
    half = len(learners.averages) // 2
    of_members = zip(learners.averages[:half], learners.averages[half:], strict=True)
    torch.testing.assert_close([torch.cat(pair) for pair in of_members], whole.averages)
    at_first = rough(width, n_blocks).parameters()
    assert not any(torch.equal(*pair) for pair in zip(apart.parameters(), at_first, strict=True))


@pytest.mark.parametrize(("members", "batch_size", "apart"), [(1, 64, 1), (2, 64, 2), (3, 64, 1), (2, 5000, 1)])
def test_members_learn_apart_where_two_threads_have_equally_many_and_no_fewer_than_shards(members, batch_size, apart):
    learners = EnsembleLearner(rough(members=members), replace(PLAN, batch_size=batch_size))
    assert len(learners._learners) == apart


@pytest.mark.parametrize(("batch_size", "learners"), [(511, 1), (512, 2)])
def test_members_of_a_small_table_learn_together(monkeypatch, batch_size, learners):
    made = rough(members=2)
    monkeypatch.setattr(type(made), "has_many_operations", True)
    learner = EnsembleLearner(made, replace(PLAN, batch_size=batch_size))
    assert len(learner._learners) == learners
    assert Dealing(len(learner._learners), learner.dealing.n_shards, 2).n_idle == 2 - learners
    assert len(EnsembleLearner(rough(65, members=2), replace(PLAN, batch_size=batch_size))._learners) == 2


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_torchscript_moves_what_python_moves(bfloat16, weight_decay):
    """It leaves out a change in place that it takes for one of a new tensor: once all that Muon moves stood still."""
    plan = replace(PLAN, bfloat16=bfloat16, weight_decay=weight_decay)
    gradients = [0.1 * parameter.detach() for parameter in rough().parameters()]
    ends = []
    for take in (update, scripted(update, CPU)):
        parameters = [parameter.detach() for parameter in rough().parameters()]
        of_adam = [i for i in range(len(parameters)) if i not in (2, 4)]
        optimizer = Optimizer(parameters, [2, 4], of_adam, Rotation(2, 2), plan)
        for number in range(3):
            take([gradients[i] for i in optimizer._places], optimizer.at(0.5, number))
        assert not any(torch.equal(*pair) for pair in zip(parameters, rough().parameters(), strict=True))
        ends.append([*parameters, *(average for _, average in optimizer.averages())])
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize(("members", "width"), [(1, 16), (2, 16), (3, 16), (4, 16), (1, 80), (3, 80)])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_any_number_of_threads_gives_the_same_bits(members, width, bfloat16):
    plan = replace(PLAN, bfloat16=bfloat16)
    losses, validation, weights = trained(1, plan, members=members, width=width)
    for n_threads in (2, 3):
        other_losses, other_validation, other_weights = trained(n_threads, plan, members=members, width=width)
        assert other_losses == losses
        assert other_validation == validation
        assert all(map(torch.equal, other_weights, weights))


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("kind", ["residual", "textbook"])
def test_training_needs_no_leave_for_gradients(n_threads, kind):
    torch.set_num_threads(n_threads)

    def losses():
        textbook = build_denoiser(Textbook(8, 1), 2, schedule=SCHEDULE, floor=0.0, stream=STREAM)
        return [progress.loss for progress in trainer(textbook if kind == "textbook" else rough()).run()]

    expected = losses()
    with torch.no_grad():
        assert losses() == expected


@pytest.mark.parametrize("hidden_rate", [0.02, None])
@pytest.mark.parametrize("made", [lambda: rough(width=80, n_blocks=2), tables.denoiser], ids=["numbers", "table"])
@pytest.mark.parametrize("cut", [False, True])
def test_only_the_first_layer_has_the_ridge(cut, made, hidden_rate):
    """A step whose gradients are 0 moves the input weights of every member, and nothing else."""
    denoiser = made().float()
    before = {name: parameter.detach().clone() for name, parameter in denoiser.named_parameters()}
    of_all = Learner(denoiser, replace(PLAN, input_ridge=0.1, hidden_rate=hidden_rate), cut=cut)
    nothing, steps = [torch.zeros_like(parameter) for parameter in of_all.parameters], of_all.at(1.0, 0)
    for k in range(len(steps)):
        of_all.move(k, nothing, steps)
    moved = {name for name, parameter in denoiser.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"network.enter.weight"}
    old, new = before["network.enter.weight"], denoiser.input_matrices()[0].detach()
    assert torch.equal((old - new).sign(), old.sign())
