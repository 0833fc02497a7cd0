"""Independence of torch's state in the caller: autocast, the default device, and the gradient modes.

A user may call the library within `with torch.autocast(...)`, `torch.inference_mode()` or `torch.no_grad()`, or after
`torch.set_default_device(...)`. These settings belong to the calling thread, and no result should depend on them.
(torch's default dtype belongs to the whole process, so it is not changed here: all constructors of tensors name their
dtype instead.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, TypeVar, cast

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])


@contextmanager
def initial_torch_state() -> Iterator[None]:
    """Run a block with torch's initial settings: full precision, tensors on the CPU, gradients enabled."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # which enables gradients, too
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":  # a device context slows every call of torch
            stack.enter_context(torch.device("cpu"))
        yield


def in_initial_torch_state(function: _Function) -> _Function:
    """Make a function, or each step of a generator, run in `initial_torch_state`."""
    if not isgeneratorfunction(function):
        return initial_torch_state()(function)

    @wraps(function)
    def iterate(*arguments: Any, **named: Any) -> Generator[Any]:
        steps = function(*arguments, **named)
        try:
            while True:
                with initial_torch_state():  # left before the caller goes on
                    try:
                        item = next(steps)
                    except StopIteration:
                        return
                yield item
        finally:
            steps.close()

    return cast("_Function", iterate)
