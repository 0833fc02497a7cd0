"""How much of the machine's matrix products training and sampling reach, by the width of the network.

A product of (m, k) with (k, n) is 2 m n k operations. A forward pass is the sum over the layers; training counts three
times that, for the two products of the backward pass; the products of the optimiser (Muon) are a column of their own,
and nothing else counts. The peak is that of products of the same shapes: the better of one product spread over all
threads, and as many products side by side as there are threads, each on one. The shapes are those of the forward pass;
of the two products of the backward pass one has a long inner side, which is slower, so that a step's limit is a little
lower. All are measured in turns, some rounds of them, and a share is one of a round's own peak, as a machine's speed
drifts: the median of the rounds, with the least and the most.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from backwalk import Diffusion
from backwalk.datasets import curved_chain
from backwalk.denoiser import EnsembleDenoiser, Residual
from backwalk.denoiser.network import MemberLinear
from backwalk.sampling import TILE_ROWS
from backwalk.threads import single_threads
from backwalk.training import Training
from backwalk.training.optimizer import rotation_for
from backwalk.training.orthogonal import rounds_for
from benchmarks.draws import Results
from benchmarks.record import Figures, Store
from benchmarks.tables import table

D, N_BLOCKS, N_EVALUATIONS = 8, 3, 20
PEAKS = ("peak_training", "peak_sampling", "peak_bfloat16")

TITLE = "Share of the machine's matrix products"


@dataclass(frozen=True)
class Sizes:
    """The widths, the rows of a training step, the rounds, and of each the steps, the sampled rows, and the seconds.

    Up to twenty of a round's steps are followed by a look at the weights. So narrow networks, of which that is a larger
    part, take more steps (`n_steps` is for widths of 512 and more).
    """

    widths: tuple[int, ...]
    batch: int
    n_rounds: int
    n_steps: int
    n_sampled: int
    seconds: float


SIZES = {
    "quick": Sizes((16,), 600, 1, 9, 2_048, 0.02),
    "short": Sizes((64, 128, 256), 2_000, 2, 45, 16_384, 0.2),
    "full": Sizes((64, 128, 256, 512, 1024), 2_000, 3, 45, 16_384, 0.7),
}


def run(store: Store, sizes: Sizes) -> None:
    """Measure each width."""
    for width in sizes.widths:
        key = {"width": width, "batch": sizes.batch, "n_blocks": N_BLOCKS, "d": D}
        store.once(key, partial(measure, width, sizes))


def measure(width: int, sizes: Sizes) -> Figures:
    """Return operations per second, the medians of some rounds, and the `shares` of the peak of each round."""
    rounds = [one_round(width, sizes) for _ in range(sizes.n_rounds)]
    medians = {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}
    names = [name for name in rounds[0] if name not in PEAKS or name == "peak_bfloat16"]
    return medians | {"shares": {name: [one[name] / one[peak_of(name)] for one in rounds] for name in names}}


def peak_of(name: str) -> str:
    """Return the peak that a figure is a share of: that of the forward pass's products, in float32."""
    return "peak_sampling" if name == "sampling" else "peak_training"


def one_round(width: int, sizes: Sizes) -> Figures:
    """Return operations per second of training, of sampling and of bare products, and what bfloat16 would change."""
    model, step_seconds = fitted(width, sizes, bfloat16=False)
    _, step_seconds_bfloat16 = fitted(width, sizes, bfloat16=True)
    forward = forward_operations(product_shapes(model.denoiser_))
    trained = 3 * forward * sizes.batch
    with_muon = trained + muon_operations(model.denoiser_)
    sampled = repeats_a_second(lambda: sample(model, sizes.n_sampled), sizes.seconds) * sizes.n_sampled
    return {
        "training": trained / step_seconds,
        "training_with_muon": with_muon / step_seconds,
        "training_bfloat16": trained / step_seconds_bfloat16,
        "training_bfloat16_with_muon": with_muon / step_seconds_bfloat16,
        "sampling": forward * N_EVALUATIONS * sampled,
        "peak_training": product_peak(sizes.batch, width, torch.float32, sizes.seconds),
        "peak_sampling": product_peak(TILE_ROWS * torch.get_num_threads(), width, torch.float32, sizes.seconds),
        "peak_bfloat16": product_peak(sizes.batch, width, torch.bfloat16, sizes.seconds),
        "passes": 3 * forward * passes_a_second(model.denoiser_, sizes, bfloat16=False),
        "passes_bfloat16": 3 * forward * passes_a_second(model.denoiser_, sizes, bfloat16=True),
    }


