"""Test backwalk with the lowest and the newest versions of its dependencies, each in a virtual environment of its own.

    python .ci/versions.py lowest [--python python3.11] [--borrow-torch]
    python .ci/versions.py newest [--python python3.11 --python python3.12 --python python3.13]

`lowest` pins every requirement of pyproject.toml to its lower bound; newer Pythons lack wheels of some of these, so it
is for the lowest one. `newest` takes what pip finds. Torch alone is a download of gigabytes: with --borrow-torch, torch
and what it needs are those of the Python that runs this script. Warnings are errors for the newest versions only, as
old packages warn of new interpreters.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "out" / "versions"
RUNNERS = ("pytest", "hypothesis", "numpydoc")  # of the extra `test`; the notebook's packages are not needed here
SMOKE = (  # where the dependencies are used: tables, files, models, optimisers, classifiers, pages, commands
    *(
        f"tests/table/test_{name}.py"
        for name in ("files", "frame", "messy_files", "parquet_files", "reading", "rewriting")
    ),
    "tests/table/test_round_trip.py",
    "tests/table/test_choose_splines.py",
    "tests/model_file",
    "tests/test_streams.py",
    "tests/training/test_learner.py",
    "tests/assess/statistics/test_two_sample.py",
    "tests/report",
    "tests/cli/test_sample.py",
    "tests/cli/test_tables.py",
    "tests/test_public_names.py",
)


def requirements(project: dict[str, object]) -> list[str]:
    """Return the requirements of the package, its optional parts and the tests, as pyproject.toml has them."""
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    tests = [line for line in extras["test"] if name_of(line) in RUNNERS]
    parts = [line for name in ("pandas", "polars") for line in extras[name]]
    return [*project["dependencies"], *parts, *tests]  # type: ignore[misc]


def name_of(requirement: str) -> str:
    """Return the name of the package that a requirement is of.

    >>> name_of("scikit-learn>=1.6")
    'scikit-learn'
    """
    return re.split(r"[<>=!~\[; ]", requirement, maxsplit=1)[0]


def at_its_floor(requirement: str) -> str:
    """Pin a requirement to its lower bound.

    >>> at_its_floor("numpy>=1.26")
    'numpy==1.26'
    """
    pinned, n = re.subn(r"^([\w.-]+)>=([\w.]+)$", r"\1==\2", requirement)
    if n == 0:
        raise ValueError(f"a requirement should be NAME>=VERSION, but got {requirement!r}.")
    return pinned


def tested(python: str, wanted: Sequence[str], folder: Path, *, borrow_torch: bool, strict: bool) -> bool:
    """Make an environment with these requirements, run the tests there, and return whether they pass."""
    subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    own = str(folder / "bin" / "python")
    if borrow_torch:
        wanted = [line for line in wanted if name_of(line) != "torch"]
        lend_site_packages(own)
    subprocess.run(
        [own, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", *wanted], check=True
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    versions = "import torch, numpy, sys; print('Python', sys.version.split()[0], 'torch', torch.__version__, "
    subprocess.run([own, "-c", versions + "'NumPy', numpy.__version__)"], env=environment, check=True)
    pytest = [
        own,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow and not campaign and not browser and not scale",
    ]
    pytest += [] if strict else ["-o", "filterwarnings=default", "--disable-warnings"]
    return subprocess.run([*pytest, *SMOKE], cwd=ROOT, env=environment).returncode == 0


def lend_site_packages(python: str) -> None:
    """Append the site-packages of this interpreter to another's path, behind its own."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    Path(theirs, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def main() -> int:
    """Run the command line, and return its exit status: 1 where tests fail."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("lowest", "newest"))
    parser.add_argument("--python", action="append", help="an interpreter; repeat the option for more")
    parser.add_argument("--borrow-torch", action="store_true", help="do not download torch")
    given = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lowest = given.which == "lowest"
    wanted = [at_its_floor(line) for line in requirements(project)] if lowest else requirements(project)
    failed = []
    for python in given.python or [sys.executable]:
        folder = HOME / f"{given.which}-{Path(python).name}"
        print(f"{given.which} versions on {python}: {', '.join(wanted)}", flush=True)
        if not tested(python, wanted, folder, borrow_torch=given.borrow_torch, strict=not lowest):
            failed.append(python)
    print(*(f"failed: {given.which} versions on {python}" for python in failed), sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
