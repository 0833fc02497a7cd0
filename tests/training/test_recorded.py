"""Recorded steps are the learner's own: told without a GPU, by recording operations in its place."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backwalk.denoiser import Residual, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream
from backwalk.training import LogNormalLevels, Training
from backwalk.training.batches import Batches
from backwalk.training.learner import Learner
from backwalk.training.recorded import RecordedLearner

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
STREAM = Stream(12)
PLAN = Training(max_steps=30, batch_size=40, learning_rate=0.01, hidden_rate=0.02, weight_decay=0.1)
X_0 = STREAM.child("x_0").normal(0, 100, 2, torch.float32)
HOST_ONLY = {"_local_scalar_dense", "lift_fresh", "nonzero", "equal", "is_nonzero"}  # no GPU does these alone


class Tape(TorchDispatchMode):
    """Every operation with its tensors, also of what TorchScript runs: played again, they run on the same memory."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        on_meta = operation is torch.ops.aten._fused_adam_.tensor_lr and args[0][0].is_meta  # for which torch has none
        result = None if on_meta else operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def play(self):
        for operation, args, kwargs, result in self.operations:
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def learner(plan=PLAN, width=16, device="cpu"):
    denoiser = build_denoiser(Residual(width, 2, 2), 2, schedule=SCHEDULE, floor=0.1, stream=STREAM.child("weights"))
    with torch.no_grad():
        for i, parameter in enumerate(denoiser.parameters()):
            parameter.add_(0.1 * STREAM.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    return Learner(denoiser.to(device), plan, cut=False)


def everything(one):
    return [tensor for tensors in one.moving().values() for tensor in tensors]


def recorder(one, tapes):
    """Records as a GPU does: nothing has moved when it is done."""

    def record(take):
        before = [tensor.clone() for tensor in everything(one)]
        with Tape() as tape:
            result = take()
        torch._foreach_copy_(everything(one), before)
        tapes.append(tape)
        return tape.play, result

    return record


@pytest.mark.parametrize("half_products", [False, True])
@pytest.mark.parametrize("width", [16, 80])  # two turns, and three
def test_recorded_steps_are_the_learners_own(width, half_products):
    plan, tapes = replace(PLAN, half_products=half_products), []
    own, other = learner(plan, width), learner(plan, width)
    recorded = RecordedLearner(other, recorder(other, tapes))
    batches = Batches(X_0, LogNormalLevels(0.02, 20.0, centre=-1.0), plan, 2, STREAM)
    for number in range(plan.max_steps):
        rate = plan.rate_at(number, number / plan.max_steps)
        batch = batches.at(number)
        assert torch.equal(recorded.step(batch, rate, number), own.step(batch, rate, number))
        assert all(map(torch.equal, everything(other), everything(own)))
    assert len(tapes) == own.turns
    names = {
        operation.overloadpacket._qualified_op_name.split("::")[1]
        for tape in tapes
        for operation, *_ in tape.operations
    }
    assert {"bmm", "_fused_adam_", "_foreach_lerp_"} <= names
    assert not names & HOST_ONLY


def test_all_that_a_step_touches_lies_on_the_device_of_the_weights():
    one = learner(device="meta")
    batch = Batches(X_0.to("meta"), LogNormalLevels(0.02, 20.0, centre=-1.0), PLAN, 2, STREAM).at(0)
    steps = one.at(0.5, 0)
    with Tape() as tape:
        one.take(batch, steps)
    devices = {
        leaf.device.type
        for operation in tape.operations
        for leaf in tree_leaves(operation)
        if isinstance(leaf, torch.Tensor)
    }
    assert len(tape.operations) > 50
    assert devices == {"meta"}


def test_what_cannot_be_recorded_is_taken_step_by_step():
    def refuse(take):
        raise RuntimeError("operation not permitted")

    own, other = learner(), learner()
    recorded = RecordedLearner(other, refuse)
    batches = Batches(X_0, LogNormalLevels(0.02, 20.0, centre=-1.0), PLAN, 2, STREAM)

    def both_step(number):
        recorded.step(batches.at(number), 0.5, number)
        own.step(batches.at(number), 0.5, number)

    for number in range(6):  # three of each turn
        both_step(number)
    with pytest.warns(RuntimeWarning, match="operation not permitted"):
        both_step(6)
    for number in range(7, 12):  # without another warning, which is an error here
        both_step(number)
    assert all(map(torch.equal, everything(other), everything(own)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_records_steps_that_are_the_learners_own():
    own, other = learner(device="cuda"), learner(device="cuda")
    recorded = RecordedLearner(other)
    batches = Batches(X_0.cuda(), LogNormalLevels(0.02, 20.0, centre=-1.0), PLAN, 2, STREAM)
    for number in range(PLAN.max_steps):
        loss = recorded.step(batches.at(number), 0.5, number)
        torch.testing.assert_close(loss, own.step(batches.at(number), 0.5, number))
    torch.testing.assert_close(everything(other), everything(own))
    assert len(recorded._recordings) == own.turns
