"""Whether a device multiplies matrices of bfloat16 numbers faster than matrices of float32 numbers."""

from __future__ import annotations

import torch


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether products of bfloat16 numbers are faster than those of float32 numbers on a device.

    On CPUs they are with matrix units (AMX), and with vector instructions (AVX-512 BF16) on AMD's processors but not on
    Intel's (docs/defaults.md has the times). On CUDA they are where the GPU has them without emulation. The answer
    depends on the device's name and not on a trial, so that a busy machine gives the same model.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    is_amd = str(capabilities.get("cpu_name", "")).startswith("AMD")
    return bool(capabilities.get("amx_bf16") or (is_amd and capabilities.get("avx512_bf16")))
