"""Does training in bfloat16 cost fidelity? The same fit with products in float32 and in bfloat16, on the same rows.

Everything else is the plan that `Diffusion` chooses for this network and these rows, cut to a number of steps, with the
same weights to begin with, the same batches and the same noise. Both models are bounded with the same noise, so that
their difference has a smaller error than either; the difference of two fits in float32 with other seeds stands beside
it, as that is how far one fit is from another anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from backwalk import Diffusion
from backwalk.assess.statistics import mean_estimate
from backwalk.defaults import default_training
from backwalk.denoiser import Residual
from benchmarks.densities import Case, cases
from benchmarks.draws import Results
from benchmarks.methods import timed
from benchmarks.record import Figures, Store
from benchmarks.tables import Mean, mean_of, shown, table

TITLE = "Does bfloat16 cost fidelity?"


@dataclass(frozen=True)
class Sizes:
    """The widths of the networks, the densities, the draws of the data, the training steps, and the unseen rows."""

    widths: tuple[int, ...]
    densities: tuple[str, ...]
    n_seeds: int
    max_steps: int
    n_unseen: int
    most_rows: int | None = None

    def __post_init__(self) -> None:
        cases(self.densities)


SIZES = {
    "quick": Sizes((8,), ("two_moons",), 1, 5, 20, 100),
    "short": Sizes((128,), ("curved_chain",), 1, 300, 256),
    "full": Sizes((128, 512), ("curved_chain", "warped_mixture"), 3, 800, 512),
}


def run(store: Store, sizes: Sizes) -> None:
    """Fit with both kinds of products for each density, width and draw."""
    for seed in range(sizes.n_seeds):
        for case in cases(sizes.densities):
            for width in sizes.widths:
                key = {"density": case.name, "width": width, "steps": sizes.max_steps, "seed": seed}
                store.once(key, partial(_both, case, width, seed, sizes))


def _both(case: Case, width: int, seed: int, sizes: Sizes) -> Figures:
    X = case.training_rows(sizes.most_rows, seed)
    unseen = case.make().sample(sizes.n_unseen, random_state=seed + 1000)
    network = Residual(width=width, n_blocks=3)
    plan = default_training(*X.shape, max_steps=sizes.max_steps, architecture=network)
    seconds, bounds, densities = {}, {}, {}
    for name, half, fit_seed in (
        ("float32", False, seed),
        ("bfloat16", True, seed),
        ("float32_again", False, seed + 1),
    ):
        estimator = Diffusion(
            denoiser=network,
            training=replace(plan, bfloat16=half),
            random_state=fit_seed,
            verbose=False,
        )
        model, seconds[name] = timed(partial(estimator.fit, X))
        bounds[name] = model.bound(unseen, random_state=seed).per_row.numpy()
        densities[name] = model.score_samples(unseen)
    figures: Figures = {"fit_seconds": seconds, "bound": {name: float(rows.mean()) for name, rows in bounds.items()}}
    for name in ("bfloat16", "float32_again"):
        for what, less in (
            ("bound", bounds[name] - bounds["float32"]),
            ("nats", densities["float32"] - densities[name]),
        ):
            worse = mean_estimate(np.asarray(less))
            figures[f"{what}_of_{name}_worse_by"] = [worse.value, worse.standard_error]
    return figures


def told(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the table of what bfloat16 changes, in nats, beside what another seed does."""
    order = sorted(results, key=lambda r: (r["key"]["density"], r["key"]["width"], r["key"]["seed"]))
    rows = [
        (
            f"{result['key']['density']}, width {result['key']['width']}",
            str(result["key"]["seed"]),
            f"{result['bound']['float32']:.3f}",
            *(
                shown(Mean(*result[f"{what}_of_{name}_worse_by"], freedom=0))
                for what in ("bound", "nats")
                for name in ("bfloat16", "float32_again")
            ),
            f"{result['fit_seconds']['float32'] / result['fit_seconds']['bfloat16']:.2f}",
        )
        for result in order
    ]
    steps = sorted({result["key"]["steps"] for result in results})
    words = (
        f"The same fit, of {' or '.join(map(str, steps))} steps, with products in float32 and in bfloat16, and a third "
        "in float32 from other weights and batches: how much worse the second and the third are than the first, in "
        "nats per row, by the chain's bound and by the ODE's log-density. ± is over the same unseen rows. Fits come "
        "one after another, so their ratio of seconds is rough; the table above has that in turns.\n"
    )
    head = (
        "density, network",
        "draw",
        "bound in float32, nats",
        "bound: bfloat16",
        "bound: another seed",
        "log-density: bfloat16",
        "log-density: another seed",
        "seconds of float32 over bfloat16",
    )
    tables = dict[tuple[str, int], Results]()  # the widths share their rows, so that only these are independent
    for result in order:
        tables.setdefault((result["key"]["density"], result["key"]["seed"]), []).append(result)
    half, again = (
        shown(mean_of([[result[f"bound_of_{name}_worse_by"][0] for result in same] for same in tables.values()]))
        for name in ("bfloat16", "float32_again")
    )
    means = (
        f"Over all of these, the widths averaged, with ± over the {len(tables)} tables of rows: bfloat16 {half}, "
        f"another seed {again} nats of bound.\n"
    )
    return f"{words}\n{table(head, rows)}\n{means}"
