"""The course notebook's training loop as written, beside this library, in one run: `python benchmarks/notebook.py`.

Four things are timed in turns, A B C D A B C D: an epoch of the notebook's loop in plain torch with its `DataLoader`,
the same loop with rows gathered by an index, an epoch of `Diffusion.ddpm()`, and the whole of `Diffusion().fit`.
Medians and ratios are printed. The notebook's 5,000 epochs are extrapolated from some, or all trained with `--full`.
`--quality` judges samples of several fits against independent draws of two moons.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import backwalk
from backwalk import Diffusion, PriorMismatchWarning
from backwalk.datasets import two_moons
from backwalk.evaluation import RealPairs, c2st, compare, disjoint_pairs, sliced_wasserstein
from backwalk.streams import Stream

N_EPOCHS, N_STEPS, BATCH = 5_000, 100, 1_000
N_POINTS = 10_000
WARM_UP_EPOCHS = 3

Rows = np.ndarray
Sampler = Callable[[int], Rows]


def notebook_points(n: int = N_POINTS) -> Rows:
    """Return the points that the notebook trains on: (n, 2)."""
    points, _ = make_moons(n, noise=0.05, random_state=10)
    return np.asarray(points)


class Notebook:
    """The notebook's model, loop and sampler, with nothing of this library in them.

    Its batches come from a shuffling `DataLoader`, which gathers rows one by one, or, `by_index`, from a permutation:
    the same loop written better, so that the comparison is not with the loader alone.
    """

    def __init__(self, points: Rows, *, seed: int, by_index: bool = False) -> None:
        self.by_index = by_index
        self.points = torch.from_numpy(points).float()
        self.beta = torch.linspace(0.001, 0.02, N_STEPS)  # beta[t - 1] is beta_t
        self.alpha = 1.0 - self.beta
        self.alpha_bar = torch.cumprod(self.alpha, 0)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.network = _perceptron(points.shape[1])
        self.generator = torch.Generator().manual_seed(seed)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-3)

    def train(self, n_epochs: int) -> list[float]:
        """Train on for some epochs, and return the loss of the first batch of each."""
        losses = []
        for _ in range(n_epochs):
            for i, x_0 in enumerate(self._batches()):
                loss = self._loss(x_0)
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                if i == 0:
                    losses.append(loss.item())
        return losses

    def _batches(self) -> Iterator[Tensor]:
        if self.by_index:
            order = torch.randperm(len(self.points), generator=self.generator)
            for first in range(0, len(order) - BATCH + 1, BATCH):
                yield self.points[order[first : first + BATCH]]
        else:
            rows = TensorDataset(self.points)
            for (x_0,) in DataLoader(rows, BATCH, shuffle=True, drop_last=True, generator=self.generator):
                yield x_0

    @torch.no_grad()
    def sample(self, n: int) -> Rows:
        """Return n rows by ancestral sampling with sigma_t^2 = beta_t and no noise in the last step."""
        x = self._normal(n)
        for t in range(N_STEPS, 0, -1):
            beta, alpha, alpha_bar = self.beta[t - 1], self.alpha[t - 1], self.alpha_bar[t - 1]
            eps = self._predict(x, torch.full((n, 1), t))
            x = (x - beta / torch.sqrt(1.0 - alpha_bar) * eps) / torch.sqrt(alpha)
            if t > 1:
                x = x + torch.sqrt(beta) * self._normal(n)
        return x.double().numpy()

    def _loss(self, x_0: Tensor) -> Tensor:
        t = torch.randint(1, N_STEPS + 1, (len(x_0), 1), generator=self.generator)
        eps = self._normal(len(x_0))
        alpha_bar = self.alpha_bar[t - 1]
        x_t = torch.sqrt(alpha_bar) * x_0 + torch.sqrt(1.0 - alpha_bar) * eps
        return (self._predict(x_t, t) - eps).square().sum(dim=1).mean()

    def _predict(self, x_t: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = self.network(torch.cat([x_t, t / N_STEPS], dim=1))
        return prediction

    def _normal(self, n: int) -> Tensor:
        return torch.randn(n, self.points.shape[1], generator=self.generator)


def fit_ddpm(points: Rows, *, n_epochs: int, seed: int) -> Diffusion:
    """Return `Diffusion.ddpm()` fitted to points."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PriorMismatchWarning)
        return Diffusion.ddpm(n_epochs=n_epochs, random_state=seed, verbose=False).fit(points)


