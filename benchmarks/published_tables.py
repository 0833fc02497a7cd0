"""The page of the published protocol: means over the data sets, every method beside ours, and set by set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.draws import Results
from benchmarks.published_methods import OURS
from benchmarks.tables import Mean, shown, table

COPIED = Path(__file__).parent / "copied.csv"
GENERATION, IMPUTATION = "generation", "imputation"
_TITLES = {GENERATION: "New rows", IMPUTATION: "Gaps"}
_FIGURES: dict[str, dict[str, str]] = {
    GENERATION: {
        "w1_train": "W1 to training rows",
        "w1_test": "W1 to test rows",
        "coverage": "coverage",
        "f1": "F1",
        "r2": "R²",
    },
    IMPUTATION: {
        "mae_least": "MAE, best of draws",
        "mae_mean": "MAE, mean of draws",
        "mae_single": "MAE, single",
        "w1_train": "W1 to training rows",
        "w1_test": "W1 to test rows",
        "coverage_of_regression": "coverage of regression",
        "f1": "F1",
        "r2": "R²",
    },
}
_BY_SET = {GENERATION: ("w1_test", "f1", "r2"), IMPUTATION: ("mae_mean", "mae_single", "w1_train")}


def tables(results: Results) -> str:
    """Return the tables of both tasks: results of one size."""
    frame = pd.DataFrame([{**result["key"], **_means(result)} for result in results])
    texts = []
    for task, title in _TITLES.items():
        of_task = frame[frame["task"] == task]
        if len(of_task):
            figures = {name: words for name, words in _FIGURES[task].items() if name in of_task}
            texts += [f"#### {title}\n", _over_sets(of_task, figures), _beside_ours(of_task, figures)]
            texts += [_by_set(of_task, name, figures[name]) for name in _BY_SET[task] if name in figures]
            texts.append(_copied(of_task, task, figures))
    return "\n".join(texts)


def _means(result: Mapping[str, object]) -> dict[str, float]:
    """Return each figure in the mean over draws."""
    names = {name for figures in _FIGURES.values() for name in figures} | {"seconds"}
    return {name: float(np.mean(np.asarray(result[name], float))) for name in names if name in result}


def _over_sets(frame: pd.DataFrame, figures: Mapping[str, str]) -> str:
    names = [*figures, "seconds"]
    means = frame.groupby(["method", "table"], sort=False)[names].mean()
    rows = [
        (method, str(len(of_method)), *(_number(of_method[name].mean()) for name in names))
        for method, of_method in means.groupby(level="method", sort=False)
    ]
    words = "Means over the sets that a method has done. They compare only where the number of sets is the same."
    return f"{words}\n\n{table(('method', 'sets', *figures.values(), 'seconds'), rows)}"


def _beside_ours(frame: pd.DataFrame, figures: Mapping[str, str]) -> str:
    """Return the differences from ours, in pairs on the same splits of the same sets."""
    ours = frame[frame["method"] == OURS].set_index(["table", "seed"])
    rows = []
    for method, of_method in frame.groupby("method", sort=False):
        theirs = of_method.set_index(["table", "seed"])
        common = theirs.index.intersection(ours.index)
        if method == OURS or common.empty:
            continue
        a, b = theirs.loc[common], ours.loc[common]
        cells = [_paired((a[name] - b[name]).groupby("table").mean()) for name in figures]
        seconds = a["seconds"].sum() / b["seconds"].sum()
        rows.append((method, str(common.get_level_values("table").nunique()), *cells, f"{seconds:.2g}"))
    words = f"Each method minus {OURS}, on the splits that both have done; ± is over the sets."
    return f"{words}\n\n{table(('method', 'sets', *figures.values(), 'seconds, times ours'), rows)}"


def _by_set(frame: pd.DataFrame, name: str, words: str) -> str:
    values = frame.dropna(subset=[name]).pivot_table(index="table", columns="method", values=name, sort=False)
    rows = [
        (str(each), *(_number(value) for value in line))
        for each, line in zip(values.index, values.to_numpy(), strict=True)
    ]
    return f"{words}, set by set:\n\n{table(('set', *values.columns), rows)}"


def _copied(frame: pd.DataFrame, task: str, figures: Mapping[str, str]) -> str:
    """Return figures that peers' authors published, beside ours here, in the mean over the same sets."""
    copied = pd.read_csv(COPIED)
    copied = copied[(copied["task"] == task) & copied["table"].isin(frame["table"])].set_index("table")
    if copied.empty:
        return ""
    copied = copied.drop(columns="mae_least")  # the least over their five draws is less than that over fewer
    names = [name for name in [*figures, "seconds"] if name in copied and copied[name].notna().any()]
    here = frame[frame["method"].isin([OURS, *copied["method"]]) & frame["table"].isin(copied.index)]
    rows = [
        (f"{method} (copied)", str(len(of_method)), *(_number(of_method[name].mean()) for name in names))
        for method, of_method in copied.groupby("method")
    ]
    for method, of_method in here.groupby("method", sort=False):
        means = of_method.groupby("table")[names].mean()
        rows.append((str(method), str(len(means)), *(_number(means[name].mean()) for name in names)))
    words = (
        "*Copied*: from the authors' result files, of the same sets with three splits and five draws, on their "
        "machines and with an older AdaBoost (`benchmarks/protocol.py`). Below, what was measured here."
    )
    head = ("method", "sets", *({**figures, "seconds": "seconds"}[name] for name in names))
    return f"{words}\n\n{table(head, rows)}"


def _paired(differences: pd.Series) -> str:
    values = differences.dropna().to_numpy()
    if not len(values):
        return ""
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return shown(Mean(float(values.mean()), error, len(values) - 1))


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"
