"""Check that type checkers know the whole public interface: `pyright --verifytypes` on the names of the reference.

    python .ci/public_types.py PYRIGHT [FOLDER_OF_STUBS]

It runs by the Python that has backwalk. scikit-learn has no types of its own: those of the estimators' bases come from
the package scikit-learn-stubs, in the folder.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LIST = Path(__file__).resolve().parents[1] / "docs" / "reference" / "api.py"


def public_names() -> Iterator[str]:
    """Yield where each public object is defined; of a class also its bases.

    Functions that return another library's object are left out: without Ray or Dask no checker knows its type.
    """
    public = runpy.run_path(str(LIST))["PUBLIC"]
    del public["backwalk.engines"]
    for package, topics in public.items():
        for name in (name for names in topics.values() for name in names):
            found = getattr(importlib.import_module(package), name)
            if not hasattr(found, "__qualname__"):
                yield f"{package}.{name}"
            for one in getattr(found, "__mro__", (found,)):
                if getattr(one, "__module__", "").startswith("backwalk"):
                    yield f"{one.__module__}.{one.__qualname__}"


def main() -> None:
    """Ask pyright, and end with the public names whose types it does not know."""
    pyright, *stubs = sys.argv[1:]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    paths = os.pathsep.join([*stubs, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [pyright, "--verifytypes", "backwalk", "--ignoreexternal", "--outputjson"]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": paths}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    is_known = {each["name"]: each["isTypeKnown"] for each in json.loads(done.stdout)["typeCompleteness"]["symbols"]}
    names = sorted(set(public_names()))
    seen = {
        symbol
        for symbol in is_known
        if any(symbol == name or symbol.startswith(f"{name}.") for name in names)
        and not any(part.startswith("_") and not part.startswith("__") for part in symbol.split("."))
    }
    unknown = [*(name for name in names if name not in is_known), *sorted(name for name in seen if not is_known[name])]
    if unknown:
        sys.exit(f"pyright does not know the types of {len(unknown)} public names:\n" + "\n".join(unknown))
    print(f"pyright knows the types of {len(names)} public objects and of their {len(seen):,} names")


if __name__ == "__main__":
    main()
