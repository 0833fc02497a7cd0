"""From results to the page: tables and curves, a function a part. It measures nothing and decides nothing."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import turns
from benchmarks.curves import Curve, drawn, write_svg
from benchmarks.growth import BASE
from benchmarks.methods import REAL, NotebookAsWritten
from benchmarks.record import Figures
from benchmarks.suite import METHODS
from benchmarks.tables import LEAST_DRAWS, Mean, Parts, count, difference, first_and_tied, mean_of, shown, table
from benchmarks.time_to_quality import TWO_MOONS

Results = list[Figures]


def write_page(results: Path, page: Path) -> None:
    """Write the page of all results in a folder, and its curves into the folder `page` without its suffix."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(results, page.with_suffix("")))


def render(results: Path, curves: Path) -> str:
    """Return the page as Markdown, and write its curves. A part that was not measured says so."""
    sections = [
        "# Benchmarks\n",
        "Written by `python -m benchmarks` from the files in `benchmarks/results`; `benchmarks/README.md` says how "
        "each figure is made. ± is one standard error; each part says of what. **Bold**: the first, which has the "
        "least mean of those with the most draws of the data; fewer draws may give a smaller one. ≈: not shown to be "
        "worse than the first, in pairs on the same rows at the level of two standard errors, by Student's t, each "
        "comparison by itself. That is no proof of being as good: where ± is wide, little can be shown.\n",
        "C2ST is the accuracy of a classifier that tells generated from real rows, 0.5 to 1, by boosted trees unless "
        "said otherwise; sliced W1 is a distance. Both stand beside those of other real rows, on which no model can "
        "improve; one that has learnt from some thousands of rows does not quite reach them. The gap is how many nats "
        "per row the model's log-density lies below the truth; `Diffusion`'s is the probability-flow ODE's, its rows "
        "are those of its default sampler.\n",
        _methods_in_words(),
    ]
    for name, (title, write) in SECTIONS.items():
        path = results / f"{name}.json"
        sections.append(f"## {title}\n")
        if not path.exists():
            sections.append(f"Not measured yet: `python -m benchmarks {name} --size full`.\n")
            continue
        record = json.loads(path.read_text())
        done = [result for result in record["results"] if "failed" not in result]
        sections.append(write(done, curves) if done else "Nothing was measured.\n")
        sections.append(_failures(record["results"]))
        sections.append(_machine(record["machine"], record["results"]))
    return "\n".join(filter(None, sections))


def time_to_quality(results: Results, curves: Path) -> str:
    """Return the tables and draw the curves: seconds of the whole fit against what its samples are worth."""
    apart = [result for result in results if result["key"]["rows"] == TWO_MOONS.name]
    on_a_grid = [result for result in results if result["key"]["rows"] != TWO_MOONS.name]
    text, plots = _quality_tables(apart)
    picture = curves / "time_to_quality.svg"
    positive = [t for t, curves in plots.items() if all(y > 0.0 for curve in curves.values() for _, y, _ in curve)]
    figure = drawn(plots, x="seconds from rows to a fitted model", log_y=positive)
    write_svg(figure, picture, note="Quality against seconds of the fit")
    text = f"![Quality against seconds of the fit]({curves.name}/{picture.name})\n\n{text}"
    if on_a_grid:
        text += f"\n### The rows of scikit-learn's `make_moons`\n\n{_ON_A_GRID}\n\n{_quality_tables(on_a_grid)[0]}"
    return text


_ON_A_GRID = (
    "The same density, but along the moons the training rows lie on a grid, as the notebook's do, and show it with "
    "less noise than independent rows can. Judged by independent rows, as above."
)


def _quality_tables(results: Results) -> tuple[str, dict[str, dict[str, Curve]]]:
    """Return the table of the draws that most methods have, one of those with more, and the first one's curves."""
    groups = _grouped(results, "method", "budget")
    real = groups.pop((REAL, 0.0), {})
    seeds = {seed for draws in groups.values() for seed in draws}
    usual = {seed for seed in seeds if 2 * sum(seed in draws for draws in groups.values()) >= len(groups)}
    common = {key: {s: draw for s, draw in draws.items() if s in usual} for key, draws in groups.items()}
    text, plots = _quality_table({key: draws for key, draws in common.items() if draws}, real)
    head = " ".join(filter(None, (_judged(results), _of_real_rows(real), _ERRORS_BY_DRAWS)))
    text = f"{head}\n\n{text}"
    more = {key: draws for key, draws in groups.items() if set(draws) - usual}
    if more:
        table_of_more, _ = _quality_table(more, real)
        text += f"\nWhat is held against a number has more draws, the ones above among them:\n\n{table_of_more}"
    return text, plots