def fit_default(points: Rows, *, max_steps: int | None, seed: int) -> Diffusion:
    """Return `Diffusion()` fitted to points."""
    return Diffusion(max_steps=max_steps, random_state=seed, verbose=False).fit(points)


def time_in_turns(
    points: Rows, *, n_epochs: int, n_rounds: int, max_steps: int | None = None
) -> dict[str, list[float]]:
    """Return each round's seconds: an epoch of the notebook, with its loader and by index, one of `Diffusion.ddpm()`, a
    fit of `Diffusion()`.
    """
    notebook, by_index = Notebook(points, seed=0), Notebook(points, seed=0, by_index=True)
    notebook.train(WARM_UP_EPOCHS)
    by_index.train(WARM_UP_EPOCHS)
    fit_ddpm(points, n_epochs=WARM_UP_EPOCHS, seed=0)
    fit_default(points, max_steps=WARM_UP_EPOCHS, seed=0)
    names = ("notebook_epoch", "indexed_epoch", "ddpm_epoch", "default_fit")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(n_rounds):
        began = time.perf_counter()
        notebook.train(n_epochs)
        seconds["notebook_epoch"].append((time.perf_counter() - began) / n_epochs)
        began = time.perf_counter()
        by_index.train(n_epochs)
        seconds["indexed_epoch"].append((time.perf_counter() - began) / n_epochs)
        ddpm = fit_ddpm(points, n_epochs=n_epochs, seed=round_)
        seconds["ddpm_epoch"].append(ddpm.history_.seconds / n_epochs)
        began = time.perf_counter()
        fit_default(points, max_steps=max_steps, seed=round_)
        seconds["default_fit"].append(time.perf_counter() - began)
    return seconds


