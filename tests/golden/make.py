"""Writes this version's golden files that are not there yet. They are made once, and never again: see README.md."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import backwalk
from backwalk import Diffusion, NoiseSchedule, Residual, Sampler, Textbook, Training

ROWS = pd.DataFrame(
    {
        "length": np.sin(np.arange(60.0)),
        "count": np.arange(60) % 3,
        "fixed": np.full(60, 2.5),
    }
)
# A column with heavy tails, which is bent, and no names.
ARRAY = np.column_stack([np.exp(4.0 * np.sin(np.arange(60.0) ** 2)), np.cos(np.arange(60.0))]).astype(np.float32)


def models():
    yield (
        "default",
        "folder",
        Diffusion(n_steps=20, max_steps=40, denoiser=Residual(8, 1, 2), random_state=0, verbose=False).fit(ROWS),
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
        ).fit(ROWS.assign(count=np.arange(60) % 7)),  # spread evenly, and not by a bell
    )
    own = Sampler("ddim", 5, eta=0.5)
    taught = Diffusion(
        n_steps=20, max_steps=40, denoiser=Residual(8, 1), sampler=own, random_state=1, max_time=30, verbose=False
    )
    yield "taught", "file.safetensors", taught.fit(ARRAY).distil(max_time=0.2, random_state=1)


def expected(model):
    """Numbers that depend on nothing but what is in the file: estimates at fixed points, scores, and more."""
    x = torch.linspace(-2.0, 2.0, 2 * 6).reshape(6, 2)
    levels = model.schedule_.log_snr[1:]
    at = torch.linspace(float(levels[-1]), float(levels[0]), 6)
    with torch.no_grad():
        estimates = model.denoiser_(x, at)
    rows = ROWS[:6] if model.model_.schema.columns else ARRAY[:6]
    given = {"estimates": estimates.tolist(), "scores": model.score_samples(rows).tolist()}
    if model.model_.student is not None:
        given["from latents"] = model.from_latent(x[:, : model.model_.codec.n_encoded].numpy()).tolist()
        given["bound"] = model.bound(rows, steps=5, random_state=0).total
        given["rows"] = model.sample(6, random_state=0).tolist()
        given["student's rows"] = model.sample(6, sampler="distilled", random_state=0).tolist()
    return given


def main():
    folder = Path(__file__).parent / f"backwalk-{backwalk.__version__}"
    folder.mkdir(exist_ok=True)
    for name, form, model in models():
        if not (folder / f"{name}-{form}.json").exists():
            model.save(folder / f"{name}-{form}")
            (folder / f"{name}-{form}.json").write_text(json.dumps(expected(model), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
