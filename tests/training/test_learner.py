"""A training step: its gradients, on any number of threads, and what Adam and the average make of them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from backwalk.denoiser import EnsembleDenoiser, Residual, build_denoiser
from backwalk.diffusion import NoiseSchedule, scales
from backwalk.streams import Stream
from backwalk.training import LogNormalLevels, Trainer, Training, TrainingRows
from backwalk.training.batches import Batch, Batches
from backwalk.training.learner import Learner, pieces
from backwalk.training.validation import Validation
from tests.denoiser import tables

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(0.02, 20.0, centre=-1.0)
STREAM = Stream(9)
X_0 = STREAM.child("x_0").normal(0, 1300, 2, torch.float32)
PLAN = Training(max_steps=4, batch_size=1300, learning_rate=0.01, hidden_rate=0.02)

pytestmark = pytest.mark.usefixtures("own_setting")


def rough(width=16, n_blocks=1):
    """A denoiser none of whose weights is 0."""
    weights = STREAM.child("weights")
    denoiser = build_denoiser(Residual(width, n_blocks), 2, schedule=SCHEDULE, floor=0.1, stream=weights)
    with torch.no_grad():
        for i, parameter in enumerate(denoiser.parameters()):
            parameter.add_(0.1 * weights.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    return denoiser


def batch_of(plan=PLAN, step=0):
    return Batches(TrainingRows(x_0=X_0), LEVELS, plan, STREAM).at(step)


class Given(EnsembleDenoiser):
    """A denoiser with some weights, whose gradients are those that the test sets."""

    def __init__(self, *weights, n_inputs=0):
        super().__init__(nn.Identity(), 1, (-6.0, 8.0))
        self.weights = nn.ParameterList(nn.Parameter(weight.clone()) for weight in weights)
        self.n_inputs, self.gradients = n_inputs, [torch.zeros_like(weight) for weight in weights]

    def by_member(self, x_t, log_snr):
        raise NotImplementedError

    def loss_and_gradients(self, *_, **__):
        return torch.zeros(()), self.gradients

    def input_matrices(self):
        return list(self.weights[: self.n_inputs])


ANY_BATCH = Batch(*(torch.zeros(1, 1),) * 4)
ADAM = Training(max_steps=1, batch_size=1, learning_rate=1.0, ema_width=None)


@pytest.mark.parametrize(("n_rows", "expected"), [(100, 1), (511, 1), (512, 2), (4096, 2), (4097, 4)])
def test_pieces_are_every_row_once(n_rows, expected):
    made, seen = pieces(n_rows), torch.zeros(n_rows)
    for piece in made:
        seen[piece] += 1
    assert bool((seen == 1).all())
    assert len(made) == expected


@pytest.mark.parametrize("batch_size", [100, 1300, 5000])
def test_gradients_of_the_pieces_add_up_to_those_of_the_batch(batch_size):
    plan, denoiser = replace(PLAN, batch_size=batch_size), rough()
    batch = batch_of(plan)
    a, b = scales(batch.log_snr.unsqueeze(-1), batch.x_0)
    error = batch.x_0 - denoiser.by_member(a * batch.x_0 + b * batch.eps, batch.log_snr)
    expected = (LEVELS.weight(batch.log_snr) * error.square().sum(-1)).mean()
    expected_gradients = torch.autograd.grad(expected, list(denoiser.parameters()))
    loss, gradients = Learner(denoiser, plan).gradients(batch)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradients, list(expected_gradients), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("width", "bfloat16"), [(16, False), (16, True), (80, False)])
def test_any_number_of_threads_gives_the_same_bits(width, bfloat16):
    def trained(n_threads):
        torch.set_num_threads(n_threads)
        plan = replace(PLAN, bfloat16=bfloat16)
        denoiser, rows = rough(width), TrainingRows(x_0=X_0, x_validation=X_0[:50])
        validation = Validation.of(rows, denoiser.log_snr_range, STREAM)
        run = Trainer(denoiser, rows, LEVELS, plan, stream=STREAM, validation=validation)
        losses = [progress.loss for progress in run.run()]
        return losses, run.history().validation_loss, [weight.tolist() for weight in denoiser.parameters()]

    assert trained(2) == trained(1)


def test_half_the_rate_is_half_the_step_of_every_weight():
    """Whoever lowers the rate along a run relies on it, for Muon's matrices as for Adam's."""
    moves = []
    for rate in (0.5, 0.25):
        denoiser = rough()
        Learner(denoiser, PLAN).step(batch_of(), 0, rate)
        moves.append([new - old for new, old in zip(denoiser.parameters(), rough().parameters(), strict=True)])
    assert all(bool(move.any()) for move in moves[0])
    torch.testing.assert_close([2.0 * move for move in moves[1]], moves[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("decay", "beta_2"), [("root", 0.99), (None, 0.999)])
@pytest.mark.parametrize("outer_decay", [0.0, 0.5])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_steps_of_adam_are_those_of_pytorch(decay, beta_2, outer_decay, ridge):
    """The ridge is a penalty of the loss, for the input weights alone; the decay shrinks all."""
    starts = [STREAM.child("start", i).normal(0, 5, d, torch.float32) for i, d in enumerate((8, 33))]
    denoiser, theirs = Given(*starts, n_inputs=1), [nn.Parameter(start.clone()) for start in starts]
    plan = replace(ADAM, decay=decay, outer_decay=outer_decay, input_ridge=ridge)
    learner = Learner(denoiser, plan)
    reference = torch.optim.AdamW(theirs, betas=(0.9, beta_2), weight_decay=outer_decay, fused=True)
    for number in range(6):
        denoiser.gradients = [
            STREAM.child("gradient", number, i).normal(0, *start.shape, torch.float32) for i, start in enumerate(starts)
        ]
        for parameter, gradient in zip(theirs, denoiser.gradients, strict=True):
            parameter.grad = gradient.clone()
        theirs[0].grad += ridge * theirs[0].detach()
        reference.param_groups[0]["lr"] = 2.0**-number
        reference.step()
        learner.step(ANY_BATCH, number, 2.0**-number)
        torch.testing.assert_close(list(denoiser.parameters()), theirs, rtol=1e-6, atol=1e-6)


def test_how_a_gradient_lies_in_memory_does_not_matter():
    """Autograd returns some column by column, which the fused operation would not heed."""
    start, gradient = (STREAM.child(name).normal(0, 5, 3, torch.float32) for name in ("start", "gradient"))
    moved = []
    for laid_out in (gradient, gradient.T.contiguous().T):
        denoiser = Given(start)
        denoiser.gradients = [laid_out]
        for number in range(2):
            Learner(denoiser, ADAM).step(ANY_BATCH, number, 0.1)
        moved.append(denoiser.weights[0].detach())
    assert not torch.equal(moved[0], start)
    assert torch.equal(*moved)


@pytest.mark.parametrize("hidden_rate", [0.02, None])
@pytest.mark.parametrize("made", [lambda: rough(width=80, n_blocks=2), tables.denoiser], ids=["numbers", "table"])
def test_only_the_first_layer_has_the_ridge(made, hidden_rate, monkeypatch):
    """A step whose gradients are 0 moves the input weights, and nothing else."""
    denoiser = made().float()
    before = {name: parameter.detach().clone() for name, parameter in denoiser.named_parameters()}
    learner = Learner(denoiser, replace(PLAN, input_ridge=0.1, hidden_rate=hidden_rate))
    nothing = [torch.zeros_like(parameter) for parameter in denoiser.parameters()]
    monkeypatch.setattr(learner, "gradients", lambda *_: (torch.zeros(()), nothing))
    learner.step(ANY_BATCH, 0, 1.0)
    moved = {name for name, parameter in denoiser.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"network.enter.weight"}
    old, new = before["network.enter.weight"], denoiser.input_matrices()[0].detach()
    assert torch.equal((old - new).sign(), old.sign())


def shares_of_steps(width, n_steps):
    """The share of each of n_steps past values in the average: fed with unit vectors, the average is just that."""
    denoiser = Given(torch.zeros(n_steps))
    learner = Learner(denoiser, replace(ADAM, ema_width=width))
    for number in range(n_steps):
        denoiser.weights[0].data.zero_()[number] = 1.0
        learner.step(ANY_BATCH, number, 0.0)
    return learner.averages[0].double()


@pytest.mark.parametrize("width", [0.05, 0.25])
def test_the_average_is_a_weighted_mean_whose_window_has_the_given_width(width):
    shares, place = shares_of_steps(width, 1000), torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert float(shares.sum()) == pytest.approx(1.0, abs=1e-5)
    # (j / k)^(gamma + 1) less the same at j - 1, with the gamma that the first half of the shares implies.
    gamma = math.log(float(shares[:500].sum())) / math.log(0.5) - 1
    expected = place ** (gamma + 1) - (place - 1 / 1000) ** (gamma + 1)
    torch.testing.assert_close(shares, expected, rtol=1e-2, atol=1e-6)
    mean = (shares * place).sum()
    assert float((shares * (place - mean).square()).sum().sqrt()) == pytest.approx(width, rel=1e-2)
