"""Check that this version can be released (`make release-check`). Nothing is uploaded: docs/maintainers/releasing.md.

The tracked files are copied and built twice, and both builds have to be equal, byte for byte. twine,
check-wheel-contents and validate-pyproject check the archives. The wheel is installed in an empty environment with what
it needs, where README's first code, `backwalk demo` and `backwalk playground` run, and mypy and pyright read a user's
program. pyright knows the types of all public names. The archives are left in out/release.

    python .ci/release.py [--python python3.12]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "out" / "release"
PROGRAM = Path(__file__).with_name("users_program.py")
TYPES = Path(__file__).with_name("public_types.py")


def run(what: str, *command: str | Path, cwd: Path = ROOT, **environment: str) -> None:
    """Run a command, say how long it took, and end with its output if it fails."""
    print(f"{what} ...", end=" ", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    print(f"{'ok' if done.returncode == 0 else 'FAILS'}, {time.monotonic() - began:.0f} s", flush=True)
    if done.returncode:
        sys.exit(done.stdout)


def make_environment(python: str, folder: Path, *requirements: str | Path) -> Path:
    """Make a virtual environment with these requirements, and return its folder of programs."""
    run(f"{folder.name}: an empty environment", python, "-m", "venv", folder)
    programs = folder / "bin"
    install = (programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(f"{folder.name}: install {' '.join(Path(each).name for each in requirements)}", *install, *requirements)
    return programs


def copy_tracked(folder: Path) -> Path:
    """Copy the tracked files to a folder, and return it."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return folder


def build(programs: Path, folder: Path, date: str) -> list[Path]:
    """Build the source archive of a folder, and from it the wheel, and return both."""
    run(f"build {folder.name}", programs / "python", "-m", "build", folder, SOURCE_DATE_EPOCH=date)
    return sorted((folder / "dist").iterdir())


def main() -> None:
    """Check everything, in an order in which cheap steps come first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the Python that users have (default: this one)")
    python = parser.parse_args().python
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    first_code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)[1]
    date = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory(prefix="backwalk-release-") as temporary:
        here = Path(temporary)
        folders = [copy_tracked(here / name) for name in ("once", "again")]
        tools = make_environment(python, here / "tools", *project["optional-dependencies"]["release"])
        run("validate-pyproject", tools / "validate-pyproject", ROOT / "pyproject.toml")
        one, other = (build(tools, folder, date.stdout.strip()) for folder in folders)
        for archive, same in zip(one, other, strict=True):
            if archive.read_bytes() != same.read_bytes():
                sys.exit(f"{archive.name} differs between two builds of the same files")
        wheel = next(archive for archive in one if archive.suffix == ".whl")
        run("twine", tools / "twine", "check", "--strict", *one)
        run("check-wheel-contents", tools / "check-wheel-contents", wheel)

        user = make_environment(python, here / "user", f"{wheel}")
        work = here / "work"
        work.mkdir()
        run("pip check", user / "python", "-m", "pip", "check")
        run("README's first code", user / "python", "-c", first_code, cwd=work)
        run("backwalk demo", user / "backwalk", "demo", cwd=work)
        run("backwalk playground", user / "backwalk", "playground", "-o", "page.html", cwd=work)
        run("mypy", tools / "mypy", "--strict", "--python-executable", user / "python", PROGRAM, cwd=work)
        run("pyright", tools / "pyright", "--pythonpath", user / "python", PROGRAM, cwd=work)
        run("that program", user / "python", PROGRAM, cwd=work)
        install = (tools / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        run("scikit-learn's types", *install, "--target", here / "stubs", "scikit-learn-stubs")
        run("pyright --verifytypes", user / "python", TYPES, tools / "pyright", here / "stubs", cwd=work)
        KEPT.mkdir(parents=True, exist_ok=True)
        for archive in one:
            shutil.copyfile(archive, KEPT / archive.name)
    print(f"{', '.join(archive.name for archive in one)} can be released; they are in {KEPT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