def summary(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the medians, and the notebook's seconds over ours: the median over the rounds of the round's ratio."""
    whole = [N_EPOCHS * epoch for epoch in seconds["notebook_epoch"]]
    return {
        **{name: statistics.median(values) for name, values in seconds.items()},
        "notebook_training": statistics.median(whole),
        "indexed_epoch_over_ddpm_epoch": _median_ratio(seconds["indexed_epoch"], seconds["ddpm_epoch"]),
        "notebook_epoch_over_ddpm_epoch": _median_ratio(seconds["notebook_epoch"], seconds["ddpm_epoch"]),
        "notebook_training_over_default_fit": _median_ratio(whole, seconds["default_fit"]),
        "indexed_training_over_default_fit": _median_ratio(
            [N_EPOCHS * epoch for epoch in seconds["indexed_epoch"]], seconds["default_fit"]
        ),
    }


def independent_pairs(n_pairs: int, n_rows: int) -> RealPairs:
    """Return pairs of sets of real rows, all drawn independently from the density of two moons."""
    return disjoint_pairs(two_moons().sample(2 * n_pairs * n_rows, random_state=100), n_pairs, stream=Stream(101))


def judge(sample: Sampler, pairs: RealPairs) -> dict[str, float]:
    """Return C2ST minus real pairs, with its error over the pairs, and sliced W1 over real pairs."""
    rows = sample(pairs.n_generated)
    told = compare(lambda x, y: c2st(x, y, stream=Stream(102)), pairs, rows, name="C2ST")
    moved = compare(lambda x, y: sliced_wasserstein(x, y, stream=Stream(103)), pairs, rows, name="sliced W1")
    return {
        "c2st_minus_real": told.difference,
        "c2st_standard_error": told.difference_standard_error,
        "sliced_w1_over_real": moved.value / moved.null,
    }


def contenders(points: Rows, *, full: bool) -> Iterator[tuple[str, Callable[[int], tuple[float, Sampler]]]]:
    """Yield what is judged: a name, and seed -> (seconds of training, how to sample). `full` adds the 5,000 epochs."""

    def default(seed: int) -> tuple[float, Sampler]:
        return _timed(lambda: fit_default(points, max_steps=None, seed=seed))

    def ddpm(seed: int) -> tuple[float, Sampler]:
        return _timed(lambda: fit_ddpm(points, n_epochs=N_EPOCHS, seed=seed))

    def notebook(seed: int) -> tuple[float, Sampler]:
        began, model = time.perf_counter(), Notebook(points, seed=seed)
        model.train(N_EPOCHS)
        return time.perf_counter() - began, model.sample

    yield "Diffusion()", default
    if full:
        yield "Diffusion.ddpm()", ddpm
        yield "notebook", notebook


def machine() -> dict[str, Any]:
    """Return what the timings depend on."""
    return {
        "processor": platform.machine(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "backwalk": backwalk.__version__,
    }


@click.command(help=__doc__)
@click.option("--epochs", default=40, show_default=True, help="Epochs a round that the two loops are timed on.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of A B C D.")
@click.option("--threads", type=int, help="Threads that torch may use, in place of its own choice.")
@click.option("--quality", is_flag=True, help="Judge the samples of --fits fits of Diffusion() against real pairs.")
@click.option("--fits", default=3, show_default=True, help="Fits that are judged, each with a seed of its own.")
@click.option("--pairs", default=8, show_default=True, help="Independent pairs of 10,000 real rows each.")
@click.option("--full", is_flag=True, help="Train and judge all 5,000 epochs too: an hour. Implies --quality.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write everything to this file.")
def main(
    epochs: int,
    rounds: int,
    threads: int | None,
    quality: bool,
    fits: int,
    pairs: int,
    full: bool,
    json_path: Path | None,
) -> None:
    """Run the benchmark and print it."""
    if threads is not None:
        torch.set_num_threads(threads)
    points = notebook_points()
    record: dict[str, Any] = {"machine": machine()}
    print(", ".join(f"{name} {value}" for name, value in record["machine"].items()))
    record["seconds"] = time_in_turns(points, n_epochs=epochs, n_rounds=rounds)
    record["summary"] = summary(record["seconds"])
    _print_summary(record["summary"])
    if quality or full:
        real = independent_pairs(pairs, N_POINTS)
        record["quality"] = {}
        for name, fit in contenders(points, full=full):
            record["quality"][name] = [_judged_fit(name, fit, seed, real) for seed in range(fits)]
            _print_mean(name, record["quality"][name])
    if json_path:
        json_path.write_text(json.dumps(record, indent=1) + "\n")


def _perceptron(d: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in in (d + 1, 100, 100, 100):
        layers += [nn.Linear(n_in, 100), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(100, d))


def _timed(fit: Callable[[], Diffusion]) -> tuple[float, Sampler]:
    began = time.perf_counter()
    model = fit()
    return time.perf_counter() - began, lambda n: model.sample(n, random_state=1)


def _judged_fit(name: str, fit: Callable[[int], tuple[float, Sampler]], seed: int, real: RealPairs) -> dict[str, float]:
    seconds, sample = fit(seed)
    result = {"seconds": seconds, **judge(sample, real)}
    print(f"{name:<18} fit {seed}: {seconds:7.1f} s", end="   ")
    print(f"C2ST - real {result['c2st_minus_real']:.4f} +- {result['c2st_standard_error']:.4f}", end="   ")
    print(f"sliced W1 / real {result['sliced_w1_over_real']:.2f}", flush=True)
    return result


def _print_summary(figures: dict[str, float]) -> None:
    notebook, indexed = 1e3 * figures["notebook_epoch"], 1e3 * figures["indexed_epoch"]
    print(f"notebook's loop     {notebook:7.1f} ms an epoch, {figures['notebook_training']:.0f} s for {N_EPOCHS:,}")
    print(f"the same, by index  {indexed:7.1f} ms an epoch, {N_EPOCHS * indexed / 1e3:.0f} s for {N_EPOCHS:,}")
    print(f"Diffusion.ddpm()    {1e3 * figures['ddpm_epoch']:7.1f} ms an epoch; the notebook's over this: ", end="")
    print(f"{figures['notebook_epoch_over_ddpm_epoch']:.2f}, by index {figures['indexed_epoch_over_ddpm_epoch']:.2f}")
    print(f"Diffusion().fit     {figures['default_fit']:7.2f} s in all; the notebook's training over this: ", end="")
    print(
        f"{figures['notebook_training_over_default_fit']:.1f}, "
        f"by index {figures['indexed_training_over_default_fit']:.1f}",
        flush=True,
    )


def _print_mean(name: str, fits: list[dict[str, float]]) -> None:
    values = [fit["c2st_minus_real"] for fit in fits]
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    ratio = statistics.mean(fit["sliced_w1_over_real"] for fit in fits)
    print(f"{name:<18} mean of {len(fits)}:        C2ST - real {statistics.mean(values):.4f} +- {error:.4f}", end="   ")
    print(f"sliced W1 / real {ratio:.2f}", flush=True)


def _median_ratio(numerators: list[float], denominators: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


if __name__ == "__main__":
    main()
