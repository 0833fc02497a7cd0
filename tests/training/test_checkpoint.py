"""Checkpoints: a run that is stopped anywhere and goes on is the run that never stopped, bit for bit."""

import itertools
import math
import signal
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
import torch

from backwalk.denoiser import Residual, Textbook, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import CheckpointError, TrainingDiverged
from backwalk.signals import HeldSignals
from backwalk.streams import Stream
from backwalk.training import ChainLevels, LogNormalLevels, Trainer, Training, TrainingRows, checkpoint, checkpointed
from backwalk.training.checkpoint import checkpoint_facts
from backwalk.training.learner import Learner
from backwalk.training.validation import Validation

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(math.exp(-4.0), math.exp(3.0), centre=-1.0)
STREAM = Stream(7, ("training",))
X_0 = STREAM.child("x_0").normal(0, 230, 2, torch.float32)
X_VALIDATION = STREAM.child("validation").normal(0, 50, 2, torch.float32)
ROWS = TrainingRows(x_0=X_0, x_validation=X_VALIDATION)
PLAN = Training(max_steps=24, batch_size=64, learning_rate=0.01, hidden_rate=0.02)
PLAIN = Training(n_epochs=8, batch_size=64, learning_rate=0.01, ema_width=None, decay=False, levels="chain")


def residual(plan=PLAN, *, x_0=X_0, x_validation=X_VALIDATION, levels=LEVELS, stream=STREAM, floor=0.1, **options):
    denoiser = build_denoiser(Residual(8, 1, 2), 2, schedule=SCHEDULE, floor=floor, stream=Stream(1))
    rows = TrainingRows(x_0=x_0, x_validation=x_validation)
    return Trainer(denoiser, rows, levels, plan, stream=stream, **options)


def wide(plan):
    """A run of one member whose matrices move in three steps, as those of the default beyond the plane."""
    denoiser = build_denoiser(Residual(80, 2, 1), 2, schedule=SCHEDULE, floor=0.1, stream=Stream(1))
    return Trainer(denoiser, ROWS, LEVELS, plan, stream=STREAM)


def wide_in_bfloat16():
    return wide(replace(PLAN, max_steps=8, weight_decay=0.05, bfloat16=True))


def textbook(schedule=SCHEDULE):
    denoiser = build_denoiser(Textbook(8, 2), 2, schedule=schedule, floor=0.0, stream=Stream(1))
    return Trainer(denoiser, TrainingRows(x_0=X_0), ChainLevels(schedule), PLAIN, stream=STREAM)


def everything(run):
    """Whatever a run leaves behind, but its seconds, as bytes and numbers."""
    (tensors, record), history = run.state(), run.history()
    return (
        {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in tensors.items()},
        {name: value for name, value in record.items() if name != "seconds"},
        {name: value for name, value in vars(history).items() if name != "seconds"},
        [parameter.detach().numpy().tobytes() for parameter in run.denoiser.parameters()],
    )


def stopped_at(make, path, step, **options):
    with closing(checkpointed(make(), path, **options)) as steps:
        assert len(list(itertools.islice(steps, step))) == step


@pytest.mark.parametrize("make", [residual, textbook, wide_in_bfloat16])
def test_stopped_at_any_step_and_resumed_is_the_run_that_never_stopped(make, tmp_path):
    whole = make()
    list(whole.run())
    for step in sorted({1, 2, 3, whole.max_steps - 1, whole.max_steps}):
        path = tmp_path / str(step)
        stopped_at(make, path, step)
        assert checkpoint_facts(path).step == step
        resumed = make()
        assert len(list(checkpointed(resumed, path, resume=True))) == whole.max_steps - step
        assert everything(resumed) == everything(whole)


@pytest.mark.slow
def test_stopped_again_and_again(tmp_path):
    whole = residual()
    list(whole.run())
    for _ in range(8):
        stopped_at(residual, tmp_path / "c", 3, resume=True)
    resumed = residual()
    assert list(checkpointed(resumed, tmp_path / "c", resume=True)) == []
    assert everything(resumed) == everything(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.slow
def test_a_checkpoint_at_intervals_is_that_of_its_step(tmp_path, monkeypatch):
    """As after a kill: nobody has closed the run."""
    clock = itertools.count()
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: float(next(clock)))
    whole, path = residual(), tmp_path / "c"
    list(whole.run())
    steps, seen = checkpointed(residual(), path, every=12.0), set()
    for progress in itertools.islice(steps, 20):
        if path.exists() and checkpoint_facts(path).step not in seen:
            seen.add(checkpoint_facts(path).step)
            resumed = residual()
            copy = tmp_path / f"copy{progress.step}"
            copy.write_bytes(path.read_bytes())
            list(checkpointed(resumed, copy, resume=True))
            assert everything(resumed) == everything(whole)
    assert 1 <= len(seen) < 20


