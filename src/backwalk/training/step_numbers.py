"""A step's own numbers (rates, shares, its count) as tensors beside the weights.

A step that is recorded on a GPU is launched again with the same arguments: what changes from one to the next has to
lie in memory. On a CPU it costs nothing to hold numbers in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def numbers_beside(tensors: Sequence[Tensor], count: int, dtype: torch.dtype | None = None) -> list[Tensor]:
    """Return so many numbers, (), on the device of these tensors, and of their type unless another is given."""
    like = tensors[0] if tensors else torch.empty(0)
    return [torch.zeros((), dtype=dtype or like.dtype, device=like.device) for _ in range(count)]
