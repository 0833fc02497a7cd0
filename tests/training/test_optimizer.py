"""The update: Adam is PyTorch's own bit for bit, Muon moves equally in every direction, and the average is its sum."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from backwalk.streams import Stream
from backwalk.threads import scripted
from backwalk.training import Training
from backwalk.training.optimizer import Optimizer, Rotation, rotation_for, update
from backwalk.training.orthogonal import orthogonalised, rounds_for

STREAM = Stream(6)
TAKES = [update, scripted(update, torch.device("cpu"))]
PLAN = Training(max_steps=1, batch_size=1, learning_rate=1.0, hidden_rate=1.0, ema_width=None)


def adam_of(parameters, **changes):
    return Optimizer(parameters, [], list(range(len(parameters))), Rotation(1, 1), replace(PLAN, **changes))


def muon_of(parameters, rotation, weight_decay=0.0, **changes):
    """Weight decay is by a share of the rate, which the tests give to `at`."""
    plan = replace(PLAN, hidden_rate=0.1, weight_decay=weight_decay, **changes)
    return Optimizer(parameters, list(range(len(parameters))), [], rotation, plan)


@pytest.mark.parametrize("take", TAKES, ids=["python", "torchscript"])
def test_steps_are_those_of_pytorch(take):
    starts = [STREAM.child("start", i).normal(0, 5, d, torch.float32) for i, d in enumerate((1, 8, 33))]
    ours, theirs = [start.clone() for start in starts], [nn.Parameter(start.clone()) for start in starts]
    adam, reference = adam_of(ours), torch.optim.Adam(theirs, betas=(0.9, 0.99), fused=True)
    for number in range(1, 8):
        gradients = [
            STREAM.child("gradient", number, i).normal(0, *start.shape, torch.float32) for i, start in enumerate(starts)
        ]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        reference.param_groups[0]["lr"] = 2.0**-number  # which float32 holds
        reference.step()
        take(gradients, adam.at(2.0**-number, number - 1))
        assert all(map(torch.equal, ours, theirs))


def test_how_a_gradient_lies_in_memory_does_not_matter():
    """Autograd returns some column by column, which the fused operation would not heed."""
    start, gradient = (STREAM.child(name).normal(0, 5, 3, torch.float32) for name in ("start", "gradient"))
    moved = []
    for laid_out in (gradient, gradient.T.contiguous().T):
        parameter = start.clone()
        for _ in range(2):
            update([laid_out], adam_of([parameter]).at(0.1, 0))
        moved.append(parameter)
    assert not torch.equal(moved[0], start)
    assert torch.equal(*moved)


def matrices(k, n):
    return Stream(4).normal(0, k * n, n).reshape(k, n, n)


@pytest.mark.parametrize("take", TAKES, ids=["python", "torchscript"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize(
    "rotation", [Rotation(1, 1), Rotation(2, 2), Rotation(3, 3), Rotation(4, 2)], ids=lambda r: f"{r[1]}-of-{r[0]}"
)
def test_a_matrix_moves_once_in_a_rotation_by_as_many_times_the_rate(take, weight_decay, rotation):
    start, gradient = matrices(6, 8), matrices(6, 8).mT
    parameters = [pair.clone() for pair in start.split(2)]  # three of two members each
    muon = muon_of(parameters, rotation, weight_decay)
    moved = []
    for number in range(rotation.update_every):
        before = [parameter.clone() for parameter in parameters]
        take(list(gradient.split(2)), muon.at(0.2, number))
        for i, (parameter, was) in enumerate(zip(parameters, before, strict=True)):
            if not torch.equal(parameter, was):
                moved.append(i)
                assert number < rotation.n_groups
                rate = rotation.update_every * 0.02
                kept = (1.0 - rate * weight_decay) * was
                torch.testing.assert_close(parameter, kept - rate * orthogonalised(gradient[2 * i : 2 * i + 2], 3))
    assert sorted(moved) == [0, 1, 2]


@pytest.mark.parametrize(
    ("width", "every", "rounds"), [(48, 2, 3), (64, 2, 3), (65, 3, 2), (255, 3, 2), (256, 4, 2), (1024, 4, 2)]
)
def test_dear_matrices_move_more_rarely_and_by_fewer_products(width, every, rounds):
    assert rounds_for(width) == rounds
    assert rotation_for(width, 20) == Rotation(every, every)
    assert rotation_for(width, 6) == Rotation(every, min(every, 3))
    assert rotation_for(width, 1) == Rotation(every, 1)


@pytest.mark.parametrize("n_matrices", [2, 3, 4, 5, 6, 20])
@pytest.mark.parametrize("width", [48, 128, 512])
def test_a_group_has_two_matrices_at_least(width, n_matrices):
    _, n_groups = rotation_for(width, n_matrices)
    assert min(len(range(n_matrices)[group::n_groups]) for group in range(n_groups)) >= 2


@pytest.mark.parametrize("take", TAKES, ids=["python", "torchscript"])
def test_momentum_is_the_running_mean_looked_at_ahead(take):
    parameter, gradients = torch.zeros(1, 4, 4, dtype=torch.float64), matrices(6, 4)
    muon, momentum, place = (
        muon_of([parameter], Rotation(2, 1)),
        torch.zeros(1, 4, 4, dtype=torch.float64),
        torch.zeros(1, 4, 4),
    )
    for number, gradient in enumerate(gradients[:, None]):
        take([gradient], muon.at(1.0, number))
        momentum = 0.95 * momentum + 0.05 * gradient
        if number % 2 == 0:
            place = place - 2 * 0.1 * orthogonalised(0.05 * gradient + 0.95 * momentum, 3)
        torch.testing.assert_close(parameter, place)


def averaged(width, n_steps):
    """The weight that each of n_steps past values has: fed with unit vectors, the average is just that."""
    parameter = torch.zeros(n_steps, dtype=torch.float64)
    optimizer = adam_of([parameter], ema_width=width)
    for step in range(n_steps):
        parameter.zero_()[step] = 1.0
        update([torch.zeros_like(parameter)], optimizer.at(1.0, step))
    ((_, average),) = optimizer.averages()
    return average


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_average_is_the_weighted_sum(width):
    weights, place = averaged(width, 400), torch.arange(1, 401, dtype=torch.float64) / 400
    assert float(weights.sum()) == pytest.approx(1.0)
    # (j / k)^(gamma + 1) less the same at j - 1, with the gamma that the first two of the weights imply.
    gamma = math.log(float(weights[:200].sum())) / math.log(0.5) - 1
    expected = place ** (gamma + 1) - (place - 1 / 400) ** (gamma + 1)
    torch.testing.assert_close(weights, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_width_is_the_standard_deviation_of_the_window(width):
    weights, place = averaged(width, 2000), torch.arange(2000, dtype=torch.float64) / 2000
    mean = (weights * place).sum()
    assert float((weights * (place - mean).square()).sum().sqrt()) == pytest.approx(width, rel=1e-2)


def test_average_forgets_where_it_started():
    parameter = torch.ones(2)
    optimizer = adam_of([parameter], ema_width=0.05)
    parameter.zero_()
    update([torch.zeros(2)], optimizer.at(1.0, 0))
    assert not any(bool(average.any()) for _, average in optimizer.averages())


def test_the_decay_of_the_outer_layers_shrinks_what_adam_trains():
    """Without gradients the weights of Adam fall by the share rate x outer_decay in each step, those of Muon stay."""
    training = Training(64, 0.01, max_steps=10, hidden_rate=0.02, outer_decay=0.5)
    weights = [torch.ones(1, 8, 8), torch.ones(1, 3, 8), torch.ones(1, 8, 8)]
    optimizer = Optimizer(weights, [0, 2], [1], rotation_for(8, 2), training)
    for number in range(3):
        optimizer.take([torch.zeros_like(weight) for weight in weights], optimizer.at(1.0, number))
    torch.testing.assert_close(weights[1], torch.full((1, 3, 8), (1.0 - 0.01 * 0.5) ** 3))
    torch.testing.assert_close(weights[0], torch.ones(1, 8, 8))


@pytest.mark.parametrize("take", TAKES, ids=["python", "torchscript"])
def test_the_ridge_is_a_penalty_of_the_loss(take):
    """Steps with the ridge are PyTorch's on the loss with (ridge / 2) |W|^2 added, for the input weights alone."""
    ridge, starts = 0.3, [STREAM.child("ridge start", i).normal(0, 4, d, torch.float32) for i, d in enumerate((6, 3))]
    ours, theirs = [start.clone() for start in starts], [nn.Parameter(start.clone()) for start in starts]
    plan = replace(PLAN, learning_rate=0.01, input_ridge=ridge)
    adam = Optimizer(ours, [], [1, 0], Rotation(1, 1), plan, of_inputs=[0])
    reference = torch.optim.Adam(theirs, lr=0.01, betas=(0.9, 0.99), fused=True)
    for number in range(5):
        gradients = [STREAM.child("ridge", number, i).normal(0, *s.shape, torch.float32) for i, s in enumerate(starts)]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        assert theirs[0].grad is not None
        theirs[0].grad += ridge * theirs[0].detach()
        reference.step()
        take([gradients[1], gradients[0]], adam.at(1.0, number))
        torch.testing.assert_close(ours, [parameter.detach() for parameter in theirs], rtol=1e-6, atol=1e-7)


def test_the_ridge_lets_a_weight_stay_that_the_data_need():
    """Of two weights, the loss (w_1 - 1)^2 / 2 and the ridge decide at 1 / (1 + ridge), the ridge alone at 0."""
    weights = torch.full((1, 2), 0.5)
    plan = replace(PLAN, learning_rate=0.01, input_ridge=0.25)
    adam = Optimizer([weights], [], [0], Rotation(1, 1), plan, of_inputs=[0])
    for number in range(2000):
        gradient = torch.tensor([[float(weights[0, 0]) - 1.0, 0.0]])
        adam.take([gradient], adam.at(1.0 - number / 2000, number))
    torch.testing.assert_close(weights, torch.tensor([[0.8, 0.0]]), rtol=0.0, atol=1e-3)
