"""Recorded steps are the learner's own: told without a GPU, by recording operations in its place."""

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from backwalk.denoiser import Residual, Textbook, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream
from backwalk.training import ChainLevels, LogNormalLevels, Trainer, Training
from backwalk.training.batches import Batches
from backwalk.training.ensemble_learner import EnsembleLearner
from backwalk.training.learner import Learner
from backwalk.training.recorded import RecordedLearner

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(0.02, 20.0, centre=-1.0)
STREAM = Stream(12)
PLAN = Training(max_steps=30, batch_size=40, learning_rate=0.01, hidden_rate=0.02, weight_decay=0.1)
X_0 = STREAM.child("x_0").normal(0, 100, 2, torch.float32)
RESIDUAL = Residual(16, 2, 2)
HOST_ONLY = {"_local_scalar_dense", "lift_fresh", "nonzero", "equal", "is_nonzero"}  # no GPU does these alone


class Tape(TorchDispatchMode):
    """Every operation with its tensors: played again, they run on the same memory."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        on_meta = operation is torch.ops.aten._fused_adamw_.tensor_lr and args[0][0].is_meta  # for which torch has none
        result = None if on_meta else operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, result))
        return result

    @torch.no_grad()
    def play(self):
        for operation, args, kwargs, result in self.operations:
            for old, new in zip(tree_leaves(result), tree_leaves(operation(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def learner(plan=PLAN, architecture=RESIDUAL, device="cpu"):
    denoiser = build_denoiser(architecture, 2, schedule=SCHEDULE, floor=0.1, stream=STREAM.child("weights"))
    with torch.no_grad():
        for i, parameter in enumerate(denoiser.parameters()):
            parameter.add_(0.1 * STREAM.child(i).normal(0, parameter.numel(), 1).reshape(parameter.shape))
    return Learner(denoiser.to(device), plan, cut=False)


def tensors_of(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


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


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """TorchScript is for processors."""
    for room in ("training.optimizer", "denoiser.preconditioning"):
        monkeypatch.setattr(f"backwalk.{room}.scripted", lambda function, _: function)


VARIANTS = {
    "every-second": ({}, RESIDUAL),
    "every-third": ({}, Residual(80, 2, 2)),
    "bfloat16": ({"bfloat16": True}, RESIDUAL),
    "Adam-alone": ({"hidden_rate": None}, RESIDUAL),
    "no-average": ({"ema_width": None}, RESIDUAL),
    "no-decay": ({"weight_decay": 0.0}, RESIDUAL),
    "the-notebook's": ({"levels": "chain", "ema_width": None, "decay": False, "hidden_rate": None}, Textbook(8, 2)),
}


@pytest.mark.parametrize(("changes", "architecture"), VARIANTS.values(), ids=VARIANTS)
@pytest.mark.usefixtures("as_on_a_gpu")
def test_recorded_steps_are_the_learners_own(changes, architecture):
    plan, tapes = replace(PLAN, **changes), []
    own, other = learner(plan, architecture), learner(plan, architecture)
    recorded = RecordedLearner(other, recorder(other, tapes))
    levels = ChainLevels(SCHEDULE) if plan.levels == "chain" else LEVELS
    batches = Batches(X_0, levels, plan, architecture.n_members, STREAM)
    for number in range(plan.max_steps):
        rate = plan.rate_at(number, number / plan.max_steps)
        batch = batches.at(number)
        assert torch.equal(recorded.step(batch, rate, number), own.step(batch, rate, number))
        assert all(map(torch.equal, everything(other), everything(own)))
    assert len(tapes) == own.update_every
    for tape in tapes:
        names = {operation.name().removeprefix("aten::") for operation, *_ in tape.operations}
        assert {"bmm", "_fused_adamw_.tensor_lr"} <= names
        assert not {name.split(".")[0] for name in names} & HOST_ONLY


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_recording_reads_nothing_but_what_stays_where_it_is():
    one, tapes = learner(), []
    recorded = RecordedLearner(one, recorder(one, tapes))
    batches = Batches(X_0, LEVELS, PLAN, 2, STREAM)
    for number in range(8):
        recorded.step(batches.at(number), 0.5, number)
    lasting = [*everything(one), *recorded._batch, *tensors_of(one.at(0.5, 0))]
    for tape in tapes:
        known = {tensor.untyped_storage().data_ptr() for tensor in lasting}
        for _, args, kwargs, result in tape.operations:
            assert {tensor.untyped_storage().data_ptr() for tensor in tensors_of((args, kwargs))} <= known
            known |= {tensor.untyped_storage().data_ptr() for tensor in tensors_of(result)}


@pytest.mark.parametrize("bfloat16", [False, True])
def test_all_that_a_step_touches_lies_on_the_device_of_the_weights(bfloat16, monkeypatch):
    monkeypatch.delattr("backwalk.threads._scripted")  # which nothing that is elsewhere than on a CPU should want
    plan = replace(PLAN, bfloat16=bfloat16)
    one = learner(plan, device="meta")
    batch = Batches(X_0.to("meta"), LEVELS, plan, 2, STREAM).at(0)
    steps = one.at(0.5, 0)
    with Tape() as tape:
        one.take(batch, steps)
    assert len(tape.operations) > 50
    assert {tensor.device.type for tensor in tensors_of(tape.operations)} == {"meta"}


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_run_of_recorded_steps_is_the_run_and_goes_on_where_another_stopped():
    def run():
        weights = STREAM.child("weights")
        denoiser = build_denoiser(Residual(16, 2, 3), 2, schedule=SCHEDULE, floor=0.1, stream=weights)
        return Trainer(denoiser, X_0, LEVELS, PLAN, stream=STREAM, x_validation=X_0[:20])

    def recorded(trainer):
        one = trainer._learner._learners[0]
        trainer._learner._recorded = RecordedLearner(one, recorder(one, []))
        return trainer

    def ended(trainer):
        return [[p.loss for p in trainer.run()], trainer.history().validation_loss, *trainer.denoiser.parameters()]

    losses, validation, *weights = ended(run())
    first, second = recorded(run()), recorded(run())
    stopped = first.run()
    for _ in range(17):
        next(stopped)
    second.restore(first.state())
    stopped.close()
    for trainer, begun in ((recorded(run()), 0), (second, 17)):
        other_losses, other_validation, *other_weights = ended(trainer)
        assert other_losses == losses[begun:]
        assert other_validation == validation
        assert all(map(torch.equal, other_weights, weights))


@pytest.mark.parametrize("architecture", [Residual(16, 1, 2), Textbook(8, 1)])
def test_steps_are_recorded_on_a_gpu_alone(architecture):
    denoiser = build_denoiser(architecture, 2, schedule=SCHEDULE, floor=0.1, stream=STREAM)
    assert EnsembleLearner(denoiser, PLAN)._recorded is None
    with FakeTensorMode():  # a GPU that is none
        for module in denoiser.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, torch.nn.Parameter(torch.empty(parameter.shape, device="cuda")))
        learners = EnsembleLearner(denoiser, PLAN)
    assert len(learners._learners) == 1
    assert learners._recorded is not None


def test_where_a_graph_cannot_be_made_the_callers_stream_is_put_back(monkeypatch):
    """Found by review: torch leaves its own in place, and what came after would have read half-made numbers."""
    current = ["the caller's"]

    @contextmanager
    def graph(_, stream, capture_error_mode):
        current[0] = stream
        yield
        raise RuntimeError("operation failed due to a previous error during capture")

    for name, stand_in in {
        "CUDAGraph": SimpleNamespace,
        "Stream": lambda: "torch's",
        "device": lambda _: nullcontext(),
        "current_stream": lambda: current[0],
        "set_stream": lambda stream: current.__setitem__(0, stream),
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr("backwalk.training.recorded._FAILED", failed := [])
    recorded, batches = RecordedLearner(learner()), Batches(X_0, LEVELS, PLAN, 2, STREAM)

    def steps():
        for number in range(8):
            recorded.step(batches.at(number), 0.5, number)

    with pytest.warns(RuntimeWarning, match="previous error"):
        steps()
    assert current == ["the caller's"]
    assert len(failed) == 1


def test_what_cannot_be_recorded_is_taken_step_by_step():
    def refuse(take):
        raise RuntimeError("operation not permitted")

    own, other = learner(), learner()
    recorded = RecordedLearner(other, refuse)
    batches = Batches(X_0, LEVELS, PLAN, 2, STREAM)

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
    batches = Batches(X_0.cuda(), LEVELS, PLAN, 2, STREAM)
    for number in range(PLAN.max_steps):
        loss = recorded.step(batches.at(number), 0.5, number)
        assert torch.equal(loss, own.step(batches.at(number), 0.5, number))
    assert all(map(torch.equal, everything(other), everything(own)))
    assert len(recorded._recordings) == own.update_every
