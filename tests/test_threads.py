"""Pieces of work: in order, each on one thread, with torch's setting as it was."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import torch

from backwalk.threads import on_one_thread, over_threads, single_threads

pytestmark = pytest.mark.usefixtures("own_setting")


def test_results_come_in_order_each_from_one_thread(n_threads):
    with single_threads() as parallel_map:
        assert list(parallel_map(lambda piece: (piece, torch.get_num_threads()), range(9))) == [
            (i, 1) for i in range(9)
        ]
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == n_threads


def test_the_setting_comes_back_after_an_error_and_after_blocks_within_blocks(n_threads):
    with pytest.raises(ZeroDivisionError), single_threads() as parallel_map:
        list(parallel_map(lambda piece: 1 / piece, [1, 0]))
    assert torch.get_num_threads() == n_threads
    with single_threads(), single_threads() as parallel_map:
        assert list(parallel_map(abs, [-1, -2])) == [1, 2]
    assert torch.get_num_threads() == n_threads
    with single_threads(parallel=False) as one_by_one:
        assert list(one_by_one(lambda _: torch.get_num_threads(), "ab")) == [n_threads] * 2


def test_pieces_within_a_function_on_one_thread_run_on_the_threads_it_had_before():
    """Log-densities and bounds are such functions: their tiles ran one after the other."""
    torch.set_num_threads(2)
    meeting = Barrier(2, timeout=30)

    @on_one_thread
    def both():
        assert torch.get_num_threads() == 1
        return [list(over_threads(lambda _: meeting.wait(), range(2))), torch.get_num_threads()]

    arrived, setting = both()
    assert (sorted(arrived), setting, torch.get_num_threads()) == ([0, 1], 1, 2)


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


def piece_of_a_forked_process(answers):
    with single_threads() as parallel_map:
        answers.put(list(parallel_map(abs, [-1, -2, -3])))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own():
    torch.set_num_threads(2)
    with single_threads() as parallel_map:
        assert list(parallel_map(abs, [-1])) == [1]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=piece_of_a_forked_process, args=(answers,), daemon=True)
    child.start()
    assert answers.get(timeout=60) == [1, 2, 3]
    child.join(60)
