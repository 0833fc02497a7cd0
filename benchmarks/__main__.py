"""The benchmarks: how good, beside what, and at what cost.

    python -m benchmarks                             # all parts in short, half an hour
    python -m benchmarks densities gaps --size full  # some of it, at the size of the page in the docs

Results lie in out/bench-SIZE/results.jsonl as soon as they are measured, and are not measured again; the page of what
there is is benchmarks.md beside them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import cost, densities, gaps, posteriors, rubin, tables
from benchmarks.data import ROOT
from benchmarks.record import Store, machine, markdown

PARTS = {module.__name__.rpartition(".")[2]: module for module in (densities, tables, gaps, posteriors, rubin, cost)}


def page(store: Store) -> str:
    """Return the page of all results: what each part measures, its tables, and what failed."""
    texts = ["# Benchmarks", f"Machine: {machine()}. ± is the standard error over the seeds."]
    for name, module in PARTS.items():
        of_part = [result for result in store.results.values() if result["part"] == name]
        done = [result for result in of_part if "failed" not in result]
        if of_part:
            texts += [f"## {name.capitalize()}", str(module.__doc__).strip(), markdown(done) if done else ""]
        texts += [f"Failed: {r['case']}, {r['method']}, {r['failed']}" for r in of_part if "failed" in r]
    return "\n\n".join(filter(None, texts)) + "\n"


def main() -> None:
    """Measure what is missing, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of: {', '.join(PARTS)}")
    parser.add_argument("--size", choices=["quick", "short", "full"], default="short")
    parser.add_argument("--out", type=Path, help="folder of the results")
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"parts should be among {', '.join(PARTS)}, but got {', '.join(sorted(unknown))}.")
    folder = given.out or ROOT / "out" / f"bench-{given.size}"
    store = Store(folder / "results.jsonl")
    for name in given.parts or PARTS:
        try:
            PARTS[name].run(store, PARTS[name].SIZES[given.size])
        finally:
            if store.results:
                (folder / "benchmarks.md").write_text(page(store))
    print(folder / "benchmarks.md")


if __name__ == "__main__":
    main()
