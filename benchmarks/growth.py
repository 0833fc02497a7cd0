"""How time and memory grow with the rows n, the columns d, the steps N and the evaluations, each in a fresh process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from backwalk import Diffusion
from backwalk.datasets import curved_chain
from benchmarks.fresh import forget_peak, held_bytes, in_fresh_process, peak_bytes
from benchmarks.methods import timed
from benchmarks.record import Store

BASE = {"n": 10_000, "d": 2, "n_steps": 1_000, "n_evaluations": 20}


@dataclass(frozen=True)
class Sizes:
    """The values of each axis; training steps in place of the plan's; rows that are sampled and judged."""

    axes: tuple[tuple[str, tuple[int, ...]], ...]
    max_steps: int | None
    n_sampled: int
    n_judged: int


SIZES = {
    "quick": Sizes((("n", (100, 1000)), ("d", (2, 4)), ("n_steps", (20,)), ("n_evaluations", (5,))), 2, 100, 10),
    "short": Sizes(
        (("n", (1_000, 100_000, 1_000_000)), ("d", (8, 64)), ("n_steps", (100,)), ("n_evaluations", (10, 1_000))),
        200,
        10_000,
        64,
    ),
    "full": Sizes(
        (
            ("n", (1_000, 10_000, 100_000, 1_000_000, 10_000_000)),
            ("d", (2, 4, 8, 16, 32, 64, 128, 256)),
            ("n_steps", (100, 1_000, 10_000)),
            ("n_evaluations", (5, 10, 20, 50, 100, 200, 500, 1_000)),
        ),
        None,
        100_000,
        256,
    ),
}


def run(store: Store, sizes: Sizes) -> None:
    """Measure along each axis, the others at `BASE`."""
    for axis, values in sizes.axes:
        for value in values:
            key = {"axis": axis, **BASE, axis: value, "max_steps": sizes.max_steps}
            settings = {name: key[name] for name in (*BASE, "max_steps")}
            store.once(
                key,
                partial(
                    in_fresh_process,
                    "benchmarks.growth:fit_sample_and_judge",
                    n_sampled=sizes.n_sampled,
                    n_judged=sizes.n_judged,
                    **settings,
                ),
            )


def fit_sample_and_judge(
    *, n: int, d: int, n_steps: int, n_evaluations: int, max_steps: int | None, n_sampled: int, n_judged: int
) -> dict[str, Any]:
    """Return seconds and peaks of memory, above what was held before, of a fit and a sample; and rates of judging."""
    # A few rows first: what libraries set up on first use is neither time nor memory of this fit.
    chain, n_evaluations = curved_chain(d), min(n_evaluations, n_steps)
    few = chain.sample(100, random_state=1)
    Diffusion(n_steps=10, max_steps=1, random_state=0, verbose=False).fit(few)
    X = chain.sample(n, random_state=0)
    forget_peak()
    before = held_bytes()
    model = Diffusion(n_steps=n_steps, max_steps=max_steps, random_state=0, verbose=False)
    _, fitting = timed(lambda: model.fit(X))
    of_fit = peak_bytes() - before
    model.sample(100, n_evaluations=n_evaluations, random_state=1)  # which, once for a model, fits the few steps to it
    model.bound(few, random_state=1)
    model.score_samples(few[:1])
    forget_peak()
    before = held_bytes()
    _, sampling = timed(
        lambda: sum(map(len, model.sample_pieces(n_sampled, n_evaluations=n_evaluations, random_state=0)))
    )
    of_sample = peak_bytes() - before
    _, bounding = timed(lambda: model.bound(X[:n_judged], random_state=0))
    _, scoring = timed(lambda: model.score_samples(X[:n_judged]))
    return {
        "data_bytes": X.nbytes,
        "fit_seconds": fitting,
        "training_seconds": model.history_.seconds,
        "training_steps": model.history_.n_steps,
        "fit_bytes": of_fit,
        "rows_sampled_a_second": n_sampled / sampling,
        "sample_bytes": of_sample,
        "n_judged": n_judged,
        "rows_bounded_a_second": n_judged / bounding,
        "rows_scored_a_second": n_judged / scoring,
    }
