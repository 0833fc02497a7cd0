"""The kind of processor that computes: the same kind gives the same bits."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

import backwalk

_FACTS = {
    "vendor_id": "",
    "cpu family": "family ",
    "model": "model ",
    "CPU implementer": "implementer ",
    "CPU part": "part ",
}


def processor_kind(device: torch.device) -> str:
    """Return the kind of a device: of a GPU its name, of a CPU its maker, its model and the instructions in use."""
    if device.type == "cuda":
        return f"CUDA, {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return device.type
    model = _model() or platform.processor()
    return ", ".join(filter(None, (platform.machine(), model, torch.backends.cpu.get_cpu_capability())))


def _model() -> str:
    """Return the facts that Linux has about the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return ""
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return " ".join(f"{word}{found[key]}" for key, word in _FACTS.items() if key in found)


def versions() -> dict[str, str]:
    """Return the versions of what decides the bits of a part."""
    return {"backwalk": backwalk.__version__, "torch": str(torch.__version__)}
