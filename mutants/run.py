"""Make the mistakes of the table one at a time and check that the tests notice each of them.

    python -m mutants.run [--only WORD] [--jobs N] [--write docs/mutants.md]

Sources and tests are copied to a temporary folder; the working tree is not touched. For each mistake, the test that
caught it last time (`docs/mutants.md`) runs first, then all tests that the table names, until one fails. Every test
that caught a mistake has to pass on the unchanged copy. Exit status: 0 all caught, 1 some survived, 2 a test fails
without any mistake.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "mutants.md"
LIMIT_S = 900


@dataclass(frozen=True)
class Outcome:
    """A mutant and the first test that failed on it, or None if all passed."""

    mutant: Mutant
    caught_by: str | None


def mutated(source: str, mutant: Mutant) -> str:
    """Return the source with the mistake in it. Raises ValueError unless its text occurs exactly once."""
    found = source.count(mutant.text)
    if found != 1:
        raise ValueError(
            f"{mutant.name!r}: its text should occur once in {mutant.file}, but occurs {found} times: mend the table."
        )
    return source.replace(mutant.text, mutant.replacement)


def first_failure(folder: Path, tests: Sequence[str]) -> str | None:
    """Run tests, within tests/, on the copy in a folder, and return the first that fails, or None."""
    # No bytecode: a file can change twice within one tick of its time stamp.
    settings = {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [*command, *(f"tests/{name}" for name in tests)],
            cwd=folder,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {LIMIT_S} s"
    if done.returncode == 0:
        return None
    return failed_test(done.stdout) or f"exit status {done.returncode}"


def failed_test(summary: str) -> str | None:
    """Return the first failed test of pytest's summary, within tests/, with its parameters, which may hold spaces."""
    failed = re.search(r"^(?:FAILED|ERROR) tests/([^\s\[]+(?:\[.*?\](?= - |$))?)", summary, flags=re.MULTILINE)
    return failed.group(1) if failed else None


def last_catchers(page: str) -> dict[str, str]:
    """Return the test that caught each mutant when the page was written, by the mutant's name, where it still exists.

    Parameters are left out: `file.py::test_x[a]` gives `file.py::test_x`.
    """
    rows = re.findall(r"^\| ([^|]+) \| `[^`]+` \| [^|]+ \| `(\S+\.py)::(\w+)", page, flags=re.MULTILINE)
    return {
        name: f"{file}::{function}"
        for name, file, function in rows
        if (path := ROOT / "tests" / file).is_file() and f"def {function}(" in path.read_text()
    }


def try_out(mutant: Mutant, first: str | None = None) -> Outcome:
    """Run a mutant's tests, a likely one first, on a copy of the project with the mistake in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = copied(Path(name))
        path = folder / "src" / "backwalk" / mutant.file
        path.write_text(mutated(path.read_text(), mutant))
        found = None if first is None else first_failure(folder, [first])
        return Outcome(mutant, found or first_failure(folder, mutant.tests))


def fails_unchanged(tests: Sequence[str]) -> str | None:
    """Return the first of the tests that fails on an unchanged copy, or None."""
    with tempfile.TemporaryDirectory() as name:
        return first_failure(copied(Path(name)), sorted(tests)) if tests else None


def copied(folder: Path) -> Path:
    """Copy what the tests need into a folder, and return it."""
    for part in ("src", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def table_of(outcomes: Sequence[Outcome]) -> str:
    """Return the result as a page of Markdown."""
    caught = sum(outcome.caught_by is not None for outcome in outcomes)
    lines = [
        "# Seeded mistakes",
        "",
        f"{caught} of {len(outcomes)} mistakes in the mathematics are caught. Each is one edit of `mutants/table.py`; "
        "`make mutants` makes them one at a time, runs the tests that should notice, and writes this page.",
        "",
        "| mistake | in | breaks | caught by |",
        "|---|---|---|---|",
    ]
    for outcome in outcomes:
        by = "**survived**" if outcome.caught_by is None else f"`{outcome.caught_by}`"
        lines.append(f"| {outcome.mutant.name} | `{outcome.mutant.file}` | {outcome.mutant.breaks} | {by} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only the mutants whose name or file contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many run side by side")
    parser.add_argument("--write", type=Path, help="a Markdown file for the result")
    given = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if given.only in mutant.name or given.only in mutant.file]
    if not chosen:
        parser.error(f"--only should be in some mutant's name or file, but got {given.only!r}.")
    last = last_catchers(PAGE.read_text())
    first = {last[mutant.name] for mutant in chosen if mutant.name in last}
    outcomes = []
    if (failed := fails_unchanged(first)) is None:
        with ThreadPoolExecutor(given.jobs) as pool:
            for outcome in pool.map(lambda mutant: try_out(mutant, last.get(mutant.name)), chosen):
                outcomes.append(outcome)
                print(f"{outcome.mutant.name}: {outcome.caught_by or 'SURVIVED'}", flush=True)
        caught_by = {outcome.caught_by.partition("[")[0] for outcome in outcomes if outcome.caught_by is not None}
        failed = fails_unchanged({test for test in caught_by - first if ".py" in test})
    if failed is not None:
        print(f"the tests fail without any mistake: {failed}", file=sys.stderr)
        return 2
    survived = [outcome.mutant.name for outcome in outcomes if outcome.caught_by is None]
    if given.write is not None:
        given.write.write_text(table_of(outcomes))
    print(
        f"{len(outcomes) - len(survived)} of {len(outcomes)} caught",
        *(f"survived: {name}" for name in survived),
        sep="\n",
    )
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
