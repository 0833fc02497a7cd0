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
from typing import Any, ParamSpec, TypeVar, cast

import torch

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


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


def in_initial_torch_state(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Make a function, or each step of a generator, run in `initial_torch_state`."""

    @wraps(function)
    def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        with initial_torch_state():
            return function(*args, **kwargs)

    @wraps(function)
    def iterate(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> Generator[Any]:
        steps = cast("Generator[Any]", function(*args, **kwargs))
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

    return cast("Callable[_Parameters, _Result]", iterate) if isgeneratorfunction(function) else call
