"""Settings of glibc's allocator that keep freed memory between the steps of training and sampling.

A step allocates and frees the same few megabytes of activations each time. By default glibc returns such blocks to the
system and takes fresh, zeroed pages for the next step, which on small networks is a third of a step's time
(docs/architecture.md). On other systems this module does nothing.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 2**28
_LARGEST_KEPT_BLOCK = 2**25  # older versions of glibc refuse more


@cache
def keep_freed_memory() -> bool:
    """Let the process keep up to 256 MiB of freed memory; return whether the allocator accepts the settings."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # The block size is set first: setting the other value stops glibc's own adjustment of it while it is small.
    return (
        mallopt is not None
        and mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK) == 1
        and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) == 1
    )
