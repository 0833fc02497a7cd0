"""How time and memory grow with the rows n, the columns d, the steps N and the evaluations, each in a fresh process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backwalk import Diffusion
from backwalk.datasets import curved_chain
from benchmarks.curves import Curve, drawn, write_svg
from benchmarks.draws import Results
from benchmarks.fresh import forget_peak, held_bytes, in_fresh_process, peak_bytes
from benchmarks.methods import timed
from benchmarks.record import Store
from benchmarks.tables import count, mib, table

BASE = {"n": 10_000, "d": 2, "n_steps": 1_000, "n_evaluations": 20}

TITLE = "Growth"


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


_AXES = {"n": "rows n", "d": "columns d", "n_steps": "steps of the chain, N", "n_evaluations": "evaluations"}
_Columns = dict[str, tuple[str, Callable[[float], str]]]
_OF_FITS: _Columns = {
    "fit, s": ("fit_seconds", "{:.1f}".format),
    "of it training, s": ("training_seconds", "{:.1f}".format),
    "training steps": ("training_steps", "{:,}".format),
    "peak of fit, MiB": ("fit_bytes", mib),
    "data, MiB": ("data_bytes", mib),
}
_OF_SAMPLING: _Columns = {
    "rows sampled per second": ("rows_sampled_a_second", count),
    "peak of sampling, MiB": ("sample_bytes", mib),
}
_OF_JUDGING: _Columns = {
    "rows bounded per second": ("rows_bounded_a_second", count),
    "rows scored per second": ("rows_scored_a_second", count),
}


def told(results: Results, curves: Path) -> str:
    """Return a table an axis, and draw the seconds along each."""
    texts, plots, labels = [], dict[str, dict[str, Curve]](), []
    for axis, label in _AXES.items():
        points = sorted(
            (result for result in results if result["key"]["axis"] == axis), key=lambda result: result["key"][axis]
        )
        if not points:
            continue
        plots[f"seconds along {label}"] = {
            "fit": [(point["key"][axis], point["fit_seconds"], 0.0) for point in points],
            "10,000 sampled rows": [(p["key"][axis], 1e4 / p["rows_sampled_a_second"], 0.0) for p in points],
        }
        labels.append(label)
        columns = _OF_SAMPLING if axis == "n_evaluations" else _OF_FITS | _OF_SAMPLING | _OF_JUDGING
        rows = [
            (f"{point['key'][axis]:,}", *(word(point[name]) for name, word in columns.values())) for point in points
        ]
        texts.append(table((label, *columns), rows))
    picture = curves / "growth.svg"
    write_svg(drawn(plots, x=labels, log_y=list(plots)), picture, note="Seconds of fits and samples along four axes")
    base = (
        f"Peaks are above what was held before. Where an axis is not varied: {BASE['n']:,} rows, d = {BASE['d']}, "
        f"N = {BASE['n_steps']:,} and the {BASE['n_evaluations']} evaluations of a default model. One fit each; "
        f"{max(result['n_judged'] for result in results)} rows are bounded and scored, up to 32 columns with the exact "
        "divergence, beyond by 16 probes. A default fit of other n and d has another network, and another number of "
        "steps.\n"
    )
    return "\n".join((f"![Seconds along four axes]({curves.name}/{picture.name})\n", base, *texts))
