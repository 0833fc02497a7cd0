"""Shards of a batch: together they are the whole batch, on any number of threads and under any setting of autograd."""

import pytest
import torch

from backwalk.denoiser import Residual, build_denoiser
from backwalk.diffusion import NoiseSchedule, scales
from backwalk.streams import Stream
from backwalk.training import LogNormalLevels, Trainer, Training, loop

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


def trainer():
    weights = STREAM.child("weights")
    denoiser = build_denoiser(Residual(16, 1, 2), 2, schedule=SCHEDULE, floor=0.1, stream=weights)
    with torch.no_grad():
        for i, parameter in enumerate(denoiser.parameters()):
            parameter.add_(0.1 * weights.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    return Trainer(denoiser, X_0, LEVELS, PLAN, stream=STREAM, x_validation=X_0[:50])


def trained(n_threads):
    torch.set_num_threads(n_threads)
    run = trainer()
    losses = [progress.loss for progress in run.run()]
    return losses, run.history().validation_loss, [parameter.detach() for parameter in run.denoiser.parameters()]


@pytest.mark.parametrize("shard_rows", [100, 512, 1300, 5000])
def test_gradients_of_the_shards_add_up_to_those_of_the_batch(monkeypatch, shard_rows):
    monkeypatch.setattr(loop, "SHARD_ROWS", shard_rows)
    run = trainer()
    batch = run._batches.at(0)
    a, b = scales(batch.log_snr.unsqueeze(-1), batch.x_0)
    error = batch.x_0 - run.denoiser.by_member(a * batch.x_0 + b * batch.eps, batch.log_snr)
    expected = (LEVELS.weight(batch.log_snr) * error.square().sum(-1)).mean(-1).sum()
    gradients = torch.autograd.grad(expected, list(run.denoiser.parameters()))
    run._map = map
    torch.testing.assert_close(run._gradients(batch), expected.detach())
    for parameter, gradient in zip(run.denoiser.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits():
    losses, validation, weights = trained(1)
    for n_threads in (2, 3):
        other_losses, other_validation, other_weights = trained(n_threads)
        assert other_losses == losses
        assert other_validation == validation
        assert all(map(torch.equal, other_weights, weights))


@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_needs_no_leave_for_gradients(n_threads):
    expected = trained(n_threads)[0]
    with torch.no_grad():
        assert trained(n_threads)[0] == expected