def _quality_table(groups: dict[tuple[Any, ...], Draws], real: Draws) -> tuple[str, dict[str, dict[str, Curve]]]:
    """Return a table, a row per method and budget, and the curves of its figures against the fit's seconds."""
    plots: dict[str, dict[str, list[tuple[float, float, float]]]] = {
        title: {} for title in ("C2ST minus real", "sliced W1 over real", "gap, nats")
    }
    rows = []
    for (method, budget), draws in sorted(groups.items()):
        seconds = mean_of([[draw["fit_seconds"] for draw in draws.values()]]).value
        figures = (
            _minus(draws, real, "c2st_boosting"),
            _over(draws, real, "sliced_w1"),
            _gap(draws),
        )
        for title, figure in zip(plots, figures, strict=True):
            if figure is not None:
                plots[title].setdefault(method, []).append((seconds, figure.value, _error(figure)))
        speed = mean_of([[draw["rows_sampled_a_second"] for draw in draws.values()]]).value
        cells = (
            f"{budget:g}",
            str(len(draws)),
            f"{seconds:.2f}",
            *("" if f is None else shown(f) for f in figures[:2]),
            _infinite(draws) or ("" if figures[2] is None else shown(figures[2])),
            count(speed),
        )
        rows.append((method, *cells, _choices(draws)))
    sorted_curves: dict[str, dict[str, Curve]] = {
        title: {name: sorted(curve) for name, curve in curves.items()} for title, curves in plots.items()
    }
    head = ("method", "budget, s", "draws", "fit, s", *plots, "rows sampled per second", "chosen")
    return table(head, rows), sorted_curves


_ERRORS_BY_DRAWS = (
    f"± is over draws of the data, each with a fit of its own; with fewer than {LEAST_DRAWS} it is over rows of the "
    "same fits, and leaves out the chance of another fit."
)


def suite(results: Results, curves: Path) -> str:  # noqa: ARG001 - every part is told where curves go
    """Return a table for each figure: a row per density, a column per method."""
    texts = []
    for budget in sorted({result["key"]["budget"] for result in results}):
        here = [result for result in results if result["key"]["budget"] == budget]
        groups = _grouped(here, "density", "method")
        n_seeds = len({result["key"]["seed"] for result in here})
        words = (f"{budget:g} seconds per fit.", _about_errors(n_seeds), _judged(here), _SCALES)
        texts.append(" ".join(filter(None, words)) + "\n")
        for title, name in (
            ("Gap: mean of log p_true - log p_model over unseen rows, nats", "gap"),
            ("C2ST minus that of real rows, boosted trees", "c2st_boosting"),
            (
                "C2ST minus that of real rows, nearest neighbours (which see little beyond a few columns)",
                "c2st_neighbours",
            ),
            ("Energy distance minus that of real rows, standardised columns", "energy"),
        ):
            texts.append(f"### {title}\n\n{_figure_table(groups, name)}")
        texts.append(f"### Seconds of the fit\n\n{_plain_table(groups, 'fit_seconds', lambda v: f'{v:.1f}')}")
        texts.append(f"### Rows sampled per second\n\n{_plain_table(groups, 'rows_sampled_a_second', count)}")
    return "\n".join(texts)


