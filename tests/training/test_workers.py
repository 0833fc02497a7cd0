"""Several workers: together they take the steps of one, bit for bit, whatever their number."""

import itertools
import queue
import threading
import time
from contextlib import closing
from dataclasses import replace
from functools import partial

import pytest
import torch

from backwalk.denoiser import Residual, Textbook, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.errors import InvalidInput, TrainingDiverged, WorkerLost
from backwalk.estimator import Diffusion
from backwalk.launcher import launched
from backwalk.streams import Stream
from backwalk.training import ALONE, ChainLevels, LogNormalLevels, Trainer, Training, checkpointed, torchrun_workers
from backwalk.training.shards import Dealing, dealt, flat, joined_sum, parted, tree_sum, whole_nodes
from backwalk.training.validation import Validation
from backwalk.training.workers import _name_of_attempt, check_equal, only_worker, sent_bytes, told

SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)
LEVELS = LogNormalLevels(0.02, 20.0, centre=-1.0)
STREAM = Stream(7, ("training",))
X_0 = STREAM.child("x_0").normal(0, 230, 2, torch.float32)
X_VALIDATION = STREAM.child("validation").normal(0, 10, 2, torch.float32)
PLAN = Training(max_steps=6, batch_size=65, learning_rate=0.01, hidden_rate=0.02)
PLAIN = Training(n_epochs=2, batch_size=64, learning_rate=0.01, ema_width=None, decay=False, levels="chain")


class InThreads:
    """A worker that is a thread; `lost` is set when one has ended early."""

    def __init__(self, rank, size, boxes, lost):
        self.rank, self.size, self._boxes, self._lost = rank, size, boxes, lost

    def _received(self, source, kind):
        while True:
            try:
                return self._boxes[source, self.rank, kind].get(timeout=0.01)
            except queue.Empty:
                if self._lost.is_set():
                    raise WorkerLost("a thread has ended") from None

    def _given(self, numbers, others, kind):
        for worker in others:
            if worker != self.rank:
                self._boxes[self.rank, worker, kind].put(numbers)

    def gathered(self, tensor, among):
        assert self.rank in among
        self._given(tensor.clone(), among, "gathered")
        found = [tensor if w == self.rank else self._received(w, "gathered") for w in among]
        assert {each.shape for each in found} == {tensor.shape}
        return found

    def send(self, tensor, source=0):
        if self.rank == source:
            self._given(tensor.clone(), range(self.size), "sent")
        else:
            tensor.copy_(self._received(source, "sent"))

    def order(self, numbers):
        assert self.rank == 0
        if self._lost.is_set():
            raise WorkerLost("a thread has ended")
        self._given(numbers, range(self.size), "order")

    def next_order(self):
        return self._received(0, "order")


