"""Make the mistakes of `mistakes.txt` one at a time and check that the tests notice each of them.

    python -m mutants.run [--only WORD] [--jobs N] [--write research/mutants.md]

Sources and tests are copied to a temporary folder; the working tree is not touched. Every test that is named has to
pass on an unchanged copy. Exit status: 0 all caught, 1 some survived, 2 a test fails without any mistake.

In `mistakes.txt` a line "# FILE: TESTS" names a file of src/backwalk and the tests, within tests/, that should notice
the mistakes below it. A mistake is its name, what it breaks, the text after "-", which occurs once in the file, and the
text after "+" that takes its place.
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

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 900


@dataclass(frozen=True)
class Mutant:
    """One mistake: `text` in src/backwalk/`file` becomes `replacement`; one of `tests`, within tests/, should fail."""

    name: str
    breaks: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]


def read_mutants(text: str) -> list[Mutant]:
    """Return the mistakes that a text lists in the form of `mistakes.txt`."""
    mutants, file, tests = list[Mutant](), "", ""
    for paragraph in text.strip().split("\n\n"):
        first, *changes = paragraph.split("\n")
        if first.startswith("# "):
            file, _, tests = first.removeprefix("# ").partition(": ")
            continue
        name, _, breaks = first.partition(" | ")
        before, after = ("\n".join(line[1:] for line in changes if line[0] == sign) for sign in "-+")
        mutants.append(Mutant(name, breaks, file, before, after, tuple(tests.split())))
    return mutants


MUTANTS = read_mutants((Path(__file__).parent / "mistakes.txt").read_text())


def mutate(source: str, mutant: Mutant) -> str:
    """Return the source with the mistake in it. Raises ValueError unless its text occurs exactly once."""
    count = source.count(mutant.text)
    if count != 1:
        raise ValueError(
            f"{mutant.name!r}: its text should occur once in {mutant.file}, but occurs {count} times: mend it."
        )
    return source.replace(mutant.text, mutant.replacement)


def first_failure(tests: Sequence[str], mutant: Mutant | None = None) -> str | None:
    """Run tests on a copy of the project, with a mistake in it, and return the first that fails, or None."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("src", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        if mutant is not None:
            path = folder / "src" / "backwalk" / mutant.file
            path.write_text(mutate(path.read_text(), mutant))
        settings = {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *(f"tests/{test}" for test in tests)],
                cwd=folder,
                env={**os.environ, **settings},
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
            )
        except subprocess.TimeoutExpired:
            return f"no end within {LIMIT_S} s"
    return None if done.returncode == 0 else failed_test(done.stdout) or f"exit status {done.returncode}"


def failed_test(summary: str) -> str | None:
    """Return the first failed test of pytest's summary, within tests/, with its parameters, which may hold spaces."""
    failed = re.search(r"^(?:FAILED|ERROR) tests/([^\s\[]+(?:\[.*?\](?= - |$))?)", summary, flags=re.MULTILINE)
    return failed.group(1) if failed else None


def markdown(mutants: Sequence[Mutant], caught_by: Sequence[str | None]) -> str:
    """Return the result as a page."""
    rows = [
        f"| {mutant.name} | `{mutant.file}` | {mutant.breaks} | {'**survived**' if test is None else f'`{test}`'} |"
        for mutant, test in zip(mutants, caught_by, strict=True)
    ]
    n_caught = len(caught_by) - list(caught_by).count(None)
    return "\n".join(
        [
            "# Seeded mistakes",
            "",
            f"{n_caught} of {len(rows)} mistakes in the mathematics are caught. `make mutants` makes those of "
            "`mutants/mistakes.txt` one at a time, runs the tests that should notice, and writes this page.",
            "",
            "| mistake | in | breaks | caught by |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only the mutants whose name or file contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many run side by side")
    parser.add_argument("--write", type=Path, help="a Markdown file for the result")
    options = parser.parse_args(arguments)
    chosen = [mutant for mutant in MUTANTS if options.only in mutant.name or options.only in mutant.file]
    if not chosen:
        parser.error(f"--only should be in some mutant's name or file, but got {options.only!r}.")
    if failed := first_failure(sorted({test for mutant in chosen for test in mutant.tests})):
        print(f"the tests fail without any mistake: {failed}", file=sys.stderr)
        return 2
    caught_by = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, test in zip(chosen, pool.map(lambda m: first_failure(m.tests, m), chosen), strict=True):
            caught_by.append(test)
            print(f"{mutant.name}: {test or 'SURVIVED'}", flush=True)
    if options.write is not None:
        options.write.write_text(markdown(chosen, caught_by))
    n_survived = caught_by.count(None)
    print(f"{len(chosen) - n_survived} of {len(chosen)} caught")
    return 1 if n_survived else 0


if __name__ == "__main__":
    sys.exit(main())
