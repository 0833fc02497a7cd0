"""The peers of the published protocol: run by a Python that has them, on a folder with a job.

    python peer_child.py FOLDER

reads `job.json` and `rows.parquet` (numbers; categories as codes 0, 1, ..; gaps as NaN) from the folder, and writes
`drawn.parquet`, the rows of all draws one below the other, and `done.json`: the seconds of fitting and drawing, the
settings, and "failed" with a reason where there are no rows. It imports nothing of this project, as the peers need
older versions of its dependencies, and each peer only in the function that uses it.

A job has: "method"; "kinds", by column, of "number", "integer", "binary", "category"; "is_class", whether the last
column, the target, is a class; "seed"; "n_draws"; "impute", whether gaps are filled or new rows drawn; "budget",
seconds for estimates, fit and draws, or null for the peer's defaults; "limit", seconds that fit and draws may take.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COPIES_AND_LEVELS = ((100, 50), (50, 50), (20, 50), (20, 20), (10, 20), (5, 20), (5, 10))
"""ForestDiffusion's copies of the rows and noise levels: its defaults first."""
ORDERS = (50, 20, 10, 5, 2, 1)
"""UnmaskingTrees' masking orders of a row: its default first."""

Prepared = tuple[Callable[[], list[Any]], str]
"""What fits and draws, and its settings in words."""


class TooSlow(Exception):
    """What a peer should do would take longer than the limit."""


def forest_diffusion(rows: Any, job: dict[str, Any]) -> Prepared:
    """Prepare ForestDiffusion: its flow for new rows, its diffusion ("vp") for gaps.

    A class is given as the label, for which it fits one model each. Its fit cannot be stopped, so the time of a setting
    is estimated: of the defaults from a fit to two noise levels, of others from two small fits.
    """
    from ForestDiffusion import ForestDiffusionModel

    names, kinds = list(rows), job["kinds"]
    features = names[:-1] if job["is_class"] else names

    def places(kind: str) -> list[int]:
        return [j for j, name in enumerate(features) if kinds[name] == kind]

    def fit(copies: int, levels: int) -> Any:
        return ForestDiffusionModel(
            rows[features].to_numpy(float),
            label_y=rows[names[-1]].to_numpy(float) if job["is_class"] else None,
            n_t=levels,
            duplicate_K=copies,
            diffusion_type="vp" if job["impute"] else "flow",
            cat_indexes=places("category"),
            bin_indexes=places("binary"),
            int_indexes=places("integer"),
            seed=job["seed"],
        )

    spent = seconds_of(lambda: fit(1, 2))  # the first one starts the workers
    if job["budget"] is None:
        default_copies, _ = COPIES_AND_LEVELS[0]
        a_level, a_copy = seconds_of(lambda: fit(default_copies, 2)) / 2.0, 0.0
    else:
        one, eight = (seconds_of(lambda k=k: fit(k, 4)) for k in (1, 8))
        spent += one + eight
        a_copy = max(eight - one, 0.0) / 28.0
        a_level = max(one / 4.0 - a_copy, 0.0)
    copies, levels = chosen(COPIES_AND_LEVELS, lambda each: each[1] * (a_level + each[0] * a_copy), spent, job)

    def draw() -> list[Any]:
        model, shape = fit(copies, levels), (job["n_draws"], *rows.shape)
        if job["impute"]:
            return list(np.asarray(model.impute(k=job["n_draws"])).reshape(shape))
        return list(np.asarray(model.generate(batch_size=job["n_draws"] * len(rows))).reshape(shape))

    return draw, f"{copies} copies, {levels} levels"


