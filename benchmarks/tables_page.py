"""`python -m benchmarks.tables_page`: tables known from the literature, their results as CSV, and their page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import click

from benchmarks import adult, magic, published, real_tables
from benchmarks.__main__ import HERE, OUT
from benchmarks.published_methods import GENERATORS, IMPUTERS, OfFrames, Peer
from benchmarks.record import Store, read_csv
from benchmarks.render import described, failures, measurements

PARTS: dict[str, ModuleType] = {"published": published, "adult": adult, "magic": magic}
_WORDS = """# Benchmarks of tables

Written by `python -m benchmarks.tables_page` from the results in CSV (of the page in `docs`:
`benchmarks/results/tables`); `benchmarks/README.md` says how each figure is made. ± is one standard error. Methods
were run on this machine, one after the other; the last table counts results that something else slowed, and copied
figures say so.

In the protocol's sets a fifth of the rows is for testing. *W1* is the Wasserstein distance, with Gower's distance as
cost; 0 is best, but a copy of the training rows has W1 = 0 to them too. In tictactoe and car every possible row occurs
once, so that no training row is a test row, and generated rows may be nearer to these. *Coverage* is the share of test
rows with a generated row nearer than their second nearest test row. *F1* and *R²* are the scores on test rows of four
models trained on the generated or filled rows. For gaps, a fifth of the cells is removed at random, except the
target's. *MAE* is Gower's distance per removed cell: of the best draw of each row, in the mean over draws, and of each
method's best single imputation. *Coverage of regression* is how often the 95 % intervals of a regression on one filled
table hold the coefficients of the true rows, in sets with a number as target: 1 is best, and single values near the
mean do better than draws, whose noise flattens slopes. `docs/explanation/rubin.md` has intervals pooled over draws.
*Real rows* are the training rows themselves, the floor.
Source: Jolicoeur-Martineau, Fatras and Kachman 2024.

- **ForestDiffusion**: flow matching (for gaps: diffusion) by boosted trees, at the package's defaults; *in our time*:
  with fewer copies of the rows and noise levels, so as to take the seconds that ours took, or the least of them.
- **UnmaskingTrees**: boosted trees that unmask one column after the other; *in our time*: with fewer masking orders.
- **ARF**: arfpy's adversarial random forest. **miceforest**: chained LightGBM with mean matching, 5 iterations.
"""


@click.command(help=__doc__)
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--size", type=click.Choice(list(published.SIZES)), default="short", show_default=True)
@click.option("--sets", help="Data sets of the protocol, with commas.")
@click.option("--methods", help="Methods of the protocol, with commas.")
@click.option("--seeds", type=int, help="Splits of the data.")
@click.option("--publish", is_flag=True, help="Write the project's own results and page (benchmarks/results, docs).")
@click.option("--render-only", is_flag=True, help="Measure nothing.")
def main(
    parts: tuple[str, ...],
    size: str,
    sets: str | None,
    methods: str | None,
    seeds: int | None,
    publish: bool,
    render_only: bool,
) -> None:
    """Run the parts, all of them where none is named, and render what there is."""
    folder = HERE / "results" / "tables" if publish else OUT / f"bench-tables-{size}"
    page = HERE.parent / "docs" / "maintainers" / "table_benchmarks.md" if publish else folder / "table_benchmarks.md"
    try:
        for name in () if render_only else parts or tuple(PARTS):
            sizes = PARTS[name].SIZES[size]
            if seeds is not None:
                sizes = replace(sizes, n_seeds=seeds)
            if name != "published":
                sizes = replace(sizes, methods=tuple(method.name for method in real_tables.METHODS))
            else:
                given = {"sets": sets, "methods": methods}
                sizes = replace(sizes, **{key: tuple(v.split(",")) for key, v in given.items() if v is not None})
            print(f"{name}:", flush=True)
            PARTS[name].run(Store(folder / f"{name}.csv"), sizes)
    finally:  # of what there is, also where it was stopped
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(rendered(folder))
        print(f"page: {page}")


def rendered(folder: Path) -> str:
    """Return the page of the results in a folder as Markdown."""
    own = [method for method in (*GENERATORS, *IMPUTERS) if not isinstance(method, Peer)]
    own = [method.method if isinstance(method, OfFrames) else method for method in own]
    texts, records = [_WORDS + described(own)], {}
    for name, part in PARTS.items():
        texts.append(f"## {part.TITLE}\n")
        path = folder / f"{name}.csv"
        if not path.exists():
            texts.append(f"Not measured yet: add `{name}` to the command.\n")
            continue
        record = records[part.TITLE] = read_csv(path)
        done = [result for result in record["results"] if "failed" not in result]
        texts += [part.told(done, folder) if done else "Nothing was measured.\n", failures(record["results"])]
    return "\n".join(filter(None, [*texts, measurements(records)]))


if __name__ == "__main__":
    main()
