"""Make the notebooks of this folder from their scripts, with real outputs: `python examples/build.py [SCRIPT ...]`.

A script in jupytext's percent format is what we edit and review; the notebook beside it is what people read. Every cell
is run in order in a fresh kernel, and an error stops the build before anything is written. Only what the cells say is
kept: no times, no random cell numbers, no paths of the machine, so that a notebook changes only where its content does.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import jupytext
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
_PLACE_OF_WARNING = re.compile(r"^\S+\.py:\d+: (?=\w+Warning: )", re.MULTILINE)
_QUOTED_LINE = re.compile(r"^(\w+Warning: .*\n)  .*\n", re.MULTILINE)


def read_cells(script: Path) -> NotebookNode:
    """Return the notebook that a script stands for, without outputs."""
    notebook = jupytext.read(script)
    notebook.metadata.pop("jupytext", None)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"  # the format wants one; jupytext's are random
    return notebook


def run(notebook: NotebookNode) -> None:
    """Run every cell in a fresh kernel and keep the outputs in the notebook. Raises where a cell does."""
    NotebookClient(notebook, timeout=None, kernel_name="python3", record_timing=False).execute()
    notebook.metadata.pop("language_info", None)  # the version of Python that happened to be here
    tidy(notebook)


def tidy(notebook: NotebookNode) -> None:
    """Leave of the outputs what the cells say, in place."""
    for cell in notebook.cells:
        if cell["cell_type"] != "code":
            continue
        # Progress tells of seconds, and not of what is computed.
        cell["outputs"] = [output for output in cell["outputs"] if not _is_progress(output)]
        for output in cell["outputs"]:
            if output.get("name") == "stderr":
                # A warning's place is a temporary file of the kernel's, and the line is in the cell above.
                output["text"] = _QUOTED_LINE.sub(r"\1", _PLACE_OF_WARNING.sub("", output["text"]))


def _is_progress(output: NotebookNode) -> bool:
    return str(output.get("data", {}).get("text/plain", "")).startswith("training ")


def main(scripts: list[str]) -> None:
    """Build the named scripts, or all."""
    chosen = [Path(name) for name in scripts] or sorted(set(HERE.glob("*.py")) - {Path(__file__)})
    for script in chosen:
        notebook = read_cells(script)
        run(notebook)
        jupytext.write(notebook, script.with_suffix(".ipynb"), fmt="ipynb")
        print(script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(sys.argv[1:])
