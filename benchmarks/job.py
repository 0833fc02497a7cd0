"""One fit of the protocol: an entry, a seed and a budget in; figures out, as a line of JSON.

    python -m benchmarks.job adult --seed 0 --budget "400 steps"

It runs in old code and in new, so it uses only names that both have. Seconds are of the clock, processor seconds of all
cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_score

from backwalk import Diffusion, Number, posterior
from benchmarks.data import CLOSED_TABLES, DENSITIES, SIMULATORS, TABLES, Rows, split

PROTOCOL = 1
"""Results of another number are not comparable, and are measured anew."""
N_TRAIN, N_TEST = 3_000, 1_000
N_OF_DENSITY, N_UNSEEN = 5_000, 2_000
N_OBSERVATIONS, N_DRAWS = 5, 1_000
IMPUTED = ("cancer", "wine_white")

Result = dict[str, Any]


def options(budget: str) -> dict[str, Any]:
    """Return the arguments of `Diffusion` that a budget stands for.

    >>> options("400 steps"), options("20 s")
    ({'max_steps': 400}, {'max_time': 20.0})
    """
    number, unit = budget.split()
    return {"max_steps": int(number)} if unit == "steps" else {"max_time": float(number)}


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of a call, its seconds, and the processor seconds of all cores."""
    began, used = time.perf_counter(), _processor_seconds()
    result = work()
    return result, time.perf_counter() - began, _processor_seconds() - used


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def fitted(rows: Any, budget: str, seed: int, **arguments: Any) -> tuple[Any, Result]:
    """Fit rows, and return the model with the seconds of the fit and its number of steps."""
    model = Diffusion(random_state=seed, verbose=False, **options(budget), **arguments)
    _, seconds, processor = timed(lambda: model.fit(rows))
    return model, {"fit, s": seconds, "fit, processor s": processor, "steps": model.history_.n_steps}


def of_table(name: str, seed: int, budget: str) -> Result:
    """Judge new rows by XGB-C2ST against training and unseen rows, and unseen rows by their log-density."""
    train, test = split({**TABLES, **CLOSED_TABLES}[name](), N_TRAIN, N_TEST, seed)
    arguments = {"missing": "generate"} if train.isna().any(axis=None) else {}
    model, result = fitted(train, budget, seed, **arguments)
    drawn, *draw = timed(lambda: model.sample(len(train), random_state=seed))
    log_p, *score = timed(lambda: np.asarray(model.score_samples(test), float))
    return result | {
        "C2ST to training rows": xgb_c2st(train, drawn, seed),
        "C2ST to unseen rows": xgb_c2st(test, drawn.iloc[: len(test)], seed),
        "nats": log_p.round(4).tolist(),
        "draw and score, s": draw[0] + score[0],
        "draw and score, processor s": draw[1] + score[1],
    }


def of_density(name: str, seed: int, budget: str) -> Result:
    """Return the log-density of the truth less the model's, of unseen rows, in nats."""
    draw_rows, log_p_true = DENSITIES[name]
    generator = np.random.default_rng([seed, 1])
    rows, unseen = draw_rows(N_OF_DENSITY, generator), draw_rows(N_UNSEEN, generator)
    model, result = fitted(rows, budget, seed)
    log_p, seconds, processor = timed(lambda: model.score_samples(unseen))
    gap = (log_p_true(unseen) - np.asarray(log_p, float)).round(4).tolist()
    return result | {"gap": gap, "draw and score, s": seconds, "draw and score, processor s": processor}


