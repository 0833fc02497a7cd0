"""Checkpoints: a run that is stopped anywhere and goes on is the run that never stopped, bit for bit."""

import itertools
import math
import signal
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
import torch

from backwalk import files
from backwalk.denoiser import Residual, Textbook, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import CheckpointError, TrainingDiverged
from backwalk.signals import HeldSignals
from backwalk.streams import Stream
from backwalk.training import ChainLevels, LogNormalLevels, Trainer, Training, checkpoint, checkpointed
from backwalk.training.checkpoint import checkpoint_seed, checkpoint_step
from backwalk.training.learner import Learner
from backwalk.training.validation import Validation

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(math.exp(-4.0), math.exp(3.0), centre=-1.0)
STREAM = Stream(7, ("training",))
X_0 = STREAM.child("x_0").normal(0, 230, 2, torch.float32)
X_VALIDATION = STREAM.child("validation").normal(0, 50, 2, torch.float32)
PLAN = Training(max_steps=24, batch_size=64, learning_rate=0.01, hidden_rate=0.02)
PLAIN = Training(n_epochs=8, batch_size=64, learning_rate=0.01, ema_width=None, decay=False, levels="chain")


def residual(plan=PLAN, *, x_0=X_0, x_validation=X_VALIDATION, levels=LEVELS, stream=STREAM, floor=0.1, **options):
    denoiser = build_denoiser(Residual(8, 1, 2), 2, schedule=SCHEDULE, floor=floor, stream=Stream(1))
    return Trainer(denoiser, x_0, levels, plan, stream=stream, x_validation=x_validation, **options)


def wide(plan):
    """A run of one member whose matrices move in three steps, as those of the default beyond the plane."""
    denoiser = build_denoiser(Residual(80, 2, 1), 2, schedule=SCHEDULE, floor=0.1, stream=Stream(1))
    return Trainer(denoiser, X_0, LEVELS, plan, stream=STREAM, x_validation=X_VALIDATION)


def textbook():
    denoiser = build_denoiser(Textbook(8, 2), 2, schedule=SCHEDULE, floor=0.0, stream=Stream(1))
    return Trainer(denoiser, X_0, ChainLevels(SCHEDULE), PLAIN, stream=STREAM)


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


@pytest.mark.parametrize("make", [residual, textbook])
def test_stopped_at_any_step_and_resumed_is_the_run_that_never_stopped(make, tmp_path):
    whole = make()
    list(whole.run())
    for step in range(1, whole.max_steps + 1):
        path = tmp_path / str(step)
        stopped_at(make, path, step)
        assert checkpoint_step(path) == step
        resumed = make()
        assert len(list(checkpointed(resumed, path, resume=True))) == whole.max_steps - step
        assert everything(resumed) == everything(whole)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_wide_run_goes_on_as_if_it_had_not_been_stopped(bfloat16, tmp_path):
    make = partial(wide, replace(PLAN, max_steps=8, weight_decay=0.05, bfloat16=bfloat16))
    whole = make()
    list(whole.run())
    for step in (1, 2, 3, 7):
        stopped_at(make, tmp_path / str(step), step)
        resumed = make()
        list(checkpointed(resumed, tmp_path / str(step), resume=True))
        assert everything(resumed) == everything(whole)


def test_stopped_again_and_again(tmp_path):
    whole = residual()
    list(whole.run())
    for _ in range(8):
        stopped_at(residual, tmp_path / "c", 3, resume=True)
    resumed = residual()
    assert list(checkpointed(resumed, tmp_path / "c", resume=True)) == []
    assert everything(resumed) == everything(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_checkpoint_at_intervals_is_that_of_its_step(tmp_path, monkeypatch):
    """As after a kill: nobody has closed the run."""
    clock = itertools.count()
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: float(next(clock)))
    whole, path = residual(), tmp_path / "c"
    list(whole.run())
    steps, seen = checkpointed(residual(), path, every=12.0), set()
    for progress in itertools.islice(steps, 20):
        if path.exists() and checkpoint_step(path) not in seen:
            seen.add(checkpoint_step(path))
            resumed = residual()
            copy = tmp_path / f"copy{progress.step}"
            copy.write_bytes(path.read_bytes())
            list(checkpointed(resumed, copy, resume=True))
            assert everything(resumed) == everything(whole)
    assert 1 <= len(seen) < 20


