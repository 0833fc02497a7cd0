"""Conversion to float64, in which sums are computed whatever the precision of the network."""

import torch
from torch import Tensor


def in_float64(x: Tensor) -> Tensor:
    """Return x in float64 on the CPU: moved first, as some accelerators have no float64."""
    return x.to("cpu").to(torch.float64)
