"""Count the files and functions of the package that a call enters, and how often it goes from one package to another.

PYTHONPATH=src python research/house/entered.py
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import backwalk
from backwalk import Diffusion

HOME = str(Path(backwalk.__file__).parent) + "/"


class Entered:
    """Counts functions that are called within a `with` block, in all threads."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, int]] = set()
        self.n_changes, self._package = 0, ""

    def __enter__(self) -> Entered:
        threading.setprofile(self._look)
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]

    def _look(self, frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(HOME) or code.co_name.startswith("<"):
            return
        key = code.co_filename, code.co_firstlineno
        if key not in self.functions:
            self.functions.add(key)
            package = code.co_filename.removeprefix(HOME).split("/")[0]
            self.n_changes += package != self._package
            self._package = package

    @property
    def words(self) -> str:
        """The counts, as a text."""
        files = {name for name, _ in self.functions}
        return f"{len(files)} files, {len(self.functions)} functions, {self.n_changes} changes of package"


def counted(name: str, call: Callable[[], Any]) -> Any:
    """Print what a call enters, and return its result."""
    entered = Entered()
    with entered:
        result = call()
    print(f"{name}: {entered.words}", flush=True)
    return result


def main() -> None:
    """Count for a fit, conditional draws and the command line."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "species": rng.choice(["Adelie", "Chinstrap", "Gentoo"], 344),
            "bill": rng.normal(44.0, 5.0, 344).round(1),
            "mass": 50.0 * rng.integers(54, 126, 344),
            "sex": np.where(rng.random(344) < 0.05, None, rng.choice(["female", "male"], 344)),
        }
    )
    model = counted("Diffusion().fit(df)", lambda: Diffusion(max_steps=20, random_state=0).fit(frame))
    counted("sample(given=)", lambda: model.sample(10, given={"species": "Gentoo"}, random_state=1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "penguins.csv"
        frame.to_csv(path, index=False)
        from backwalk.cli import main as command

        arguments = ["fit", str(path), "-o", str(Path(folder) / "model"), "--max-steps", "20", "--seed", "0", "-q"]
        sys.argv = ["backwalk", *arguments]

        def run() -> Any:
            try:
                return command()
            except SystemExit as end:
                return end.code

        print("exit status", counted("backwalk fit penguins.csv", run))


if __name__ == "__main__":
    main()
