"""Adam: PyTorch's own, bit for bit."""

import pytest
import torch
from torch import nn

from backwalk.streams import Stream
from backwalk.threads import scripted
from backwalk.training.adam import Adam, adam_step

CPU = torch.device("cpu")
STREAM = Stream(6)


@pytest.mark.parametrize("take", [adam_step, scripted(adam_step, CPU)], ids=["python", "torchscript"])
def test_steps_are_those_of_pytorch(take):
    starts = [STREAM.child("start", i).normal(0, 5, d, torch.float32) for i, d in enumerate((1, 8, 33))]
    ours, theirs = [start.clone() for start in starts], [nn.Parameter(start.clone()) for start in starts]
    adam, reference = Adam(ours, betas=(0.9, 0.99)), torch.optim.Adam(theirs, betas=(0.9, 0.99), fused=True)
    for number in range(1, 8):
        gradients = [
            STREAM.child("gradient", number, i).normal(0, *start.shape, torch.float32) for i, start in enumerate(starts)
        ]
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient.clone()
        reference.param_groups[0]["lr"] = 2.0**-number  # which float32 holds
        reference.step()
        take(gradients, adam.at(2.0**-number, number))
        assert all(map(torch.equal, ours, theirs))


def test_nothing_to_move_is_no_error():
    adam_step([], Adam([], betas=(0.9, 0.999)).at(0.1, 1))


def test_how_a_gradient_lies_in_memory_does_not_matter():
    """Autograd returns some column by column, which the fused operation would not heed."""
    start, gradient = (STREAM.child(name).normal(0, 5, 3, torch.float32) for name in ("start", "gradient"))
    moved = []
    for laid_out in (gradient, gradient.T.contiguous().T):
        parameter = start.clone()
        for _ in range(2):
            adam_step([laid_out], Adam([parameter], betas=(0.9, 0.99)).at(0.1, 1))
        moved.append(parameter)
    assert not torch.equal(moved[0], start)
    assert torch.equal(*moved)