def together(size, work):
    """Call work(workers) in a thread for each worker; return the results, or the errors."""
    kinds = ("gathered", "sent", "order")
    boxes = {place: queue.Queue() for place in itertools.product(range(size), range(size), kinds)}
    lost, results = threading.Event(), [None] * size

    def call(rank):
        try:
            results[rank] = work(InThreads(rank, size, boxes, lost))
        except Exception as error:
            results[rank] = error
            lost.set()

    threads = [threading.Thread(target=call, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    return results


def make(members, shards, plan=PLAN, workers=ALONE, x_0=X_0):
    if plan is PLAIN:
        denoiser = build_denoiser(Textbook(8, 2), 2, schedule=SCHEDULE, floor=0.0, stream=Stream(1))
        return Trainer(
            denoiser, x_0, ChainLevels(SCHEDULE), replace(plan, shards=shards), stream=STREAM, workers=workers
        )
    denoiser = build_denoiser(Residual(8, 1, members), 2, schedule=SCHEDULE, floor=0.1, stream=Stream(1))
    plan = replace(plan, shards=shards)
    return Trainer(denoiser, x_0, LEVELS, plan, stream=STREAM, x_validation=X_VALIDATION, workers=workers)


def everything(run):
    """Whatever a run leaves behind, but its seconds, as bytes and numbers."""
    state, history = run._state(), run.history()
    return (
        {name: (tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for name, tensor in state.tensors.items()},
        {name: value for name, value in state.record.items() if name != "seconds"},
        {name: value for name, value in vars(history).items() if name != "seconds"},
        [parameter.detach().numpy().tobytes() for parameter in run.denoiser.parameters()],
    )


def ran(run, workers, path=None, most=None, **options):
    """Train as worker 0 or as one that follows it; return the trainer, and the steps that were told."""
    if workers.rank > 0:
        run.follow()
        return run, None
    steps = run.run() if path is None else checkpointed(run, path, **options)
    try:
        with closing(steps):
            n_told = len(list(itertools.islice(steps, most)))
        run.end()
    except BaseException:
        run.dismiss()
        raise
    return run, n_told


def ran_anew(workers, plan, **options):
    return ran(make(2, 8, plan, workers), workers, **options)


@pytest.mark.parametrize(
    ("members", "shards", "plan"),
    [(2, None, PLAN), (2, 8, PLAN), (1, 8, PLAN), (1, 5, PLAN), (3, 2, PLAN), (4, None, PLAN), (1, 8, PLAIN)],
)
def test_any_number_of_workers_gives_the_bits_of_one(members, shards, plan):
    alone = make(members, shards, plan)
    list(alone.run())
    for size in (1, 2, 3, 4):
        runs = together(size, lambda workers: ran(make(members, shards, plan, workers), workers)[0])
        for run in runs:
            assert everything(run) == everything(alone)


@pytest.mark.parametrize("members", [1, 2])
def test_shards_change_the_last_digits_alone(members):
    cut, whole = make(members, 8), make(members, None)
    for run in (cut, whole):
        list(run.run())
    assert cut.history().loss != whole.history().loss
    torch.testing.assert_close(cut.history().loss, whole.history().loss, rtol=1e-4, atol=0.0)


def test_a_run_goes_on_with_another_number_of_workers(tmp_path):
    """It stops after steps 1 and 5, which no look follows that would have collected the state."""
    plan, path = replace(PLAN, max_steps=26), tmp_path / "c"
    alone = make(2, 8, plan)
    list(alone.run())
    for size, steps in ((3, 1), (1, 4), (4, None)):
        runs = together(size, partial(ran_anew, plan=plan, path=path, most=steps, resume=True))
    assert runs[0][1] == plan.max_steps - 5
    for run, _ in runs:
        assert everything(run) == everything(alone)


@pytest.mark.parametrize(("members", "shards", "kept"), [(1, 8, 11), (2, None, 10)])
def test_after_the_loss_of_a_worker_the_newest_whole_state_is_kept(members, shards, kept, tmp_path):
    """Worker 0 has a shared member whole, and of two members the state of the last look, every second step."""
    path, plan = tmp_path / "c", replace(PLAN, max_steps=40)
    alone = make(members, shards, plan)
    list(alone.run())

    def lost(workers):
        run = make(members, shards, plan, workers)
        step = run._learner.step

        def step_or_die(batches, rate, number, parallel_map):
            if number == 11 and workers.rank == 1:
                raise KeyError("killed")
            return step(batches, rate, number, parallel_map)

        run._learner.step = step_or_die
        return ran(run, workers, path)

    first, second = together(2, lost)
    assert isinstance(second, KeyError)
    with pytest.raises(WorkerLost, match=f"keeps step {kept}: resume"):
        raise first
    resumed = make(members, shards, plan)
    list(checkpointed(resumed, path, resume=True))
    assert everything(resumed) == everything(alone)


@pytest.mark.parametrize("at", [2, 3, 6])
def test_a_worker_lost_in_a_look_costs_no_look(monkeypatch, at):
    """The state that is kept then lies between a step and its look; the first look is before any step."""
    whole, _ = ran(make(1, None), ALONE)
    lost, by_row, n_looks = make(1, None), Validation.by_row, itertools.count(1)

    def failing(self, *arguments):
        if next(n_looks) == at:
            raise WorkerLost("lost in a look")
        return by_row(self, *arguments)

    monkeypatch.setattr(Validation, "by_row", failing)
    with pytest.raises(WorkerLost):
        ran(lost, ALONE)
    resumed = make(1, None)
    resumed.restore(lost.newest_state)
    ran(resumed, ALONE)
    assert everything(resumed) == everything(whole)


def test_a_worker_lost_in_the_first_look_leaves_nothing_to_keep(monkeypatch, tmp_path):
    def lost(*_):
        raise WorkerLost("lost in a look.")

    monkeypatch.setattr(Validation, "by_row", lost)
    with pytest.raises(WorkerLost, match="nothing to keep"):
        list(checkpointed(make(1, None), tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_worker_0_ends_the_others():
    def fails(workers):
        run = make(2, None, workers=workers, x_0=1e30 * X_0)
        return ran(run, workers)

    first, second = together(2, fails)
    assert isinstance(first, TrainingDiverged)
    assert isinstance(second, WorkerLost)


def test_a_divergence_is_the_same_on_every_worker(spoil_step):
    spoil_step(4)

    def diverges(workers):
        run = make(2, None, workers=workers)
        if workers.rank > 0:
            return run.follow(), run
        with pytest.raises(TrainingDiverged):
            list(run.run())
        run.give_up()
        list(run.run())
        run.end("diverged")
        return "diverged", run

    (one, first), (other, second) = together(2, diverges)
    assert one == other == "diverged"
    assert second.diverged
    assert everything(first) == everything(second)


def test_workers_with_different_weights_of_a_member_are_told(monkeypatch):
    """As machines of different kinds have, which round differently."""

    def differs(workers):
        run = make(1, 8, workers=workers)
        if workers.rank == 1:
            run._learner.parameters[0].mul_(1.0 + 1e-6)
        return ran(run, workers)

    for error in together(2, differs):
        with pytest.raises(InvalidInput, match="workers 0 and 1 differ"):
            raise error


def test_a_step_s_pieces_are_dealt_to_workers_as_neighbours():
    for n, size in itertools.product(range(1, 20), range(1, 7)):
        parts = dealt(n, size)
        assert [i for part in parts for i in part] == list(range(n))
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert lengths == sorted(lengths, reverse=True)  # worker 0 is never idle


@pytest.mark.parametrize(
    ("n_learners", "n_shards", "n_workers", "holders", "n_idle"),
    [
        (2, 1, 2, [range(1), range(1, 2)], 0),
        (4, 8, 2, [range(1), range(1), range(1, 2), range(1, 2)], 0),  # whole members: nothing is exchanged
        (2, 8, 4, [range(2), range(2, 4)], 0),
        (2, 8, 3, [range(2), range(1, 3)], 0),
        (1, 8, 3, [range(3)], 0),
        (2, 1, 4, [range(1), range(1, 2)], 2),
    ],
)
def test_members_come_first_and_shards_second(n_learners, n_shards, n_workers, holders, n_idle):
    dealing = Dealing(n_learners, n_shards, n_workers)
    assert [dealing.holders(k) for k in range(n_learners)] == holders
    assert dealing.n_idle == n_idle
    pieces = [(k, s) for w in range(n_workers) for k, shards in dealing.of_worker(w).items() for s in shards]
    assert pieces == list(itertools.product(range(n_learners), range(n_shards)))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_the_order_of_a_sum_does_not_depend_on_the_number_of_workers(n):
    """1e8 + 1 - 1e8 is 0 or 1 in float32, by the order: any other one would show."""
    numbers = STREAM.child("terms").normal(0, n, 4, torch.float32) * 10.0 ** torch.arange(-4, 12, 4)
    whole = tree_sum(iter([[row] for row in numbers]), range(n))
    torch.testing.assert_close(whole, [numbers.sum(0)])
    for size in range(1, n + 1):
        sums = {}
        for part in dealt(n, size):
            for node in whole_nodes(part, range(n)):
                sums[node] = tree_sum(iter([[numbers[i]] for i in node]), node)
        assert torch.equal(joined_sum(sums, range(n))[0], whole[0])
        if n == 8 and size in (1, 2, 4, 8):
            assert len(sums) == size  # one sum per worker travels


def test_tensors_of_several_types_travel_as_one():
    tensors = [torch.rand(2, 3, dtype=torch.float64), torch.rand(()), torch.rand(4).bfloat16(), torch.rand(0, 3)]
    assert all(map(torch.equal, parted(flat(tensors), tensors), tensors))


def test_worker_0_tells_values_and_bytes():
    for value in (2**64 - 1, 0.1, [], {"a": None}):
        assert together(3, lambda workers, value=value: told(workers, value if workers.rank == 0 else None)) == 3 * [
            value
        ]
    content = bytes(range(256))
    assert together(2, lambda w: sent_bytes(w, content if w.rank == 0 else b"")) == 2 * [content]


def test_workers_with_other_rows_are_named():
    def checked(workers):
        rows = "other" if workers.rank == 2 else "rows"
        check_equal(workers, {"seed": "0", "rows": rows, "network": "n"}, "Workers should agree", "Give the same.")

    for error in together(3, checked):
        with pytest.raises(InvalidInput, match=r"worker 2 and worker 0 differ in: rows\. Give"):
            raise error
    assert together(2, lambda w: check_equal(w, {"rows": "r"}, "", "")) == [None, None]


class Store(dict):
    """What `torch.distributed.Store` is to workers that are threads: `get` waits for a key."""

    def set(self, key, value):
        self[key] = value if isinstance(value, bytes) else value.encode()

    def get(self, key):
        while key not in self:
            time.sleep(0.001)
        return self[key]

    def check(self, keys):
        return set(keys) <= set(self)


def test_workers_that_are_started_again_find_each_other_and_none_of_those_before(monkeypatch):
    store, names = Store(), []
    for _ in range(4):
        found = together(3, lambda w: _name_of_attempt(store, w.rank, w.size, 20.0))
        assert len(set(found)) == 1
        names.append(found[0])
    assert len(set(names)) == 4
    alone = Store({"backwalk/joined": b"others"})
    with pytest.raises(RuntimeError, match="did not start"):
        _name_of_attempt(alone, 1, 2, 0.05)


WORKER = {"RANK": "1", "WORLD_SIZE": "3", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


def test_a_worker_of_torchrun_is_known_by_its_environment(monkeypatch):
    assert launched() is None
    assert only_worker() is ALONE
    with torchrun_workers() as workers:
        assert workers is ALONE
    for name, value in WORKER.items():
        monkeypatch.setenv(name, value)
    assert (launched().rank, launched().size) == (1, 3)
    with pytest.raises(InvalidInput, match="worker 1 of 3"):
        only_worker()
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(InvalidInput, match="'3' and '3'"):
        launched()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launched() is None


def test_a_fit_under_torchrun_asks_for_its_workers(monkeypatch):
    for name, value in WORKER.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match="torchrun_workers"):
        Diffusion(max_steps=2, random_state=0, verbose=False).fit(X_0.numpy())
    Diffusion(max_steps=2, random_state=0, verbose=False).fit(X_0.numpy(), workers=ALONE)
