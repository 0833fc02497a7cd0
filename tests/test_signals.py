"""Signals wait until they are let through, and then do what they would have done."""

import signal
import threading

import pytest

from backwalk.signals import HeldSignals

BOTH = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class Came(Exception):
    pass


@pytest.fixture(autouse=True)
def raising():
    """Handlers that raise, for the length of a test."""

    def handler(number, _):
        raise Came(number)

    before = {number: signal.signal(number, handler) for number in BOTH}
    yield handler
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_waits_for_delivery_or_the_end(number, raising):
    with pytest.raises(Came), HeldSignals():
        signal.raise_signal(number)
    with HeldSignals() as held:
        assert not held.waiting
        held.deliver()
        signal.raise_signal(number)
        assert held.waiting
        with pytest.raises(Came, match=str(int(number))):
            held.deliver()
    assert signal.getsignal(number) is raising


def test_a_second_signal_does_not_wait():
    with HeldSignals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Came, match=str(int(signal.SIGINT))):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("first", BOTH)
def test_a_second_signal_of_a_closed_terminal_does_nothing(first):
    """Found by review: shells and the system both send it, within moments."""
    held = HeldSignals()
    held.__enter__()
    signal.raise_signal(first)
    signal.raise_signal(signal.SIGHUP)
    assert held.waiting
    with pytest.raises(Came, match=str(int(first))):
        held.__exit__()


def test_a_handler_that_returns_lets_the_block_go_on():
    seen = []
    signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    with HeldSignals() as held:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
            held.deliver()
            assert not held.waiting
    assert seen == [signal.SIGTERM] * 2


def test_ignored_signals_stay_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with HeldSignals() as held:
        signal.raise_signal(signal.SIGINT)
        assert not held.waiting
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_hold_nothing(raising):
    waiting = []

    def work():
        with HeldSignals() as held:
            waiting.append(held.waiting)
            held.deliver()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert waiting == [False]
    assert signal.getsignal(signal.SIGINT) is raising