def gemm(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the tables of operations per second, as shares of the peaks in float32 and in bfloat16."""
    by_width = sorted(results, key=lambda result: result["key"]["width"])

    def shares(columns: dict[str, str], *, peak: str | None = None) -> str:
        over = [result["shares"][peak] if peak else 1.0 for result in by_width]
        rows = [
            (
                str(result["key"]["width"]),
                f"{result['peak_training'] * top / 1e9:.0f}",
                *(f"{result['shares'][figure] / top:.2f}" for figure in columns.values()),
            )
            for result, top in zip(by_width, over, strict=True)
        ]
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
            f"{result['shares']['training_bfloat16']:.2f}",
            f"{result['shares']['training_bfloat16'] / result['shares']['training']:.2f}",
        )
        for result in by_width
    ]
    return (
        "Operations per second as shares of the peak, that of the same products alone; medians of rounds in turns.\n\n"
        f"### float32, as shares of its peak\n\n{shares(single)}\n"
        f"### bfloat16 (`half_products`), as shares of its own peak\n\n{shares(half, peak='peak_bfloat16')}\n"
        "### Training in bfloat16 beside float32\n\n"
        + table(("width", "over the peak of float32", "over training in float32"), faster)
    )


_AXES = {"n": "rows n", "d": "columns d", "n_steps": "steps of the chain, N", "n_evaluations": "evaluations"}


def growth(results: Results, curves: Path) -> str:
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
        rows = [
            (
                f"{point['key'][axis]:,}",
                f"{point['fit_seconds']:.1f}",
                f"{point['training_seconds']:.1f}",
                f"{point['training_steps']:,}",
                _mib(point["fit_bytes"]),
                _mib(point["data_bytes"]),
                count(point["rows_sampled_a_second"]),
                _mib(point["sample_bytes"]),
                count(point["rows_bounded_a_second"]),
                count(point["rows_scored_a_second"]),
            )
            for point in points
        ]
        head = (
            label,
            "fit, s",
            "of it training, s",
            "training steps",
            "peak of fit, MiB",
            "data, MiB",
            "rows sampled per second",
            "peak of sampling, MiB",
            "rows bounded per second",
            "rows scored per second",
        )
        texts.append(table(head, rows))
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


def sampling(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the rates with their worth, and the files."""
    texts = []
    for result in (result for result in results if result["key"]["what"] == "rates"):
        n, seconds = result["key"]["n"], result["seconds"]
        first = next(iter(seconds))
        rows = [
            (
                name,
                count(n / statistics.median(times)),
                f"{turns.median_ratio(seconds[first], times):.1f}",
                shown(mean_of([result["c2st_minus_real"][name]]))
                if name in result["c2st_minus_real"]
                else "as no_grad",
            )
            for name, times in seconds.items()
        ]
        texts.append(table(("two moons", "rows per second", "times the first line", "C2ST minus real"), rows))
        if "distilling_seconds" in result:
            texts.append(
                f"One fit, and one student of it, which took {result['distilling_seconds']:.0f} s, its pairs included. "
                "± is over pairs of sets of rows, and leaves out the chance of another fit.\n"
            )
        if "first_seconds" in result:
            besides = {
                name: result["first_seconds"][name] - statistics.median(times) for name, times in seconds.items()
            }
            told = [f"{more:.2f} s ({name})" for name, more in besides.items() if more >= 0.05]
            texts.append(
                "Rates are those of a program that goes on sampling. Its first call took longer, as steps are then "
                f"fitted to the model, or memory is set up: by {', '.join(told)}.\n"
                if told
                else "First calls took less than 0.05 s more.\n"
            )
    files = sorted(
        (result for result in results if result["key"]["what"] == "file"), key=lambda result: result["key"]["n"]
    )
    if files:
        texts.append("`backwalk sample -n N -o x.parquet`: seconds after the imports, memory of the whole process.\n")
        written = [
            (
                f"{result['key']['n']:,}",
                f"{result['seconds']:.1f}",
                count(result["rows_a_second"]),
                _mib(result["peak_bytes"]),
                _mib(result["above_loaded_bytes"]),
                _mib(result["file_bytes"]),
            )
            for result in files
        ]
        head = ("rows", "seconds", "rows per second", "peak, MiB", "above the loaded model, MiB", "file, MiB")
        texts.append(table(head, written))
    return "\n".join(texts)


def in_turns(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the notebook's times beside ours."""
    texts = []
    for result in results:
        figures = turns.summary(result)
        rows = [
            ("the notebook's loop as written", f"{1e3 * figures['notebook_epoch']:.1f}", "", ""),
            ("the same, rows by index", f"{1e3 * figures['indexed_epoch']:.1f}", "", ""),
            (
                "`Diffusion.ddpm()`",
                f"{1e3 * figures['ddpm_epoch']:.1f}",
                "",
                f"{figures['notebook_epoch_over_ddpm_epoch']:.2f} "
                f"(by index {figures['indexed_epoch_over_ddpm_epoch']:.2f})",
            ),
            (
                "`Diffusion()`, the whole fit",
                "",
                f"{figures['default_fit']:.1f}",
                f"{figures['notebook_training_over_default_fit']:.1f} "
                f"(by index {figures['indexed_training_over_default_fit']:.1f}), of 5,000 epochs, extrapolated",
            ),
        ]
        texts.append(
            table(
                (
                    f"two moons, {result['key']['n_points']:,} rows",
                    "an epoch, ms",
                    "whole fit, s",
                    "the notebook's time over this",
                ),
                rows,
            )
        )
    return "\n".join(texts)


def budgets(results: Results, curves: Path) -> str:  # noqa: ARG001
    """Return the table of gaps at T and 3 T, and whether any is worse by more than its error."""
    order = sorted(
        results, key=lambda result: (result["key"]["density"], result["key"]["budget"], result["key"]["seed"])
    )
    worse = [result for result in order if result["worse_by"] > result["worse_by_standard_error"]]
    rows = [
        (
            result["key"]["density"],
            f"{result['key']['budget']:g} and {3 * result['key']['budget']:g}",
            str(result["key"]["seed"]),
            f"{result['gap']:.4f}",
            f"{result['gap_of_three_times']:.4f}",
            f"{result['worse_by']:+.4f} ± {result['worse_by_standard_error']:.4f}"
            + (" worse" if result in worse else ""),
        )
        for result in order
    ]
    verdict = (
        f"Three times the budget is worse by more than a standard error in {len(worse)} of {len(order)} pairs. One fit "
        "each; ± is over the same unseen rows, and leaves out the chance of another fit.\n"
    )
    head = ("density", "budgets, s", "seed", "gap at T", "gap at 3 T", "gap at 3 T less that at T, nats")
    return f"{verdict}\n{table(head, rows)}"


def bfloat16(results: Results, curves: Path) -> str:  # noqa: ARG001
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
    half, again = (
        shown(mean_of([[result[f"bound_of_{name}_worse_by"][0]] for result in results]))
        for name in ("bfloat16", "float32_again")
    )
    means = f"Over all of these lines, with ± over the lines: bfloat16 {half}, another seed {again} nats of bound.\n"
    return f"{words}\n{table(head, rows)}\n{means}"


SECTIONS: dict[str, tuple[str, Callable[[Results, Path], str]]] = {
    "time_to_quality": ("Time to quality on two moons", time_to_quality),
    "suite": ("Densities with a known logarithm", suite),
    "turns": ("The notebook's training, in turns", in_turns),
    "sampling": ("Sampling", sampling),
    "budgets": ("Is more time ever worse?", budgets),
    "gemm": ("Share of the machine's matrix products", gemm),
    "bfloat16": ("Does bfloat16 cost fidelity?", bfloat16),
    "growth": ("Growth", growth),
}

_SCALES = (
    "Peers are given standardised columns, a kernel density also whitened ones, and ForestDiffusion, which scales by "
    "itself, the rows as they are; `Diffusion` also bends columns with heavy tails, which among these are the "
    "funnel's. Its defaults were chosen on other draws of some of these densities (two moons, four rings, spirals, "
    "the checkerboard, the pinwheel, the curved chain; for small tables the rotated chain and the mixtures too; the "
    "bend on the funnel), nearly all without a limit of time; peers choose from a few settings within the budget. "
    f"A method that has fewer than {LEAST_DRAWS} draws, where others have more, is not compared."
)
Draws = dict[int, Figures]


def _grouped(results: Results, *names: str) -> dict[tuple[Any, ...], Draws]:
    """Return the results by the named parts of their keys, and within a group by seed."""
    groups: dict[tuple[Any, ...], Draws] = {}
    for result in results:
        groups.setdefault(tuple(result["key"][name] for name in names), {})[result["key"]["seed"]] = result
    return groups


def _methods_in_words() -> str:
    """Return what each method is: the first paragraph of its docstring."""
    methods = {method.name: method for method in (*METHODS, NotebookAsWritten())}
    words = {name: " ".join((method.__doc__ or "").split("\n\n")[0].split()) for name, method in methods.items()}
    return "\n".join(f"- **{name}**: {text}" for name, text in sorted(words.items())) + "\n"


def _judged(results: Results) -> str:
    """Return on how much is judged, where the results know: the older ones do not."""
    known = {(r["pairs"], r["rows_in_a_set"], r["unseen_rows"]) for r in results if "pairs" in r}
    if not known:
        return ""
    pairs, rows, unseen = (
        " or ".join(f"{size:,}" for size in sorted(sizes)) for sizes in map(set, zip(*known, strict=True))
    )
    return f"Distances and C2ST are over {pairs} pairs of {rows} rows, gaps over {unseen} unseen rows."


def _of_real_rows(real: Draws) -> str:
    if not real:
        return ""
    c2st, w1 = (shown(mean_of(_parts(real, name))) for name in ("c2st_boosting", "sliced_w1"))
    return f"Real rows have a C2ST of {c2st} and a sliced W1 of {w1} of a column's standard deviations."


def _about_errors(n_draws: int) -> str:
    if n_draws >= LEAST_DRAWS:
        return f"± is over {n_draws} draws of the data, each with a fit of its own."
    draws = "One draw" if n_draws == 1 else f"{n_draws} draws"
    return f"{draws} of the data; ± is over rows of the same fits, and leaves out the chance of another fit."


def _parts(draws: Draws, name: str, seeds: Sequence[int] | None = None) -> Parts:
    return [draws[seed][name] for seed in (sorted(draws) if seeds is None else seeds)]


def _minus(draws: Draws, real: Draws, name: str) -> Mean | None:
    seeds = [seed for seed in sorted(draws) if seed in real and name in draws[seed]]
    return difference(_parts(draws, name, seeds), _parts(real, name, seeds)) if seeds else None


def _over(draws: Draws, real: Draws, name: str) -> Mean | None:
    """Return the ratio r of the means of a figure and of its null, with the error of (part - r null) / mean null."""
    seeds = [seed for seed in sorted(draws) if seed in real]
    if not seeds:
        return None
    parts, nulls = _parts(draws, name, seeds), _parts(real, name, seeds)
    null = mean_of(nulls).value
    ratio = mean_of(parts).value / null
    return mean_of(
        [
            [ratio + (a - ratio * b) / null for a, b in zip(*pair, strict=True)]
            for pair in zip(parts, nulls, strict=True)
        ]
    )


def _densities_and_methods(groups: dict[tuple[Any, ...], Draws]) -> tuple[list[str], list[str]]:
    """Return the names in order: densities as they were measured, methods as the suite has them."""
    densities, methods = (list(dict.fromkeys(names)) for names in zip(*groups, strict=True))
    order = [method.name for method in METHODS]
    methods.sort(key=lambda name: order.index(name) if name in order else len(order))
    return densities, [method for method in methods if method != REAL]


def _figure_table(groups: dict[tuple[Any, ...], Draws], name: str) -> str:
    densities, methods = _densities_and_methods(groups)
    rows = []
    for density in densities:
        real = groups.get((density, REAL), {})
        draws = {method: groups[density, method] for method in methods if (density, method) in groups}
        has = {method: [seed for seed in sorted(real) if name in d.get(seed, {})] for method, d in draws.items()}
        infinite = {method: _infinite(d) if name == "gap" else "" for method, d in draws.items()}
        compared = {method: seeds for method, seeds in has.items() if not infinite[method]}
        first, tied = first_and_tied({m: {s: draws[m][s][name] for s in seeds} for m, seeds in compared.items()})
        cells = []
        for method in methods:
            seeds = compared.get(method, [])
            figure = _minus({seed: draws[method][seed] for seed in seeds}, real, name) if seeds else None
            if figure is None:
                cells.append(infinite.get(method, ""))
                continue
            cell = shown(figure) + _of_draws(len(seeds), len(real))
            cells.append(f"**{cell}**" if method == first else f"≈ {cell}" if method in tied else cell)
        rows.append((density, *cells))
    return table(("density", *methods), rows)


def _of_draws(n: int, n_all: int) -> str:
    """Return of how many of the draws a figure is, where that is not all of them, and whether its error is another."""
    if n == n_all:
        return ""
    return f" ({n} of {n_all} draws{', ± over rows' if n < LEAST_DRAWS <= n_all else ''})"


def _infinite(draws: Draws) -> str:
    """Return in how many draws the gap is infinite, in words, or nothing: the mean over the others would hide it."""
    n = sum("infinite_gaps" in draw for draw in draws.values())
    return f"infinite in {n} of {len(draws)} draws" if n else ""


def _gap(draws: Draws) -> Mean | None:
    """Return the mean gap, None where a method has no density, or an infinite gap."""
    return mean_of(_parts(draws, "gap")) if all("gap" in draw for draw in draws.values()) else None


def _plain_table(groups: dict[tuple[Any, ...], Draws], name: str, word: Callable[[float], str]) -> str:
    densities, methods = _densities_and_methods(groups)

    def cell(density: str, method: str) -> str:
        values = [draw[name] for draw in groups.get((density, method), {}).values()]
        return word(statistics.median(values)) if values else ""

    return table(
        ("density", *methods), [(density, *(cell(density, method) for method in methods)) for density in densities]
    )


def _failures(results: Results) -> str:
    lines = [
        f"- {', '.join(map(str, result['key'].values()))}: {result['failed']}"
        for result in results
        if "failed" in result
    ]
    return "Failed:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _machine(machine: Figures, results: Results) -> str:
    dates = sorted({result["date"] for result in results})
    when = dates[0] if len(dates) < 2 else f"{dates[0]} to {dates[-1]}"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    paces = [pace for result in results for pace in result.get("pace", ())]
    steady = ""
    if paces:
        usual = statistics.median(paces)
        steady = f" Before and after a measurement the machine made products at {min(paces) / usual:.2f} to "
        steady += f"{max(paces) / usual:.2f} of its usual pace{_slowed(results, 0.9 * usual)}."
    return (
        f"<sub>{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, {machine['threads']} threads; "
        f"Python {machine['python']}, {versions}; {when}; commit {_commits(results)}.{steady}</sub>\n"
    )


def _slowed(results: Results, least: float) -> str:
    """Return at how many measurements of each method the machine was slower, and of how many that is not known."""
    by_method: dict[str, list[bool]] = {}
    for result in results:
        if "pace" in result:
            by_method.setdefault(result["key"].get("method", ""), []).append(min(result["pace"]) < least)
    slowed = [
        f"{sum(slow)} of {len(slow)}" + (f" ({method})" if method else "")
        for method, slow in by_method.items()
        if any(slow)
    ]
    unknown = sum("pace" not in result for result in results)
    words = f", below 0.9 of it at {', '.join(slowed)}" if slowed else ", never below 0.9 of it"
    return words + (f"; of {unknown} that is not known" if unknown else "")


def _commits(results: Results) -> str:
    """Return of which commits the results are, method by method where these differ: they are not all measured anew."""
    by_method: dict[str, set[str]] = {}
    for result in results:
        by_method.setdefault(result["key"].get("method", ""), set()).add(result["commit"] or "unknown")
    by_commits: dict[str, list[str]] = {}
    for method, commits in by_method.items():
        by_commits.setdefault(", ".join(sorted(commits)), []).append(method)
    if len(by_commits) == 1:
        return next(iter(by_commits))
    return "; ".join(f"{commits} ({', '.join(methods)})" for commits, methods in by_commits.items())


def _choices(draws: Draws) -> str:
    choices = list(dict.fromkeys(draw["choice"] for draw in draws.values() if draw["choice"]))
    numbers = [choice.split(" ", 1) for choice in choices]
    if len(choices) > 1 and all(number.isdigit() and rest == numbers[0][1] for number, rest in numbers):
        sizes = sorted(int(number) for number, _ in numbers)
        return f"{sizes[0]} to {sizes[-1]} {numbers[0][1]}"
    return "; ".join(choices)


def _error(figure: Mean) -> float:
    return figure.standard_error if math.isfinite(figure.standard_error) else 0.0


def _mib(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:,.0f}"