def fitted(width: int, sizes: Sizes, *, bfloat16: bool) -> tuple[Diffusion, float]:
    """Return a fit of this width, and the seconds of a step: the median over rounds of Muon's turns.

    The first rounds, in which TorchScript reads the passes and memory is taken for the first time, do not count.
    """
    ends: list[float] = []
    plan = Training(
        batch_size=sizes.batch,
        learning_rate=1e-3,
        hidden_rate=0.01,
        max_steps=sizes.n_steps * min(max(1, 512 // width), 8),
        bfloat16=bfloat16,
    )
    model = Diffusion(
        denoiser=Residual(width=width, n_blocks=N_BLOCKS),
        training=plan,
        validation_fraction=0.0,
        callbacks=[lambda _: ends.append(time.perf_counter())],
        random_state=0,
        verbose=False,
    ).fit(curved_chain(D).sample(2 * sizes.batch, random_state=0))
    every = rotation_for(width, 2 * N_BLOCKS).update_every
    rounds = np.diff(ends[::every])
    return model, float(np.median(rounds[len(rounds) // 4 :])) / every


def sample(model: Diffusion, n: int) -> None:
    """Draw n rows."""
    for _ in model.sample_pieces(n, n_evaluations=N_EVALUATIONS, random_state=0):
        pass


def product_shapes(module: nn.Module) -> list[tuple[int, int, int]]:
    """Return (members, n_in, n_out) of every linear layer."""
    layers = (layer for layer in module.modules() if isinstance(layer, MemberLinear))
    return [(layer.weight.shape[0], layer.weight.shape[1], layer.weight.shape[2]) for layer in layers]


def forward_operations(shapes: Iterable[tuple[int, int, int]]) -> int:
    """Return the operations of a forward pass of one row: 2 n_in n_out for each layer and member."""
    return sum(2 * members * n_in * n_out for members, n_in, n_out in shapes)


def product_peak(rows: int, width: int, dtype: torch.dtype, seconds: float) -> float:
    """Return the operations per second of products (rows, width) x (width, width), the better of two ways."""
    n_threads = torch.get_num_threads()
    weight = torch.ones(width, width, dtype=dtype)

    def one(rows: int) -> Callable[[], object]:
        x, out = torch.ones(rows, width, dtype=dtype), torch.empty(rows, width, dtype=dtype)
        return lambda: torch.mm(x, weight, out=out)

    spread = repeats_a_second(one(rows), seconds) * rows
    share = -(-rows // n_threads)
    with single_threads() as parallel_map:
        rates = parallel_map(lambda _: repeats_a_second(one(share), seconds), range(n_threads))
        apart = sum(rates) * share
    return 2.0 * width * width * max(spread, apart)


def muon_operations(module: nn.Module) -> int:
    """Return the operations of a step of Muon: its rounds of three products for each matrix whose turn it is."""
    square = [shape for shape in product_shapes(module) if shape[1] == shape[2]]
    return sum(
        rounds_for(n) * 3 * 2 * members * n**3 // rotation_for(n, len(square)).update_every for members, n, _ in square
    )


def passes_a_second(denoiser: EnsembleDenoiser, sizes: Sizes, *, bfloat16: bool) -> float:
    """Return the rows per second of the loss and its gradients alone, in one shard on each thread."""
    n_threads = torch.get_num_threads()
    share = -(-sizes.batch // n_threads)
    rows = torch.ones(denoiser.n_members, share, D)
    levels, weight = torch.zeros(denoiser.n_members, share), torch.ones(denoiser.n_members, share)

    def one(_: int) -> float:
        return repeats_a_second(
            lambda: denoiser.loss_and_gradients(rows, rows, levels, weight, bfloat16=bfloat16), sizes.seconds
        )

    with single_threads() as parallel_map:
        return share * sum(parallel_map(one, range(n_threads)))


def repeats_a_second(call: Callable[[], object], seconds: float) -> float:
    """Return how often a second a call can be repeated, after one that is not counted."""
    call()
    began, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - began < seconds:
        call()
        count += 1
    return count / (time.perf_counter() - began)


def told(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the tables of operations per second, as shares of the peaks in float32 and in bfloat16."""
    by_width = sorted(results, key=lambda result: result["key"]["width"])

    def shares(columns: dict[str, str], *, peak: str | None = None) -> str:
        rows = []
        for result in by_width:
            rounds = result["shares"]
            tops = rounds[peak] if peak else [1.0 for _ in rounds["training"]]
            rows.append(
                (
                    str(result["key"]["width"]),
                    f"{result[peak or 'peak_training'] / 1e9:.0f}",
                    *(median_and_range(rounds[figure], tops) for figure in columns.values()),
                )
            )
        return table(("width", "peak, GFLOP/s", *columns), rows)

    single = {
        "training": "training",
        "with Muon's products": "training_with_muon",
        "loss and gradients alone": "passes",
        "sampling": "sampling",
    }
    half = {
        "training": "training_bfloat16",
        "with Muon's products": "training_bfloat16_with_muon",
        "loss and gradients alone": "passes_bfloat16",
    }
    faster = [
        (
            str(result["key"]["width"]),
            median_and_range(result["shares"]["training_bfloat16"]),
            median_and_range(result["shares"]["training_bfloat16"], result["shares"]["training"]),
        )
        for result in by_width
    ]
    return (
        "Operations per second as shares of the peak, that of the forward pass's products alone: the median of rounds "
        "in turns (the least to the most).\n\n"
        f"### float32, as shares of its peak\n\n{shares(single)}\n"
        f"### bfloat16 (`bfloat16`), as shares of its own peak\n\n{shares(half, peak='peak_bfloat16')}\n"
        "### Training in bfloat16 beside float32\n\n"
        + table(("width", "over the peak of float32", "over training in float32"), faster)
    )


def median_and_range(values: Sequence[float], over: Sequence[float] | None = None) -> str:
    """Return the median of values, or of their ratios to others, with the least and the most."""
    ratios = [a / b for a, b in zip(values, over or [1.0 for _ in values], strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
