"""Run the code cells of one notebook and check its exercises: what `grade_notebook` starts in a process of its own.

Each line of the file of results is a JSON object: the cell that begins, the error of a cell, or the outcome of a check.
They are written as they come, so that the file of a notebook that never ends says how far it got.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from backwalk.course.checks import check
from backwalk.course.laws import EXERCISES
from backwalk.course.notebooks import DEMONSTRATION
from backwalk.formatting import one_line

LARGEST_FILE = 2**27  # bytes that a notebook may write into one file

_MAGIC = re.compile(r"^(\s*)[%!?].*$", re.MULTILINE)


def main(notebook: str, results: str, memory: str) -> None:
    """Run a notebook within this many bytes of memory, and write the results into a file."""
    cells = list(code_cells(json.loads(Path(notebook).read_bytes())))
    with Path(results).open("w", encoding="utf-8") as file:
        _limit(int(memory))
        run_cells(cells, file)


def _limit(memory: int) -> None:
    """Limit the memory and the files of this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {resource.RLIMIT_DATA: memory, resource.RLIMIT_FSIZE: LARGEST_FILE, resource.RLIMIT_CORE: 0}
    for limit, value in limits.items():
        _, most = resource.getrlimit(limit)
        if most == resource.RLIM_INFINITY or value <= most:
            resource.setrlimit(limit, (value, most))


def code_cells(notebook: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the source of the code cells that are no demonstrations."""
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] == "code" and DEMONSTRATION not in cell.get("metadata", {}).get("tags", ()):
            yield number, "".join(cell["source"])


def run_cells(cells: list[tuple[int, str]], file: TextIO) -> None:
    """Run cells, with their numbers, in one namespace and past errors; write the results into a file.

    A function is checked once it is defined, and again at the end.
    """

    def write(**entry: Any) -> None:
        file.write(json.dumps(entry) + "\n")
        file.flush()

    namespace: dict[str, Any] = {"__name__": "__main__", "display": lambda *_, **__: None}
    checked: dict[str, Any] = {}
    for number, source in cells:
        write(cell=number)
        try:
            exec(_compiled(source, f"<cell {number}>"), namespace)
        except NotImplementedError:
            pass  # an exercise is not written yet
        except Exception as error:
            write(error=f"cell {number}: {type(error).__name__}: {one_line(error)}")
        for name in EXERCISES:
            mine = namespace.get(name)
            if callable(mine) and checked.get(name) is not mine:
                checked[name] = mine
                _check(name, mine, write)
    for name, mine in checked.items():  # a later cell may have defined what a function needs
        _check(name, mine, write)
    write(done=True)


def _check(name: str, mine: Any, write: Any) -> None:
    outcome = check(name, mine)
    write(exercise=name, state=outcome.state, text=repr(outcome))


def _compiled(source: str, name: str) -> Any:
    """Return code, without the notebook's own commands, such as %matplotlib inline, where it is no Python."""
    try:
        return compile(source, name, "exec")
    except SyntaxError:
        if source.lstrip().startswith("%%"):  # the magic of a whole cell; the rest may be of another language
            return compile("", name, "exec")
        return compile(_MAGIC.sub(r"\1pass", source), name, "exec")


if __name__ == "__main__":
    main(*sys.argv[1:])
