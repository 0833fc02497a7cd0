"""What a training step and a score cost: processor milliseconds of made tables, on one thread.

    python -m benchmarks.step                                  # 10, 24 and 100 columns, widths 128 and 256
    python -m benchmarks.step --columns 24 --widths 128 --parts  # with the functions that took the time
    PYTHONPATH=OLD/src python -m benchmarks.step               # other code, on the same tables

A table has `columns` columns: half are numbers, a quarter whole numbers of some tens of values, a quarter labels. A
step takes 1,000 rows. Times are those of the process, so that they hold on a busy machine within some per cent, and the
median over blocks of steps. Run old and new code in turn.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import statistics
import time
import warnings

import numpy as np
import pandas as pd
import torch

from backwalk import Diffusion, Residual, Training

N_ROWS, N_SCORED = 4_000, 200
N_WARM, N_BLOCKS, N_A_BLOCK = 8, 7, 12


def table(n_columns: int, n: int = N_ROWS, seed: int = 0, kinds: str = "mixed") -> pd.DataFrame:
    """Return n rows of numbers, whole numbers and labels that depend on four hidden ones."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 4))
    weights = np.random.default_rng(1).normal(size=(4, n_columns)) / 2.0
    z = np.tanh(hidden) @ weights + 0.5 * rng.normal(size=(n, n_columns))
    frame = {}
    for j in range(n_columns):
        place = j % 4 if kinds == "mixed" else 1
        if place == 1:
            frame[f"whole{j}"] = np.round((4.0 + 2.0 * (j % 7)) * z[:, j]).astype(int)
        elif place == 3:
            frame[f"label{j}"] = pd.Categorical.from_codes(
                np.clip(np.floor((z[:, j] + 2.0) * (1 + j % 5)), 0, 4 * (1 + j % 5) - 1).astype(int),
                [f"l{i}" for i in range(4 * (1 + j % 5))],
            ).astype(str)
        else:
            frame[f"number{j}"] = z[:, j] if j % 8 else np.exp(z[:, j])
    return pd.DataFrame(frame)


def step_ms(frame: pd.DataFrame, width: int, profile: cProfile.Profile | None) -> tuple[float, Diffusion]:
    """Return the processor milliseconds of a training step of 1,000 rows, and the model."""
    blocks, began = list[float](), 0.0

    def timed(progress: object) -> bool:
        nonlocal began
        step = progress.step - N_WARM  # type: ignore[attr-defined]
        if step == 0:
            began = time.process_time()
            if profile is not None:
                profile.enable()
        elif step > 0 and step % N_A_BLOCK == 0:
            now = time.process_time()
            blocks.append((now - began) / N_A_BLOCK * 1e3)
            began = now
        if len(blocks) == N_BLOCKS and profile is not None:
            profile.disable()
        return len(blocks) == N_BLOCKS

    training = Training(
        batch_size=1_000, learning_rate=0.01, hidden_rate=0.02, weight_decay=0.05, input_ridge=1e-4, max_steps=100_000
    )
    model = Diffusion(
        denoiser=Residual(width=width, n_members=1),
        training=training,
        conditions="any",
        random_state=0,
        verbose=False,
        callbacks=[timed],
    )
    return statistics.median(blocks) if model.fit(frame) and blocks else float("nan"), model


def main() -> None:
    """Print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, nargs="+", default=[10, 24, 100])
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--kinds", choices=["mixed", "whole"], default="mixed")
    parser.add_argument("--parts", action="store_true", help="print the functions that took the time")
    parser.add_argument("--scores", action="store_true", help="time scores of rows as well")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for n_columns in given.columns:
        for width in given.widths:
            profile = cProfile.Profile() if given.parts else None
            load, frame = os.getloadavg()[0], table(n_columns, kinds=given.kinds)
            ms, model = step_ms(frame, width, profile)
            x = torch.randn(1_000, width)
            began = time.process_time()
            for _ in range(100):
                torch.mm(x, x[:width])
            product = (time.process_time() - began) * 10.0
            line = f"{n_columns:4d} columns, width {width}: {ms:7.2f} ms a step, a product {product:.3f} ms"
            if given.scores:
                some = table(n_columns, N_SCORED, 5, given.kinds)
                model.score_samples(some[:100])
                began = time.process_time()
                model.score_samples(some)
                line += f", {(time.process_time() - began) / N_SCORED * 1e3:.3f} ms a score"
            print(f"{line}, load {load:.1f}", flush=True)
            if profile is not None:
                pstats.Stats(profile).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
