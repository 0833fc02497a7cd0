"""From results to the page: a section a part, what failed, and where and when all was measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    adult,
    gaps,
    growth,
    hard_posteriors,
    inference,
    large_table,
    larger_than_memory,
    magic,
    mixed,
    real_tables,
    rubin,
    sampling,
    suite,
    time_to_quality,
    turns,
)
from benchmarks.draws import Results
from benchmarks.methods import NotebookAsWritten
from benchmarks.record import Figures, read_csv
from benchmarks.tables import table

SECTIONS = (
    time_to_quality,
    suite,
    mixed,
    adult,
    magic,
    gaps,
    inference,
    hard_posteriors,
    rubin,
    turns,
    sampling,
    growth,
    large_table,
    larger_than_memory,
)


def write_page(results: Path, page: Path) -> None:
    """Write the page of all results in a folder, and its curves into the folder `page` without its suffix."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render(results, page.with_suffix("")))


def render(results: Path, curves: Path) -> str:
    """Return the page as Markdown, and write its curves. A part that was not measured says so."""
    sections = [
        "# Benchmarks\n",
        "Written by `python -m benchmarks` from the results beside it (of the page in `docs`: `benchmarks/results`); "
        "`benchmarks/README.md` says how each figure is made. ± is one standard error; each part says of what. "
        "**Bold**: the first, which has the "
        "least mean of those with the most draws of the data; fewer draws may give a smaller one. ≈: not shown to be "
        "worse than the first, in pairs on the same rows at the level of two standard errors, by Student's t, each "
        "comparison by itself. That is no proof of being as good: where ± is wide, little can be shown.\n",
        "C2ST is the accuracy of a classifier that tells generated from real rows, 0.5 to 1, by boosted trees unless "
        "said otherwise; sliced W1 is a distance. Both stand beside those of other real rows, on which no model can "
        "improve. The gap is how many nats per row the model's log-density lies below the truth; `Diffusion`'s is the "
        "probability-flow ODE's, its rows are those of its default sampler.\n",
        _methods_in_words(),
    ]
    records: dict[str, Figures] = {}
    for part in SECTIONS:
        name = part.__name__.rpartition(".")[2]
        path = results / f"{name}.csv"
        sections.append(f"## {part.TITLE}\n")
        if not path.exists():
            sections.append(f"Not measured yet: add `{name}` to the command.\n")
            continue
        record = records[part.TITLE] = read_csv(path)
        done = [result for result in record["results"] if "failed" not in result]
        sections.append(part.told(done, curves) if done else "Nothing was measured.\n")
        sections.append(failures(record["results"]))
    sections.append(measurements(records))
    return "\n".join(filter(None, sections))


def _methods_in_words() -> str:
    """Return what each method is: the first paragraph of its docstring."""
    return described([*suite.METHODS, NotebookAsWritten(), *real_tables.USUAL[1:], *gaps.METHODS[1:]])


def described(every: Sequence[Any]) -> str:
    """Return the names of methods with their `words`, or the first paragraphs of their docstrings, as a list."""
    texts = {method.name: getattr(method, "words", None) or method.__doc__ or "" for method in every}
    words = {name: " ".join(text.split("\n\n")[0].split()) for name, text in texts.items()}
    return "\n".join(f"- **{name}**: {text}" for name, text in sorted(words.items())) + "\n"


def failures(results: Results) -> str:
    """Return what failed, draw by draw put together, with the first one's reason."""
    failed: dict[str, Results] = {}
    for result in results:
        if "failed" in result:
            names = (f"{name} {value}" for name, value in result["key"].items() if name != "seed")
            failed.setdefault(", ".join(names), []).append(result)
    lines = [
        f"- {key}{f' ({len(these)} draws)' if len(these) > 1 else ''}: {these[0]['failed']}"
        for key, these in failed.items()
    ]
    return "Failed:\n\n" + "\n".join(lines) + "\n" if lines else ""


def measurements(records: dict[str, Figures]) -> str:
    """Return where, when and of which commits the parts are, method by method: not all were measured anew together."""
    if not records:
        return ""
    machines = list(dict.fromkeys(_machine(record["machine"]) for record in records.values()))
    rows = []
    for title, record in records.items():
        by_method: dict[str, Results] = {}
        for result in record["results"]:
            by_method.setdefault(result["key"].get("method", ""), []).append(result)
        usual = _usual_pace(record["results"])
        for method, results in by_method.items():
            dates = sorted({result["date"] for result in results})
            rows.append(
                (
                    ", ".join(filter(None, (title, method))),
                    str(len(results)),
                    dates[0] if len(dates) < 2 else f"{dates[0]} to {dates[-1]}",
                    *_slowed(results, 0.9 * usual),
                    ", ".join(sorted({result["commit"] or "unknown" for result in results})),
                )
            )
    head = ("part, method", "results", "measured", "of them slowed", "not known", "commits")
    words = (
        "Before and after a measurement the machine's pace is taken, by products of matrices. *Slowed*: it was below "
        "0.9 of the part's median at one of them, so that something else was at work, or idle workers of the method's "
        "own; the oldest results do not know."
    )
    return f"## Where and when\n\n{'; '.join(machines)}. {words}\n\n{table(head, rows)}"


def _machine(machine: Figures) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['ram_gib']} GiB, {machine['threads']} threads, Python "
        f"{machine['python']}, {versions}"
    )


def _usual_pace(results: Results) -> float:
    paces = [pace for result in results for pace in result.get("pace", ())]
    return statistics.median(paces) if paces else math.nan


def _slowed(results: Results, least: float) -> tuple[str, str]:
    """Return at how many of the results the machine was slower, and of how many that is not known."""
    known = [result["pace"] for result in results if "pace" in result]
    return str(sum(min(pace) < least for pace in known)), str(len(results) - len(known))
