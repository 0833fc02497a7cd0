"""`python -m benchmarks [PART ...] --size quick|short|full`: measure, keep the results, write the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import click

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
    render,
    rubin,
    sampling,
    suite,
    time_to_quality,
    turns,
)
from benchmarks.record import Store

PARTS: dict[str, ModuleType] = {
    "turns": turns,
    "sampling": sampling,
    "growth": growth,
    "large_table": large_table,
    "larger_than_memory": larger_than_memory,
    "time_to_quality": time_to_quality,
    "suite": suite,
    "mixed": mixed,
    "adult": adult,
    "magic": magic,
    "gaps": gaps,
    "inference": inference,
    "hard_posteriors": hard_posteriors,
    "rubin": rubin,
}
HERE = Path(__file__).parent
OUT = HERE.parent / "out"
FOLDERS = {"full": OUT / "bench-full", "short": OUT / "bench", "quick": OUT / "bench-quick"}


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--size", type=click.Choice(list(FOLDERS)), default="short", show_default=True)
@click.option("--budget", type=float, help="Seconds of every fit of suite, mixed, adult, magic, gaps and rubin.")
@click.option("--seeds", type=int, help="Draws of the data, in parts that have them.")
@click.option("--densities", help="Densities of suite and mixed, with commas.")
@click.option("--methods", help="Methods of suite, mixed, adult, magic, gaps, rubin and inference, with commas.")
@click.option("--results", type=click.Path(path_type=Path), help="Folder of the results, in place of out/bench...")
@click.option("--page", type=click.Path(path_type=Path), help="The page, in place of benchmarks.md in that folder.")
@click.option("--publish", is_flag=True, help="Write the project's own results and page (benchmarks/results, docs).")
@click.option("--render-only", is_flag=True, help="Measure nothing.")
def main(
    parts: tuple[str, ...],
    size: str,
    results: Path | None,
    page: Path | None,
    publish: bool,
    render_only: bool,
    **changes: Any,
) -> None:
    """Run the parts, all of them where none is named, and render what there is."""
    if publish and not (render_only or size == "full"):
        raise SystemExit(f"--publish should go with --size full, but got {size}.")
    folder = results or (HERE / "results" if publish else FOLDERS[size])
    where = page or (HERE.parent / "docs" / "maintainers" / "benchmarks.md" if publish else folder / "benchmarks.md")
    chosen = () if render_only else parts or tuple(PARTS)
    given, sizes = _given(**changes), {part: PARTS[part].SIZES[size] for part in chosen}
    idle = [name for name in given if not any(hasattr(each, name) for each in sizes.values())]
    if idle:
        named = ", ".join(chosen) or "--render-only"
        raise SystemExit(f"--{idle[0].removeprefix('n_')} should go with a part that has it, but got {named}.")
    for part, usual in sizes.items():  # so that an unknown name is refused before anything is measured
        sizes[part] = replace(usual, **{name: value for name, value in given.items() if hasattr(usual, name)})
    stores = {part: Store(folder / f"{part}.csv") for part in chosen}
    try:
        for part, store in stores.items():
            print(f"{part}:", flush=True)
            PARTS[part].run(store, sizes[part])
    finally:  # of what there is, also where it was stopped
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
