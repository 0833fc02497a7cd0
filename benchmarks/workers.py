"""What several workers cost in a training step: `torchrun --standalone --nproc-per-node 2 -m benchmarks.workers`.

Per network, in milliseconds: the processor time of a step of one member by one process, whole and in 8 shards, and by
worker 0 of all; and of many exchanges the quietest, of one sum of gradients and of one number.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from backwalk.denoiser import Residual, build_denoiser
from backwalk.diffusion import NoiseSchedule
from backwalk.streams import Stream
from backwalk.threads import single_threads
from backwalk.training import ALONE, LogNormalLevels, Training, Workers, torchrun_workers
from backwalk.training.batches import Batches
from backwalk.training.ensemble_learner import EnsembleLearner

NETWORKS = {"2 columns": (2, 48, 1500), "8 columns": (8, 128, 1000), "300 columns": (300, 320, 1000)}
STEPS = 60
SCHEDULE = NoiseSchedule.log_snr_uniform(20, log_snr_max=8.0, log_snr_min=-6.0)


def stepper(d: int, width: int, rows: int, shards: int | None, workers: Workers) -> Callable[[int], None]:
    """Return a function that takes a step of one member."""
    stream = Stream(0)
    denoiser = build_denoiser(Residual(width, 3, 1), d, schedule=SCHEDULE, floor=0.1, stream=stream)
    plan = Training(max_steps=STEPS, batch_size=rows, learning_rate=0.01, hidden_rate=0.02, shards=shards)
    x_0 = stream.normal(0, rows, d, torch.float32)
    batches = Batches(x_0, LogNormalLevels(0.02, 20.0, -1.0), plan, 1, stream)
    learner = EnsembleLearner(denoiser, plan, workers)
    return lambda number: learner.step(batches, 1.0, number)


def processor(step: Callable[[int], object]) -> float:
    """Return the milliseconds of processor time of a call, the mean of many."""
    step(0)  # which sets up what later ones reuse
    began = time.process_time()
    for number in range(1, STEPS):
        step(number)
    return 1e3 * (time.process_time() - began) / (STEPS - 1)


def quietest(step: Callable[[int], object]) -> float:
    """Return the milliseconds of the quietest of many calls, after a few."""
    took = []
    for number in range(5 * STEPS):
        began = time.perf_counter()
        step(number)
        took.append(time.perf_counter() - began)
    return 1e3 * min(took[5:])


def exchange(n: int, workers: Workers) -> Callable[[int], object]:
    """Return a function that exchanges n numbers, all with all."""
    numbers = torch.zeros(n)
    return lambda _: workers.gathered(numbers, range(workers.size))


def main() -> None:
    """Measure, and print a table."""
    with torchrun_workers() as workers, single_threads():
        for name, (d, width, rows) in NETWORKS.items():
            n = sum(
                p.numel()
                for p in build_denoiser(
                    Residual(width, 3, 1), d, schedule=SCHEDULE, floor=0.1, stream=Stream(0)
                ).parameters()
            )
            alone = {shards: float("nan") for shards in (None, 8)}
            if workers.rank == 0:
                alone = {shards: processor(stepper(d, width, rows, shards, ALONE)) for shards in alone}
            workers.gathered(torch.zeros(1), range(workers.size))  # the others wait
            shared = processor(stepper(d, width, rows, 8, workers))
            gradients, numbers = quietest(exchange(n, workers)), quietest(exchange(1, workers))
            if workers.rank == 0:
                print(f"{name}: {n:,} weights, batches of {rows:,}; {workers.size} workers; milliseconds:")
                print(f"  alone {alone[None]:.2f}, alone in 8 shards {alone[8]:.2f}, worker 0 of all {shared:.2f}")
                print(f"  to exchange gradients {gradients:.2f}, one number {numbers:.3f}")


if __name__ == "__main__":
    main()