@pytest.mark.parametrize(
    ("took", "steps"),
    # A step takes 1 s. Every 5 s, from the end of the last; or, where a write takes 0.5 s, every 10 s.
    [(0.125, [6, 11, 16, 21]), (0.5, [6, 16])],
)
def test_checkpoints_come_at_intervals_and_take_a_small_share(tmp_path, monkeypatch, took, steps):
    now, written = [0.0], []
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])

    def atomic_write(path, **options):
        written.append(run.step)
        now[0] += took
        return files.atomic_write(path, **options)

    monkeypatch.setattr(checkpoint, "atomic_write", atomic_write)
    run = residual()
    with closing(checkpointed(run, tmp_path / "c", every=5.0)) as progress:
        for _ in itertools.islice(progress, 22):
            now[0] += 1.0
    assert written == [*steps, 22]


def test_a_clocked_run_is_another_than_one_without_a_limit(tmp_path):
    """Found by review: the rates would have leapt."""
    stopped_at(partial(residual, max_time=100.0), tmp_path / "c", 3)
    with pytest.raises(CheckpointError, match=r"another fit, as max_time .* differ"):
        list(checkpointed(residual(), tmp_path / "c", resume=True))
    with closing(checkpointed(residual(max_time=50.0), tmp_path / "c", resume=True)) as steps:
        assert next(steps).step == 4


def test_another_numpy_makes_another_run(tmp_path, monkeypatch):
    """Found by review: the next rows may come in another order, and nothing said so."""
    stopped_at(residual, tmp_path / "c", 3)
    monkeypatch.setattr(checkpoint.np, "__version__", "0.1")
    with pytest.raises(CheckpointError, match="another fit, as versions differ"):
        list(checkpointed(residual(), tmp_path / "c", resume=True))


def test_a_finished_run_resumes_to_its_result_at_once(tmp_path):
    whole = residual()
    list(checkpointed(whole, tmp_path / "c"))
    resumed = residual()
    assert list(checkpointed(resumed, tmp_path / "c", resume=True)) == []
    assert everything(resumed) == everything(whole)


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


OTHER = {
    "rows": {"x_0": torch.cat([X_0[:-1], X_0[-1:] + 1e-6])},
    "validation rows": {"x_validation": X_VALIDATION.flip(0)},
    "training plan": {"plan": Training(max_steps=25, batch_size=64, learning_rate=0.01, hidden_rate=0.02)},
    "products": {"plan": replace(PLAN, bfloat16=True)},
    "noise levels": {"levels": LogNormalLevels(math.exp(-4.0), math.exp(3.0), centre=-1.1)},
    "seed": {"stream": Stream(8, ("training",))},
    "purpose": {"stream": Stream(7, ("other",))},
    "network": {"floor": 0.11},
}


@pytest.mark.parametrize(("what", "change"), OTHER.items(), ids=OTHER)
def test_another_fit_s_checkpoint_is_refused_by_what_differs(what, change, tmp_path):
    stopped_at(residual, tmp_path / "c", 3)
    with pytest.raises(CheckpointError, match=f"belongs to another fit, as {what}.* differ"):
        next(checkpointed(residual(**change), tmp_path / "c", resume=True))


def test_another_kind_of_device_is_named(tmp_path, monkeypatch):
    """Found by review: the network was said to differ, which it did not."""
    stopped_at(residual, tmp_path / "c", 3)
    ours = checkpoint.fingerprint(residual())
    monkeypatch.setattr(checkpoint, "fingerprint", lambda _: {**ours, "device": "cuda"})
    with pytest.raises(CheckpointError, match="as device differ: give the same data, settings, seed, device and"):
        next(checkpointed(residual(), tmp_path / "c", resume=True))


def test_another_chain_is_another_network_where_that_is_told_the_time(tmp_path):
    """Found by review: a chain with the same ends was taken for the same, though the network is told t / N."""

    def run(schedule):
        denoiser = build_denoiser(Textbook(8, 2), 2, schedule=schedule, floor=0.0, stream=Stream(1))
        return Trainer(denoiser, X_0, LEVELS, PLAN, stream=STREAM)

    log_snr = SCHEDULE.log_snr.clone()
    log_snr[9] += 0.01
    stopped_at(lambda: run(SCHEDULE), tmp_path / "c", 3)
    with pytest.raises(CheckpointError, match="as network differ"):
        next(checkpointed(run(NoiseSchedule(log_snr)), tmp_path / "c", resume=True))


