"""Writes the golden files of this version. They are made once a format version, and never again: see README.md."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import backwalk
from backwalk import Diffusion, NoiseSchedule, Residual, Textbook, Training

ROWS = pd.DataFrame(
    {
        "length": np.sin(np.arange(60.0)),
        "count": np.arange(60) % 7,
        "fixed": np.full(60, 2.5),
    }
)


def models():
    yield (
        "default",
        "folder",
        Diffusion(n_steps=20, max_steps=40, denoiser=Residual(8, 1, 2), random_state=0, verbose=False),
    )
    yield (
        "textbook",
        "file.safetensors",
        Diffusion(
            schedule=NoiseSchedule.linear(10, beta_min=0.01, beta_max=0.6),
            denoiser=Textbook(8, 1),
            training=Training(batch_size=20, learning_rate=0.01, n_epochs=2, ema_width=None, levels="chain"),
            reverse_variance="beta",
            random_state=1,
            verbose=False,
        ),
    )


def expected(model):
    """Numbers that depend on nothing but what is in the file: estimates at fixed points, and scores of a few rows."""
    x = torch.linspace(-2.0, 2.0, 2 * 6).reshape(6, 2)
    levels = model.schedule_.log_snr[1:]
    at = torch.linspace(float(levels[-1]), float(levels[0]), 6)
    with torch.no_grad():
        estimates = model.denoiser_(x, at)
    return {"estimates": estimates.tolist(), "scores": model.score_samples(ROWS[:6]).tolist()}


def main():
    folder = Path(__file__).parent / f"backwalk-{backwalk.__version__}"
    folder.mkdir()
    for name, form, model in models():
        model.fit(ROWS)
        model.save(folder / f"{name}-{form}")
        (folder / f"{name}-{form}.json").write_text(json.dumps(expected(model), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
