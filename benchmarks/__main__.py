"""`python -m benchmarks [PART ...] --size quick|short|full`: measure, keep the results, write the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from benchmarks import bfloat16, budgets, gemm, growth, render, sampling, suite, time_to_quality, turns
from benchmarks.record import Store

PARTS: dict[str, ModuleType] = {
    "turns": turns,
    "gemm": gemm,
    "bfloat16": bfloat16,
    "sampling": sampling,
    "growth": growth,
    "time_to_quality": time_to_quality,
    "budgets": budgets,
    "suite": suite,
}
HERE = Path(__file__).parent
PLACES = {
    "full": (HERE / "results", HERE.parent / "docs" / "benchmarks.md"),
    "short": (HERE.parent / "out" / "bench", HERE.parent / "out" / "bench" / "benchmarks.md"),
    "quick": (HERE.parent / "out" / "bench-quick", HERE.parent / "out" / "bench-quick" / "benchmarks.md"),
}


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--size", type=click.Choice(list(PLACES)), default="short", show_default=True)
@click.option("--budget", type=float, help="Seconds of every fit of the suite.")
@click.option("--seeds", type=int, help="Draws of the data, in suite, time_to_quality, budgets and bfloat16.")
@click.option("--densities", help="Densities of suite, budgets and bfloat16, with commas.")
@click.option("--methods", help="Methods of the suite, with commas.")
@click.option("--results", type=click.Path(path_type=Path), help="Folder of the results.")
@click.option("--page", type=click.Path(path_type=Path), help="The page, with its figures in a folder beside it.")
@click.option("--render-only", is_flag=True, help="Measure nothing.")
def main(
    parts: tuple[str, ...], size: str, results: Path | None, page: Path | None, render_only: bool, **changes: Any
) -> None:
    """Run the parts, all of them where none is named, and render what there is."""
    folder, where = results or PLACES[size][0], page or PLACES[size][1]
    chosen = () if render_only else parts or tuple(PARTS)
    given, sizes = _given(**changes), {part: PARTS[part].SIZES[size] for part in chosen}
    idle = [name for name in given if not any(hasattr(each, name) for each in sizes.values())]
    if idle:
        named = ", ".join(chosen) or "--render-only"
        raise SystemExit(f"--{idle[0].removeprefix('n_')} should go with a part that has it, but got {named}.")
    for part in chosen:
        print(f"{part}:", flush=True)
        own = {name: value for name, value in given.items() if hasattr(sizes[part], name)}
        PARTS[part].run(Store(folder / f"{part}.json"), replace(sizes[part], **own))
    render.write_page(folder, where)
    print(f"page: {where}")


def _given(budget: float | None, seeds: int | None, densities: str | None, methods: str | None) -> dict[str, Any]:
    given = {
        "budget": budget,
        "n_seeds": seeds,
        "densities": None if densities is None else tuple(densities.split(",")),
        "methods": None if methods is None else tuple(methods.split(",")),
    }
    return {name: value for name, value in given.items() if value is not None}


if __name__ == "__main__":
    main()