def test_other_starting_weights_are_another_network(tmp_path):
    stopped_at(residual, tmp_path / "c", 3)
    run = residual()
    denoiser = run.denoiser
    next(iter(denoiser.parameters())).data.mul_(1.0 + 1e-6)
    run = Trainer(denoiser, X_0, LEVELS, PLAN, stream=STREAM, x_validation=X_VALIDATION)
    with pytest.raises(CheckpointError, match="as network differ"):
        next(checkpointed(run, tmp_path / "c", resume=True))


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

        def signalled(self, batch, at, *given):
            if at == 10:
                signal.raise_signal(number)
            return step(self, batch, at, *given)

        monkeypatch.setattr(Learner, "step", signalled)
        with pytest.raises(Came):
            list(checkpointed(run, tmp_path / "c"))
        assert checkpoint_step(tmp_path / "c") == 11
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
    assert checkpoint_step(tmp_path / "c") == run.step == 11


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


def test_a_divergence_before_any_look_keeps_nothing(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"lower learning_rate \(it is 0.01\)\.$"):
        list(checkpointed(residual(x_0=1e30 * X_0), tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_the_clock_ended_gives_its_result_again_and_goes_on_with_more_time(tmp_path):
    """Found by review: what setting up takes is not the same twice, and the run went on for what was left."""

    def run(max_time, time_outside_training):
        return residual(replace(PLAN, max_steps=10**9), max_time=max_time, time_outside_training=time_outside_training)

    ended = run(0.1, 0.04)
    list(checkpointed(ended, tmp_path / "c"))
    again = run(0.1, 0.0)
    assert list(checkpointed(again, tmp_path / "c", resume=True)) == []
    assert everything(again)[:3] == everything(ended)[:3]
    with closing(checkpointed(run(1e6, 0.04), tmp_path / "c", resume=True)) as steps:
        assert next(steps).step == ended.step + 1


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
    for place in range(0, len(content), 997):
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(CheckpointError, match="c is not a whole checkpoint"):
                next(checkpointed(residual(), path, resume=True))
    path.write_bytes(b"")
    with pytest.raises(CheckpointError):
        checkpoint_seed(path)


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
    "no word of an end": {"ended_after": None},
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
    with pytest.raises(CheckpointError, match="holds no state of such a fit"):
        list(checkpointed(residual(), path, resume=True))


def test_a_checkpoint_of_another_layout_is_refused_by_its_version(tmp_path, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(checkpoint, "VERSION", checkpoint.VERSION - 1)
        stopped_at(residual, tmp_path / "c", 3)
    with pytest.raises(CheckpointError, match=r"version"):
        next(checkpointed(residual(), tmp_path / "c", resume=True))


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


def test_the_lock_of_a_killed_fit_holds_nobody_up(tmp_path):
    (tmp_path / ".c.lock").write_text("")
    list(checkpointed(residual(), tmp_path / "c"))
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_checkpoint_is_begun_over_when_asked(tmp_path):
    stopped_at(residual, tmp_path / "c", 3)
    other = residual(stream=Stream(8, ("training",)))
    assert len(list(checkpointed(other, tmp_path / "c", overwrite=True))) == other.max_steps
    assert checkpoint_seed(tmp_path / "c") == 8


def test_a_checkpoint_that_cannot_be_written_names_its_path(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"file/c cannot be written: File exists"):
        list(checkpointed(residual(), tmp_path / "file" / "c"))


def test_what_a_killed_writer_left_is_removed(tmp_path):
    for name in (".c.1234abcd.part", ".cc.1234abcd.part"):
        (tmp_path / name).write_text("half")
    list(checkpointed(residual(), tmp_path / "c"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cc.1234abcd.part", "c"]


def test_the_seed_can_be_asked_for(tmp_path):
    stopped_at(residual, tmp_path / "c", 1)
    assert checkpoint_seed(tmp_path / "c") == 7