def test_another_numpy_makes_another_run(tmp_path, monkeypatch):
    """Found by review: the next rows may come in another order, and nothing said so."""
    stopped_at(residual, tmp_path / "c", 3)
    monkeypatch.setattr(checkpoint.np, "__version__", "0.1")
    with pytest.raises(CheckpointError, match="another fit, as versions differ"):
        list(checkpointed(residual(), tmp_path / "c", resume=True))


def test_resuming_begins_where_there_is_nothing(tmp_path):
    run, whole = residual(), residual()
    list(checkpointed(run, tmp_path / "new" / "c", resume=True))
    list(whole.run())
    assert everything(run) == everything(whole)


def test_a_run_is_not_begun_over_another_s_checkpoint(tmp_path):
    stopped_at(residual, tmp_path / "c", 3)
    before = (tmp_path / "c").read_bytes()
    with pytest.raises(CheckpointError, match="holds a fit that was begun"):
        next(checkpointed(residual(), tmp_path / "c"))
    assert (tmp_path / "c").read_bytes() == before


def with_other_weights():
    run = residual()
    next(iter(run.denoiser.parameters())).data.mul_(1.0 + 1e-6)
    return Trainer(run.denoiser, ROWS, LEVELS, PLAN, stream=STREAM)


OTHER = {
    "a row": ("data", partial(residual, x_0=torch.cat([X_0[:-1], X_0[-1:] + 1e-6]))),
    "order": ("data", partial(residual, x_validation=X_VALIDATION.flip(0))),
    "length": ("settings", partial(residual, replace(PLAN, max_steps=25))),
    "bfloat16": ("settings", partial(residual, replace(PLAN, bfloat16=True))),
    "noise": ("settings", partial(residual, levels=LogNormalLevels(math.exp(-4.0), math.exp(3.0), centre=-1.1))),
    "time limit": ("settings", partial(residual, max_time=50.0)),  # the rates would leap
    "seed": ("seed", partial(residual, stream=Stream(8, ("training",)))),
    "purpose": ("seed", partial(residual, stream=Stream(7, ("other",)))),
    "floor": ("network", partial(residual, floor=0.11)),
    "weights": ("network", with_other_weights),
}


@pytest.mark.parametrize("name", OTHER)
def test_another_fit_s_checkpoint_is_refused_by_what_differs(name, tmp_path):
    what, other = OTHER[name]
    stopped_at(residual, tmp_path / "c", 3)
    with pytest.raises(CheckpointError, match=f"another fit, as {what} differ"):
        next(checkpointed(other(), tmp_path / "c", resume=True))


