"""What campaigns are made of: small models, rows, and bytes with faults in them."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backwalk import Diffusion, NoiseSchedule, Residual, Textbook, Training
from backwalk.model import DiffusionModel
from backwalk.training import Trainer


@cache
def rows() -> NDArray[np.float64]:
    """Return 300 correlated rows with a constant column."""
    x, y = np.random.default_rng(0).normal(size=(2, 300))
    return np.column_stack([3.0 + 2.0 * x, np.full(300, 7.25), 0.1 * x + 0.1 * y])


def estimator(**settings: Any) -> Diffusion:
    """Return a tiny model, not yet fitted."""
    sizes = {"n_steps": 20, "max_steps": 40, "denoiser": Residual(8, 1, 2), "random_state": 0, "verbose": False}
    return Diffusion(**{**sizes, **settings})


def notebook(**settings: Any) -> Diffusion:
    """Return the other kind of model: eps predicted on a chain's own steps, no average, no validation rows."""
    sizes = {
        "schedule": NoiseSchedule.linear(20, beta_min=0.01, beta_max=0.4),
        "denoiser": Textbook(8, 2),
        "training": Training(
            batch_size=50, learning_rate=0.01, n_epochs=7, ema_width=None, decay=False, levels="chain"
        ),
        "reverse_variance": "beta",
        "validation_fraction": 0.0,
        "random_state": 0,
        "verbose": False,
    }
    return Diffusion(**{**sizes, **settings})


@cache
def fitted() -> Diffusion:
    """Return a tiny fitted model."""
    return estimator(max_steps=5).fit(rows())


def bits(model: DiffusionModel, *, seconds: bool = False) -> tuple[Any, ...]:
    """Return all that a model holds, to be compared: its seconds only where asked for."""
    history = {name: value for name, value in vars(model.history).items() if seconds or name != "seconds"}
    card = {name: value for name, value in model.card.items() if seconds or name != "fit_seconds"}
    return (
        {name: tensor.numpy().tobytes() for name, tensor in model.denoiser.state_dict().items()},
        model.schedule.log_snr.numpy().tobytes(),
        model.denoising_error.numpy().tobytes(),
        model.denoiser.log_snr_range,
        *(getattr(model, name) for name in ("architecture", "codec", "schema", "reverse_variance", "decoder_variance")),
        *(getattr(model, name) for name in ("sampler", "prior_mismatch")),
        history,
        card,
    )


def note_first_step(path: Path) -> None:
    """Have the next training in this process write into a file how many steps had been taken when it began.

    For forked children, which it belongs to until they end.
    """
    path.unlink(missing_ok=True)
    update = Trainer.take_step

    def noting(trainer: Trainer, *given: Any) -> Any:
        if not path.exists():
            path.write_text(str(trainer.step))
        return update(trainer, *given)

    Trainer.take_step = noting  # type: ignore[method-assign]


def appeared(path: Path, pid: int, seconds: float = 60.0) -> bool:
    """Wait until a file is there, and return True; or False if the child that is to write it has ended before."""
    limit = time.monotonic() + seconds
    while not path.exists():
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return path.exists()
        assert time.monotonic() < limit, f"no {path.name} after {seconds:.0f} s"
        time.sleep(0.001)
    return True


def resident(name: str) -> int:
    """Return the bytes of memory that this process has (VmRSS), or has had at its peak (VmHWM)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes of which one to four places were changed, cut out, doubled or put in."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(damaged)))
        match rng.integers(5):
            case 0:
                damaged[place] = int(rng.integers(256))
            case 1:
                damaged[place] ^= 1 << int(rng.integers(8))
            case 2:
                del damaged[place : place + int(rng.integers(1, 9))]
            case 3:
                damaged[place:place] = damaged[place : place + int(rng.integers(1, 9))]
            case _:
                damaged[place:place] = bytes([rng.choice(list(b'\0\n\r,"=-eE.9;\xff'))])
        damaged = damaged or bytearray(b"\n")
    return bytes(damaged)


def listing(folder: Path) -> list[str]:
    """Return the names of all that is in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
