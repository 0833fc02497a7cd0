"""What trials are made of: small models, rows, and bytes with faults in them."""

import os
import time
from functools import cache
from pathlib import Path

import numpy as np

from backwalk import Diffusion, NoiseSchedule, Residual, Textbook, Training


@cache
def rows():
    """Return 300 correlated rows with a constant column."""
    x, y = np.random.default_rng(0).normal(size=(2, 300))
    return np.column_stack([3.0 + 2.0 * x, np.full(300, 7.25), 0.1 * x + 0.1 * y])


def estimator(**settings):
    """Return a tiny model, not yet fitted."""
    sizes = {"n_steps": 20, "max_steps": 40, "denoiser": Residual(8, 1, 2), "random_state": 0, "verbose": False}
    return Diffusion(**{**sizes, **settings})


def notebook(**settings):
    """Return the other kind of model: eps predicted on a chain's own steps, no average, no validation rows."""
    plan = Training(batch_size=50, learning_rate=0.01, n_epochs=7, ema_width=None, decay=False, levels="chain")
    sizes = {"denoiser": Textbook(8, 2), "training": plan, "reverse_variance": "beta", "validation_fraction": 0.0}
    schedule = NoiseSchedule.linear(20, beta_min=0.01, beta_max=0.4)
    return Diffusion(**{**sizes, "schedule": schedule, "random_state": 0, "verbose": False, **settings})


@cache
def fitted():
    """Return a tiny fitted model."""
    return estimator(max_steps=5).fit(rows())


def bits(model):
    """Return the weights, the schedule and the losses of an estimator, and rows that it draws, to be compared."""
    drawn = model.sample(50, random_state=1, n_evaluations=3)
    return (
        {name: tensor.numpy().tobytes() for name, tensor in model.denoiser_.state_dict().items()},
        model.schedule_.log_snr.numpy().tobytes(),
        model.history_.loss,
        model.history_.chosen_step,
        (drawn if isinstance(drawn, np.ndarray) else drawn.to_pandas().to_numpy()).tobytes(),
    )


def appeared(path, pid, seconds=60.0):
    """Wait until a file is there, and return True; or False if the child that is to write it has ended before."""
    limit = time.monotonic() + seconds
    while not path.exists():
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return path.exists()
        assert time.monotonic() < limit, f"no {path.name} after {seconds:.0f} s"
        time.sleep(0.001)
    return True


def resident(name):
    """Return the bytes of memory that this process has (VmRSS), or has had at its peak (VmHWM)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024


def mutated(data, rng):
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


def listing(folder):
    """Return the names of all that is in a folder, hidden files too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
