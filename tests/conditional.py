"""Conditionals and marginals with one pattern for all rows."""

import torch

from backwalk.diffusion import ConditionalDenoiser


def conditional_of(joint, rows, known, absent=None):
    """Return the denoiser of the free coordinates of rows, (n, k): `known` and `absent` are (k,)."""
    absent = torch.zeros_like(known) if absent is None else absent
    free = (~(known | absent)).nonzero()[:, 0]
    return ConditionalDenoiser(joint, rows, known.expand(rows.shape), absent.expand(rows.shape), free)
