"""Adam: PyTorch's own, bit for bit."""

import torch
from torch import nn

from backwalk.streams import Stream
from backwalk.training.adam import Adam

STREAM = Stream(6)


def test_steps_are_those_of_pytorch():
    starts = [STREAM.child("start", i).normal(0, 5, d, torch.float32) for i, d in enumerate((1, 8, 33))]
    ours, theirs = ([nn.Parameter(start.clone()) for start in starts] for _ in range(2))
    adam, reference = Adam(ours, betas=(0.9, 0.99)), torch.optim.Adam(theirs, betas=(0.9, 0.99), fused=True)
    for number in range(1, 8):
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            gradient = STREAM.child("gradient", number, i).normal(0, *pair[0].shape, torch.float32)
            for parameter in pair:
                parameter.grad = gradient.clone()
        reference.param_groups[0]["lr"] = 0.1 / number
        reference.step()
        adam.step(0.1 / number, number)
        assert all(map(torch.equal, ours, theirs))


def test_nothing_to_move_is_no_error():
    Adam([], betas=(0.9, 0.999)).step(0.1, 1)


def test_how_a_gradient_lies_in_memory_does_not_matter():
    """Autograd returns some column by column, which the fused operation would not heed."""
    start, gradient = (STREAM.child(name).normal(0, 5, 3, torch.float32) for name in ("start", "gradient"))
    moved = []
    for laid_out in (gradient, gradient.T.contiguous().T):
        parameter = nn.Parameter(start.clone())
        parameter.grad = laid_out
        Adam([parameter], betas=(0.9, 0.99)).step(0.1, 1)
        Adam([parameter], betas=(0.9, 0.99)).step(0.1, 1)
        moved.append(parameter.detach())
    assert not torch.equal(moved[0], start)
    assert torch.equal(*moved)
