"""The allocator's settings: made once, in the order that matters, and only where there is a glibc."""

import pytest

from backwalk import memory

BLOCKS, KEPT = (-3, 2**25), (-1, 2**28)  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD


@pytest.fixture
def keep_freed_memory():
    """The function without its memory of earlier calls."""
    return memory.keep_freed_memory.__wrapped__


class Library:
    """A C library whose `mallopt` refuses some options and keeps a list of what it was asked."""

    def __init__(self, refused=()):
        self.asked, self._refused = [], refused

    def mallopt(self, option, value):
        self.asked.append((option, value))
        return int(option not in self._refused)


@pytest.mark.parametrize(
    ("refused", "asked", "kept"),
    [
        ((), [BLOCKS, KEPT], True),
        # Were KEPT set nevertheless, blocks of 128 KiB and more would be returned to the system for good.
        ((BLOCKS[0],), [BLOCKS], False),
        ((KEPT[0],), [BLOCKS, KEPT], False),
    ],
)
def test_blocks_are_kept_before_the_heap_is(monkeypatch, keep_freed_memory, refused, asked, kept):
    library = Library(refused)
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert keep_freed_memory() is kept
    assert library.asked == asked


def test_another_c_library_is_left_alone(monkeypatch, keep_freed_memory):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert keep_freed_memory() is False


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_another_system_is_left_alone(monkeypatch, keep_freed_memory, platform):
    library = Library()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(memory.sys, "platform", platform)
    assert keep_freed_memory() is False
    assert library.asked == []


def test_it_is_asked_once_a_process():
    first, calls = memory.keep_freed_memory(), memory.keep_freed_memory.cache_info().misses
    assert memory.keep_freed_memory() is first
    assert memory.keep_freed_memory.cache_info().misses == calls == 1