def unmasking_trees(rows: Any, job: dict[str, Any]) -> Prepared:
    """Prepare UnmaskingTrees, whose columns are continuous, integers or categories."""
    from utrees import UnmaskingTrees

    words = {"number": "continuous", "integer": "integer", "binary": "categorical", "category": "categorical"}
    x = rows.to_numpy(float)
    n_drawn = job["n_draws"] * len(x)

    def fit(orders: int) -> Any:
        model = UnmaskingTrees(duplicate_K=orders, random_state=job["seed"])
        return model.fit(x.copy(), quantize_cols=[words[job["kinds"][name]] for name in rows])

    spent = seconds_of(lambda: fit(1))  # the first one compiles
    one, six = (seconds_of(lambda k=k: fit(k)) for k in (1, 6))
    small, ten = fit(1), x[:10] if job["impute"] else np.full_like(x[:10], np.nan)
    drawing = seconds_of(lambda: small.impute(n_impute=1, X=ten.copy())) * n_drawn / len(ten)
    an_order = max(six - one, 0.0) / 5.0
    orders = chosen(ORDERS, lambda k: max(one - an_order, 0.0) + k * an_order + drawing, spent + 2.0 * one + six, job)

    def draw() -> list[Any]:
        model = fit(orders)
        if job["impute"]:
            return list(np.asarray(model.impute(n_impute=job["n_draws"])))
        return list(np.asarray(model.generate(n_generate=n_drawn)).reshape(job["n_draws"], *x.shape))

    return draw, f"{orders} orders"


def arf(rows: Any, job: dict[str, Any]) -> Prepared:
    """Prepare arfpy's adversarial random forest, with its defaults."""
    from arfpy import arf as adversarial

    levels = [name for name in rows if job["kinds"][name] in ("binary", "category")]

    def draw() -> list[Any]:
        np.random.seed(job["seed"])  # noqa: NPY002 - arfpy draws from the global state
        model = adversarial.arf(rows.astype(dict.fromkeys(levels, str)), verbose=False, random_state=job["seed"])
        model.forde()
        return [clean(model.forge(n=len(rows)).astype(float), rows, job) for _ in range(job["n_draws"])]

    return draw, ""


def miceforest(rows: Any, job: dict[str, Any]) -> Prepared:
    """Prepare miceforest, for 5 iterations, as the protocol has it."""
    import miceforest as forest

    levels = [name for name in rows if job["kinds"][name] in ("binary", "category")]

    def draw() -> list[Any]:
        kernel = forest.ImputationKernel(
            rows.astype(dict.fromkeys(levels, "category")),
            num_datasets=job["n_draws"],
            save_all_iterations_data=False,
            random_state=job["seed"],
        )
        kernel.mice(5)
        return [kernel.complete_data(dataset=i).astype(float).to_numpy() for i in range(job["n_draws"])]

    return draw, ""


METHODS: dict[str, Callable[[Any, dict[str, Any]], Prepared]] = {
    "ForestDiffusion": forest_diffusion,
    "UnmaskingTrees": unmasking_trees,
    "ARF": arf,
    "miceforest": miceforest,
}


def chosen(settings: Sequence[Any], seconds: Callable[[Any], float], spent: float, job: dict[str, Any]) -> Any:
    """Return the defaults, the first of the settings; with a budget, the first that should fit in, or the last.

    Raises TooSlow where this should take longer than the limit.
    """
    setting, words = settings[0], "its defaults"
    if job["budget"] is not None:
        setting = next((each for each in settings if spent + seconds(each) <= job["budget"]), settings[-1])
        words = "its least setting"
    should_take = seconds(setting)
    if should_take > job["limit"]:
        raise TooSlow(f"{words} should take {should_take:,.0f} s, more than the limit of {job['limit']:,.0f} s")
    return setting


def clean(drawn: Any, rows: Any, job: dict[str, Any]) -> Any:
    """Return drawn rows with integers rounded, within the range of the fitted rows."""
    for name in rows:
        if job["kinds"][name] == "integer":
            drawn[name] = drawn[name].round()
    return drawn.clip(rows.min(), rows.max(), axis=1).to_numpy()


def seconds_of(call: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def run(folder: Path) -> None:
    """Do the job of a folder."""
    job = json.loads((folder / "job.json").read_text())
    rows = pd.read_parquet(folder / "rows.parquet")
    done: dict[str, Any] = {}
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            draw, choice = METHODS[job["method"]](rows, job)
            if job["budget"] is None:  # estimates are no part of the defaults' time
                began = time.perf_counter()
            draws = draw()
        done = {"seconds": time.perf_counter() - began, "choice": choice}
        pd.DataFrame(np.concatenate(draws), columns=list(rows)).to_parquet(folder / "drawn.parquet")
    except Exception as error:  # whatever a peer raises is its result
        traceback.print_exc()
        reason = str(error) if isinstance(error, TooSlow) else f"{type(error).__name__}: {error}"
        done = {"failed": " ".join(reason.split())[:200]}
    (folder / "done.json").write_text(json.dumps(done))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