def test_a_chain_s_inner_steps_are_part_of_a_network_that_reads_the_time(tmp_path):
    """Found by review: a chain with the same ends was taken for the same, though the network reads t / N."""
    log_snr = SCHEDULE.log_snr.clone()
    log_snr[9] += 0.01
    stopped_at(textbook, tmp_path / "c", 3)
    with pytest.raises(CheckpointError, match="another fit, as network and settings differ"):
        next(checkpointed(textbook(NoiseSchedule(log_snr)), tmp_path / "c", resume=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_within_a_step_leaves_that_step_s_checkpoint(number, tmp_path, monkeypatch):
    class Came(BaseException):
        pass

    def handler(*_):
        raise Came

    before = signal.signal(number, handler)
    try:
        whole, run, step = residual(), residual(), Learner.step
        list(whole.run())

        def signalled(self, batch, at, *given, **options):
            if at == 10:
                signal.raise_signal(number)
            return step(self, batch, at, *given, **options)

        monkeypatch.setattr(Learner, "step", signalled)
        with pytest.raises(Came):
            list(checkpointed(run, tmp_path / "c"))
        assert checkpoint_facts(tmp_path / "c").step == 11
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    resumed = residual()
    list(checkpointed(resumed, tmp_path / "c", resume=True))
    assert everything(resumed) == everything(whole)


def test_a_signal_between_two_looks_waits_for_the_next_checkpoint(tmp_path, monkeypatch):
    """Found by review: looked for twice in a step, it was delivered without one."""

    class Came(BaseException):
        pass

    def handler(*_):
        raise Came

    run = residual()
    looked = HeldSignals.waiting.fget

    def then_it_comes(self):
        found = looked(self)
        if run.step == 10 and not found:
            signal.raise_signal(signal.SIGINT)
        return found

    before = signal.signal(signal.SIGINT, handler)
    try:
        monkeypatch.setattr(HeldSignals, "waiting", property(then_it_comes))
        with pytest.raises(Came):
            list(checkpointed(run, tmp_path / "c"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert checkpoint_facts(tmp_path / "c").step == run.step == 11


def test_after_a_divergence_the_last_good_weights_are_the_result(tmp_path, spoil_step):
    path = tmp_path / "c"
    narrow = {"x_0": 0.2 * X_0, "x_validation": 0.2 * X_VALIDATION}  # so that 12 steps learn something
    run, good = residual(**narrow), residual(**narrow)
    list(itertools.islice(good.run(), 12))  # the look after step 12, as 20 looks in 24 steps are
    chosen_step = good.history().chosen_step
    assert chosen_step > 0
    good.stop()
    expected = [parameter.detach().numpy().tobytes() for parameter in good.denoiser.parameters()]

    spoil_step(12)
    with pytest.raises(TrainingDiverged, match=f"keeps the weights of step {chosen_step}: resume"):
        list(checkpointed(run, path))
    resumed = residual(**narrow)
    assert list(checkpointed(resumed, path, resume=True)) == []
    assert resumed.diverged
    assert resumed.history().chosen_step == chosen_step
    assert [parameter.detach().numpy().tobytes() for parameter in resumed.denoiser.parameters()] == expected


def test_a_divergence_of_a_run_that_learnt_nothing_keeps_nothing(tmp_path, monkeypatch, spoil_step):
    """The first weights are a candidate, and no result of a training that failed."""
    told = itertools.count()
    monkeypatch.setattr(Validation, "by_row", lambda *_: torch.full((50,), float(next(told)), dtype=torch.float64))
    spoil_step(12)
    with pytest.raises(TrainingDiverged, match=r"lower learning_rate \(it is 0.01\)\.$"):
        list(checkpointed(residual(), tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []


def test_more_time_goes_on_and_less_time_ends(tmp_path):
    with closing(checkpointed(residual(max_time=1e6), tmp_path / "c")) as steps:
        list(itertools.islice(steps, 5))
    longer = residual(max_time=2e6)
    assert len(list(checkpointed(longer, tmp_path / "c", resume=True))) == 19
    (tmp_path / "c").unlink()
    with closing(checkpointed(residual(max_time=1e6), tmp_path / "c")) as steps:
        list(itertools.islice(steps, 5))
    shorter = residual(max_time=1e-9)
    assert list(checkpointed(shorter, tmp_path / "c", resume=True)) == []
    assert shorter.history().n_steps == 5


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    stopped_at(residual, path, 3)
    content = path.read_bytes()
    for place in range(0, len(content), 2999):
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="c holds no whole state"):
                next(checkpointed(residual(), path, resume=True))
    path.write_bytes(b"")
    with pytest.raises(CheckpointError):
        checkpoint_facts(path)


INVALID = {  # entries of the record and tensors put in the place of what was there; None takes it away
    "no step": {"step": None},
    "a step in words": {"step": "many"},
    "a step before the first": {"step": -1},
    "a step beyond the last": {"step": 25},
    "no weights": {"weights.0": None},
    "weights of another shape": {"weights.0": torch.zeros(3)},
    "weights of another type": {"weights.0": torch.zeros(2, 3, 8, dtype=torch.float64)},
    "moments of one number": {"adam.mean.0": torch.zeros(1)},  # they were once read, and written, beyond their end
    "no moments": {"adam.mean.1": None},
    "another choice": {"choice": {"first": 3}},
    "chosen weights of another shape": {"chosen.0": torch.zeros(3)},
    "losses without steps": {"losses": torch.zeros(3, 1, dtype=torch.float64)},
}


@pytest.mark.parametrize("name", INVALID)
def test_a_checkpoint_with_another_state_is_refused(name, tmp_path):
    path = tmp_path / "c"
    stopped_at(residual, path, 3)
    with checkpoint.open_checksummed(path, form=checkpoint.FORMAT, version=checkpoint.VERSION) as file:
        record, tensors = file.record, file.tensors()
    for entry, value in INVALID[name].items():
        for place in (tensors, record):
            place.pop(entry, None)
        if value is not None:
            (tensors if isinstance(value, torch.Tensor) else record)[entry] = value
    path.write_bytes(checkpoint.checksummed_bytes(record, tensors, form=checkpoint.FORMAT, version=checkpoint.VERSION))
    with pytest.raises(CheckpointError, match="holds no whole state of such a fit"):
        list(checkpointed(residual(), path, resume=True))


def test_two_fits_cannot_keep_one_checkpoint(tmp_path):
    """Found by review: they deleted each other's parts, and wrote over each other's states."""
    first = checkpointed(residual(), tmp_path / "c", every=0.0)
    with closing(first):
        next(first)
        (tmp_path / ".c.1234abcd.part").write_text("half")
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(CheckpointError, match="another one is writing it: wait for it"):
                next(checkpointed(residual(), tmp_path / "c", **options))
        assert (tmp_path / ".c.1234abcd.part").exists()
    assert len(list(checkpointed(residual(), tmp_path / "c", resume=True))) == residual().max_steps - 1
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".part"] == ["c"]


def test_a_checkpoint_is_begun_over_when_asked(tmp_path):
    stopped_at(residual, tmp_path / "c", 3)
    other = residual(stream=Stream(8, ("training",)))
    assert len(list(checkpointed(other, tmp_path / "c", overwrite=True))) == other.max_steps
    assert checkpoint_facts(tmp_path / "c").seed == 8


def test_a_checkpoint_that_cannot_be_written_names_its_path(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"file/c cannot be written: File exists"):
        list(checkpointed(residual(), tmp_path / "file" / "c"))