def of_posterior(name: str, seed: int, budget: str) -> Result:
    """Judge posteriors of five simulations by a random forest's C2ST against exact draws: .5 is best.

    The nats are the log-density of unseen parameters given their data.
    """
    simulate, exact, bound = SIMULATORS[name]
    generator = np.random.default_rng([seed, 2])
    theta, x = simulate(N_OF_DENSITY, generator)
    unseen, x_unseen = simulate(N_UNSEEN // 4, generator)
    parameters, data = ([f"{letter}{j + 1}" for j in range(part.shape[1])] for letter, part in (("t", theta), ("x", x)))

    def frame(*parts: Rows) -> pd.DataFrame:
        return pd.DataFrame(np.column_stack(parts), columns=[*parameters, *data])

    columns = {} if bound is None else {name: Number(bounds=(-bound, bound)) for name in parameters}
    model, result = fitted(frame(theta, x), budget, seed, conditions=[data], columns=columns)
    learnt = posterior(model, given=data)

    def draws() -> list[Rows]:
        return [np.asarray(learnt.sample((N_DRAWS,), x_unseen[i], random_state=seed)) for i in range(N_OBSERVATIONS)]

    drawn, *draw = timed(draws)
    log_p, *score = timed(lambda: np.asarray(model.score_samples(frame(unseen, x_unseen), given=data), float))
    forests = [forest_c2st(exact(N_DRAWS, x_unseen[i], generator), drawn[i], seed) for i in range(N_OBSERVATIONS)]
    return result | {
        "C2ST of posteriors": float(np.mean(forests)),
        "nats": log_p.round(4).tolist(),
        "draw and score, s": draw[0] + score[0],
        "draw and score, processor s": draw[1] + score[1],
    }


def of_imputation(name: str, seed: int, budget: str) -> Result:
    """Return the mean absolute error of imputed cells over their column's range; a fifth of the cells are missing."""
    complete, _ = split(TABLES[name]().astype(float), N_TRAIN // 2, 0, seed)
    is_hidden = np.random.default_rng([seed, 3]).random(complete.shape) < 0.2
    gaps = complete.mask(is_hidden)
    model, result = fitted(gaps, budget, seed)
    filled, seconds, processor = timed(lambda: model.impute(gaps, statistic="mean", random_state=seed))
    span = (complete.max() - complete.min()).to_numpy()
    errors = np.abs(filled.to_numpy(float) - complete.to_numpy()) / span
    return result | {
        "MAE": float(errors[is_hidden].mean()),
        "draw and score, s": seconds,
        "draw and score, processor s": processor,
    }


def xgb_c2st(real: pd.DataFrame, generated: pd.DataFrame, seed: int) -> float:
    """Return 2 (1 - AUC) of a default XGBClassifier that tells generated from real rows: 1 is best.

    Labels are one-hot. The AUC is the mean over three stratified folds, in each of which it counts as at least .5.
    """
    from xgboost import XGBClassifier  # of the extra `bench`

    both = pd.concat([real, generated[list(real)]], ignore_index=True)
    labels = [name for name in real if not pd.api.types.is_numeric_dtype(real[name])]
    x = pd.get_dummies(both.astype(dict.fromkeys(labels, str)), columns=labels).to_numpy(float)
    y = np.repeat([0, 1], [len(real), len(generated)])
    aucs = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(x, y):
        classifier = XGBClassifier(random_state=seed).fit(x[train], y[train])
        aucs.append(max(0.5, roc_auc_score(y[test], classifier.predict_proba(x[test])[:, 1])))
    return float(2.0 * (1.0 - np.mean(aucs)))


def forest_c2st(exact: Rows, drawn: Rows, seed: int) -> float:
    """Return the accuracy of a random forest that tells draws from exact ones, in five folds."""
    x, y = np.concatenate([exact, drawn]), np.repeat([0, 1], [len(exact), len(drawn)])
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return float(cross_val_score(RandomForestClassifier(random_state=seed), x, y, cv=folds).mean())


ENTRIES: dict[str, Callable[[int, str], Result]] = {
    **{name: lambda *of, name=name: of_table(name, *of) for name in TABLES if name != "cancer"},
    **{f"posterior of {name}": lambda *of, name=name: of_posterior(name, *of) for name in SIMULATORS},
    **{f"density of {name}": lambda *of, name=name: of_density(name, *of) for name in DENSITIES},
    **{f"gaps of {name}": lambda *of, name=name: of_imputation(name, *of) for name in IMPUTED},
}
CLOSED = {name: lambda *of, name=name: of_table(name, *of) for name in CLOSED_TABLES}


def main() -> None:
    """Run one entry and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("entry", choices=[*ENTRIES, *CLOSED])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", default="400 steps")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print(json.dumps({**ENTRIES, **CLOSED}[given.entry](given.seed, given.budget)))


if __name__ == "__main__":
    main()
