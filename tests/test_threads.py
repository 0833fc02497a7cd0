"""Pieces side by side: in order, each on one thread, and torch's own setting as it was."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import torch

from backwalk.denoiser.passes import loss_and_gradients, prediction_and_slopes, pushed, residual_mean
from backwalk.threads import _scripted, scripted, single_threads
from backwalk.training.optimizer import update

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_setting")


def test_results_come_in_order_each_from_one_thread(n_threads):
    with single_threads() as parallel_map:
        assert list(parallel_map(lambda piece: (piece, torch.get_num_threads()), range(9))) == [
            (i, 1) for i in range(9)
        ]
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == n_threads


def test_the_setting_comes_back_after_an_error(n_threads):
    with pytest.raises(ZeroDivisionError), single_threads() as parallel_map:
        list(parallel_map(lambda piece: 1 / piece, [1, 0]))
    assert torch.get_num_threads() == n_threads


def test_blocks_within_blocks_leave_the_setting_as_it_was(n_threads):
    with single_threads(), single_threads() as parallel_map:
        assert list(parallel_map(abs, [-1, -2])) == [1, 2]
    assert torch.get_num_threads() == n_threads


def test_a_block_within_a_piece_leaves_its_thread_at_one():
    """Found by review: a thread of the pool had none of its own open, and went back to torch's setting."""
    torch.set_num_threads(2)
    both = Barrier(2, timeout=60)

    def piece(_):
        both.wait()  # so that each thread takes one
        with single_threads():
            pass
        return torch.get_num_threads()

    with single_threads() as parallel_map:
        assert list(parallel_map(piece, range(2))) == [1, 1]
    assert torch.get_num_threads() == 2


def test_who_wants_no_more_results_waits_for_no_more_pieces():
    done, may_end = [], Event()
    torch.set_num_threads(2)

    def piece(i):
        if i:
            may_end.wait(60)
            done.append(i)

    with single_threads() as parallel_map:
        results = parallel_map(piece, range(50))
        next(results)
        results.close()
        may_end.set()
    assert len(done) <= 2  # those that had begun


def test_elsewhere_than_on_a_cpu_nothing_changes(n_threads):
    with single_threads(parallel_map=False) as one_by_one:
        assert list(one_by_one(lambda _: torch.get_num_threads(), "ab")) == [n_threads] * 2


def test_blocks_that_end_in_any_order_put_the_setting_back():
    torch.set_num_threads(2)
    first, second = single_threads(), single_threads()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_num_threads() == 1
    second.__exit__(None, None, None)
    assert torch.get_num_threads() == 2


def test_each_thread_gets_its_setting_back_whoever_leaves_last():
    """Found by review: the thread that left first stayed at one thread, and so did all that it began later."""
    torch.set_num_threads(2)
    entered, left = Barrier(2, timeout=60), Barrier(2, timeout=60)

    def first() -> int:
        with single_threads():
            entered.wait()
        left.wait()
        return torch.get_num_threads()

    def second() -> int:
        with single_threads():
            entered.wait()
            left.wait()
            assert torch.get_num_threads() == 1
        return torch.get_num_threads()

    with ThreadPoolExecutor(2) as pool:
        assert [future.result() for future in [pool.submit(first), pool.submit(second)]] == [2, 2]
    with ThreadPoolExecutor(1) as pool:  # a thread that torch has not seen
        assert pool.submit(torch.get_num_threads).result() == 2


def test_a_thread_that_begins_meanwhile_leaves_the_setting_of_others_alone():
    """Found by review: it began with one thread, and gave that to all that came after it."""
    torch.set_num_threads(2)

    def newcomer() -> int:
        with single_threads() as parallel_map:
            assert list(parallel_map(abs, [-1, -2])) == [1, 2]
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as early, ThreadPoolExecutor(1) as late:
        with single_threads():
            assert late.submit(torch.get_num_threads).result() == 1
            assert early.submit(newcomer).result() == 2  # by the block that it met
        assert torch.get_num_threads() == 2
        assert late.submit(newcomer).result() == 1
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


def test_a_thread_with_a_setting_of_its_own_keeps_it():
    """Found by review: whoever sampled beside a fit was left with the setting of the fit's thread."""
    torch.set_num_threads(2)

    def other() -> int:
        torch.set_num_threads(3)
        with single_threads() as parallel_map:
            assert list(parallel_map(lambda _: torch.get_num_threads(), range(3))) == [1, 1, 1]
        return torch.get_num_threads()

    with single_threads(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(other).result() == 3
    assert torch.get_num_threads() == 2


def test_a_block_that_ends_on_another_thread_does_not_lose_the_setting():
    torch.set_num_threads(2)
    block = single_threads()
    block.__enter__()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(block.__exit__, None, None, None).result()
    with single_threads():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def double_or_add(x: torch.Tensor, twice: bool) -> torch.Tensor:
    return 2.0 * x if twice else x + 1.0


def test_a_function_is_the_same_with_and_without_the_lock(monkeypatch):
    x = torch.arange(3.0)
    freed = scripted(double_or_add, CPU)
    assert freed is scripted(double_or_add, CPU)
    assert freed is not double_or_add
    for twice in (False, True):
        assert torch.equal(freed(x, twice), double_or_add(x, twice))
    assert scripted(double_or_add, torch.device("meta")) is double_or_add  # as on a GPU


@pytest.fixture
def compiled_anew():
    """Forget compiled functions before the test, and after it."""
    _scripted.cache_clear()
    yield
    _scripted.cache_clear()


@pytest.mark.parametrize("error", [None, NotImplementedError, RuntimeError])
def test_without_torchscript_a_function_is_returned_as_it_is(error, compiled_anew, monkeypatch):
    def refuse(function):
        raise error

    if error is None:
        monkeypatch.delattr(torch.jit, "script")
    else:
        monkeypatch.setattr(torch.jit, "script", refuse)
    assert scripted(double_or_add, CPU) is double_or_add


@pytest.mark.parametrize("category", [DeprecationWarning, FutureWarning, UserWarning])
def test_torchscript_s_deprecation_is_silent_whatever_its_category(category, compiled_anew, monkeypatch):
    script = torch.jit.script

    def deprecated(function):
        warnings.warn("torch.jit.script is deprecated", category, stacklevel=2)
        return script(function)

    monkeypatch.setattr(torch.jit, "script", deprecated)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scripted(double_or_add, CPU) is not double_or_add


def test_every_function_of_ours_is_known_to_torchscript():
    for function in (residual_mean, loss_and_gradients, prediction_and_slopes, pushed, update):
        assert scripted(function, CPU) is not function


def test_torchscript_of_ours_is_not_compiled_and_that_of_others_as_before(monkeypatch):
    """It would hold up the first calls."""
    told, optimized_execution = [], torch.jit.optimized_execution
    monkeypatch.setattr(torch.jit, "optimized_execution", lambda on: told.append(on) or optimized_execution(on))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(scripted(double_or_add, CPU), torch.arange(3.0), True).result()
        assert pool.submit(torch._C._get_graph_executor_optimize).result()
    assert told == [False]
    assert torch._C._get_graph_executor_optimize()


def test_threads_that_ask_at_once_are_given_one_function(n_threads):
    """Found by review: each made its own, under a filter of warnings that is not for several threads."""
    _scripted.cache_clear()
    with single_threads() as parallel_map, warnings.catch_warnings():
        warnings.simplefilter("error")
        freed = list(parallel_map(lambda _: scripted(double_or_add, CPU), range(8)))
        filters = list(warnings.filters)
    assert len(set(map(id, freed))) == 1
    assert filters[0][0] == "error"
